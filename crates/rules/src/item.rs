//! One item of a selection, compiled: `field|modifiers: values`.

use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use regex::{Regex, RegexBuilder};

use crate::lists::Lists;
use crate::modifier::{Comparison, FieldRef, Modifiers, Transform};
use crate::pattern::{Glob, Part, Pattern};
use crate::predicate::{Label, Networks, Predicate, Target, Test, Texts};
use crate::problem::{Flaw, flaw, quoted};
use crate::text::fold;
use crate::tree::Tree;
use crate::values::{alternatives, check_count};
use crate::view::Fields;
use crate::yaml::{Entry, Node, Value};

const MAX_VALUES: usize = 20_000;
const MAX_REGEX_BYTES: usize = 4 * 1024;
const MAX_COMPILED_REGEX_BYTES: usize = 1024 * 1024;
/// Each may take a megabyte, so a rule cannot have as many as it has values.
const MAX_REGEXES: usize = 500;
/// From so many texts on, a hash set or an automaton is faster than one after the other.
const MANY: usize = 8;

/// The field by whose values rules are indexed.
pub(crate) const ACTION: &str = "action";

/// Compiles the items of one document and notes what they use.
pub(crate) struct Builder<'a> {
    pub(crate) fields: &'a mut Fields,
    lists: &'a Lists,
    needs: &'a BTreeSet<String>,
    /// Lists that the document refers to.
    pub(crate) used_lists: BTreeSet<String>,
    /// Lists among `needs` that do not exist.
    pub(crate) missing: BTreeSet<String>,
    /// Fields that the document reads, with a line.
    pub(crate) uses: Vec<(String, usize)>,
    /// Values that the document compares `action` with.
    pub(crate) actions: Vec<(String, usize)>,
    pub(crate) warnings: Vec<Flaw>,
    values: usize,
    expanded: usize,
    regexes: usize,
}

