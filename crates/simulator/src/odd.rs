//! Odd values: what real logs contain now and then and readers stumble over.

use serde_json::{Map, Value, json};

use crate::life::mix;

/// How many oddities there are.
pub const KINDS: u64 = 12;

/// Gives `per_mille` of a thousand events one oddity, chosen by its content, so the same event is always odd alike.
///
/// `@timestamp`, `_document_id` and `action` stay readable, except that one kind renames the action to an unknown one.
pub fn twist(json: &[u8], per_mille: u64) -> Option<Vec<u8>> {
    let hash = mix(json.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    }));
    if hash % 1000 >= per_mille {
        return None;
    }
    twist_as(json, hash / 1000 % KINDS)
}

/// The event with oddity `kind` (modulo [`KINDS`]); `None` when it is not a JSON object.
pub fn twist_as(json: &[u8], kind: u64) -> Option<Vec<u8>> {
    let mut event: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let mut set = |name: &str, value: Value| {
        event.insert(name.to_owned(), value);
    };
    match kind % KINDS {
        0 => set("actor_ip", Value::Null),
        1 => set("user_agent", json!("")),
        2 => set("actor_id", json!(0)),
        3 => {
            event.remove("actor");
        }
        4 => numbers_as_texts(&mut event),
        5 => {
            for name in ["org", "org_id"] {
                if let Some(value) = event.remove(name) {
                    event.insert(name.to_owned(), json!([value]));
                }
            }
        }
        6 => set("action", json!("quantum_vault.entangle")),
        7 => {
            set("brand_new_field", json!({"depth": {"of": ["nested", 1, null, true]}}));
            set("another.dotted.field", json!(1.5));
        }
        8 => set(
            "user_agent",
            json!("git/2.0\u{1b}[31m\u{0}\u{7}\r\n\u{202e}<script>alert(1)</script>"),
        ),
        9 => set("user_agent", json!("x".repeat(1 << 20))),
        10 => set("actor_location", json!({"country_code": "", "country_name": "", "city": ""})),
        _ => {
            event.remove("created_at");
            event.remove("business");
        }
    }
    serde_json::to_vec(&event).ok()
}

fn numbers_as_texts(event: &mut Map<String, Value>) {
    for (name, value) in event.iter_mut() {
        if let (Value::Number(number), true) = (&*value, name != "@timestamp") {
            *value = Value::String(number.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = br#"{"@timestamp":5,"_document_id":"x","action":"git.push","actor":"a","actor_id":3,"actor_ip":"192.0.2.1",
        "org":"o","org_id":2,"business":"b","created_at":5,"user_agent":"git"}"#;

    #[test]
    fn every_kind_changes_the_event_and_keeps_its_identity() {
        let before: Value = serde_json::from_slice(EVENT).unwrap();
        for kind in 0..KINDS {
            let after: Value = serde_json::from_slice(&twist_as(EVENT, kind).unwrap()).unwrap();
            assert_ne!(after, before, "kind {kind}");
            assert_eq!(
                (&after["@timestamp"], &after["_document_id"]),
                (&before["@timestamp"], &before["_document_id"])
            );
        }
    }

    #[test]
    fn the_share_decides() {
        let odd = |per_mille| {
            let events = (0..2000).map(|n| format!(r#"{{"@timestamp":{n},"action":"a.b"}}"#));
            events.filter(|event| twist(event.as_bytes(), per_mille).is_some()).count()
        };
        assert_eq!((odd(0), odd(1000)), (0, 2000));
        assert!((100..300).contains(&odd(100)), "{}", odd(100));
    }
}
