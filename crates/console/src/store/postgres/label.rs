use std::borrow::Cow;

use hubwarden_event::{Finding, Hash, hash_parts};

/// Divides the parts of a label; no part that is kept as it is contains it.
const BETWEEN: &str = "\u{1f}";

/// Longer labels become hashes: PostgreSQL refuses an index entry above 2.7 KB, and strangers choose
/// how long names are.
const LONGEST: usize = 255;

/// A short text for these parts, without control characters; other parts give another text.
pub(super) fn label(parts: &[&str]) -> String {
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    if length > LONGEST || parts.iter().any(|part| part.contains(char::is_control)) {
        return format!("#{}", Hash(hash_parts(parts.iter().map(|part| part.as_bytes()))));
    }
    parts.join(BETWEEN)
}

/// The label of everything with this name.
pub(super) fn named(name: &str) -> String {
    label(&["name", name])
}

/// The label of everything of this kind with this name.
pub(super) fn of_kind(kind: &str, name: &str) -> String {
    label(&["kind", kind, name])
}

/// The label of whoever with this name did something.
pub(super) fn actor(name: &str) -> String {
    label(&["actor", name])
}

/// All labels of a finding.
pub(super) fn labels(finding: &Finding) -> Vec<String> {
    let mut labels = Vec::new();
    for entity in &finding.entities {
        let folded = entity.name.to_lowercase();
        labels.push(named(&folded));
        labels.push(of_kind(&entity.kind, &folded));
        if entity.role == "actor" {
            labels.push(actor(&folded));
        }
    }
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// The text as PostgreSQL can keep it: it has no place for NUL.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_plain_and_differ_as_their_parts_do() {
        let long = "x".repeat(100_000);
        let mut all = Vec::new();
        for parts in [
            ["kind", "a", "b/c"],
            ["kind", "a/b", "c"],
            ["kind", "a\u{1f}b", "c"],
            ["kind", "a", "b\u{1f}c"],
            ["kind", "a", "b\nc"],
            ["kind", "a", "\0"],
            ["kind", "a", &long],
            ["kind", &long, "a"],
        ] {
            let label = label(&parts);
            assert!(label.len() <= LONGEST && !label.contains(['\n', '\0']), "{label}");
            assert!(!all.contains(&label), "{label}");
            all.push(label);
        }
    }
}
