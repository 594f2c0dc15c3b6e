use std::collections::BTreeSet;

use hubwarden_event::{EntityRef, Finding};
use serde_json::Value;

/// A finding names at most so many things.
const LIMIT: usize = 50;

/// Role, kind, and the fields with name and number of each thing that an audit event names.
const PARTS: [(&str, &str, &[&str], &str); 9] = [
    ("actor", "user", &["actor"], "actor_id"),
    ("subject", "user", &["user"], "user_id"),
    ("target", "repo", &["repo", "repository"], "repo_id"),
    ("target", "team", &["team"], "team_id"),
    ("scope", "org", &["org"], "org_id"),
    ("scope", "enterprise", &["business"], "business_id"),
    ("origin", "address", &["actor_ip"], ""),
    ("credential", "token", &["hashed_token"], "token_id"),
    ("target", "app", &["integration", "application_name"], "oauth_application_id"),
];

/// Fills in who and what a finding is about, from its evidence.
pub(crate) fn fill(finding: &mut Finding) {
    let mut entities = BTreeSet::new();
    for evidence in &finding.evidence {
        for (role, kind, names, id) in PARTS {
            for name in
                names.iter().filter_map(|field| evidence.record.get(*field)).flat_map(texts).take(5)
            {
                let id = evidence.record.get(id).into_iter().flat_map(texts).next();
                entities.insert(EntityRef { role: role.into(), kind: kind.into(), id, name });
                if names.len() > 1 {
                    break; // `repo` and `repository` are one thing
                }
            }
        }
    }
    finding.entities = entities.into_iter().take(LIMIT).collect();
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text.clone()],
        Value::Number(number) if number.as_i64() != Some(0) => vec![number.to_string()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
