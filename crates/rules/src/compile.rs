use std::collections::BTreeSet;

use hubwarden_event::Hash;

use crate::document::{Body, Correlation, LogSource, called};
use crate::draft::{Draft, Drafts, GivenUp, Problems, State, Unread};
use crate::house::{Step, needed};
use crate::item::{ACTION, Builder};
use crate::lint::{check_names, printed_fields};
use crate::making::Parts;
use crate::problem::{Flaw, Flaws, quoted};
use crate::selection::Detection;
use crate::tree::Tree;
use crate::view::Fields;
use crate::{Lists, Problem, ProblemSeverity, RuleSet, Schema};

/// A file with rules: its name as people know it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// The name, such as `github/repo-made-public.yml`; its stem names rules without a name.
    pub name: String,
    /// One or more YAML documents. A file with U+FFFD, which stands for bytes that are not UTF-8, is refused.
    pub text: String,
    /// Whether it is part of the release: a rule of one's own with the same name or id replaces it.
    pub shipped: bool,
}

/// A rule set, and what there is to say about the files it was made of.
#[derive(Debug)]
pub struct Compiled {
    /// The rules that could be loaded.
    pub set: RuleSet,
    /// By file and line; a document with an error was not loaded, and may have several.
    pub problems: Vec<Problem>,
    /// The shipped rules that one's own have replaced.
    pub replaced: Vec<Replaced>,
    /// Rules in the set that can never match, because a list they need does not exist.
    pub blind: Vec<Blind>,
    /// How many documents were left out because the schema has no events of their log source.
    pub foreign: usize,
}

/// A rule that is loaded and cannot see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    /// The rule's content hash.
    pub rule: Hash,
    /// The rule's name.
    pub name: String,
    /// The file it came from.
    pub file: String,
    /// The lists that do not exist.
    pub missing: Vec<String>,
}

/// A shipped rule that is left out, since one's own has its name or id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The shipped rule's name.
    pub shipped: String,
    /// The name of the rule that stands in for it.
    pub rule: String,
    /// The file of that rule.
    pub file: String,
    /// Its line there.
    pub line: usize,
}

impl RuleSet {
    /// Makes a set of all files' rules: a rule with a flaw is left out and named, the others load.
    ///
    /// The result does not depend on the order of the files. A detection that a correlation refers
    /// to makes no findings by itself unless the correlation says `generate: true`; every other
    /// document makes findings. With a schema, names that it does not know are told as warnings.
    ///
    /// A rule of one's own replaces the shipped one with its name or id, if it can be loaded.
    pub fn compile(files: &[RuleFile], lists: &Lists, schema: Option<&dyn Schema>) -> Compiled {
        let mut given_up = GivenUp::new();
        let mut carried = Vec::new();
        loop {
            let mut problems = Problems::default();
            let drafts = Drafts::read(files, &given_up, &mut problems);
            let fields = Fields::default();
            let mut compiler = Compiler { drafts, problems, lists, schema, fields, foreign: 0 };
            let parts = compiler.run();
            // Each round gives up at least one document that would replace a shipped one.
            let failed = compiler.failed_replacements();
            if failed.is_empty() {
                return compiler.end(parts, carried);
            }
            carried.extend(compiler.told_of(&failed));
            given_up.extend(failed);
        }
    }
}

/// A set in the making.
pub(crate) struct Compiler<'a> {
    pub(crate) drafts: Drafts,
    pub(crate) problems: Problems,
    pub(crate) lists: &'a Lists,
    schema: Option<&'a dyn Schema>,
    pub(crate) fields: Fields,
    foreign: usize,
}

