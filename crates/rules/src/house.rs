//! What Sigma cannot say: the key `hubwarden`.

use hubwarden_event::{Confidence, Severity};

use crate::problem::{Flaw, Flaws, flaw, quoted, suggestion};
use crate::yaml::{Entry, Node, Value};

const KEYS: [&str; 8] =
    ["fold", "group-by", "severity", "confidence", "sentence", "response", "needs", "kind"];

/// A bucket is an hour unless the rule says otherwise.
pub(crate) const DEFAULT_FOLD_MS: i64 = 3_600_000;

/// When a rule's severity differs from its level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// When a selection, or a condition over selections, holds for the event.
    When { condition: String, level: Severity, line: usize },
    /// When the window has reached a count.
    AtLeast { count: u64, level: Severity, line: usize },
}

/// The content of the key `hubwarden`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct House {
    pub(crate) fold_ms: Option<i64>,
    pub(crate) group_by: Option<(usize, Vec<String>)>,
    pub(crate) severity: Vec<Step>,
    pub(crate) confidence: Option<Confidence>,
    pub(crate) sentence: String,
    pub(crate) response: String,
    pub(crate) sentence_line: usize,
    pub(crate) response_line: usize,
    /// Names of lists without which the rule is blind.
    pub(crate) needs: Vec<String>,
}

impl House {
    /// Reads the key; of each key below it the first flaw is told.
    pub(crate) fn parse(node: &Node) -> Result<Self, Vec<Flaw>> {
        let mut house = Self::default();
        let mut flaws = Flaws::default();
        for entry in node.map("`hubwarden`").map_err(|flaw| vec![flaw])? {
            flaws.keep_all(house.take(entry));
        }
        if flaws.0.is_empty() { Ok(house) } else { Err(flaws.0) }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), Vec<Flaw>> {
        match entry.key.as_str() {
            "severity" => self.severity = steps(&entry.node)?,
            _ => self.take_single(entry).map_err(|flaw| vec![flaw])?,
        }
        Ok(())
    }

    /// Takes a key up that has one value.
    fn take_single(&mut self, entry: &Entry) -> Result<(), Flaw> {
        let (line, value) = (entry.line, &entry.node);
        match entry.key.as_str() {
            "fold" => self.fold_ms = Some(duration(value, "`fold`")?),
            "group-by" => self.group_by = Some((line, group_by(value)?)),
            "confidence" => {
                let text = value.text("`confidence`")?;
                let Ok(confidence) = text.parse() else {
                    let text = quoted(&text);
                    return flaw(line, format!("{text} is no confidence: low, medium or high"));
                };
                self.confidence = Some(confidence);
            }
            "sentence" => {
                self.sentence = template(value, "`sentence`")?;
                self.sentence_line = line;
            }
            "response" => {
                self.response = template(value, "`response`")?;
                self.response_line = line;
            }
            "needs" => self.needs = needs(value)?,
            "kind" => {
                let kind = quoted(&value.text("`kind`")?);
                return flaw(line, format!("the rule kind {kind} is not supported"));
            }
            key => {
                let near = suggestion(key, KEYS);
                let key = quoted(key);
                return flaw(line, format!("unknown key {key} under `hubwarden`{near}"));
            }
        }
        Ok(())
    }
}

/// The lists that a document names as needed, also when it is broken otherwise.
pub(crate) fn needed(document: &Node) -> Vec<String> {
    let node = document.get("hubwarden").and_then(|house| house.get("needs"));
    node.and_then(|node| needs(node).ok()).unwrap_or_default()
}

/// A length of time in milliseconds: a number and `s`, `m`, `h`, `d` or `w`.
pub(crate) fn duration(node: &Node, what: &str) -> Result<i64, Flaw> {
    let text = node.text(what)?;
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(unit)?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = is_number.then(|| digits.parse().ok())??;
        number.checked_mul(seconds * 1000).filter(|millis| *millis > 0)
    });
    let text = quoted(&text);
    found.map_or_else(
        || flaw(node.line, format!("{what} is {text}: it must be like 30s, 5m, 1h, 7d or 2w")),
        Ok,
    )
}

/// Names of fields; `a|b` takes the first that is present.
pub(crate) fn group_by(node: &Node) -> Result<Vec<String>, Flaw> {
    fields(node, "`group-by`", "to group by")
}

/// Names of fields; `a|b` takes the first that says something.
pub(crate) fn fields(node: &Node, key: &str, purpose: &str) -> Result<Vec<String>, Flaw> {
    let fields = node.texts(key)?;
    for (position, (line, field)) in fields.iter().enumerate() {
        if field.split('|').any(|name| name.trim() != name || name.is_empty()) {
            return flaw(*line, format!("{} is no field {purpose}", quoted(field)));
        }
        if fields[..position].iter().any(|(_, other)| other == field) {
            return flaw(*line, format!("{} stands twice in {key}", quoted(field)));
        }
    }
    Ok(fields.into_iter().map(|(_, field)| field).collect())
}

/// One of Sigma's five levels.
pub(crate) fn level(node: &Node) -> Result<Severity, Flaw> {
    let text = node.text("`level`")?;
    text.parse().or_else(|_| {
        let levels = Severity::ALL.map(Severity::as_str);
        let near = suggestion(&text, levels);
        let (text, levels) = (quoted(&text), levels.join(", "));
        flaw(node.line, format!("{text} is no level{near}: {levels}"))
    })
}

