use std::path::Path;

use serde_json::Value;

/// Everything that the collector has written to a file of its folder, one JSON object an export.
pub fn arrived(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    // the last line may be half written
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// All objects below `values` in arrays of this name.
pub fn every<'a>(values: &'a [Value], name: &str) -> Vec<&'a Value> {
    fn collect<'a>(value: &'a Value, name: &str, all: &mut Vec<&'a Value>) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    if let (true, Value::Array(items)) = (key == name, member) {
                        all.extend(items);
                    }
                    collect(member, name, all);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, name, all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    values.iter().for_each(|value| collect(value, name, &mut all));
    all
}

/// The text of an attribute of a resource, a span, a link or a log line.
pub fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    let all = of["attributes"].as_array()?;
    all.iter().find(|one| one["key"] == key)?["value"]["stringValue"].as_str()
}

/// Every span that has arrived, with the name of its service.
pub fn spans(folder: &Path) -> Vec<(String, Value)> {
    let exports = arrived(folder, "traces.jsonl");
    let mut all = Vec::new();
    for of_resource in every(&exports, "resourceSpans") {
        let service = attribute(&of_resource["resource"], "service.name").unwrap_or_default();
        let spans = every(std::slice::from_ref(of_resource), "spans");
        all.extend(spans.into_iter().map(|span| (service.to_owned(), span.clone())));
    }
    all
}
