use std::collections::BTreeMap;

use serde::Serialize;

/// More different names than this are counted without being told apart.
const MAX_NAMES: usize = 1_000;
/// A longer name is cut here.
const MAX_NAME_BYTES: usize = 128;

/// How often each name was met, bounded because senders choose the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NameCounts {
    /// The first 1,000 names.
    pub names: BTreeMap<String, u64>,
    /// All further names together.
    pub others: u64,
}

impl NameCounts {
    /// Counts a name once.
    pub(crate) fn count(&mut self, name: &str) {
        self.add(&name[..name.floor_char_boundary(MAX_NAME_BYTES)], 1);
    }

    fn add(&mut self, name: &str, times: u64) {
        if let Some(count) = self.names.get_mut(name) {
            *count += times;
        } else if self.names.len() < MAX_NAMES {
            self.names.insert(name.into(), times);
        } else {
            self.others += times;
        }
    }

    /// All names together.
    pub fn total(&self) -> u64 {
        self.names.values().sum::<u64>() + self.others
    }

    fn merge(&mut self, other: Self) {
        for (name, times) in other.names {
            self.add(&name, times);
        }
        self.others += other.others;
    }
}

/// What was met while normalizing, repeats included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records that became events.
    pub events: u64,
    /// Records that became dead letters.
    pub rejected: u64,
    /// Events dropped because the same run had brought them before; part of `events`.
    pub repeats: u64,
    /// Actions that are not in the catalogue.
    pub unknown_actions: NameCounts,
    /// Top-level fields that are not in the dictionary.
    pub unknown_fields: NameCounts,
    /// Times that came in seconds and were converted.
    pub seconds_converted: u64,
    /// Events whose time is more than five minutes after they were received.
    pub suspect_times: u64,
    /// Keys that stood in the same object again later; the last value counts.
    pub duplicate_keys: u64,
    /// Nested values left out because a flat dotted key of that name stood beside them.
    pub shadowed_values: u64,
    /// Top-level fields left out because their name is reserved for Hubwarden (`hw.`).
    pub reserved_fields: u64,
    /// Events that lost a field or the end of a value to the size limits.
    pub truncated: u64,
}

impl Counts {
    /// Adds what somebody else counted.
    pub fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.rejected += other.rejected;
        self.repeats += other.repeats;
        self.unknown_actions.merge(other.unknown_actions);
        self.unknown_fields.merge(other.unknown_fields);
        self.seconds_converted += other.seconds_converted;
        self.suspect_times += other.suspect_times;
        self.duplicate_keys += other.duplicate_keys;
        self.shadowed_values += other.shadowed_values;
        self.reserved_fields += other.reserved_fields;
        self.truncated += other.truncated;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_none_is_lost() {
        let mut counts = NameCounts::default();
        for number in 0..MAX_NAMES + 10 {
            counts.count(&format!("field_{number}"));
            counts.count("field_0");
        }
        counts.count(&"é".repeat(1_000_000));
        assert_eq!(counts.names.len(), MAX_NAMES);
        assert_eq!(counts.others, 11);
        let total = counts.total();
        let mut merged = counts.clone();
        merged.merge(counts);
        assert_eq!(merged.total(), 2 * total);
    }
}
