//! The closed list of topics.

use std::fmt;

/// A topic: its name and whether only the newest value of each key is kept.
///
/// The list is closed ([`ALL`]), so a topic is a small number in files and in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    number: u8,
}

/// How many topics there are.
pub(crate) const COUNT: usize = ALL.len();

const NAMES: [&str; COUNT] = [
    "hubwarden.raw.v1",
    "hubwarden.events.v1",
    "hubwarden.matches.v1",
    "hubwarden.findings.v1",
    "hubwarden.raw.dead.v1",
    "hubwarden.events.dead.v1",
    "hubwarden.ledger.v1",
    "hubwarden.entities.v1",
    "hubwarden.cursors.v1",
    "hubwarden.rules.v1",
];

/// What GitHub sent, byte for byte.
pub const RAW: Topic = Topic { number: 0 };
/// Normalized events.
pub const EVENTS: Topic = Topic { number: 1 };
/// Rules that held for one event.
pub const MATCHES: Topic = Topic { number: 2 };
/// What people read.
pub const FINDINGS: Topic = Topic { number: 3 };
/// Raw records that the normalizer could not read.
pub const RAW_DEAD: Topic = Topic { number: 4 };
/// Events that the detector could not read.
pub const EVENTS_DEAD: Topic = Topic { number: 5 };
/// Counts by connection, feed and hour.
pub const LEDGER: Topic = Topic { number: 6 };
/// Newest known state of every entity (compacted).
pub const ENTITIES: Topic = Topic { number: 7 };
/// Newest cursor of every feed (compacted).
pub const CURSORS: Topic = Topic { number: 8 };
/// Rules, lists and the active rule set (compacted).
pub const RULES: Topic = Topic { number: 9 };

/// Every topic, in the order of its number.
pub const ALL: [Topic; 10] =
    [RAW, EVENTS, MATCHES, FINDINGS, RAW_DEAD, EVENTS_DEAD, LEDGER, ENTITIES, CURSORS, RULES];

impl Topic {
    /// The full name, as it stands on a Kafka cluster (without a prefix).
    pub fn name(&self) -> &'static str {
        NAMES[self.index()]
    }

    /// How many days a cluster keeps a record at least; a compacted topic keeps its newest values for ever.
    pub fn kept_days(&self) -> u32 {
        match *self {
            RAW | MATCHES => 7,
            EVENTS => 3,
            _ => 30,
        }
    }

    /// Whether only the newest value of each key is kept.
    pub fn is_compacted(&self) -> bool {
        *self == ENTITIES || *self == CURSORS || *self == RULES
    }

    /// How many partitions it has on a bus that gives topics so many: all, except that rule sets
    /// have one.
    pub(crate) fn partitions(&self, of_others: u32) -> u32 {
        if *self == RULES { 1 } else { of_others }
    }

    /// The topic of that name.
    pub fn by_name(name: &str) -> Option<Topic> {
        ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// Its place in [`ALL`]; stands in files, so it is never renumbered.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    pub(crate) fn index(&self) -> usize {
        usize::from(self.number)
    }

    pub(crate) fn by_number(number: u8) -> Option<Topic> {
        ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree_with_the_list() {
        for (place, topic) in ALL.into_iter().enumerate() {
            assert_eq!(topic.index(), place);
            assert_eq!(Topic::by_name(topic.name()), Some(topic));
            assert_eq!(Topic::by_number(topic.number()), Some(topic));
        }
        assert_eq!(RAW_DEAD.name(), "hubwarden.raw.dead.v1");
        assert_eq!(Topic::by_number(10), None);
    }
}
