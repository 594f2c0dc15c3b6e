//! One document of a rule file: a detection, a correlation or a filter, read and checked.

use hubwarden_event::Severity;

use crate::house::{self, House, duration, group_by, level, whole};
use crate::problem::{Flaw, Flaws, flaw, quoted, suggestion};
use crate::yaml::{Entry, Node, Value};

const MAX_TITLE: usize = 256;
/// Keys that have a meaning; any other is the author's own.
const KEYS: [&str; 22] = [
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "author",
    "references",
    "date",
    "modified",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "logsource",
    "detection",
    "correlation",
    "filter",
    "hubwarden",
];

/// Which events a rule sees; what it does not name may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LogSource {
    /// Sigma's `category`.
    pub category: Option<String>,
    /// Sigma's `product`.
    pub product: Option<String>,
    /// Sigma's `service`.
    pub service: Option<String>,
}

impl LogSource {
    /// Whether events of this product and service, which have no category, are seen.
    pub fn sees(&self, product: &str, service: &str) -> bool {
        let is = |wanted: &Option<String>, found| wanted.as_deref().is_none_or(|one| one == found);
        self.category.is_none() && is(&self.product, product) && is(&self.service, service)
    }

    /// Whether everything that `other` names is the same here.
    fn contains(&self, other: &Self) -> bool {
        let is = |mine: &Option<String>, its: &Option<String>| its.is_none() || mine == its;
        is(&self.category, &other.category)
            && is(&self.product, &other.product)
            && is(&self.service, &other.service)
    }
}

/// What every document says about itself.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) line: usize,
    pub(crate) title: String,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) description: String,
    pub(crate) level: Option<Severity>,
    pub(crate) attack: Vec<String>,
    pub(crate) false_positives: Vec<String>,
    pub(crate) house: House,
    pub(crate) body: Body,
    pub(crate) warnings: Vec<Flaw>,
}

/// What sort of document it is.
#[derive(Debug)]
pub(crate) enum Body {
    Detection { source: LogSource, detection: Node },
    Correlation(Correlation),
    Filter(Filter),
}

/// A filter: what is added to the conditions of other rules.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) source: LogSource,
    /// Ids or names; absent for any rule.
    pub(crate) rules: Option<Vec<(usize, String)>>,
    pub(crate) body: Node,
}

impl Filter {
    pub(crate) fn sees(&self, source: &LogSource) -> bool {
        source.contains(&self.source)
    }
}

/// A rule over matches of other rules.
#[derive(Debug)]
pub(crate) struct Correlation {
    pub(crate) rules: Vec<(usize, String)>,
    pub(crate) group_by: Vec<String>,
    pub(crate) group_line: usize,
    /// Alias, rule, field; with the line.
    pub(crate) aliases: Vec<(usize, String, String, String)>,
    pub(crate) span_ms: i64,
    pub(crate) at_least: u64,
    /// The fields whose values are counted; absent when events are.
    pub(crate) values: Option<Vec<String>>,
    pub(crate) values_line: usize,
    pub(crate) generate: bool,
}

/// The name of a document that may be broken: its `name`, else its `title`.
pub(crate) fn called(node: &Node) -> Option<String> {
    let text = |key| node.get(key)?.text(key).ok();
    text("name").or_else(|| text("title"))
}

/// The rules a document refers to as a correlation, even if it is broken otherwise.
pub(crate) fn references(node: &Node) -> Vec<String> {
    let rules = node.get("correlation").and_then(|body| body.get("rules"));
    let texts = rules.and_then(|rules| rules.texts("`rules`").ok()).unwrap_or_default();
    texts.into_iter().map(|(_, text)| text).collect()
}

