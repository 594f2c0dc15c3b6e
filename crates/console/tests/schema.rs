//! The published JSON Schema says what findings look like, no more and no less.
#![allow(missing_docs, clippy::unwrap_used)]

mod samples;

use hubwarden_event::{EntityRef, Finding, Reason, Timestamp};
use serde_json::Value;

const SCHEMA: &str = include_str!("../../../docs/finding.schema.json");
const NOW: Timestamp = Timestamp::from_millis(1_741_611_463_961);

/// The first thing that the schema does not allow, by its path. Knows the keywords that the schema
/// uses and fails at others, so that none is silently passed over.
fn check(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let place = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(place).unwrap(), value, path)?;
                true
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is))
            }
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => {
                let pattern = regex::Regex::new(wanted.as_str().unwrap()).unwrap();
                value.as_str().is_some_and(|text| pattern.is_match(text))
            }
            "format" => {
                assert_eq!(wanted, "date-time");
                value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok())
            }
            "minimum" => value.as_u64() >= wanted.as_u64(),
            "maxItems" => value.as_array().unwrap().len() as u64 <= wanted.as_u64().unwrap(),
            "required" => {
                let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                wanted.as_array().unwrap().iter().all(has)
            }
            "additionalProperties" => {
                assert_eq!(wanted, false);
                let known = schema["properties"].as_object().unwrap();
                value.as_object().unwrap().keys().all(|name| known.contains_key(name))
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(root, schema, value, &format!("{path}/{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (place, item) in value.as_array().unwrap().iter().enumerate() {
                    check(root, wanted, item, &format!("{path}/{place}"))?;
                }
                true
            }
            other => panic!("the check does not know keyword {other}"),
        };
        if !holds {
            return Err(format!("{path} breaks {keyword}"));
        }
    }
    Ok(())
}

fn judge(value: &Value) -> Result<(), String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    check(&schema, &schema, value, "")
}

/// A finding in which everything optional is there.
fn complete() -> Finding {
    let mut finding = samples::finding(9, NOW);
    finding.rule.id = Some("8a5b0a5e-7a0f-4d0c-8f7e-1d2c3b4a5f60".into());
    finding.reason.push(Reason {
        condition: "more than usual".into(),
        field: "repo".into(),
        value: "34".into(),
        threshold: Some("20".into()),
        usual: Some("3".into()),
    });
    finding.entities.push(EntityRef {
        role: "target".into(),
        kind: "repo".into(),
        id: Some("42".into()),
        name: "octo/app".into(),
    });
    finding
}

#[test]
fn every_finding_is_valid() {
    for finding in samples::many(64, NOW).iter().chain([&complete()]) {
        judge(&serde_json::to_value(finding).unwrap()).unwrap();
    }
}

/// Every name in the schema is one that a finding has: the other half of `additionalProperties`.
#[test]
fn the_schema_names_nothing_else() {
    fn compare(schema: &Value, value: &Value, path: &str) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, schema) in properties {
                let value =
                    value.get(name).unwrap_or_else(|| panic!("no finding has {path}/{name}"));
                compare(schema, value, &format!("{path}/{name}"));
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            let fullest = values.iter().max_by_key(|one| one.as_object().map_or(0, |o| o.len()));
            compare(items, fullest.unwrap(), &format!("{path}/0"));
        }
    }
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    compare(&schema, &serde_json::to_value(complete()).unwrap(), "");
}

#[test]
fn what_differs_is_refused() {
    for (path, value, error) in [
        ("/severity", Value::from("info"), "/severity breaks enum"),
        ("/count", Value::from("1"), "/count breaks"),
        ("/first_seen", Value::from("yesterday"), "/first_seen breaks format"),
        ("/id", Value::from("F-1"), "/id breaks pattern"),
        ("/rule/attack/0", Value::Null, "/rule/attack/0 breaks type"),
        (
            "/evidence/0/position/offset",
            Value::from(-1),
            "/evidence/0/position/offset breaks minimum",
        ),
    ] {
        let mut finding = serde_json::to_value(complete()).unwrap();
        *finding.pointer_mut(path).unwrap() = value;
        let found = judge(&finding).unwrap_err();
        assert!(found.starts_with(error), "{found}");
    }
    let mut finding = serde_json::to_value(complete()).unwrap();
    finding["surprise"] = Value::Null;
    assert_eq!(judge(&finding).unwrap_err(), " breaks additionalProperties");
    let mut finding = serde_json::to_value(complete()).unwrap();
    finding.as_object_mut().unwrap().remove("sentence");
    assert_eq!(judge(&finding).unwrap_err(), " breaks required");
}
