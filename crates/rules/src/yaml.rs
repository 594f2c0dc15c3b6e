//! YAML documents as trees that know the line of every node.
//!
//! Built on the events of serde-saphyr's parser rather than on its serde layer: rules need the
//! digits of a number as written, the line of every key, and the documents after a broken one.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StrInput};

use crate::number::Number;
use crate::problem::{Flaw, flaw, quoted};

/// A file above this size is no rule file.
pub(crate) const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Nodes of one file, those repeated by aliases included.
const MAX_NODES: usize = 500_000;
const MAX_DEPTH: usize = 64;

/// A node and the line where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// The digits as a JSON number.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its line and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Node {
    /// The value of a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The keys and values of a map.
    pub(crate) fn map(&self, what: &str) -> Result<&[Entry], Flaw> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => flaw(self.line, format!("{what} must be a map of keys and values")),
        }
    }

    /// A text; numbers and booleans count as what was written.
    pub(crate) fn text(&self, what: &str) -> Result<String, Flaw> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Ok(text.clone()),
            Value::Bool(truth) => Ok(truth.to_string()),
            _ => flaw(self.line, format!("{what} must be a text")),
        }
    }

    /// A list of texts; one text alone counts as a list of one.
    pub(crate) fn texts(&self, what: &str) -> Result<Vec<(usize, String)>, Flaw> {
        match &self.value {
            Value::List(nodes) => {
                nodes.iter().map(|node| Ok((node.line, node.text(what)?))).collect()
            }
            _ => Ok(vec![(self.line, self.text(what)?)]),
        }
    }

    /// A YAML boolean.
    pub(crate) fn bool(&self, what: &str) -> Result<bool, Flaw> {
        match self.value {
            Value::Bool(truth) => Ok(truth),
            _ => flaw(self.line, format!("{what} must be true or false")),
        }
    }

    /// Writes a form that is the same for the same content, however it is laid out or ordered.
    pub(crate) fn canonical(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_be_bytes());
            out.extend(text.as_bytes());
        };
        match &self.value {
            Value::Null => out.push(b'0'),
            Value::Bool(truth) => out.push(if *truth { b't' } else { b'f' }),
            Value::Number(digits) => {
                out.push(b'n');
                text(out, digits);
            }
            Value::Text(value) => {
                out.push(b's');
                text(out, value);
            }
            Value::List(nodes) => {
                out.push(b'[');
                out.extend((nodes.len() as u64).to_be_bytes());
                nodes.iter().for_each(|node| node.canonical(out));
            }
            Value::Map(entries) => {
                out.push(b'{');
                out.extend((entries.len() as u64).to_be_bytes());
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| a.key.cmp(&b.key));
                for entry in sorted {
                    text(out, &entry.key);
                    entry.node.canonical(out);
                }
            }
        }
    }
}

/// A document that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// What is wrong; at least one.
    pub(crate) flaws: Vec<Flaw>,
    /// What it says, where it could be read to its end: of a key that stands twice the first.
    pub(crate) node: Option<Node>,
}

impl From<Flaw> for Broken {
    fn from(flaw: Flaw) -> Self {
        Self { flaws: vec![flaw], node: None }
    }
}