impl Document {
    /// Reads a document; of each key the first flaw is told, of a correlation's keys too.
    pub(crate) fn parse(node: &Node) -> Result<Self, Vec<Flaw>> {
        let entries = node.map("a rule").map_err(|flaw| vec![flaw])?;
        let mut flaws = Flaws::default();
        let mut warnings = Vec::new();
        for entry in entries {
            if entry.key == "action" {
                let gone = "`action: global` and its kind are gone from Sigma: write each rule out";
                return Err(vec![Flaw { line: entry.line, message: gone.into() }]);
            }
            let near = suggestion(&entry.key, KEYS);
            if !KEYS.contains(&entry.key.as_str()) && !near.is_empty() {
                let message = format!("the key {} has no meaning{near}", quoted(&entry.key));
                warnings.push(Flaw { line: entry.line, message });
            }
        }
        let head = Head { node, line: entries.first().map_or(node.line, |entry| entry.line) };
        for key in ["date", "modified"] {
            let Some(value) = node.get(key) else { continue };
            if value
                .text(key)
                .ok()
                .and_then(|text| text.parse::<jiff::civil::Date>().ok())
                .is_none()
            {
                let message = format!("`{key}` is not a date like 2025-12-31");
                warnings.push(Flaw { line: value.line, message });
            }
        }
        let document = (|| {
            // Each is read before the first that is missing ends this.
            let title = flaws.keep(head.title());
            let id = flaws.keep(head.id());
            let name = flaws.keep(head.name());
            let status = flaws.keep(head.status());
            let description = flaws.keep(head.optional("description"));
            let level = flaws.keep(node.get("level").map(level).transpose());
            let attack = flaws.keep(head.attack());
            let false_positives = flaws.keep(head.false_positives());
            let house = flaws.keep_all(node.get("hubwarden").map(House::parse).transpose());
            let body = flaws.keep_all(head.body());
            Some(Self {
                line: head.line,
                title: title?,
                id: id?,
                name: name?,
                status: status?,
                description: description?.unwrap_or_default().trim().to_owned(),
                level: level?,
                attack: attack?,
                false_positives: false_positives?,
                house: house?.unwrap_or_default(),
                body: body?,
                warnings,
            })
        })();
        document.ok_or(flaws.0)
    }
}

struct Head<'a> {
    node: &'a Node,
    line: usize,
}