/// One alternative of an item before it is put together with the others.
enum Unit {
    Text(Pattern),
    Number(String),
    Bool(bool),
    Null,
    Network(String),
    Whole(Test),
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        fields: &'a mut Fields,
        lists: &'a Lists,
        needs: &'a BTreeSet<String>,
    ) -> Self {
        Self {
            fields,
            lists,
            needs,
            used_lists: BTreeSet::new(),
            missing: BTreeSet::new(),
            uses: Vec::new(),
            actions: Vec::new(),
            warnings: Vec::new(),
            values: 0,
            expanded: 0,
            regexes: 0,
        }
    }

    pub(crate) fn warn(&mut self, line: usize, message: impl Into<String>) {
        self.warnings.push(Flaw { line, message: message.into() });
    }

    /// Compiles `field|modifiers: value or list of values`.
    pub(crate) fn item(&mut self, entry: &Entry) -> Result<Tree, Flaw> {
        let mut words = entry.key.split('|');
        let field = words.next().unwrap_or_default();
        let modifiers = Modifiers::parse(&words.collect::<Vec<_>>(), entry.line)?;
        let values = match &entry.node.value {
            Value::List(nodes) if nodes.is_empty() => {
                let key = quoted(&entry.key);
                return flaw(entry.line, format!("{key} has an empty list of values"));
            }
            Value::List(nodes) => nodes.iter().collect(),
            _ => vec![&entry.node],
        };
        self.values(field, &modifiers, &values, entry.line)
    }

    /// Compiles plain values that may stand anywhere in the event.
    pub(crate) fn keywords(&mut self, values: &[&Node], line: usize) -> Result<Tree, Flaw> {
        let modifiers = Modifiers::parse(&[], line)?;
        self.values("", &modifiers, values, line)
    }

    fn values(
        &mut self,
        field: &str,
        modifiers: &Modifiers,
        values: &[&Node],
        line: usize,
    ) -> Result<Tree, Flaw> {
        self.values += values.len();
        if self.values > MAX_VALUES {
            return flaw(line, format!("the rule has more than {MAX_VALUES} values"));
        }
        self.check(field, modifiers, values, line)?;
        let target = if field.is_empty() {
            Target::Anywhere
        } else {
            self.uses.push((field.into(), line));
            Target::Field(self.fields.slot(field))
        };
        let mut groups = Vec::new();
        for value in values {
            let units = self.units(field, modifiers, value)?;
            groups.push((units, written(value)));
        }
        let build = |units, texts: &[String]| {
            let tests = tests(units, modifiers, target == Target::Anywhere, line)?;
            let trees = tests.into_iter().map(|test| {
                let words = words(modifiers, &test, texts, target);
                let label = Label { field: field.into(), words };
                Tree::Test(Arc::new(Predicate { target, test, label }))
            });
            Ok(Tree::any(trees.collect()))
        };
        let tree = if modifiers.all {
            let trees: Result<_, Flaw> =
                groups.into_iter().map(|(units, text)| build(units, text.as_slice())).collect();
            Tree::all(trees?)
        } else {
            let (units, texts): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
            let texts: Vec<_> = texts.into_iter().flatten().collect();
            build(units.into_iter().flatten().collect(), &texts)?
        };
        Ok(if modifiers.neq { Tree::Not(Box::new(tree)) } else { tree })
    }

    fn check(
        &mut self,
        field: &str,
        modifiers: &Modifiers,
        values: &[&Node],
        line: usize,
    ) -> Result<(), Flaw> {
        let regex = matches!(modifiers.comparison, Comparison::Regex { .. });
        if field.is_empty() && !modifiers.compares_patterns() && !regex {
            return flaw(line, "this comparison needs a field before it");
        }
        if modifiers.comparison == Comparison::Exists && values.len() != 1 {
            return flaw(line, "`exists` takes one value: true or false");
        }
        if modifiers.all && values.len() == 1 {
            self.warn(line, "`all` with one value says nothing");
        }
        if values.len() > 1 && values.iter().any(|node| node.value == Value::Null) {
            self.warn(line, "null in a list of values: it holds for a missing field too");
        }
        let encoded = |one: &Transform| matches!(one, Transform::Base64 | Transform::Base64Offset);
        let is_encoded = modifiers.transforms.iter().any(encoded);
        if is_encoded && !modifiers.cased {
            self.warn(line, "base64 is case-sensitive: `cased` belongs to it");
        }
        let changes = |one: &Transform| matches!(one, Transform::Utf16 { .. });
        if modifiers.transforms.iter().any(changes) && !is_encoded {
            self.warn(line, "a change of encoding alone makes texts with NUL characters");
        }
        Ok(())
    }

    fn units(&mut self, field: &str, mods: &Modifiers, node: &Node) -> Result<Vec<Unit>, Flaw> {
        let line = node.line;
        if matches!(node.value, Value::List(_) | Value::Map(_)) {
            return flaw(line, "a list or map cannot stand as a value");
        }
        Ok(match mods.comparison {
            Comparison::Exists => {
                vec![Unit::Whole(Test::Exists(node.bool("the value of `exists`")?))]
            }
            Comparison::Regex { .. } => vec![Unit::Whole(Test::Regex(self.regex(mods, node)?))],
            Comparison::FieldRef(way) => {
                let Value::Text(other) = &node.value else {
                    return flaw(line, "`fieldref` takes the name of a field");
                };
                self.uses.push((other.clone(), line));
                let (other, cased) = (self.fields.slot(other), mods.cased);
                vec![Unit::Whole(Test::Field { other, way, cased })]
            }
            Comparison::Less
            | Comparison::LessOrEqual
            | Comparison::Greater
            | Comparison::GreaterOrEqual => {
                vec![Unit::Whole(Test::Order(mods.comparison, number(node)?))]
            }
            Comparison::Time(part) => match number(node)?.parse() {
                Ok(value) => vec![Unit::Whole(Test::Time(part, value))],
                Err(_) => return flaw(line, "a part of a time is a whole number"),
            },
            Comparison::Cidr => {
                let patterns = self.patterns(mods, node)?;
                let text = |pattern: &Pattern| pattern.as_literal().unwrap_or("*").to_owned();
                patterns.iter().map(|pattern| Unit::Network(text(pattern))).collect()
            }
            Comparison::Equal => self.equal(field, mods, node)?,
            Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith => {
                self.patterns(mods, node)?.into_iter().map(Unit::Text).collect()
            }
        })
    }

    fn equal(&mut self, field: &str, mods: &Modifiers, node: &Node) -> Result<Vec<Unit>, Flaw> {
        let line = node.line;
        let keyword = field.is_empty();
        let plain = !mods.cased && mods.transforms.iter().all(|one| *one == Transform::Expand);
        Ok(match &node.value {
            Value::Text(text) if keyword && text.is_empty() => {
                return flaw(line, "an empty keyword would be found everywhere");
            }
            Value::Text(_) => {
                let patterns = self.patterns(mods, node)?;
                if field == ACTION {
                    let literals = patterns.iter().filter_map(Pattern::as_literal);
                    self.actions.extend(literals.map(|text| (text.into(), line)));
                }
                patterns.into_iter().map(Unit::Text).collect()
            }
            Value::Null if keyword => return flaw(line, "null cannot be a keyword"),
            _ if !plain => return flaw(line, "these modifiers take texts only"),
            Value::Number(digits) if keyword => vec![Unit::Text(Pattern::literal(digits))],
            Value::Bool(truth) if keyword => vec![Unit::Text(Pattern::literal(&truth.to_string()))],
            Value::Number(digits) => vec![Unit::Number(digits.clone())],
            Value::Bool(truth) => vec![Unit::Bool(*truth)],
            _ => vec![Unit::Null],
        })
    }

    /// The alternatives of a text, opened at the ends as the comparison says.
    fn patterns(&mut self, mods: &Modifiers, node: &Node) -> Result<Vec<Pattern>, Flaw> {
        let line = node.line;
        let Value::Text(text) = &node.value else {
            return flaw(line, "this comparison takes texts only (write numbers in quotes)");
        };
        let (lists, needs) = (self.lists, self.needs);
        let (used, missing) = (&mut self.used_lists, &mut self.missing);
        let mut list = |name: &str| {
            used.insert(name.into());
            match lists.get(name) {
                Some(values) => Ok(values.to_vec()),
                None if needs.contains(name) => {
                    missing.insert(name.into());
                    Ok(Vec::new())
                }
                None => {
                    let near = crate::problem::suggestion(name, lists.names());
                    let name = quoted(name);
                    let then = "define it, or name it in `hubwarden.needs`";
                    flaw(line, format!("there is no list {name}{near}: {then}"))
                }
            }
        };
        let patterns = alternatives(text, &mods.transforms, line, &mut list)?;
        self.expanded += patterns.len().saturating_sub(1);
        check_count(self.expanded, line)?;
        let before = matches!(mods.comparison, Comparison::Contains | Comparison::EndsWith);
        let after = matches!(mods.comparison, Comparison::Contains | Comparison::StartsWith);
        Ok(patterns.into_iter().map(|pattern| pattern.open(before, after)).collect())
    }

    fn regex(&mut self, mods: &Modifiers, node: &Node) -> Result<Regex, Flaw> {
        let line = node.line;
        let (Value::Text(source), Comparison::Regex { ignore_case, multi_line, dot_all }) =
            (&node.value, mods.comparison)
        else {
            return flaw(line, "a regular expression must be a text");
        };
        self.regexes += 1;
        if source.len() > MAX_REGEX_BYTES {
            return flaw(line, "the regular expression is longer than 4 KiB");
        }
        if self.regexes > MAX_REGEXES {
            return flaw(line, format!("the rule has more than {MAX_REGEXES} regular expressions"));
        }
        let mut builder = RegexBuilder::new(source);
        builder.case_insensitive(ignore_case).multi_line(multi_line).dot_matches_new_line(dot_all);
        match builder.size_limit(MAX_COMPILED_REGEX_BYTES).build() {
            Ok(regex) => Ok(regex),
            Err(regex::Error::CompiledTooBig(_)) => {
                flaw(line, "the regular expression is larger than 1 MiB when compiled")
            }
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                flaw(
                    line,
                    format!("the regular expression {} is refused: {reason}", quoted(source)),
                )
            }
        }
    }
}

