//! The committed, append-only dictionary of field names; a field's id is its line number from 0.
//!
//! Lines are only ever added at the end: records written by an earlier release carry these ids.
//!
//! A release reads the ids that it adds and writes them only from the next release on ([`WRITTEN`]),
//! so that while replicas are upgraded one by one those of the release before can read everything.

use std::collections::HashMap;
use std::sync::LazyLock;

static TEXT: &str = include_str!("../dictionary.txt");

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| TEXT.lines().collect());

static IDS: LazyLock<HashMap<&'static str, u16, foldhash::fast::RandomState>> =
    LazyLock::new(|| NAMES.iter().zip(0..).map(|(name, id)| (*name, id)).collect());

/// Ids below this are written; a field with a higher one is written under its name.
///
/// Raised to the length that the dictionary had in the release before, never further:
/// `tests/tests/upgrade/` holds it to `tests/golden`.
pub const WRITTEN: u16 = 549;

/// The id of a field name, if the dictionary has it.
#[inline]
pub fn id(name: &str) -> Option<u16> {
    IDS.get(name).copied()
}

/// The field name of an id, if this release knows it.
#[inline]
pub fn name(id: u16) -> Option<&'static str> {
    NAMES.get(usize::from(id)).copied()
}

/// How many names there are; ids are below it.
pub fn len() -> usize {
    NAMES.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_one_to_one() {
        assert!(len() > 400 && len() < usize::from(u16::MAX));
        for (number, text) in NAMES.iter().enumerate() {
            assert_eq!(id(text).map(usize::from), Some(number), "{text} stands twice");
            assert!(!text.is_empty() && text.trim() == *text);
        }
        assert_eq!(name(u16::MAX), None);
        assert!(usize::from(WRITTEN) <= len());
    }
}