impl Head<'_> {
    fn optional(&self, key: &str) -> Result<Option<String>, Flaw> {
        match self.node.get(key) {
            None | Some(Node { value: Value::Null, .. }) => Ok(None),
            Some(value) => value.text(&format!("`{key}`")).map(Some),
        }
    }

    fn title(&self) -> Result<String, Flaw> {
        let Some(title) = self.optional("title")? else {
            return flaw(self.line, "`title` is missing");
        };
        if title.chars().count() > MAX_TITLE {
            return flaw(self.line, format!("`title` is longer than {MAX_TITLE} characters"));
        }
        Ok(title)
    }

    fn id(&self) -> Result<Option<String>, Flaw> {
        let Some(id) = self.optional("id")? else { return Ok(None) };
        let groups: Vec<_> = id.split('-').collect();
        let lengths = groups.iter().map(|group| group.len());
        let hexadecimal = groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()));
        if !hexadecimal || !lengths.eq([8, 4, 4, 4, 12]) {
            let line = self.node.get("id").map_or(self.line, |node| node.line);
            return flaw(line, format!("the id {} is not a UUID", quoted(&id)));
        }
        Ok(Some(id.to_ascii_lowercase()))
    }

    fn name(&self) -> Result<Option<String>, Flaw> {
        let name = self.optional("name")?;
        if name.as_deref().is_some_and(|name| name.trim().is_empty() || name.len() > MAX_TITLE) {
            return flaw(self.line, format!("`name` must have 1 to {MAX_TITLE} characters"));
        }
        Ok(name)
    }

    fn status(&self) -> Result<Option<String>, Flaw> {
        const ALL: [&str; 5] = ["stable", "test", "experimental", "deprecated", "unsupported"];
        if let Some(taxonomy) = self.optional("taxonomy")?.filter(|name| name != "sigma") {
            let line = self.node.get("taxonomy").map_or(self.line, |node| node.line);
            return flaw(line, format!("the taxonomy {} is not known", quoted(&taxonomy)));
        }
        let status = self.optional("status")?;
        if let Some(text) = status.as_deref().filter(|text| !ALL.contains(text)) {
            let line = self.node.get("status").map_or(self.line, |node| node.line);
            let near = suggestion(text, ALL);
            return flaw(line, format!("{} is no status{near}: {}", quoted(text), ALL.join(", ")));
        }
        Ok(status)
    }

    /// `attack.t1562.001` becomes `T1562.001`.
    fn attack(&self) -> Result<Vec<String>, Flaw> {
        let Some(tags) = self.node.get("tags") else { return Ok(Vec::new()) };
        let technique = |tag: String| {
            let name = tag.strip_prefix("attack.")?.to_ascii_uppercase();
            let digits = name.strip_prefix('T')?;
            let all = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            (all && digits.len() >= 4).then_some(name)
        };
        let tags = tags.texts("`tags`")?;
        Ok(tags.into_iter().filter_map(|(_, tag)| technique(tag)).collect())
    }

    fn false_positives(&self) -> Result<Vec<String>, Flaw> {
        match self.node.get("falsepositives") {
            None | Some(Node { value: Value::Null, .. }) => Ok(Vec::new()),
            Some(notes) => {
                let notes = notes.texts("`falsepositives`")?;
                Ok(notes.into_iter().map(|(_, note)| note).collect())
            }
        }
    }

    fn body(&self) -> Result<Body, Vec<Flaw>> {
        let [detection, correlation, filter] =
            ["detection", "correlation", "filter"].map(|key| self.node.get(key));
        match (detection, correlation, filter) {
            (Some(detection), None, None) => {
                let source = self.source().map_err(|flaw| vec![flaw])?;
                Ok(Body::Detection { source, detection: detection.clone() })
            }
            (None, Some(body), None) => {
                let mut flaws = Flaws::default();
                if let Some(source) = self.node.get("logsource") {
                    let message = "a correlation has no `logsource`: its rules have".into();
                    flaws.0.push(Flaw { line: source.line, message });
                }
                let correlation = flaws.keep_all(correlation_of(body));
                match correlation.filter(|_| flaws.0.is_empty()) {
                    Some(correlation) => Ok(Body::Correlation(correlation)),
                    None => Err(flaws.0),
                }
            }
            (None, None, Some(body)) => self.filter(body).map_err(|flaw| vec![flaw]),
            (None, None, None) => {
                let message = "`detection` is missing (or `correlation` or `filter`)".into();
                Err(vec![Flaw { line: self.line, message }])
            }
            _ => {
                let message = "a document is one of `detection`, `correlation` and `filter`: \
                               separate them by ---"
                    .into();
                Err(vec![Flaw { line: self.line, message }])
            }
        }
    }

    fn filter(&self, body: &Node) -> Result<Body, Flaw> {
        if let Some(house) = self.node.get("hubwarden") {
            return flaw(house.line, "a filter makes no findings: `hubwarden` is not for it");
        }
        Ok(Body::Filter(filter_of(body, self.source()?)?))
    }

    fn source(&self) -> Result<LogSource, Flaw> {
        let Some(node) = self.node.get("logsource") else {
            return flaw(self.line, "`logsource` is missing");
        };
        let mut source = LogSource::default();
        for entry in node.map("`logsource`")? {
            let place = match entry.key.as_str() {
                "category" => &mut source.category,
                "product" => &mut source.product,
                "service" => &mut source.service,
                "definition" => continue,
                key => {
                    let near = suggestion(key, ["category", "product", "service", "definition"]);
                    let key = quoted(key);
                    return flaw(entry.line, format!("unknown key {key} in `logsource`{near}"));
                }
            };
            *place = Some(entry.node.text("a log source")?);
        }
        if source == LogSource::default() {
            return flaw(node.line, "`logsource` names neither category, product nor service");
        }
        Ok(source)
    }
}

fn filter_of(body: &Node, source: LogSource) -> Result<Filter, Flaw> {
    body.map("`filter`")?;
    let Some(rules) = body.get("rules") else { return flaw(body.line, "`rules` is missing") };
    let rules = rules.texts("`rules`")?;
    let any = rules.len() == 1 && rules[0].1 == "any";
    Ok(Filter { source, rules: (!any).then_some(rules), body: body.clone() })
}

