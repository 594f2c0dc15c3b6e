use std::sync::LazyLock;

use serde::Serialize;

use crate::action;
use crate::table::{Index, nearest, rows};

/// What a field's values are, where GitHub or samples tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// A text.
    Text,
    /// A whole number; re-exporters send it as text too.
    Integer,
    /// True or false; GitHub Enterprise Server sends `"True"` and `"False"`.
    Bool,
    /// Milliseconds since 1970.
    Millis,
    /// A time in another form, mostly RFC 3339.
    Time,
    /// An IPv4 or IPv6 address.
    Address,
    /// An object, whose members are fields under dotted names.
    Object,
    /// An array.
    List,
}

impl FieldKind {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "integer" => Self::Integer,
            "bool" => Self::Bool,
            "millis" => Self::Millis,
            "time" => Self::Time,
            "address" => Self::Address,
            "object" => Self::Object,
            "list" => Self::List,
            _ => return None,
        })
    }
}

/// On which actions a field is to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldSet {
    /// On every action, says GitHub.
    Every,
    /// Optional on most actions.
    Common,
    /// Met in samples or described beside the list.
    Seen,
    /// Only on the actions that name it.
    Listed,
}

/// One field of audit events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Field {
    /// GitHub's name, dotted for members of objects.
    pub name: &'static str,
    /// Where it is to be expected.
    pub set: FieldSet,
    /// What its values are, where known.
    pub kind: Option<FieldKind>,
}

static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
    rows(include_str!("../data/fields.tsv"), ["name", "set", "kind"])
        .map(|[name, set, kind]| Field {
            name,
            set: match set {
                "every" => FieldSet::Every,
                "common" => FieldSet::Common,
                "seen" => FieldSet::Seen,
                _ => FieldSet::Listed,
            },
            kind: FieldKind::from_name(kind),
        })
        .collect()
});

static BY_NAME: LazyLock<Index<&'static Field>> =
    LazyLock::new(|| FIELDS.iter().map(|field| (field.name, field)).collect());

/// All fields: those of every action, common ones, seen ones, then those of single actions.
pub fn fields() -> &'static [Field] {
    &FIELDS
}

/// The names of all fields.
pub fn field_names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// What is known of a field; nothing does not mean that it cannot occur.
pub fn field(name: &str) -> Option<&'static Field> {
    BY_NAME.get(name).copied()
}

/// The fields that events of a published action may carry; none for an unpublished action.
pub fn fields_of(name: &str) -> Option<impl Iterator<Item = &'static Field>> {
    let own = action(name)?.fields.iter().filter_map(|field_name| field(field_name));
    let shared = FIELDS.iter().filter(|field| field.set != FieldSet::Listed);
    // A field of the action may be one of the seen ones too.
    Some(shared.chain(own.filter(|field| field.set == FieldSet::Listed)))
}

/// The field that a misspelled name most likely means.
pub fn nearest_field(name: &str) -> Option<&'static str> {
    nearest(name, field_names())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions;

    #[test]
    fn every_field_that_an_action_names_is_in_the_table() {
        assert_eq!(fields().len(), BY_NAME.len(), "no name stands twice");
        for action in actions() {
            for name in &action.fields {
                assert!(field(name).is_some(), "{name} of {}", action.name);
            }
        }
        let count = |set| fields().iter().filter(|field| field.set == set).count();
        assert_eq!((count(FieldSet::Every), count(FieldSet::Common)), (22, 8));
    }

    #[test]
    fn every_type_in_the_table_is_one_we_know() {
        for [name, _, kind] in rows(include_str!("../data/fields.tsv"), ["name", "set", "kind"]) {
            assert!(kind.is_empty() || FieldKind::from_name(kind).is_some(), "{name}: {kind}");
        }
        for (name, kind) in [
            ("@timestamp", Some(FieldKind::Millis)),
            ("actor_id", Some(FieldKind::Integer)),
            ("_document_id", Some(FieldKind::Text)),
            ("actor_ip", Some(FieldKind::Address)),
            ("enforcement_level", None),
        ] {
            assert_eq!(field(name).unwrap().kind, kind, "{name}");
        }
    }

    #[test]
    fn an_action_has_the_shared_fields_and_its_own() {
        let names: Vec<_> = fields_of("api.request").unwrap().map(|field| field.name).collect();
        for name in ["action", "created_at", "actor_ip", "url_path"] {
            assert!(names.contains(&name), "{name}");
        }
        assert!(!names.contains(&"ghsa_id"));
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "no field is named twice");
        assert!(fields_of("no.such").is_none());
        assert_eq!(nearest_field("visibilty"), Some("visibility"));
    }
}
