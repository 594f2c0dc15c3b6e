//! Where a reader stands: going elsewhere, committing, and knowing how far it is behind.

use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{Partition as Told, Statistics};

use super::Lag;
use super::context::{is_refusal, offset, unavailable};
use super::lookup::{self, Offsets, PATIENCE, Which};
use super::transactions::{Failed, Transactions};
use super::worker::{Begun, Done, Place, Worker};
use crate::{Error, Positions, Record, Topic};

/// How long a partition may need before it can be read from elsewhere.
const SEEK: Duration = Duration::from_secs(2);

impl Worker {
    /// One past the newest readable record of what is owned.
    pub(super) fn ends(&self) -> Result<Positions, Error> {
        let owned: Vec<_> = self.owned.keys().copied().collect();
        let ends = self.inner.ends(&owned)?;
        let mut positions = Positions::none();
        for ((topic, partition), end) in ends {
            positions.set(topic, partition, end);
        }
        Ok(positions)
    }

    fn oldest(&self, of: &[(Topic, u32)]) -> Result<Offsets, Error> {
        let (names, which) = (&self.inner.names, Which::Oldest);
        let found = lookup::bounds(&self.consumer, names, of, which, PATIENCE);
        found.map_err(|error| self.inner.why("asking where a topic begins", &error))
    }

    /// Reads on from where the stage says.
    pub(super) fn read_from(&mut self, positions: &Positions) -> Result<Begun, Error> {
        let named = positions.iter().map(|(topic, partition, next)| ((topic, partition), next));
        let mine: Offsets = named.filter(|(at, _)| self.owned.contains_key(at)).collect();
        let places: Vec<_> = mine.keys().copied().collect();
        self.check(&places, &mine)?;
        self.seek(&mine)?;
        if let Some(owing) = &mut self.owing {
            owing.retain(|at, _| !mine.contains_key(at));
        }
        Ok(self.begun(&mine))
    }

    /// What the reader is told when reading begins elsewhere.
    fn begun(&self, at: &Offsets) -> Begun {
        Begun { turn: self.turn, at: lookup::positions(at) }
    }

    /// Refuses positions that are not, or no longer, on the bus.
    fn check(&self, places: &[(Topic, u32)], at: &Offsets) -> Result<(), Error> {
        let oldest = self.oldest(places)?;
        let ends = self.inner.ends(places)?;
        for (place @ (topic, _), &position) in at {
            let (oldest, end) = (oldest[place], ends[place]);
            if position > end {
                return Err(Error::Ahead { topic: *topic, position, end });
            }
            if position < oldest {
                return Err(Error::Gone { topic: *topic, position, oldest });
            }
        }
        Ok(())
    }

