use std::collections::BTreeSet;

use hubwarden_event::{Confidence, Hash, Severity};

use crate::document::{Body, Correlation, LogSource};
use crate::draft::{Draft, Drafts, Problems, State};
use crate::hashes::{content_hash, state_hash};
use crate::house::{DEFAULT_FOLD_MS, Step};
use crate::item::{ACTION, Builder};
use crate::lint::{check_names, printed_fields};
use crate::problem::{Flaw, flaw, quoted};
use crate::selection::Detection;
use crate::set::{Matcher, Output, group_names, group_slots};
use crate::tree::Tree;
use crate::view::Fields;
use crate::{Lists, Problem, ProblemSeverity, RuleInfo, RuleSet, Schema, Window};

/// A file with rules: its name as people know it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// The name, such as `github/repo-made-public.yml`; its stem names rules without a name.
    pub name: String,
    /// One or more YAML documents. A file with U+FFFD, which stands for bytes that are not UTF-8, is refused.
    pub text: String,
}

/// A rule set, and what there is to say about the files it was made of.
#[derive(Debug)]
pub struct Compiled {
    /// The rules that could be loaded.
    pub set: RuleSet,
    /// By file and line: each error means one document that was not loaded.
    pub problems: Vec<Problem>,
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

impl RuleSet {
    /// Makes a set of all files' rules: a rule with a flaw is left out and named, the others load.
    ///
    /// The result does not depend on the order of the files. A detection that a correlation refers
    /// to makes no findings by itself unless the correlation says `generate: true`; every other
    /// document makes findings. With a schema, names that it does not know are told as warnings.
    pub fn compile(files: &[RuleFile], lists: &Lists, schema: Option<&dyn Schema>) -> Compiled {
        let mut problems = Problems::default();
        let drafts = Drafts::read(files, &mut problems);
        let compiler =
            Compiler { drafts, problems, lists, schema, fields: Fields::default(), foreign: 0 };
        compiler.run()
    }
}

/// A set in the making.
struct Compiler<'a> {
    drafts: Drafts,
    problems: Problems,
    lists: &'a Lists,
    schema: Option<&'a dyn Schema>,
    fields: Fields,
    foreign: usize,
}

