use super::codec::{Reader, StateError, Writer};

/// More intervals than this are not remembered: forgetting one costs a second look, never a result.
const MAX_INTERVALS: usize = 1024;

/// A set of times as disjoint closed intervals in order, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// Adds `[from, to]` and returns the parts of it that were not in the set.
    pub(super) fn add(&mut self, from: i64, to: i64) -> Vec<(i64, i64)> {
        // The intervals that touch [from, to] or lie beside it become one.
        let first = self.0.partition_point(|held| held.1 < from.saturating_sub(1));
        let beyond = self.0.partition_point(|held| held.0 <= to.saturating_add(1));
        let (mut start, mut end, mut next) = (from, to, from);
        let mut fresh = Vec::new();
        for held in &self.0[first..beyond] {
            if next < held.0 && next <= to {
                fresh.push((next, to.min(held.0.saturating_sub(1))));
            }
            next = next.max(held.1.saturating_add(1));
            start = start.min(held.0);
            end = end.max(held.1);
        }
        if next <= to {
            fresh.push((next, to));
        }
        self.0.splice(first..beyond, [(start, end)]);
        if self.0.len() > MAX_INTERVALS {
            self.0.remove(0);
        }
        fresh
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u32(self.0.len() as u32);
        for (from, to) in &self.0 {
            out.i64(*from);
            out.i64(*to);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.u32()? as usize;
        if count > MAX_INTERVALS {
            return Err(StateError::Damaged("too many intervals"));
        }
        (0..count).map(|_| Ok((reader.i64()?, reader.i64()?))).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_a_set_and_tells_what_is_new(
            adds in prop::collection::vec((0i64..60, 0i64..12), 1..20),
        ) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (from, length) in adds {
                let fresh = ranges.add(from, from + length);
                let fresh: BTreeSet<i64> = fresh.into_iter().flat_map(|(a, b)| a..=b).collect();
                let all: BTreeSet<i64> = (from..=from + length).collect();
                prop_assert_eq!(&fresh, &all.difference(&set).copied().collect());
                set.extend(all);
                let held: BTreeSet<i64> = ranges.0.iter().flat_map(|(a, b)| *a..=*b).collect();
                prop_assert_eq!(&held, &set);
                prop_assert!(ranges.0.windows(2).all(|two| two[0].1 + 1 < two[1].0));
            }
        }
    }

    #[test]
    fn forgets_the_oldest_interval_beyond_the_limit() {
        let mut ranges = Ranges::default();
        for time in 0..=MAX_INTERVALS as i64 {
            ranges.add(time * 10, time * 10);
        }
        assert_eq!(ranges.0.len(), MAX_INTERVALS);
        assert_eq!(ranges.add(0, 0), [(0, 0)]);
        assert_eq!(ranges.add(10, 10), []);
    }
}