fn correlation_of(body: &Node) -> Result<Correlation, Vec<Flaw>> {
    const KEYS: [&str; 7] =
        ["type", "rules", "group-by", "timespan", "condition", "aliases", "generate"];
    let line = body.line;
    let mut flaws = Flaws::default();
    for entry in body.map("`correlation`").map_err(|flaw| vec![flaw])? {
        if !KEYS.contains(&entry.key.as_str()) {
            let near = suggestion(&entry.key, KEYS);
            let message = format!("unknown key {} in `correlation`{near}", quoted(&entry.key));
            flaws.0.push(Flaw { line: entry.line, message });
        }
    }
    let need = |key: &str| match body.get(key) {
        Some(node) => Ok(node),
        None => flaw(line, format!("`{key}` is missing in `correlation`")),
    };
    let optional = |key: &str| body.get(key);
    let by_value = flaws.keep(need("type").and_then(counts_values));
    let rules = flaws.keep(need("rules").and_then(|node| match node.texts("`rules`")? {
        rules if rules.is_empty() => flaw(line, "`rules` is empty in `correlation`"),
        rules => Ok(rules),
    }));
    let group = flaws.keep(optional("group-by").map(group_by).transpose());
    let aliases = flaws.keep(optional("aliases").map(aliases).transpose());
    let span_ms = flaws.keep(need("timespan").and_then(|node| duration(node, "`timespan`")));
    let generate = optional("generate").map(|node| node.bool("`generate`")).transpose();
    let generate = flaws.keep(generate);
    let condition = flaws.keep(need("condition"));
    let threshold = condition.zip(by_value).and_then(|(condition, by_value)| {
        flaws.keep(threshold(condition, by_value)) // what it may say depends on the type
    });
    let correlation = (|| {
        let (at_least, values) = threshold?;
        Some(Correlation {
            rules: rules?,
            group_by: group?.unwrap_or_default(),
            group_line: optional("group-by").map_or(line, |node| node.line),
            aliases: aliases?.unwrap_or_default(),
            span_ms: span_ms?,
            at_least,
            values,
            values_line: condition?.line,
            generate: generate?.unwrap_or_default(),
        })
    })();
    match correlation.filter(|_| flaws.0.is_empty()) {
        Some(correlation) => Ok(correlation),
        None => Err(flaws.0),
    }
}

/// Whether a correlation of this type counts values instead of events.
fn counts_values(kind: &Node) -> Result<bool, Flaw> {
    match kind.text("`type`")?.as_str() {
        "event_count" => Ok(false),
        "value_count" => Ok(true),
        other => {
            let other = quoted(other);
            let known = "event_count and value_count are";
            flaw(kind.line, format!("correlation type {other} is not supported: {known}"))
        }
    }
}

/// The count that must be reached, and the fields whose values are counted.
fn threshold(node: &Node, by_value: bool) -> Result<(u64, Option<Vec<String>>), Flaw> {
    let Value::Map(entries) = &node.value else {
        return flaw(node.line, "`condition` must be like {gte: 10}");
    };
    let mut count = None;
    let mut fields = None;
    for Entry { key, line, node } in entries {
        match key.as_str() {
            "gt" | "gte" if count.is_some() => {
                return flaw(*line, "`condition` has two counts: one is enough");
            }
            "gte" => count = Some(whole(node, "`gte`")?.max(1)),
            "gt" => count = Some(whole(node, "`gt`")?.saturating_add(1)),
            "lt" | "lte" | "eq" | "neq" => {
                let gt = "`gt` and `gte` are";
                return flaw(*line, format!("condition operator `{key}` is not supported: {gt}"));
            }
            "field" if by_value => {
                fields = Some(house::fields(node, "`field`", "to count")?);
            }
            "field" => return flaw(*line, "`field` belongs to `type: value_count`"),
            other => {
                let near = suggestion(other, ["gt", "gte", "field"]);
                let other = quoted(other);
                return flaw(*line, format!("unknown key {other} in `condition`{near}"));
            }
        }
    }
    if by_value && fields.as_ref().is_none_or(Vec::is_empty) {
        return flaw(node.line, "`field` is missing: whose values are counted?");
    }
    match count {
        Some(count) => Ok((count, fields)),
        None => flaw(node.line, "`condition` has neither `gt` nor `gte`"),
    }
}

fn aliases(node: &Node) -> Result<Vec<(usize, String, String, String)>, Flaw> {
    let mut all = Vec::new();
    for alias in node.map("`aliases`")? {
        for rule in alias.node.map("an alias")? {
            let field = rule.node.text("the field of an alias")?;
            all.push((rule.line, alias.key.clone(), rule.key.clone(), field));
        }
    }
    Ok(all)
}
