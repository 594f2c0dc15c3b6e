//! Documents on their way into a rule set: read, named, and told apart.

use std::collections::{BTreeSet, HashMap};

use crate::document::{Body, Document, called, references};
use crate::problem::{Flaw, quoted};
use crate::selection::Detection;
use crate::yaml::{Node, documents};
use crate::{Problem, ProblemSeverity, RuleFile};

const MAX_RULES: usize = 100_000;

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    pub(crate) fn add(
        &mut self,
        file: &str,
        rule: Option<String>,
        severity: ProblemSeverity,
        flaw: Flaw,
    ) {
        let Flaw { line, message } = flaw;
        self.0.push(Problem { file: file.into(), line, rule, severity, message });
    }
}

/// What has become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Good so far.
    Ready,
    /// Wrong; the reason has been told.
    Rejected,
    /// Right, but not for us: deprecated or of another product.
    LeftOut,
}

/// A document and all that is known about it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) file: String,
    pub(crate) node: Node,
    pub(crate) document: Document,
    pub(crate) name: String,
    pub(crate) state: State,
    /// Lists without which it is blind, by itself or for a correlation over it.
    pub(crate) needs: BTreeSet<String>,
    pub(crate) detection: Option<Detection>,
    pub(crate) used_lists: BTreeSet<String>,
    pub(crate) missing: BTreeSet<String>,
    /// Positions of the filters that were joined to it.
    pub(crate) filters: Vec<usize>,
    /// Positions of the detections that a correlation counts.
    pub(crate) bases: Vec<usize>,
}

impl Draft {
    pub(crate) fn is_called(&self, reference: &str) -> bool {
        let is_id = |id: &String| id.eq_ignore_ascii_case(reference);
        self.name == reference || self.document.id.as_ref().is_some_and(is_id)
    }

    pub(crate) fn tell(&self, problems: &mut Problems, severity: ProblemSeverity, flaw: Flaw) {
        problems.add(&self.file, Some(self.name.clone()), severity, flaw);
    }

    pub(crate) fn reject(&mut self, problems: &mut Problems, flaw: Flaw) {
        self.state = State::Rejected;
        self.tell(problems, ProblemSeverity::Error, flaw);
    }
}

/// All documents of all files, in an order that does not depend on the caller's.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    pub(crate) all: Vec<Draft>,
    by_name: HashMap<String, usize>,
    /// Names that correlations refer to, broken ones too: what they count must not cry by itself.
    pub(crate) referred: BTreeSet<String>,
    /// Names of documents that could not even be read.
    broken: BTreeSet<String>,
}

impl Drafts {
    pub(crate) fn read(files: &[RuleFile], problems: &mut Problems) -> Self {
        let mut drafts = Self::default();
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        for file in files {
            if let Some(at) = file.text.find(char::REPLACEMENT_CHARACTER) {
                let line = 1 + file.text[..at].matches('\n').count();
                let message = "the file is not UTF-8 text; save it as UTF-8".to_owned();
                problems.add(&file.name, None, ProblemSeverity::Error, Flaw { line, message });
                continue;
            }
            for (position, document) in documents(&file.text).into_iter().enumerate() {
                if drafts.all.len() >= MAX_RULES {
                    let message =
                        format!("more than {MAX_RULES} rules: this and later files are not read");
                    let flaw = Flaw { line: 1, message };
                    problems.add(&file.name, None, ProblemSeverity::Error, flaw);
                    return drafts;
                }
                match document {
                    Ok(node) => drafts.add(file, position, node, problems),
                    Err(flaw) => problems.add(&file.name, None, ProblemSeverity::Error, flaw),
                }
            }
        }
        drafts
    }

    fn add(&mut self, file: &RuleFile, position: usize, node: Node, problems: &mut Problems) {
        for name in references(&node) {
            self.referred.insert(name.to_ascii_lowercase());
            self.referred.insert(name);
        }
        let document = match Document::parse(&node) {
            Ok(document) => document,
            Err(flaw) => {
                problems.add(&file.name, called(&node), ProblemSeverity::Error, flaw);
                let id = node.get("id").and_then(|id| id.text("`id`").ok());
                self.broken.extend(called(&node).into_iter().chain(id));
                return;
            }
        };
        let name = document.name.clone().unwrap_or_else(|| default_name(&file.name, position));
        let mut draft = Draft {
            file: file.name.clone(),
            needs: document.house.needs.iter().cloned().collect(),
            node,
            document,
            name,
            state: State::Ready,
            detection: None,
            used_lists: BTreeSet::new(),
            missing: BTreeSet::new(),
            filters: Vec::new(),
            bases: Vec::new(),
        };
        let next = self.all.len();
        for key in [Some(draft.name.clone()), draft.document.id.clone()].into_iter().flatten() {
            if let Some(other) = self.by_name.get(&key).filter(|other| **other != next) {
                let other = &self.all[*other];
                let place = format!("{}:{}", other.file, other.document.line);
                let message =
                    format!("{} is already the name or id of a rule in {place}", quoted(&key));
                let line = draft.document.line;
                draft.reject(problems, Flaw { line, message });
                return;
            }
        }
        self.by_name.insert(draft.name.clone(), next);
        if let Some(id) = &draft.document.id {
            self.by_name.insert(id.clone(), next);
        }
        for warning in &draft.document.warnings {
            draft.tell(problems, ProblemSeverity::Warning, warning.clone());
        }
        self.all.push(draft);
    }

    /// The document that a reference means.
    pub(crate) fn find(&self, reference: &str) -> Option<usize> {
        let lower = || reference.to_ascii_lowercase();
        self.by_name.get(reference).or_else(|| self.by_name.get(&lower())).copied()
    }

    /// Whether a reference means a document that could not be read.
    pub(crate) fn is_broken(&self, reference: &str) -> bool {
        self.broken.contains(reference)
    }

    /// Whether some correlation refers to a document, and whether one lets it make findings too.
    pub(crate) fn is_counted(&self, position: usize) -> (bool, bool) {
        let draft = &self.all[position];
        let id = draft.document.id.as_ref();
        let referred =
            self.referred.contains(&draft.name) || id.is_some_and(|id| self.referred.contains(id));
        let generated = referred
            && self.all.iter().any(|other| match &other.document.body {
                Body::Correlation(one) => {
                    one.generate && one.rules.iter().any(|(_, name)| draft.is_called(name))
                }
                _ => false,
            });
        (referred, generated)
    }
}

/// The file's stem; a later document of a file without a name has its number behind it.
fn default_name(file: &str, position: usize) -> String {
    let base = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = base.strip_suffix(".yml").or_else(|| base.strip_suffix(".yaml")).unwrap_or(base);
    match position {
        0 => stem.into(),
        _ => format!("{stem}--{}", position + 1),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Lists, RuleFile, RuleSet};

    #[test]
    fn a_file_that_is_not_utf_8_is_named_and_the_others_load() {
        let good = "title: a\nlogsource: { product: github }\ndetection: { s: { action: x }, condition: s }\nlevel: low\n";
        let files =
            [("bad.yml", format!("title: b\n# \u{fffd}\n{good}")), ("good.yml", good.into())]
                .map(|(name, text)| RuleFile { name: name.into(), text });
        let compiled = RuleSet::compile(&files, &Lists::default(), None);
        assert_eq!(compiled.set.rules().len(), 1);
        let problem = &compiled.problems[0];
        assert_eq!((problem.file.as_str(), problem.line), ("bad.yml", 2));
        assert!(problem.message.contains("not UTF-8"), "{problem}");
    }
}