/// The documents of a file, empty ones left out; a broken one does not hide those after it.
pub(crate) fn documents(text: &str) -> Vec<Result<Node, Broken>> {
    if text.len() > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES / 1024 / 1024;
        let message = format!("the file is larger than {limit} MiB");
        return vec![Err(Flaw { line: 1, message }.into())];
    }
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader =
        Reader { parser, anchors: HashMap::new(), nodes: 0, line: 1, flaws: Vec::new() };
    let mut documents = Vec::new();
    loop {
        match reader.document() {
            Ok(None) => return documents,
            Ok(Some(Node { value: Value::Null, .. })) => {}
            Ok(Some(node)) if reader.flaws.is_empty() => documents.push(Ok(node)),
            Ok(Some(node)) => {
                let flaws = std::mem::take(&mut reader.flaws);
                documents.push(Err(Broken { flaws, node: Some(node) }));
            }
            Err(flaw) => {
                let mut flaws = std::mem::take(&mut reader.flaws);
                flaws.push(flaw);
                documents.push(Err(Broken { flaws, node: None }));
                reader.anchors.clear();
                if reader.nodes > MAX_NODES
                    || !reader.parser.proceed_next_document().unwrap_or(false)
                {
                    return documents;
                }
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    line: usize,
    /// What is wrong with the document and does not keep it from being read on.
    flaws: Vec<Flaw>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Flaw> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = line_of(&span);
                Ok((event, self.line))
            }
            Some(Err(error)) => {
                flaw(error.marker().line(), format!("the YAML cannot be read: {}", error.info()))
            }
            None => flaw(self.line, "the YAML ends early"),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Flaw> {
        loop {
            let (event, _) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(None),
                Event::DocumentStart(..) => {
                    self.anchors.clear();
                    let (event, line) = self.next()?;
                    let node = self.node(event, line, 0)?;
                    let (end, line) = self.next()?;
                    if end != Event::DocumentEnd {
                        return flaw(line, "the document does not end after its first value");
                    }
                    return Ok(Some(node));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Flaw> {
        self.spend(1, line)?;
        if depth > MAX_DEPTH {
            return flaw(line, format!("values are nested more than {MAX_DEPTH} deep"));
        }
        let before = self.nodes;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(tag_name).transpose();
                let tag = tag.or_else(|name| flaw(line, unknown_tag(&name)))?;
                (scalar(&text, style, tag), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", line)?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "map", line)?;
                (self.map(depth)?, anchor)
            }
            Event::Alias(id) => {
                let Some((_, size)) = self.anchors.get(&id) else {
                    return flaw(line, "an alias may not stand inside what it refers to");
                };
                let size = *size;
                self.spend(size, line)?;
                let (node, _) = &self.anchors[&id];
                return Ok(Node { line, value: node.value.clone() });
            }
            other => return flaw(line, format!("a value was expected, not {other:?}")),
        };
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Flaw> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(nodes)),
                (event, line) => nodes.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Flaw> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                (Event::Scalar(key, style, 0, None), line) => {
                    if style == ScalarStyle::Plain && key == "<<" {
                        return flaw(line, "merge keys (`<<`) are not part of YAML 1.2");
                    }
                    (key.into_owned(), line)
                }
                (_, line) => return flaw(line, "a key must be a plain text"),
            };
            let first = lines.get(&key).copied();
            let (event, value_line) = self.next()?;
            let node = self.node(event, value_line, depth + 1)?;
            if let Some(first) = first {
                let message = format!("the key {} already stands in line {first}", quoted(&key));
                self.flaws.push(Flaw { line, message });
                continue;
            }
            lines.insert(key.clone(), line);
            entries.push(Entry { key, line, node });
        }
    }

    fn spend(&mut self, nodes: usize, line: usize) -> Result<(), Flaw> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return flaw(
                line,
                format!("the file has more than {MAX_NODES} values, aliases included"),
            );
        }
        Ok(())
    }
}

fn line_of(span: &Span) -> usize {
    span.start.line()
}

fn unknown_tag(name: &str) -> String {
    format!("the YAML tag {} is not supported", quoted(name))
}

/// The name of a core tag, else the tag as an error.
fn tag_name(tag: &granit_parser::Tag) -> Result<String, String> {
    match tag.core_suffix() {
        Some(name) if ["str", "int", "float", "bool", "null"].contains(&name) => Ok(name.into()),
        _ if tag.original() == "!" => Ok("str".into()),
        _ => Err(tag.original()),
    }
}

fn collection_tag(tag: Option<&granit_parser::Tag>, core: &str, line: usize) -> Result<(), Flaw> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(core) => flaw(line, unknown_tag(&tag.original())),
        _ => Ok(()),
    }
}

