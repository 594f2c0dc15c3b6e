//! The end of compiling: what is ready becomes rules, and detections become matchers.

use std::collections::BTreeSet;

use hubwarden_event::{Confidence, Severity};

use crate::compile::{Compiler, alias_of};
use crate::document::Body;
use crate::hashes::{content_hash, state_hash};
use crate::house::{DEFAULT_FOLD_MS, Step};
use crate::problem::{Flaw, quoted};
use crate::selection::Detection;
use crate::set::{Matcher, Output, group_names, group_slots};
use crate::{Blind, ProblemSeverity, RuleInfo, Window};

/// What a set is built of.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) rules: Vec<RuleInfo>,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) blind: Vec<Blind>,
}

/// A rule, and for each detection by position what its matches mean for it.
type Made = (RuleInfo, Vec<(usize, Output)>);

impl Compiler<'_> {
    /// Turns what is ready into rules, and detections into matchers.
    pub(crate) fn parts(&mut self) -> Parts {
        let mut rules = Vec::new();
        let mut blind = Vec::new();
        let mut outputs: Vec<Vec<Output>> = Vec::new();
        outputs.resize_with(self.drafts.all.len(), Vec::new);
        for position in 0..self.drafts.all.len() {
            if !self.ready(position) {
                continue;
            }
            let made = match &self.drafts.all[position].document.body {
                Body::Filter(_) => continue,
                Body::Detection { .. } => {
                    let (referred, generated) = self.drafts.is_counted(position);
                    if referred && !generated {
                        self.tell_unused(position);
                        continue;
                    }
                    self.single(position, rules.len())
                }
                Body::Correlation(_) => self.window(position, rules.len()),
            };
            let (info, made) = match made {
                Ok(made) => made,
                Err(flaws) => {
                    self.drafts.all[position].reject(&mut self.problems, flaws);
                    continue;
                }
            };
            self.tell_unused(position);
            let missing = self.missing(position);
            if missing.is_empty() {
                made.into_iter().for_each(|(base, output)| outputs[base].push(output));
            } else {
                let (name, file) = (info.name.clone(), info.file.clone());
                blind.push(Blind { rule: info.hash, name, file, missing });
            }
            rules.push(info);
        }
        let mut matchers = Vec::new();
        for (draft, outputs) in self.drafts.all.iter_mut().zip(outputs) {
            if let (Some(detection), Body::Detection { source, .. }, false) =
                (&draft.detection, &draft.document.body, outputs.is_empty())
            {
                let (source, tree) = (source.clone(), detection.tree.clone());
                matchers.push(Matcher { name: draft.name.clone(), source, tree, outputs });
            }
        }
        Parts { rules, matchers, blind }
    }

    /// The lists that a rule or its detections need and that do not exist.
    fn missing(&self, position: usize) -> Vec<String> {
        let mut missing = BTreeSet::new();
        for at in self.drafts.all[position].bases.iter().chain([&position]) {
            let draft = &self.drafts.all[*at];
            missing.extend(draft.missing.iter().cloned());
            let absent = draft.needs.iter().filter(|name| self.lists.get(name).is_none());
            missing.extend(absent.cloned());
        }
        missing.into_iter().collect()
    }

    fn tell_unused(&mut self, position: usize) {
        let draft = &self.drafts.all[position];
        for (name, line) in draft.detection.iter().flat_map(Detection::unused) {
            let message = format!("nothing refers to the selection {}", quoted(name));
            let flaw = Flaw { line: *line, message };
            draft.tell(&mut self.problems, ProblemSeverity::Warning, flaw);
        }
    }

    /// A rule whose every match makes a finding.
    fn single(&mut self, position: usize, rule: usize) -> Result<Made, Vec<Flaw>> {
        let draft = &self.drafts.all[position];
        let further = draft.detection.iter().flat_map(|detection| detection.further.iter());
        let (mut further, mut severity, mut flaws) = (further.cloned(), Vec::new(), Vec::new());
        for step in &draft.document.house.severity {
            match step {
                Step::When { level, .. } => severity.extend(further.next().zip(Some(*level))),
                Step::AtLeast { line, .. } => {
                    let message = "`gte` counts a window: only a correlation has one".into();
                    flaws.push(Flaw { line: *line, message });
                }
            }
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        let group = match &draft.document.house.group_by {
            Some((_, names)) => names.clone(),
            None => vec!["actor".into(), "repo|org".into()],
        };
        let slots = group_slots(group.iter().map(String::as_str), &mut self.fields);
        let info = self.info(position, &group, Window::Single, Vec::new());
        let output = Output { rule, group: slots, strict: false, values: None, severity };
        Ok((info, vec![(position, output)]))
    }

    /// A rule that counts matches of others.
    fn window(&mut self, position: usize, rule: usize) -> Result<Made, Vec<Flaw>> {
        let draft = &self.drafts.all[position];
        let Body::Correlation(correlation) = &draft.document.body else {
            let message = "not a correlation".into();
            return Err(vec![Flaw { line: draft.document.line, message }]);
        };
        let steps = draft.document.house.severity.iter().filter_map(|step| match step {
            Step::AtLeast { count, level, .. } => Some((*count, *level)),
            Step::When { .. } => None, // refused before
        });
        let mut steps: Vec<_> = steps.collect();
        steps.sort_unstable();
        let values = correlation
            .values
            .as_ref()
            .map(|names| group_slots(names.iter().map(String::as_str), &mut self.fields));
        let mut made = Vec::new();
        for base in &draft.bases {
            let names = correlation
                .group_by
                .iter()
                .map(|name| alias_of(correlation, name, &self.drafts.all[*base]).unwrap_or(name));
            let names: Vec<_> = names.map(String::as_str).collect();
            let group = group_slots(names, &mut self.fields);
            let output =
                Output { rule, group, strict: true, values: values.clone(), severity: vec![] };
            made.push((*base, output));
        }
        let (span_ms, at_least) = (correlation.span_ms, correlation.at_least);
        let window = match &correlation.values {
            None => Window::Events { at_least, span_ms },
            Some(fields) => Window::Values { fields: fields.clone(), at_least, span_ms },
        };
        let group = correlation.group_by.clone();
        Ok((self.info(position, &group, window, steps), made))
    }

    fn info(
        &mut self,
        position: usize,
        group: &[String],
        window: Window,
        severity_steps: Vec<(u64, Severity)>,
    ) -> RuleInfo {
        let draft = &self.drafts.all[position];
        let (document, house) = (&draft.document, &draft.document.house);
        if document.level.is_none() {
            let message = "there is no `level`: medium is assumed".into();
            let flaw = Flaw { line: document.line, message };
            draft.tell(&mut self.problems, ProblemSeverity::Warning, flaw);
        }
        let fold_ms = house.fold_ms.unwrap_or(DEFAULT_FOLD_MS);
        RuleInfo {
            id: document.id.clone(),
            name: draft.name.clone(),
            title: document.title.clone(),
            description: document.description.clone(),
            hash: content_hash(&self.drafts, position, self.lists),
            state_hash: state_hash(&self.drafts, position, group, &window, fold_ms),
            level: document.level.unwrap_or(Severity::Medium),
            confidence: house.confidence.unwrap_or(Confidence::Medium),
            attack: document.attack.clone(),
            group_by: group_names(group),
            fold_ms,
            window,
            severity_steps,
            sentence: if house.sentence.is_empty() {
                // A title is no template: its braces are not those of a field.
                document.title.replace('{', "(").replace('}', ")")
            } else {
                house.sentence.clone()
            },
            response: house.response.clone(),
            false_positives: document.false_positives.clone(),
            file: draft.file.clone(),
        }
    }
}
