//! Documents on their way into a rule set: read, named, and told apart.

use std::collections::{BTreeSet, HashMap};

use crate::document::{Body, Document, called, references};
use crate::problem::{Flaw, quoted};
use crate::selection::Detection;
use crate::yaml::{Broken, Node, documents};
use crate::{Problem, ProblemSeverity, Replaced, RuleFile};

const MAX_RULES: usize = 100_000;
/// Of one document at most so many errors are told.
const MAX_ERRORS: usize = 20;

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

    /// Tells why a document is not loaded, in the order of its lines.
    pub(crate) fn add_errors(&mut self, file: &str, rule: Option<&str>, mut flaws: Vec<Flaw>) {
        flaws.sort_by(|a, b| (a.line, &a.message).cmp(&(b.line, &b.message)));
        flaws.dedup();
        if let Some(further) = flaws.get(MAX_ERRORS).map(|flaw| flaw.line) {
            let message = format!("and {} more errors from here on", flaws.len() - MAX_ERRORS);
            flaws.truncate(MAX_ERRORS);
            flaws.push(Flaw { line: further, message });
        }
        for flaw in flaws {
            self.add(file, rule.map(Into::into), ProblemSeverity::Error, flaw);
        }
    }
}

/// A document that cannot become a draft; its selections are looked at all the same.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) file: String,
    pub(crate) node: Node,
    pub(crate) flaws: Vec<Flaw>,
}

/// Documents of one's own that cannot stand in for shipped ones, by file and position in it.
pub(crate) type GivenUp = BTreeSet<(String, usize)>;

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
    /// Which document of the file it is.
    pub(crate) number: usize,
    pub(crate) shipped: bool,
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
    /// What others may call it by.
    fn keys(&self) -> impl Iterator<Item = &String> {
        [&self.name].into_iter().chain(&self.document.id)
    }

    pub(crate) fn is_called(&self, reference: &str) -> bool {
        let is_id = |id: &String| id.eq_ignore_ascii_case(reference);
        self.name == reference || self.document.id.as_ref().is_some_and(is_id)
    }

    pub(crate) fn tell(&self, problems: &mut Problems, severity: ProblemSeverity, flaw: Flaw) {
        problems.add(&self.file, Some(self.name.clone()), severity, flaw);
    }

    pub(crate) fn reject(&mut self, problems: &mut Problems, flaws: Vec<Flaw>) {
        self.state = State::Rejected;
        problems.add_errors(&self.file, Some(&self.name), flaws);
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
    /// Documents that could not be read.
    pub(crate) unread: Vec<Unread>,
    /// Shipped rules that are left out for one's own, with the position of that one.
    replaced: Vec<(usize, String)>,
}