impl Compiler<'_> {
    fn run(mut self) -> Compiled {
        self.leave_out();
        self.spread_needs();
        for position in 0..self.drafts.all.len() {
            if let Err(flaw) = self.detection(position) {
                self.drafts.all[position].reject(&mut self.problems, flaw);
            }
        }
        for position in 0..self.drafts.all.len() {
            if let Err(flaw) = self.filter(position) {
                self.drafts.all[position].reject(&mut self.problems, flaw);
            }
        }
        for position in 0..self.drafts.all.len() {
            if let Err(flaw) = self.correlation(position) {
                self.drafts.all[position].reject(&mut self.problems, flaw);
            }
        }
        self.finish()
    }

    fn ready(&self, position: usize) -> bool {
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

    fn detection(&mut self, position: usize) -> Result<(), Flaw> {
        let draft = &mut self.drafts.all[position];
        let Body::Detection { detection, .. } = &draft.document.body else { return Ok(()) };
        if draft.state != State::Ready {
            return Ok(());
        }
        let mut builder = Builder::new(&mut self.fields, self.lists, &draft.needs);
        let compiled = Detection::compile(detection, &[], &mut builder)?;
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
    fn filter(&mut self, position: usize) -> Result<(), Flaw> {
        let Body::Filter(filter) = &self.drafts.all[position].document.body else { return Ok(()) };
        if !self.ready(position) {
            return Ok(());
        }
        let needs = BTreeSet::new();
        let mut builder = Builder::new(&mut self.fields, self.lists, &needs);
        let compiled = Detection::compile(&filter.body, &["rules"], &mut builder)?;
        let (used_lists, warnings) = (builder.used_lists, builder.warnings);
        if !compiled.has_not {
            return flaw(
                filter.body.line,
                "the condition has no `not`: a filter is joined with `and`, so an exclusion is \
                 written `condition: not selection`",
            );
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
    fn correlation(&mut self, position: usize) -> Result<(), Flaw> {
        let Body::Correlation(correlation) = &self.drafts.all[position].document.body else {
            return Ok(());
        };
        if !self.ready(position) {
            return Ok(());
        }
        let house = &self.drafts.all[position].document.house;
        if let Some((line, _)) = house.group_by {
            return flaw(line, "a correlation has its own `group-by`, under `correlation`");
        }
        let mut bases = Vec::new();
        for (line, name) in &correlation.rules {
            let shown = quoted(name);
            let Some(base) = self.drafts.find(name) else {
                let why =
                    if self.drafts.is_broken(name) { "was rejected" } else { "does not exist" };
                return flaw(*line, format!("it refers to the rule {shown}, which {why}"));
            };
            let target = &self.drafts.all[base];
            match (&target.document.body, target.state) {
                (Body::Correlation(_), _) => {
                    let what = "counting the findings of another correlation is not supported";
                    return flaw(*line, format!("it refers to the correlation {shown}: {what}"));
                }
                (Body::Filter(_), _) => {
                    return flaw(*line, format!("it refers to {shown}, which is a filter"));
                }
                (Body::Detection { .. }, State::Rejected) => {
                    return flaw(
                        *line,
                        format!("it refers to the rule {shown}, which was rejected"),
                    );
                }
                (Body::Detection { .. }, State::LeftOut) => {
                    let message = format!("not loaded: it refers to {shown}, which is not loaded");
                    let line = *line;
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
            if !bases.iter().any(|base| self.drafts.all[*base].is_called(rule)) {
                let rule = quoted(rule);
                return flaw(*line, format!("an alias names {rule}, which is not among `rules`"));
            }
            if !correlation.group_by.contains(alias) {
                let alias = quoted(alias);
                return flaw(*line, format!("the alias {alias} is not in `group-by`"));
            }
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
            fields.extend(values.map(|name| (name.clone(), correlation.values_line)));
            fields.extend(house_fields(draft));
            check_names(schema, &[], &fields, &[], |line, severity, message| {
                draft.tell(&mut self.problems, severity, Flaw { line, message });
            });
        }
        self.drafts.all[position].bases = bases;
        Ok(())
    }

    /// Turns what is ready into rules, and detections into matchers.
    fn finish(mut self) -> Compiled {
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
                Err(flaw) => {
                    self.drafts.all[position].reject(&mut self.problems, flaw);
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
        let mut problems = self.problems.0;
        problems.sort_by(|a, b| {
            (&a.file, a.line, a.severity, &a.message)
                .cmp(&(&b.file, b.line, b.severity, &b.message))
        });
        let set = RuleSet::build(rules, matchers, self.fields);
        Compiled { set, problems, blind, foreign: self.foreign }
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
    fn single(
        &mut self,
        position: usize,
        rule: usize,
    ) -> Result<(RuleInfo, Vec<(usize, Output)>), Flaw> {
        let draft = &mut self.drafts.all[position];
        let mut severity = Vec::new();
        for step in &draft.document.house.severity {
            match step {
                Step::When { condition, level, line } => {
                    let detection = draft.detection.as_mut();
                    let tree = detection.map(|detection| detection.resolve(condition, *line));
                    severity.push((tree.unwrap_or_else(|| Ok(Tree::never()))?, *level));
                }
                Step::AtLeast { line, .. } => {
                    return flaw(*line, "`gte` counts a window: only a correlation has one");
                }
            }
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
    fn window(
        &mut self,
        position: usize,
        rule: usize,
    ) -> Result<(RuleInfo, Vec<(usize, Output)>), Flaw> {
        let draft = &self.drafts.all[position];
        let Body::Correlation(correlation) = &draft.document.body else {
            return flaw(draft.document.line, "not a correlation");
        };
        let mut steps = Vec::new();
        for step in &draft.document.house.severity {
            match step {
                Step::AtLeast { count, level, .. } => steps.push((*count, *level)),
                Step::When { line, .. } => {
                    return flaw(*line, "`when` asks one event: a correlation takes `gte`");
                }
            }
        }
        steps.sort_unstable();
        let values = correlation
            .values
            .as_ref()
            .map(|names| names.iter().map(|name| self.fields.slot(name)).collect::<Vec<_>>());
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
            sentence: house.sentence.clone(),
            response: house.response.clone(),
            false_positives: document.false_positives.clone(),
            file: draft.file.clone(),
        }
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