impl Compiler<'_> {
    fn run(&mut self) -> Parts {
        self.leave_out();
        self.spread_needs();
        for unread in std::mem::take(&mut self.drafts.unread) {
            self.unread(unread);
        }
        for step in [Self::detection, Self::filter, Self::correlation] {
            for position in 0..self.drafts.all.len() {
                if let Err(flaws) = step(self, position) {
                    self.drafts.all[position].reject(&mut self.problems, flaws);
                }
            }
        }
        self.parts()
    }

    /// Documents of one's own that should replace shipped ones and were rejected.
    fn failed_replacements(&self) -> GivenUp {
        let own = self.drafts.replacements().map(|(draft, _)| draft);
        let failed = own.filter(|draft| draft.state == State::Rejected);
        failed.map(|draft| (draft.file.clone(), draft.number)).collect()
    }

    /// What has been told of these documents, and what stays in force in their place.
    fn told_of(&self, failed: &GivenUp) -> Vec<Problem> {
        let mut told = Vec::new();
        for (draft, replaced) in self.drafts.replacements() {
            if !failed.contains(&(draft.file.clone(), draft.number)) {
                continue;
            }
            let of_it =
                |one: &&Problem| one.file == draft.file && one.rule.as_ref() == Some(&draft.name);
            told.extend(self.problems.0.iter().filter(of_it).cloned());
            let message = format!("the shipped rule {} stays in force", quoted(&replaced.shipped));
            told.push(Problem {
                file: replaced.file,
                line: replaced.line,
                rule: Some(replaced.rule),
                severity: ProblemSeverity::Note,
                message,
            });
        }
        told
    }

    /// Tells all flaws of a document that could not be read: those of its selections too.
    fn unread(&mut self, unread: Unread) {
        let Unread { file, node, mut flaws } = unread;
        if let Some(detection) = node.get("detection") {
            let needs = needed(&node).into_iter().collect();
            let mut builder = Builder::new(&mut self.fields, self.lists, &needs);
            let compiled = Detection::compile(detection, &[], &[], &mut builder);
            flaws.extend(compiled.err().into_iter().flatten());
        }
        let name = called(&node);
        self.problems.add_errors(&file, name.as_deref(), flaws);
        let stays = name.as_deref().and_then(|name| self.drafts.find(name));
        if let Some(shipped) = stays.map(|at| &self.drafts.all[at]).filter(|one| one.shipped) {
            let message = format!("the shipped rule {} stays in force", quoted(&shipped.name));
            let flaw = Flaw { line: node.line, message };
            self.problems.add(&file, name, ProblemSeverity::Note, flaw);
        }
    }

    pub(crate) fn ready(&self, position: usize) -> bool {
        self.drafts.all[position].state == State::Ready
    }

    /// Sets aside what is not ours or not in use.
    fn leave_out(&mut self) {
        for draft in &mut self.drafts.all {
            let source = match &draft.document.body {
                Body::Detection { source, .. } => Some(source),
                Body::Correlation(_) | Body::Filter(_) => None,
            };
            if let (Some(source), Some(schema)) = (source, self.schema)
                && !schema.has_source(source)
            {
                draft.state = State::LeftOut;
                self.foreign += 1;
            } else if let Some(status @ ("deprecated" | "unsupported")) =
                draft.document.status.as_deref()
            {
                let message = format!("not loaded: its status is {status}");
                let line = draft.document.line;
                draft.state = State::LeftOut;
                draft.tell(&mut self.problems, ProblemSeverity::Note, Flaw { line, message });
            }
        }
    }

    /// What a correlation needs, its detections need too.
    fn spread_needs(&mut self) {
        for position in 0..self.drafts.all.len() {
            let Body::Correlation(correlation) = &self.drafts.all[position].document.body else {
                continue;
            };
            let needs = self.drafts.all[position].needs.clone();
            let bases: Vec<_> =
                correlation.rules.iter().filter_map(|(_, name)| self.drafts.find(name)).collect();
            for base in bases {
                self.drafts.all[base].needs.extend(needs.iter().cloned());
            }
        }
    }

    fn detection(&mut self, position: usize) -> Result<(), Vec<Flaw>> {
        let draft = &mut self.drafts.all[position];
        let Body::Detection { detection, .. } = &draft.document.body else { return Ok(()) };
        if draft.state != State::Ready {
            return Ok(());
        }
        let mut builder = Builder::new(&mut self.fields, self.lists, &draft.needs);
        let further = draft.document.house.severity.iter().filter_map(|step| match step {
            Step::When { condition, line, .. } => Some((condition.as_str(), *line)),
            Step::AtLeast { .. } => None,
        });
        let further: Vec<_> = further.collect();
        let compiled = Detection::compile(detection, &[], &further, &mut builder)?;
        let (uses, actions, warnings) = (builder.uses, builder.actions, builder.warnings);
        draft.used_lists = builder.used_lists;
        draft.missing = builder.missing;
        for warning in warnings {
            draft.tell(&mut self.problems, ProblemSeverity::Warning, warning);
        }
        if let Some(schema) = self.schema {
            let implied = compiled.tree.implied(self.fields.slot(ACTION));
            let implied: Vec<_> = implied.unwrap_or_default().into_iter().collect();
            let mut fields = uses;
            fields.extend(house_fields(draft));
            check_names(schema, &actions, &fields, &implied, |line, severity, message| {
                draft.tell(&mut self.problems, severity, Flaw { line, message });
            });
        }
        draft.detection = Some(compiled);
        Ok(())
    }

    /// Joins a filter to the conditions of the rules that it names.
    fn filter(&mut self, position: usize) -> Result<(), Vec<Flaw>> {
        let Body::Filter(filter) = &self.drafts.all[position].document.body else { return Ok(()) };
        if !self.ready(position) {
            return Ok(());
        }
        let needs = BTreeSet::new();
        let mut builder = Builder::new(&mut self.fields, self.lists, &needs);
        let compiled = Detection::compile(&filter.body, &["rules"], &[], &mut builder)?;
        let (used_lists, warnings) = (builder.used_lists, builder.warnings);
        if !compiled.has_not {
            let message = "the condition has no `not`: a filter is joined with `and`, so an \
                           exclusion is written `condition: not selection`"
                .into();
            return Err(vec![Flaw { line: filter.body.line, message }]);
        }
        let mut unknown = Vec::new();
        for (line, name) in filter.rules.iter().flatten() {
            if self.drafts.find(name).is_none() {
                unknown.push((*line, format!("there is no rule {} to filter", quoted(name))));
            }
        }
        let applies = |draft: &Draft| match &draft.document.body {
            Body::Detection { source, .. } => {
                let named = |rules: &Vec<(usize, String)>| {
                    rules.iter().any(|(_, one)| draft.is_called(one))
                };
                filter.sees(source) && filter.rules.as_ref().is_none_or(named)
            }
            _ => false,
        };
        let all = self.drafts.all.iter().enumerate();
        let targets: Vec<_> = all.filter(|(_, draft)| applies(draft)).map(|(at, _)| at).collect();
        for target in targets {
            let draft = &mut self.drafts.all[target];
            let Some(detection) = &mut draft.detection else { continue };
            let joined = vec![detection.tree.clone(), compiled.tree.clone()];
            detection.tree = Tree::All(joined);
            draft.filters.push(position);
            draft.used_lists.extend(used_lists.iter().cloned());
        }
        let draft = &mut self.drafts.all[position];
        draft.detection = Some(compiled);
        for flaw in warnings {
            draft.tell(&mut self.problems, ProblemSeverity::Warning, flaw);
        }
        for (line, message) in unknown {
            draft.tell(&mut self.problems, ProblemSeverity::Warning, Flaw { line, message });
        }
        Ok(())
    }

    /// Finds the detections that a correlation counts.
    fn correlation(&mut self, position: usize) -> Result<(), Vec<Flaw>> {
        let Body::Correlation(correlation) = &self.drafts.all[position].document.body else {
            return Ok(());
        };
        if !self.ready(position) {
            return Ok(());
        }
        let house = &self.drafts.all[position].document.house;
        let mut flaws = Flaws::default();
        let mut wrong = |line, message| flaws.0.push(Flaw { line, message });
        if let Some((line, _)) = house.group_by {
            wrong(line, "a correlation has its own `group-by`, under `correlation`".into());
        }
        for step in &house.severity {
            if let Step::When { line, .. } = step {
                wrong(*line, "`when` asks one event: a correlation takes `gte`".into());
            }
        }
        let mut bases = Vec::new();
        for (line, name) in &correlation.rules {
            let (line, shown) = (*line, quoted(name));
            let Some(base) = self.drafts.find(name) else {
                let why =
                    if self.drafts.is_broken(name) { "was rejected" } else { "does not exist" };
                wrong(line, format!("it refers to the rule {shown}, which {why}"));
                continue;
            };
            let target = &self.drafts.all[base];
            match (&target.document.body, target.state) {
                (Body::Correlation(_), _) => {
                    let what = "counting the findings of another correlation is not supported";
                    wrong(line, format!("it refers to the correlation {shown}: {what}"));
                }
                (Body::Filter(_), _) => {
                    wrong(line, format!("it refers to {shown}, which is a filter"));
                }
                (Body::Detection { .. }, State::Rejected) => {
                    wrong(line, format!("it refers to the rule {shown}, which was rejected"));
                }
                (Body::Detection { .. }, State::LeftOut) => {
                    let message = format!("not loaded: it refers to {shown}, which is not loaded");
                    let draft = &mut self.drafts.all[position];
                    draft.tell(&mut self.problems, ProblemSeverity::Note, Flaw { line, message });
                    draft.state = State::LeftOut;
                    return Ok(());
                }
                (Body::Detection { .. }, State::Ready) if bases.contains(&base) => {}
                (Body::Detection { .. }, State::Ready) => bases.push(base),
            }
        }
        for (line, alias, rule, _) in &correlation.aliases {
            let among = |(_, name): &(usize, String)| {
                name == rule
                    || self.drafts.find(name).is_some_and(|at| self.drafts.all[at].is_called(rule))
            };
            if !correlation.rules.iter().any(among) {
                wrong(
                    *line,
                    format!("an alias names {}, which is not among `rules`", quoted(rule)),
                );
            }
            if !correlation.group_by.contains(alias) {
                wrong(*line, format!("the alias {} is not in `group-by`", quoted(alias)));
            }
        }
        if !flaws.0.is_empty() {
            return Err(flaws.0);
        }
        if let Some(schema) = self.schema {
            let draft = &self.drafts.all[position];
            let is_alias =
                |name: &str| correlation.aliases.iter().any(|(_, alias, ..)| alias == name);
            let split = |name: &String, line| {
                name.split('|').map(move |one| (one.to_owned(), line)).collect::<Vec<_>>()
            };
            let group = correlation.group_by.iter().filter(|name| !is_alias(name));
            let mut fields: Vec<_> =
                group.flat_map(|name| split(name, correlation.group_line)).collect();
            fields.extend(
                correlation.aliases.iter().map(|(line, _, _, field)| (field.clone(), *line)),
            );
            let values = correlation.values.iter().flatten();
            fields.extend(values.flat_map(|name| split(name, correlation.values_line)));
            fields.extend(house_fields(draft));
            check_names(schema, &[], &fields, &[], |line, severity, message| {
                draft.tell(&mut self.problems, severity, Flaw { line, message });
            });
        }
        self.drafts.all[position].bases = bases;
        Ok(())
    }

    fn end(self, parts: Parts, carried: Vec<Problem>) -> Compiled {
        let mut problems = self.problems;
        let mut replaced: Vec<Replaced> = Vec::new();
        for (draft, one) in self.drafts.replacements() {
            let message = format!("replaces the shipped rule {}", quoted(&one.shipped));
            draft.tell(&mut problems, ProblemSeverity::Note, Flaw { line: one.line, message });
            replaced.push(one);
        }
        let mut problems = problems.0;
        problems.extend(carried);
        problems.sort_by(|a, b| {
            (&a.file, a.line, a.severity, &a.message)
                .cmp(&(&b.file, b.line, b.severity, &b.message))
        });
        let set = RuleSet::build(parts.rules, parts.matchers, self.fields);
        Compiled { set, problems, replaced, blind: parts.blind, foreign: self.foreign }
    }
}

/// The field that an alias stands for in one detection.
pub(crate) fn alias_of<'a>(
    correlation: &'a Correlation,
    name: &str,
    base: &Draft,
) -> Option<&'a String> {
    let aliases = correlation.aliases.iter();
    let mut found = aliases.filter(|(_, alias, rule, _)| alias == name && base.is_called(rule));
    found.next().map(|(_, _, _, field)| field)
}

/// The fields that a document's own key reads.
fn house_fields(draft: &Draft) -> Vec<(String, usize)> {
    let house = &draft.document.house;
    let mut fields = printed_fields(&house.sentence, house.sentence_line);
    fields.extend(printed_fields(&house.response, house.response_line));
    if let Some((line, names)) = &house.group_by {
        let names = names.iter().flat_map(|name| name.split('|'));
        fields.extend(names.map(|name| (name.to_owned(), *line)));
    }
    fields
}

/// The log source of a detection.
pub(crate) fn source_of(draft: &Draft) -> Option<&LogSource> {
    match &draft.document.body {
        Body::Detection { source, .. } => Some(source),
        Body::Filter(filter) => Some(&filter.source),
        Body::Correlation(_) => None,
    }
}