impl Drafts {
    /// Reads all documents; one of one's own takes the place of a shipped one with its name or id,
    /// unless it has been given up.
    pub(crate) fn read(files: &[RuleFile], given_up: &GivenUp, problems: &mut Problems) -> Self {
        let mut drafts = Self::default();
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| (a.shipped, &a.name).cmp(&(b.shipped, &b.name)));
        for file in files {
            if let Some(at) = file.text.find(char::REPLACEMENT_CHARACTER) {
                let line = 1 + file.text[..at].matches('\n').count();
                let message = "the file is not UTF-8 text; save it as UTF-8".to_owned();
                problems.add(&file.name, None, ProblemSeverity::Error, Flaw { line, message });
                continue;
            }
            for (number, document) in documents(&file.text).into_iter().enumerate() {
                if !file.shipped && given_up.contains(&(file.name.clone(), number)) {
                    continue;
                }
                if drafts.all.len() >= MAX_RULES {
                    let message =
                        format!("more than {MAX_RULES} rules: this and later files are not read");
                    let flaw = Flaw { line: 1, message };
                    problems.add(&file.name, None, ProblemSeverity::Error, flaw);
                    return drafts;
                }
                match document {
                    Ok(node) => drafts.add(file, number, node, problems),
                    Err(Broken { flaws, node: Some(node) }) => drafts.leave(file, node, flaws),
                    Err(Broken { flaws, node: None }) => {
                        problems.add_errors(&file.name, None, flaws);
                    }
                }
            }
        }
        drafts
    }

    /// Notes a document that is not loaded for these flaws, with those of its head.
    fn leave(&mut self, file: &RuleFile, node: Node, mut flaws: Vec<Flaw>) {
        self.refer(&node);
        flaws.extend(Document::parse(&node).err().into_iter().flatten());
        let id = node.get("id").and_then(|id| id.text("`id`").ok());
        self.broken.extend(called(&node).into_iter().chain(id));
        self.unread.push(Unread { file: file.name.clone(), node, flaws });
    }

    fn refer(&mut self, node: &Node) {
        for name in references(node) {
            self.referred.insert(name.to_ascii_lowercase());
            self.referred.insert(name);
        }
    }

    fn add(&mut self, file: &RuleFile, number: usize, node: Node, problems: &mut Problems) {
        let Ok(document) = Document::parse(&node) else {
            return self.leave(file, node, Vec::new());
        };
        self.refer(&node);
        let name = document.name.clone().unwrap_or_else(|| default_name(&file.name, number));
        let draft = Draft {
            file: file.name.clone(),
            number,
            shipped: file.shipped,
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
        if self.gives_way(&draft) || self.is_repeated(&draft, problems) {
            return;
        }
        let next = self.all.len();
        self.by_name.insert(draft.name.clone(), next);
        if let Some(id) = &draft.document.id {
            self.by_name.insert(id.clone(), next);
        }
        for warning in &draft.document.warnings {
            draft.tell(problems, ProblemSeverity::Warning, warning.clone());
        }
        self.all.push(draft);
    }

    /// Whether a shipped document is left out for one of one's own; notes which.
    fn gives_way(&mut self, draft: &Draft) -> bool {
        if !draft.shipped {
            return false;
        }
        let own = |at: &usize| !self.all[*at].shipped;
        let found: BTreeSet<usize> =
            draft.keys().filter_map(|key| self.find(key)).filter(own).collect();
        self.replaced.extend(found.iter().map(|at| (*at, draft.name.clone())));
        // A copy without a change has nothing to say.
        self.replaced.retain(|(at, name)| *name != draft.name || self.all[*at].node != draft.node);
        !found.is_empty()
    }

    /// Whether another document already has the name or id of this one; tells so, at both places.
    fn is_repeated(&mut self, draft: &Draft, problems: &mut Problems) -> bool {
        let other = draft.keys().find_map(|key| Some((key, *self.by_name.get(key)?)));
        let Some((key, other)) = other else { return false };
        let (key, other) = (quoted(key), &self.all[other]);
        let place = |one: &Draft| format!("{}:{}", one.file, one.document.line);
        let message = format!("{key} is already the name or id of a rule in {}", place(other));
        let flaw = Flaw { line: draft.document.line, message };
        problems.add_errors(&draft.file, Some(&draft.name), vec![flaw]);
        let message = format!(
            "{key} is also the name or id of the rule in {}, which is not loaded",
            place(draft)
        );
        let line = other.document.line;
        other.tell(problems, ProblemSeverity::Warning, Flaw { line, message });
        true
    }

    /// Which of one's own rules stand in for which shipped ones.
    pub(crate) fn replacements(&self) -> impl Iterator<Item = (&Draft, Replaced)> {
        self.replaced.iter().map(|(at, shipped)| {
            let draft = &self.all[*at];
            let (rule, file) = (draft.name.clone(), draft.file.clone());
            (draft, Replaced { shipped: shipped.clone(), rule, file, line: draft.document.line })
        })
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
fn default_name(file: &str, number: usize) -> String {
    let base = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = base.strip_suffix(".yml").or_else(|| base.strip_suffix(".yaml")).unwrap_or(base);
    match number {
        0 => stem.into(),
        _ => format!("{stem}--{}", number + 1),
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
                .map(|(name, text)| RuleFile { name: name.into(), text, shipped: false });
        let compiled = RuleSet::compile(&files, &Lists::default(), None);
        assert_eq!(compiled.set.rules().len(), 1);
        let problem = &compiled.problems[0];
        assert_eq!((problem.file.as_str(), problem.line), ("bad.yml", 2));
        assert!(problem.message.contains("not UTF-8"), "{problem}");
    }
}
