//! Selections: maps, lists of maps, keywords.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::condition::{Expr, Resolver, Selections};
use crate::item::Builder;
use crate::problem::{Flaw, Flaws, flaw, quoted};
use crate::tree::Tree;
use crate::yaml::{Entry, Node, Value};

impl Builder<'_> {
    /// Compiles one selection: a map is "and", a list is "or", a plain value is a keyword.
    ///
    /// What has a flaw holds for nothing, and the flaw is kept.
    fn selection(&mut self, node: &Node, flaws: &mut Flaws) -> Tree {
        let empty = || flaw(node.line, "a selection is empty");
        match &node.value {
            Value::Map(entries) if !entries.is_empty() => {
                let items = entries.iter().map(|entry| keep(self.item(entry), flaws));
                Tree::all(items.collect())
            }
            Value::List(nodes) if !nodes.is_empty() => {
                let is_nested = |node: &&Node| matches!(node.value, Value::Map(_) | Value::List(_));
                let (nested, words): (Vec<_>, Vec<_>) = nodes.iter().partition(is_nested);
                let mut parts = Vec::new();
                if !words.is_empty() {
                    parts.push(keep(self.keywords(&words, node.line), flaws));
                }
                parts.extend(nested.into_iter().map(|node| self.selection(node, flaws)));
                Tree::any(parts)
            }
            Value::Map(_) | Value::List(_) | Value::Null => keep(empty(), flaws),
            _ => keep(self.keywords(&[node], node.line), flaws),
        }
    }
}

fn keep(tree: Result<Tree, Flaw>, flaws: &mut Flaws) -> Tree {
    flaws.keep(tree).unwrap_or_else(Tree::never)
}

/// The selections and the condition of a rule or a filter.
#[derive(Debug, Clone)]
pub(crate) struct Detection {
    pub(crate) tree: Tree,
    /// The further conditions over the same selections that the caller asked for, in its order.
    pub(crate) further: Vec<Tree>,
    /// What decides whether an event matches: the condition and the selections it refers to.
    pub(crate) canonical: Vec<u8>,
    pub(crate) has_not: bool,
    used: BTreeSet<Arc<str>>,
    names: Vec<(Arc<str>, usize)>,
}

impl Detection {
    /// Compiles a map of selections and a `condition`; `reserved` keys are left to the caller.
    ///
    /// Every item of a selection and every condition tells its own flaw.
    pub(crate) fn compile(
        node: &Node,
        reserved: &[&str],
        further: &[(&str, usize)],
        builder: &mut Builder<'_>,
    ) -> Result<Self, Vec<Flaw>> {
        let entries = node.map("a detection").map_err(|flaw| vec![flaw])?;
        let mut flaws = Flaws::default();
        let mut condition = None;
        let mut selections = Selections::new();
        let mut sources = Vec::new();
        for entry in entries {
            match entry.key.as_str() {
                "condition" => condition = Some(entry),
                "timeframe" => {
                    let message =
                        "`timeframe` is gone from Sigma: write a correlation with `timespan`"
                            .into();
                    flaws.0.push(Flaw { line: entry.line, message });
                }
                key if reserved.contains(&key) => {}
                key => {
                    if !is_selection_name(key) {
                        let message = format!("{} cannot be the name of a selection", quoted(key));
                        flaws.0.push(Flaw { line: entry.line, message });
                    }
                    let tree = builder.selection(&entry.node, &mut flaws);
                    selections.push((key.into(), Arc::new(tree)));
                    sources.push(entry);
                }
            }
        }
        if selections.is_empty() {
            flaws.0.push(Flaw { line: node.line, message: "there is no selection".into() });
        }
        let missing = || flaw(node.line, "`condition` is missing");
        let exprs = flaws.keep(condition.map_or_else(missing, conditions)).unwrap_or_default();
        let mut resolver = Resolver::new(&selections);
        let (mut trees, mut more) = (Vec::new(), Vec::new());
        for (expr, line) in exprs.iter().filter(|_| !selections.is_empty()) {
            trees.extend(flaws.keep(resolver.resolve(expr, *line)));
        }
        let used = std::mem::take(&mut resolver.used);
        for (text, line) in further {
            let tree = Expr::parse(text, *line).and_then(|expr| resolver.resolve(&expr, *line));
            more.extend(flaws.keep(tree));
        }
        if !flaws.0.is_empty() {
            return Err(flaws.0);
        }
        let canonical = canonical(&exprs, &sources, &used);
        let used = used.into_iter().chain(resolver.used).collect();
        let names = sources.iter().map(|entry| (entry.key.as_str().into(), entry.line)).collect();
        let has_not = exprs.iter().any(|(expr, _)| expr.has_not());
        Ok(Self { tree: Tree::any(trees), further: more, canonical, has_not, used, names })
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
