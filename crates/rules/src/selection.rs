//! Selections: maps, lists of maps, keywords.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::condition::{Expr, Resolver, Selections};
use crate::item::Builder;
use crate::problem::{Flaw, flaw, quoted};
use crate::tree::Tree;
use crate::yaml::{Entry, Node, Value};

impl Builder<'_> {
    /// Compiles one selection: a map is "and", a list is "or", a plain value is a keyword.
    pub(crate) fn selection(&mut self, node: &Node) -> Result<Tree, Flaw> {
        match &node.value {
            Value::Map(entries) if entries.is_empty() => flaw(node.line, "a selection is empty"),
            Value::Map(entries) => {
                let items: Result<_, _> = entries.iter().map(|entry| self.item(entry)).collect();
                Ok(Tree::all(items?))
            }
            Value::List(nodes) if nodes.is_empty() => flaw(node.line, "a selection is empty"),
            Value::List(nodes) => {
                let is_nested = |node: &&Node| matches!(node.value, Value::Map(_) | Value::List(_));
                let (nested, words): (Vec<_>, Vec<_>) = nodes.iter().partition(is_nested);
                let mut parts = Vec::new();
                if !words.is_empty() {
                    parts.push(self.keywords(&words, node.line)?);
                }
                for node in nested {
                    parts.push(self.selection(node)?);
                }
                Ok(Tree::any(parts))
            }
            Value::Null => flaw(node.line, "a selection is empty"),
            _ => self.keywords(&[node], node.line),
        }
    }
}

/// The selections and the condition of a rule or a filter.
#[derive(Debug, Clone)]
pub(crate) struct Detection {
    pub(crate) tree: Tree,
    pub(crate) selections: Selections,
    /// What decides whether an event matches: the condition and the selections it refers to.
    pub(crate) canonical: Vec<u8>,
    pub(crate) has_not: bool,
    used: BTreeSet<Arc<str>>,
    names: Vec<(Arc<str>, usize)>,
}

impl Detection {
    /// Compiles a map of selections and a `condition`; `reserved` keys are left to the caller.
    pub(crate) fn compile(
        node: &Node,
        reserved: &[&str],
        builder: &mut Builder<'_>,
    ) -> Result<Self, Flaw> {
        let entries = node.map("a detection")?;
        let mut condition = None;
        let mut selections = Selections::new();
        let mut sources = Vec::new();
        for entry in entries {
            match entry.key.as_str() {
                "condition" => condition = Some(entry),
                "timeframe" => {
                    return flaw(
                        entry.line,
                        "`timeframe` is gone from Sigma: write a correlation with `timespan`",
                    );
                }
                key if reserved.contains(&key) => {}
                key if !is_selection_name(key) => {
                    let key = quoted(key);
                    return flaw(entry.line, format!("{key} cannot be the name of a selection"));
                }
                key => {
                    let tree = builder.selection(&entry.node)?;
                    selections.push((key.into(), Arc::new(tree)));
                    sources.push(entry);
                }
            }
        }
        let Some(condition) = condition else {
            return flaw(node.line, "`condition` is missing");
        };
        if selections.is_empty() {
            return flaw(node.line, "there is no selection");
        }
        let exprs = conditions(condition)?;
        let mut resolver = Resolver::new(&selections);
        let mut trees = Vec::new();
        for (expr, line) in &exprs {
            trees.push(resolver.resolve(expr, *line)?);
        }
        let used = resolver.used;
        let canonical = canonical(&exprs, &sources, &used);
        let names = sources.iter().map(|entry| (entry.key.as_str().into(), entry.line)).collect();
        let has_not = exprs.iter().any(|(expr, _)| expr.has_not());
        Ok(Self { tree: Tree::any(trees), selections, canonical, has_not, used, names })
    }

    /// Compiles a further condition over the same selections.
    pub(crate) fn resolve(&mut self, text: &str, line: usize) -> Result<Tree, Flaw> {
        let expr = Expr::parse(text, line)?;
        let mut resolver = Resolver::new(&self.selections);
        let tree = resolver.resolve(&expr, line)?;
        self.used.extend(resolver.used);
        Ok(tree)
    }

    /// Selections that nothing refers to, with their lines.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &(Arc<str>, usize)> {
        self.names.iter().filter(|(name, _)| !self.used.contains(name))
    }
}

/// Letters, digits, `_` and `-`; the dot is in use as well.
fn is_selection_name(name: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(allowed)
}

fn conditions(entry: &Entry) -> Result<Vec<(Expr, usize)>, Flaw> {
    let texts = match &entry.node.value {
        Value::Null => return flaw(entry.line, "`condition` is empty"),
        Value::List(nodes) if nodes.is_empty() => return flaw(entry.line, "`condition` is empty"),
        _ => entry.node.texts("`condition`")?,
    };
    texts.into_iter().map(|(line, text)| Ok((Expr::parse(&text, line)?, line))).collect()
}

fn canonical(exprs: &[(Expr, usize)], sources: &[&Entry], used: &BTreeSet<Arc<str>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (expr, _) in exprs {
        out.extend(expr.to_string().as_bytes());
        out.push(0);
    }
    let mut sources: Vec<_> =
        sources.iter().filter(|entry| used.contains(entry.key.as_str())).collect();
    sources.sort_by(|a, b| a.key.cmp(&b.key));
    for entry in sources {
        out.extend(entry.key.as_bytes());
        out.push(0);
        entry.node.canonical(&mut out);
    }
    out
}