    fn seek(&mut self, to: &Offsets) -> Result<(), Error> {
        let doing = "reading from elsewhere";
        if to.is_empty() {
            return Ok(());
        }
        let failed = |error: KafkaError| unavailable(doing, &error);
        let places = to.iter().map(|(at, next)| (*at, offset(*next)));
        let places = lookup::list(&self.inner.names, places).map_err(failed)?;
        let deadline = Instant::now() + SEEK;
        loop {
            let ended = self.consumer.seek_partitions(places.clone(), PATIENCE).map_err(failed)?;
            if ended.elements().iter().all(|element| element.error().is_ok()) {
                break;
            }
            // A partition that was just gained is still being started.
            if Instant::now() > deadline {
                // One that stood where nothing is kept was given up; it has to be started anew.
                self.consumer.incremental_unassign(&places).map_err(failed)?;
                self.consumer.incremental_assign(&places).map_err(failed)?;
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.consumer.resume(&places).map_err(failed)?;
        self.forget(|at| to.contains_key(at));
        for (at, next) in to {
            if let Some(place) = self.owned.get_mut(at) {
                *place = Place { next: Some(*next), stored: place.stored, ..Place::default() };
            }
        }
        self.turn += 1;
        Ok(())
    }

    pub(super) fn commit(&mut self, outputs: &[Record], consumed: &Positions) -> Done {
        let result = self.try_commit(outputs, consumed);
        let rewound = match &result {
            Err(Error::Reassigned { .. }) => self.rewind(),
            _ => None,
        };
        Done { result, rewound }
    }

    fn try_commit(&mut self, outputs: &[Record], consumed: &Positions) -> Result<(), Error> {
        let mut offsets = Offsets::new();
        for (topic, partition, position) in consumed.iter() {
            let at = (topic, partition);
            let Some(place) = self.owned.get(&at) else {
                let reason = format!("{topic} {partition} belongs to another member");
                return Err(Error::Reassigned { reason });
            };
            if place.next.is_none_or(|next| position > next) {
                let end = self.inner.ends(&[at])?[&at];
                if position > end {
                    return Err(Error::Ahead { topic, position, end });
                }
            }
            // Behind the last record may lie marks that were passed meanwhile.
            let passed = place.next.filter(|_| place.read_end == Some(position));
            offsets.insert(at, passed.unwrap_or(position));
        }
        let doing = "a commit";
        let list = offsets.iter().map(|(at, position)| (*at, offset(*position)));
        let list = lookup::list(&self.inner.names, list);
        let list = list.map_err(|error| unavailable(doing, &error))?;
        if outputs.is_empty() {
            let stored = self.consumer.commit(&list, CommitMode::Sync);
            stored.map_err(|error| not_stored(&error))?;
        } else {
            let group = self.consumer.group_metadata().ok_or_else(|| Error::Unavailable {
                doing,
                reason: "the group has not been joined".to_owned(),
            })?;
            if self.transactions.is_none() {
                let name = self.inner.names.group(&self.stage);
                self.transactions = Some(Transactions::new(&self.inner.settings, &name)?);
            }
            let Some(transactions) = &mut self.transactions else {
                unreachable!("it was made just now")
            };
            let consumed = (!offsets.is_empty()).then_some((list, group));
            let ended = transactions.run(&self.inner.names, outputs, consumed);
            self.inner.counts.transaction(ended.is_ok());
            ended.map_err(|failed| match failed {
                Failed::NotBegun(reason) => Error::Unavailable { doing, reason },
                Failed::TakenBack(reason) => Error::Reassigned { reason },
                Failed::Fatal(reason) => Error::Fatal { doing, reason },
            })?;
        }
        for (at, position) in offsets {
            if let Some(place) = self.owned.get_mut(&at) {
                place.stored = Some(position);
            }
        }
        Ok(())
    }

    /// Goes back to the stored positions; a stage that keeps its own decides for itself.
    fn rewind(&mut self) -> Option<Begun> {
        if self.keeps {
            return None;
        }
        let stored = self.owned.iter().filter_map(|(at, place)| Some((*at, place.stored?)));
        let stored: Offsets = stored.collect();
        self.forget(|_| true);
        self.turn += 1;
        let begun = self.begun(&stored);
        self.owing = Some(stored);
        Some(begun)
    }

    /// Goes back where it owes that: reading on from where it stands would pass records over.
    pub(super) fn go_back(&mut self) -> Result<(), Error> {
        if let Some(owing) = self.owing.take()
            && let Err(error) = self.seek(&owing)
        {
            self.owing = Some(owing);
            return Err(error);
        }
        Ok(())
    }

    /// Moves behind marks of transactions, where nothing else is left to read.
    ///
    /// They take positions but are no records, so a reader that has read everything would seem to
    /// be behind for ever.
    pub(super) fn settle(&mut self) -> bool {
        let Some((figures, made)) = self.figures.take() else { return false };
        let mut moved = Offsets::new();
        let mut passed = false;
        for (at, place) in &mut self.owned {
            let told = partition(&figures, self.inner.names.of(at.0), at.1);
            let Some(behind) = told.and_then(|told| behind_marks(place, told, made)) else {
                continue;
            };
            if place.stored == place.next || place.stored == place.read_end {
                place.stored = Some(behind);
                moved.insert(*at, behind);
            }
            place.next = Some(behind);
            passed = true;
        }
        if !moved.is_empty() {
            let list = moved.iter().map(|(at, next)| (*at, offset(*next)));
            let list = lookup::list(&self.inner.names, list);
            let stored = list.and_then(|list| self.consumer.commit(&list, CommitMode::Async));
            if let Err(error) = stored {
                tracing::debug!(%error, "positions behind marks were not stored");
            }
        }
        passed
    }

    /// How far behind the stage is on what is owned.
    pub(super) fn lag(&self, figures: &Statistics) -> Vec<Lag> {
        let now = crate::memory::now_ms();
        let lag = self.owned.iter().filter_map(|(&(topic, number), place)| {
            let found = partition(figures, self.inner.names.of(topic), number)?;
            // Not the end of what is readable: what waits for a transaction is not consumed either.
            let end = u64::try_from(found.hi_offset).ok()?;
            let position = place.stored.or(place.next)?;
            let waited = place.appended_at_ms.filter(|_| end > position).map(|at| now - at);
            let behind = Duration::from_millis(u64::try_from(waited.unwrap_or(0)).unwrap_or(0));
            let stage = self.stage.clone();
            Some(Lag { stage, topic, partition: number, position, end, behind })
        });
        lag.collect()
    }

    /// What an error of a poll means for the stage; nothing when the client mends it itself.
    pub(super) fn why(&mut self, error: &KafkaError) -> Option<Error> {
        let doing = "reading";
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Some(Error::Fatal { doing, reason: code.to_string() });
        }
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
            ) => {
                let stands = self.positions();
                let stands = stands.iter().map(|(topic, number, next)| ((topic, number), next));
                let stands: Offsets = stands.collect();
                let places: Vec<_> = stands.keys().copied().collect();
                // The client has given the partition up. A broker that starts may refuse for a
                // moment what it has: then reading goes on from the same place.
                self.check(&places, &stands).and_then(|()| self.seek(&stands)).err()
            }
            Some(code) if is_refusal(code) => Some(unavailable(doing, error)),
            _ => {
                tracing::debug!(%error, stage = self.stage, "reading on");
                None
            }
        }
    }
}