/// The value of a scalar in YAML 1.2's core schema; a number with leading zeros stays a text.
fn scalar(text: &str, style: ScalarStyle, tag: Option<String>) -> Value {
    if style != ScalarStyle::Plain && tag.is_none() || tag.as_deref() == Some("str") {
        return Value::Text(text.into());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::Text(text.into()), Value::Number)
}

fn number(text: &str) -> Option<String> {
    let radix = |digits: &str, radix| u128::from_str_radix(digits, radix).ok();
    if let Some(value) = text.strip_prefix("0x").and_then(|digits| radix(digits, 16)) {
        return Some(value.to_string());
    }
    if let Some(value) = text.strip_prefix("0o").and_then(|digits| radix(digits, 8)) {
        return Some(value.to_string());
    }
    let unsigned = text.strip_prefix('+').filter(|rest| !rest.starts_with('-')).unwrap_or(text);
    let complete = match unsigned.strip_suffix('.') {
        Some(whole) => format!("{whole}.0"),
        None => unsigned.strip_prefix('.').map_or(unsigned.into(), |part| format!("0.{part}")),
    };
    let is_number = Number::parse(&complete).is_some();
    is_number.then_some(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Node, Flaw> {
        documents(text).remove(0).map_err(|mut broken| broken.flaws.remove(0))
    }

    #[test]
    fn resolves_scalars_as_yaml_1_2_does() {
        for (text, value) in [
            ("x", Value::Text("x".into())),
            ("'1'", Value::Text("1".into())),
            ("1", Value::Number("1".into())),
            ("+1", Value::Number("1".into())),
            ("-1.50", Value::Number("-1.50".into())),
            ("0x1F", Value::Number("31".into())),
            (".5", Value::Number("0.5".into())),
            ("9007199254740993", Value::Number("9007199254740993".into())),
            ("007", Value::Text("007".into())),
            ("yes", Value::Text("yes".into())),
            ("True", Value::Bool(true)),
            ("'true'", Value::Text("true".into())),
            ("[~]", Value::List(vec![Node { line: 1, value: Value::Null }])),
            ("!!str 1", Value::Text("1".into())),
            ("2025-01-01", Value::Text("2025-01-01".into())),
        ] {
            assert_eq!(one(text).unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn names_the_line_of_what_is_wrong_and_reads_on() {
        for (text, line, part) in [
            ("a: 1\nb: 2\na: 3", 3, "already stands in line 1"),
            ("a: [1, 2", 1, "cannot be read"),
            ("a: 1\n<<: {b: 2}", 2, "merge keys"),
            ("a: !secret x", 1, "`!secret` is not supported"),
            ("? [a]\n: b", 1, "a key must be a plain text"),
            ("a: &x [*x]", 1, "inside what it refers to"),
        ] {
            let flaw = one(text).unwrap_err();
            assert!(flaw.line == line && flaw.message.contains(part), "{text}: {flaw:?}");
        }
        let all = documents("a: [1\n---\nb: 1\n---\nb: 1\nb: 2\n---\nc: 1\n");
        assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(all[3].as_ref().unwrap().line, 8);
    }

    #[test]
    fn a_bomb_is_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(one(&bomb).unwrap_err().message.contains("more than 500000 values"));
        let deep = format!("{}x{}", "[".repeat(200), "]".repeat(200));
        assert!(one(&deep).unwrap_err().message.contains("more than 64 deep"));
        assert!(one(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn the_canonical_form_ignores_layout_and_order() {
        let canonical = |text| {
            let mut out = Vec::new();
            one(text).unwrap().canonical(&mut out);
            out
        };
        assert_eq!(canonical("a: 1\nb: [x, 'y']"), canonical("# c\n{b: [\"x\", y], a: 1}"));
        assert_ne!(canonical("a: 1"), canonical("a: '1'"));
        assert_ne!(canonical("a: [x, y]"), canonical("a: [xy]"));
    }
}