fn number(node: &Node) -> Result<String, Flaw> {
    match &node.value {
        Value::Number(digits) => Ok(digits.clone()),
        _ => flaw(node.line, "this comparison takes a number"),
    }
}

/// Puts alternatives of the same sort together, so that each sort is one test.
fn tests(
    units: Vec<Unit>,
    modifiers: &Modifiers,
    anywhere: bool,
    line: usize,
) -> Result<Vec<Test>, Flaw> {
    let cased = modifiers.cased;
    let mut tests = Vec::new();
    let (mut patterns, mut numbers, mut networks) = (Vec::new(), Vec::new(), Vec::new());
    let mut null = false;
    for unit in units {
        match unit {
            Unit::Text(pattern) if anywhere => patterns.push(pattern.open(true, true)),
            Unit::Text(pattern) => patterns.push(pattern),
            Unit::Number(digits) => numbers.push(digits),
            Unit::Network(text) => networks.push(text),
            Unit::Null => null = true,
            Unit::Bool(truth) => tests.push(Test::Bool(truth)),
            Unit::Whole(test) => tests.push(test),
        }
    }
    tests
        .extend(texts(patterns, cased, line)?.into_iter().map(|texts| Test::Text { cased, texts }));
    if !numbers.is_empty() {
        tests.push(Test::Number(numbers));
    }
    if !networks.is_empty() {
        let networks = Networks::parse(networks.iter().map(String::as_str));
        tests.push(Test::Cidr(networks.or_else(|message| flaw(line, message))?));
    }
    if null {
        tests.push(Test::Null);
    }
    Ok(tests)
}