fn steps(node: &Node) -> Result<Vec<Step>, Vec<Flaw>> {
    let Value::List(nodes) = &node.value else {
        let message = "`severity` must be a list of {when: …, level: …}".into();
        return Err(vec![Flaw { line: node.line, message }]);
    };
    let mut flaws = Flaws::default();
    let steps = nodes.iter().filter_map(|node| flaws.keep(step(node))).collect();
    if flaws.0.is_empty() { Ok(steps) } else { Err(flaws.0) }
}

fn step(node: &Node) -> Result<Step, Flaw> {
    let line = node.line;
    for entry in node.map("an entry of `severity`")? {
        if !["when", "gte", "level"].contains(&entry.key.as_str()) {
            let near = suggestion(&entry.key, ["when", "gte", "level"]);
            let key = quoted(&entry.key);
            return flaw(entry.line, format!("unknown key {key} in `severity`{near}"));
        }
    }
    let Some(level_node) = node.get("level") else {
        return flaw(line, "an entry of `severity` has no `level`");
    };
    let level = level(level_node)?;
    match (node.get("when"), node.get("gte")) {
        (Some(when), None) => Ok(Step::When { condition: when.text("`when`")?, level, line }),
        (None, Some(count)) => Ok(Step::AtLeast { count: whole(count, "`gte`")?, level, line }),
        _ => flaw(line, "an entry of `severity` has either `when` or `gte`"),
    }
}

/// A whole number that is not negative.
pub(crate) fn whole(node: &Node, what: &str) -> Result<u64, Flaw> {
    match &node.value {
        Value::Number(digits) => digits
            .parse()
            .or_else(|_| flaw(node.line, format!("{what} must be a whole number, 0 or more"))),
        _ => flaw(node.line, format!("{what} must be a number")),
    }
}

fn needs(node: &Node) -> Result<Vec<String>, Flaw> {
    let mut names = Vec::new();
    for (line, text) in node.texts("`needs`")? {
        match text.strip_prefix("list:") {
            Some(name) if !name.is_empty() => names.push(name.to_owned()),
            _ => return flaw(line, format!("{} cannot be needed: `list:NAME`", quoted(&text))),
        }
    }
    Ok(names)
}

fn template(node: &Node, what: &str) -> Result<String, Flaw> {
    let text = node.text(what)?.trim().to_owned();
    match placeholders(&text) {
        Ok(_) => Ok(text),
        Err(message) => flaw(node.line, format!("{what}: {message}")),
    }
}

/// The fields between braces; `{a|b}` names two.
pub(crate) fn placeholders(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let Some(after) = rest[open..].strip_prefix('{') else {
            return Err("a closing brace has no opening one");
        };
        let Some(close) = after.find('}') else { return Err("a brace is not closed") };
        let names = &after[..close];
        let bad = |name: &str| name.is_empty() || name.contains([' ', '{']);
        if names.split('|').any(bad) {
            return Err("braces must hold the name of a field");
        }
        fields.extend(names.split('|'));
        rest = &after[close + 1..];
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::documents;

    fn parse(text: &str) -> Result<House, String> {
        let node = documents(text).remove(0).unwrap();
        House::parse(&node).map_err(|flaws| format!("{}: {}", flaws[0].line, flaws[0].message))
    }

    #[test]
    fn reads_every_key() {
        let house = parse(
            "fold: 2h\ngroup-by: [actor, repo|org]\nseverity:\n  - {when: public, level: high}\n  \
             - {gte: 25, level: critical}\nconfidence: low\nsentence: '{actor|user} x {count}'\n\
             response: Ask\nneeds: ['list:domains']\n",
        )
        .unwrap();
        assert_eq!(house.fold_ms, Some(7_200_000));
        assert_eq!(house.group_by.unwrap().1, ["actor", "repo|org"]);
        assert_eq!(house.severity.len(), 2);
        assert_eq!(house.needs, ["domains"]);
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, message) in [
            (
                "fold: 1h\nfolds: 1h",
                "2: unknown key `folds` under `hubwarden` (did you mean `fold`?)",
            ),
            ("fold: 90", "1: `fold` is `90`: it must be like 30s, 5m, 1h, 7d or 2w"),
            ("fold: 0m", "1: `fold` is `0m`: it must be like 30s, 5m, 1h, 7d or 2w"),
            ("fold: 9999999999999999w", "1: `fold` is `9999999999999999w`: it must be like"),
            ("fold: 1M", "1: `fold` is `1M`"),
            ("confidence: sure", "1: `sure` is no confidence"),
            ("kind: baseline", "1: the rule kind `baseline` is not supported"),
            ("needs: domains", "1: `domains` cannot be needed: `list:NAME`"),
            ("severity: high", "1: `severity` must be a list"),
            ("severity: [{when: a}]", "1: an entry of `severity` has no `level`"),
            ("severity: [{level: low}]", "1: an entry of `severity` has either"),
            ("severity: [{when: a, gte: 1, level: low}]", "1: an entry of `severity` has either"),
            ("severity: [{gte: -1, level: low}]", "1: `gte` must be a whole number"),
            ("severity: [{when: a, level: hihg}]", "1: `hihg` is no level (did you mean `high`?)"),
            ("sentence: '{actor did'", "1: `sentence`: a brace is not closed"),
            ("sentence: '{a b}'", "1: `sentence`: braces must hold the name of a field"),
            ("group-by: [a, a]", "1: `a` stands twice"),
            ("group-by: ['a|']", "1: `a|` is no field to group by"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.starts_with(message), "{text}: {found}");
        }
    }
}
