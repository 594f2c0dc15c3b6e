//! Conditions: `(selection or words) and not 1 of filter_*`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::pattern::{Glob, Pattern};
use crate::problem::{Flaw, flaw, quoted, suggestion};
use crate::tree::Tree;

const MAX_DEPTH: usize = 64;
/// Selections that a condition may refer to, each `of` counted with all that it selects.
const MAX_REFERENCES: usize = 20_000;

/// A condition as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Of { all: bool, names: String },
    Name(String),
}

/// A form that does not depend on blanks and needless parentheses.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, parts: &[Self], word| {
            f.write_str("(")?;
            for (position, part) in parts.iter().enumerate() {
                if position > 0 {
                    write!(f, " {word} ")?;
                }
                part.fmt(f)?;
            }
            f.write_str(")")
        };
        match self {
            Self::Or(parts) => join(f, parts, "or"),
            Self::And(parts) => join(f, parts, "and"),
            Self::Not(part) => write!(f, "not {part}"),
            Self::Of { all, names } => write!(f, "{} of {names}", if *all { "all" } else { "1" }),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Expr {
    /// Reads a condition.
    pub(crate) fn parse(text: &str, line: usize) -> Result<Self, Flaw> {
        let mut reading = Reading { tokens: tokens(text, line)?, at: 0, line };
        let expr = reading.or(0)?;
        match reading.peek() {
            None => Ok(expr),
            Some(token) => flaw(line, format!("unexpected {} in the condition", quoted(token))),
        }
    }

    /// Whether there is a `not` anywhere in it.
    pub(crate) fn has_not(&self) -> bool {
        match self {
            Self::Or(parts) | Self::And(parts) => parts.iter().any(Self::has_not),
            Self::Not(_) => true,
            Self::Of { .. } | Self::Name(_) => false,
        }
    }
}

fn tokens(text: &str, line: usize) -> Result<Vec<String>, Flaw> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for letter in text.chars() {
        let in_word = letter.is_alphanumeric() || matches!(letter, '_' | '-' | '*' | '.');
        if in_word {
            word.push(letter);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        match letter {
            '(' | ')' => tokens.push(letter.into()),
            '|' => {
                return flaw(
                    line,
                    "aggregations (`| count() …`) are gone from Sigma: write a correlation \
                     (`correlation: {type: event_count, …}`) in a document of its own",
                );
            }
            blank if blank.is_whitespace() => {}
            other => {
                let other = quoted(&other.to_string());
                return flaw(line, format!("unexpected {other} in the condition"));
            }
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    Ok(tokens)
}

struct Reading {
    tokens: Vec<String>,
    at: usize,
    line: usize,
}

impl Reading {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Expr, Flaw> {
        let mut parts = vec![self.and(depth)?];
        while self.take("or") {
            parts.push(self.and(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self, depth: usize) -> Result<Expr, Flaw> {
        let mut parts = vec![self.not(depth)?];
        while self.take("and") {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn not(&mut self, depth: usize) -> Result<Expr, Flaw> {
        if depth > MAX_DEPTH {
            return flaw(self.line, format!("the condition is nested more than {MAX_DEPTH} deep"));
        }
        if self.take("not") {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.or(depth + 1)?;
            if !self.take(")") {
                return flaw(self.line, "a parenthesis is not closed in the condition");
            }
            return Ok(inner);
        }
        self.name()
    }

    fn name(&mut self) -> Result<Expr, Flaw> {
        let line = self.line;
        let Some(token) = self.tokens.get(self.at).cloned() else {
            return flaw(line, "the condition ends early");
        };
        self.at += 1;
        if self.take("of") {
            let all = match token.as_str() {
                "all" => true,
                "1" | "any" => false,
                other => {
                    let other = quoted(other);
                    return flaw(line, format!("{other} `of` is not Sigma: 1, any or all"));
                }
            };
            let Some(names) = self.tokens.get(self.at).cloned().filter(|name| is_name(name)) else {
                return flaw(line, "`of` must be followed by `them` or the names of selections");
            };
            self.at += 1;
            return Ok(Expr::Of { all, names });
        }
        if !is_name(&token) {
            return flaw(line, format!("unexpected {} in the condition", quoted(&token)));
        }
        if token.contains('*') {
            let token = quoted(&token);
            return flaw(line, format!("{token} needs `1 of` or `all of` before it"));
        }
        Ok(Expr::Name(token))
    }
}

/// Whether a word can be a name; operators are lower case only, so `AND` would be a name.
fn is_name(word: &str) -> bool {
    !matches!(word, "(" | ")" | "and" | "or" | "not")
}

/// Selections by name, in the order of the file.
pub(crate) type Selections = Vec<(Arc<str>, Arc<Tree>)>;

/// Puts selections in for their names.
pub(crate) struct Resolver<'a> {
    pub(crate) selections: &'a Selections,
    /// The selections that have been referred to.
    pub(crate) used: BTreeSet<Arc<str>>,
    references: usize,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(selections: &'a Selections) -> Self {
        Self { selections, used: BTreeSet::new(), references: 0 }
    }

    /// The condition as a tree.
    pub(crate) fn resolve(&mut self, expr: &Expr, line: usize) -> Result<Tree, Flaw> {
        Ok(match expr {
            Expr::Or(parts) => Tree::any(self.each(parts, line)?),
            Expr::And(parts) => Tree::all(self.each(parts, line)?),
            Expr::Not(part) => Tree::Not(Box::new(self.resolve(part, line)?)),
            Expr::Name(name) => {
                let found = self.selections.iter().position(|(other, _)| **other == **name);
                let Some(found) = found else {
                    let near = suggestion(name, self.selections.iter().map(|(name, _)| &**name));
                    let name = quoted(name);
                    return flaw(line, format!("there is no selection {name}{near}"));
                };
                self.take(found, line)?
            }
            Expr::Of { all, names } => {
                let mut parts = Vec::new();
                for position in self.select(names) {
                    parts.push(self.take(position, line)?);
                }
                if parts.is_empty() {
                    return flaw(line, format!("no selection is named like {}", quoted(names)));
                }
                if *all { Tree::all(parts) } else { Tree::any(parts) }
            }
        })
    }

    fn each(&mut self, parts: &[Expr], line: usize) -> Result<Vec<Tree>, Flaw> {
        parts.iter().map(|part| self.resolve(part, line)).collect()
    }

    fn select(&self, names: &str) -> Vec<usize> {
        let mut pattern = Pattern::default();
        for (position, text) in names.split('*').enumerate() {
            if position > 0 {
                pattern.push(crate::pattern::Part::Many);
            }
            pattern.push(crate::pattern::Part::Text(text.into()));
        }
        let glob = Glob::new(&pattern);
        let named = |name: &str| match names {
            "them" => !name.starts_with('_'),
            _ => glob.matches(name) && (names.starts_with('_') || !name.starts_with('_')),
        };
        let all = self.selections.iter().enumerate();
        all.filter(|(_, (name, _))| named(name)).map(|(position, _)| position).collect()
    }

    fn take(&mut self, position: usize, line: usize) -> Result<Tree, Flaw> {
        self.references += 1;
        if self.references > MAX_REFERENCES {
            return flaw(line, format!("the condition has more than {MAX_REFERENCES} parts"));
        }
        let (name, tree) = &self.selections[position];
        self.used.insert(name.clone());
        Ok(Tree::Named(name.clone(), tree.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_as_the_grammar_says() {
        for (text, form) in [
            ("a or b and c", "(a or (b and c))"),
            ("not a and b", "(not a and b)"),
            ("(a or b)and(not c)", "((a or b) and not c)"),
            ("not 1 of a* or all of them", "(not 1 of a* or all of them)"),
            ("any of sel*x", "1 of sel*x"),
            ("notepad or oracle and android", "(notepad or (oracle and android))"),
            ("a\n  and b", "(a and b)"),
            ("all and any", "(all and any)"),
        ] {
            assert_eq!(Expr::parse(text, 1).unwrap().to_string(), form, "{text}");
        }
    }

    #[test]
    fn rejects_what_is_not_in_the_grammar() {
        let deep = format!("{}a{}", "(".repeat(70), ")".repeat(70));
        let nots = format!("{}a", "not ".repeat(70));
        for (text, part) in [
            ("", "ends early"),
            ("a and", "ends early"),
            ("(a", "not closed"),
            ("a)", "unexpected `)`"),
            ("a b", "unexpected `b`"),
            ("a AND b", "unexpected `AND`"),
            ("2 of them", "`2` `of` is not Sigma"),
            ("1 of", "must be followed"),
            ("1 of (a)", "must be followed"),
            ("sel*", "needs `1 of`"),
            ("a | count() > 5", "write a correlation"),
            ("a & b", "unexpected `&`"),
            ("or a", "unexpected `or`"),
            (&deep, "more than 64 deep"),
            (&nots, "more than 64 deep"),
        ] {
            let message = Expr::parse(text, 1).expect_err(text).message;
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn selects_by_pattern() {
        let names = ["selection_a", "selection_b", "_hidden", "filter", "sel_x"];
        let selections: Selections =
            names.iter().map(|name| (Arc::from(*name), Arc::new(Tree::never()))).collect();
        for (pattern, selected) in [
            ("them", vec![0, 1, 3, 4]),
            ("sel*", vec![0, 1, 4]),
            ("sel*x", vec![4]),
            ("*_b", vec![1]),
            ("_*", vec![2]),
            ("*hidden", vec![]),
            ("filter", vec![3]),
        ] {
            assert_eq!(Resolver::new(&selections).select(pattern), selected, "{pattern}");
        }
        let mut resolver = Resolver::new(&selections);
        let missing = Expr::parse("selction_a or 1 of them", 1).unwrap();
        let message = resolver.resolve(&missing, 1).unwrap_err().message;
        assert_eq!(message, "there is no selection `selction_a` (did you mean `selection_a`?)");
    }
}