/// Where a reader stands when it passes marks; nothing when a record may lie before that place.
///
/// What the client says that it has fetched was in its queue before it said so, and it looks at the
/// length of its queue after: when that is empty, everything it has fetched had been handed to the
/// thread of the reader. That a poll brings no record proves nothing: one that had to work on an
/// event may come back without, and late.
fn behind_marks(place: &Place, told: &Told, made: Instant) -> Option<u64> {
    let fetched = u64::try_from(told.next_offset).ok()?;
    // What the client says may be of before reading began here, until a record came.
    let is_of_now = place.read_at.map_or(place.fresh, |read_at| made > read_at);
    let passes = place.next.is_some_and(|next| fetched > next);
    (is_of_now && passes && told.fetchq_cnt == 0).then_some(fetched)
}

fn partition<'a>(figures: &'a Statistics, topic: &str, number: u32) -> Option<&'a Told> {
    figures.topics.get(topic)?.partitions.get(&i32::try_from(number).ok()?)
}

/// Why the group did not take positions.
fn not_stored(error: &KafkaError) -> Error {
    use RDKafkaErrorCode as Is;
    match error.rdkafka_error_code() {
        Some(
            Is::IllegalGeneration
            | Is::UnknownMemberId
            | Is::RebalanceInProgress
            | Is::AssignmentLost,
        ) => Error::Reassigned { reason: error.to_string() },
        Some(Is::FencedInstanceId) => Error::Fatal { doing: "a commit", reason: error.to_string() },
        _ => unavailable("a commit", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_marks_only_when_every_record_before_was_handed_over() {
        let read_at = Instant::now();
        let later = read_at + Duration::from_millis(1);
        let place = || Place { next: Some(5), read_at: Some(read_at), ..Place::default() };
        let told = |next_offset, fetchq_cnt| Told { next_offset, fetchq_cnt, ..Told::default() };
        assert_eq!(behind_marks(&place(), &told(7, 0), later), Some(7));
        assert_eq!(behind_marks(&place(), &told(7, 1), later), None, "a record is in the queue");
        assert_eq!(behind_marks(&place(), &told(5, 0), later), None, "it stands there");
        assert_eq!(behind_marks(&place(), &told(-1001, 0), later), None, "nothing was fetched");
        assert_eq!(behind_marks(&place(), &told(7, 0), read_at), None, "said before the record");
        let begun = |fresh| Place { read_at: None, fresh, ..place() };
        assert_eq!(behind_marks(&begun(false), &told(7, 0), later), None, "perhaps of before");
        assert_eq!(behind_marks(&begun(true), &told(7, 0), later), Some(7));
    }
}
