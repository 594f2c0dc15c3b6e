use std::sync::Arc;

use hubwarden_event::{BlindRule, RulesStatus};
use hubwarden_proto::v1;
use hubwarden_rules::{Blind, Compiled, Problem, ProblemSeverity, Replaced, RuleInfo, RuleSet};
use hubwarden_service::nearest;

use crate::Rulebook;

/// A rulebook that has been compiled: the set that judges, and what there is to say about it.
#[derive(Debug)]
pub struct LoadedRules {
    /// The set.
    pub set: Arc<RuleSet>,
    book: Rulebook,
    problems: Vec<Problem>,
    replaced: Vec<Replaced>,
    blind: Vec<Blind>,
}

/// No rule is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rule is named `{name}`{hint}")]
pub struct UnknownRule {
    name: String,
    hint: String,
}

impl LoadedRules {
    /// Compiles a rulebook.
    pub fn of(book: Rulebook) -> Self {
        let Compiled { set, problems, replaced, blind, .. } = book.compile();
        Self { set: Arc::new(set), book, problems, replaced, blind }
    }

    /// How many rules are loaded, which are blind, and which files could not be loaded.
    pub fn status(&self) -> RulesStatus {
        let missing = |blind: &Blind| {
            blind.missing.iter().map(|list| format!("list:{list}")).collect::<Vec<_>>().join(" ")
        };
        let blind = self.blind.iter();
        let blind = blind.map(|one| BlindRule { name: one.name.clone(), reason: missing(one) });
        let errors =
            self.problems.iter().filter(|problem| problem.severity == ProblemSeverity::Error);
        let mut refused: Vec<BlindRule> = Vec::new();
        let mut file = "";
        for problem in errors {
            match refused.last_mut().filter(|_| problem.file == file) {
                Some(same) => {
                    same.reason += &format!("; line {}: {}", problem.line, problem.message);
                }
                None => refused.push(BlindRule {
                    name: format!("{}:{}", problem.file, problem.line),
                    reason: problem.message.clone(),
                }),
            }
            file = &problem.file;
        }
        RulesStatus { loaded: self.set.rules().len(), blind: blind.collect(), refused }
    }

    /// The rule with this name or Sigma's `id`.
    ///
    /// # Errors
    /// There is none; the error says which was probably meant.
    pub fn find(&self, name: &str) -> Result<&RuleInfo, UnknownRule> {
        let rules = self.set.rules();
        let found = rules.iter().find(|rule| rule.name == name || rule.id.as_deref() == Some(name));
        found.ok_or_else(|| {
            let hint = match nearest(name, rules.iter().map(|rule| rule.name.as_str())) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => "; `hubwarden rule list` shows all".into(),
            };
            UnknownRule { name: name.into(), hint }
        })
    }

    /// Every rule, without the text of its file.
    pub fn rules(&self) -> Vec<v1::Rule> {
        self.set.rules().iter().map(|rule| self.message(rule)).collect()
    }

    /// One rule with everything.
    pub fn rule(&self, rule: &RuleInfo) -> v1::Rule {
        let file = self.book.files.iter().find(|file| file.name == rule.file);
        let text = file.map(|file| file.text.clone()).unwrap_or_default();
        v1::Rule { text, ..self.message(rule) }
    }

    fn message(&self, rule: &RuleInfo) -> v1::Rule {
        let blind = self.blind.iter().find(|blind| blind.rule == rule.hash);
        let replaced = self.replaced.iter().filter(|one| one.rule == rule.name);
        v1::Rule {
            id: rule.id.clone().unwrap_or_default(),
            name: rule.name.clone(),
            title: rule.title.clone(),
            description: rule.description.clone(),
            hash: rule.hash.to_string(),
            level: rule.level.as_str().into(),
            confidence: rule.confidence.as_str().into(),
            attack: rule.attack.clone(),
            window: rule.window.to_string(),
            group_by: rule.group_by.iter().map(|field| field.to_string()).collect(),
            false_positives: rule.false_positives.clone(),
            response: rule.response.clone(),
            file: rule.file.clone(),
            text: String::new(),
            blind: blind.map(|blind| blind.missing.clone()).unwrap_or_default(),
            replaces: replaced.map(|one| one.shipped.clone()).collect(),
        }
    }
}