fn texts(patterns: Vec<Pattern>, cased: bool, line: usize) -> Result<Vec<Texts>, Flaw> {
    use Part::{Many, Text};
    let (mut equal, mut prefix, mut suffix) = (Vec::new(), Vec::new(), Vec::new());
    let (mut inside, mut globs) = (Vec::<Box<str>>::new(), Vec::new());
    let mut any = false;
    for pattern in patterns {
        let pattern = if cased { pattern } else { pattern.map_text(fold) };
        match pattern.parts.as_slice() {
            [] => equal.push(Box::from("")),
            [Text(text)] => equal.push(text.as_str().into()),
            [Many] => any = true,
            [Text(text), Many] => prefix.push(text.as_str().into()),
            [Many, Text(text)] => suffix.push(text.as_str().into()),
            [Many, Text(text), Many] => inside.push(text.as_str().into()),
            _ => globs.push(Glob::new(&pattern)),
        }
    }
    let mut texts = Vec::new();
    if equal.len() > MANY {
        texts.push(Texts::Set(std::mem::take(&mut equal).into_iter().collect()));
    }
    if !equal.is_empty() {
        texts.push(Texts::Few(equal.into()));
    }
    if !prefix.is_empty() {
        texts.push(Texts::Prefix(prefix.into()));
    }
    if !suffix.is_empty() {
        texts.push(Texts::Suffix(suffix.into()));
    }
    if inside.len() > MANY {
        match AhoCorasick::new(inside.iter().map(|text| text.as_bytes())) {
            Ok(automaton) => texts.push(Texts::InsideMany(Box::new(automaton))),
            Err(_) => return flaw(line, "too many long texts to search for"),
        }
    } else if !inside.is_empty() {
        texts.push(Texts::Inside(inside.into()));
    }
    if !globs.is_empty() {
        texts.push(Texts::Glob(globs.into()));
    }
    if any {
        texts.push(Texts::Any);
    }
    Ok(texts)
}

/// A value as its author wrote it, for explanations; null has words of its own.
fn written(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) if text.is_empty() => Some("empty".into()),
        Value::Text(text) | Value::Number(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// What a test asks, in words that follow the field's name.
fn words(modifiers: &Modifiers, test: &Test, texts: &[String], target: Target) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = texts.iter().map(String::as_str).collect();
    let more = shown.len().saturating_sub(SHOWN);
    let mut list = shown[..shown.len() - more].join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    let one_of = if shown.len() > 1 { " one of" } else { "" };
    let verb = match modifiers.comparison {
        _ if matches!(test, Test::Null) => return "is missing or null".into(),
        Comparison::Equal if target == Target::Anywhere => "some value contains",
        Comparison::Equal => "is",
        Comparison::Contains => "contains",
        Comparison::StartsWith => "starts with",
        Comparison::EndsWith => "ends with",
        Comparison::Regex { .. } => "matches",
        Comparison::Cidr => "is in",
        Comparison::Exists if list == "true" => return "is present".into(),
        Comparison::Exists => return "is absent".into(),
        Comparison::Less => "is less than",
        Comparison::LessOrEqual => "is at most",
        Comparison::Greater => "is more than",
        Comparison::GreaterOrEqual => "is at least",
        Comparison::Time(part) => return format!("has {}{one_of} {list}", part.as_str()),
        Comparison::FieldRef(way) => match way {
            FieldRef::Equal => "is the same as",
            FieldRef::Contains => "contains the value of",
            FieldRef::StartsWith => "starts with the value of",
            FieldRef::EndsWith => "ends with the value of",
        },
    };
    format!("{verb}{one_of} {list}")
}
