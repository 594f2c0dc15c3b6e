//! Where a reader stands.

use std::collections::BTreeMap;

use crate::Topic;

/// The next position to read, for each topic and partition that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<(Topic, u32), u64>);

impl Positions {
    /// Names no topic at all.
    pub fn none() -> Positions {
        Positions::default()
    }

    /// Names one topic and partition.
    pub fn of(topic: Topic, partition: u32, next: u64) -> Positions {
        let mut positions = Positions::none();
        positions.set(topic, partition, next);
        positions
    }

    /// The next position to read there, if it is named.
    pub fn get(&self, topic: Topic, partition: u32) -> Option<u64> {
        self.0.get(&(topic, partition)).copied()
    }

    /// Names the next position to read there, whatever stood before.
    pub fn set(&mut self, topic: Topic, partition: u32, next: u64) {
        self.0.insert((topic, partition), next);
    }

    /// Takes the higher position of both, for each topic and partition that either names.
    pub fn merge(&mut self, other: &Positions) {
        for (topic, partition, next) in other.iter() {
            let mine = self.0.entry((topic, partition)).or_insert(next);
            *mine = next.max(*mine);
        }
    }

    /// Everything that is named, by topic, then partition.
    pub fn iter(&self) -> impl Iterator<Item = (Topic, u32, u64)> + '_ {
        self.0.iter().map(|(&(topic, partition), &next)| (topic, partition, next))
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what `other` names as it stands, lower positions too.
    pub(crate) fn overwrite(&mut self, other: &Positions) {
        self.0.extend(&other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{EVENTS, RAW};

    #[test]
    fn merge_keeps_the_higher_position() {
        let mut positions = Positions::of(RAW, 0, 5);
        positions.set(EVENTS, 0, 1);
        let mut other = Positions::of(RAW, 0, 3);
        other.set(EVENTS, 0, 2);
        other.set(RAW, 1, 9);
        positions.merge(&other);
        let all: Vec<_> = positions.iter().collect();
        assert_eq!(all, [(RAW, 0, 5), (RAW, 1, 9), (EVENTS, 0, 2)]);
    }
}
