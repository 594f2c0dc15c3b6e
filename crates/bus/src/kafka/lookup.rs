//! Questions that a cluster answers: where topics end, where stages stand, single records.
//!
//! All of them block, so the handle asks them off the async threads.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::Inner;
use super::context::{AskContext, is_refusal, number, offset, unavailable};
use super::settings::{Names, Settings};
use crate::{Delivered, Error, Member, Positions, Topic};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);

/// How long what was written may need before it can be read.
const SETTLED: Duration = Duration::from_secs(2);

/// How long a walk may stand; the transaction of a member that is gone may have to end first.
const WALK: Duration = Duration::from_secs(40);

/// How many events of the client are heard at once.
const EVENTS: usize = 64;

/// A place on each of some partitions.
pub(super) type Offsets = BTreeMap<(Topic, u32), u64>;

/// Which end of a partition is asked for.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// The oldest record that is kept.
    Oldest,
    /// One past the newest that is readable.
    End,
}

/// A client that asks; with a group it can ask for that group's positions.
pub(super) fn client(
    settings: &Settings,
    group: Option<&str>,
) -> Result<BaseConsumer<AskContext>, Error> {
    let mut config = settings.reading();
    if let Some(group) = group {
        config.set("group.id", group);
    }
    create(&config)
}

/// A client that also sees what may still be taken back.
pub(super) fn client_of_written(settings: &Settings) -> Result<BaseConsumer<AskContext>, Error> {
    let mut config = settings.reading();
    config.set("isolation.level", "read_uncommitted");
    create(&config)
}

fn create(config: &rdkafka::ClientConfig) -> Result<BaseConsumer<AskContext>, Error> {
    config
        .create_with_context(AskContext::default())
        .map_err(|error| Error::Settings { reason: format!("the Kafka client says: {error}") })
}

/// One end of each of these partitions, in one round; again while leaders change.
pub(super) fn bounds<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &Names,
    of: &[(Topic, u32)],
    which: Which,
    patience: Duration,
) -> KafkaResult<Offsets> {
    let deadline = Instant::now() + patience;
    loop {
        let error = match bounds_once(consumer, names, of, which, patience) {
            Ok(bounds) => return Ok(bounds),
            Err(error) => error,
        };
        let refused = error.rdkafka_error_code().is_some_and(is_refusal);
        if refused || Instant::now() + AGAIN > deadline {
            return Err(error);
        }
        std::thread::sleep(AGAIN);
    }
}

fn bounds_once<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &Names,
    of: &[(Topic, u32)],
    which: Which,
    patience: Duration,
) -> KafkaResult<Offsets> {
    if of.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked = match which {
        Which::Oldest => Offset::Beginning,
        Which::End => Offset::End,
    };
    let list = list(names, of.iter().map(|at| (*at, asked)))?;
    let bounds = offsets(names, &consumer.offsets_for_times(list, patience)?)?;
    match of.iter().all(|at| bounds.contains_key(at)) {
        true => Ok(bounds),
        false => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::Partial)),
    }
}

/// What an answer says, where it says something.
fn offsets(names: &Names, answer: &TopicPartitionList) -> KafkaResult<Offsets> {
    let mut offsets = Offsets::new();
    for element in answer.elements() {
        element.error()?;
        if let (Some(at), Offset::Offset(offset)) =
            (place(names, element.topic(), element.partition()), element.offset())
        {
            offsets.insert(at, u64::try_from(offset).unwrap_or(0));
        }
    }
    Ok(offsets)
}

/// The stored positions of the client's group, for those that have one.
pub(super) fn stored<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &Names,
    of: &[(Topic, u32)],
    patience: Duration,
) -> KafkaResult<Offsets> {
    let list = list(names, of.iter().map(|at| (*at, Offset::Invalid)))?;
    offsets(names, &consumer.committed_offsets(list, patience)?)
}

/// A list for the client.
pub(super) fn list(
    names: &Names,
    of: impl IntoIterator<Item = ((Topic, u32), Offset)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in of {
        list.add_partition_offset(names.of(topic), number(partition), offset)?;
    }
    Ok(list)
}

fn place(names: &Names, topic: &str, partition: i32) -> Option<(Topic, u32)> {
    Some((names.topic(topic)?, u32::try_from(partition).ok()?))
}

/// What a member has been given, by Kafka's own format of it: nothing while that is being decided.
fn owned(names: &Names, mut assignment: &[u8]) -> Vec<(Topic, u32)> {
    let mut owned = Vec::new();
    // What is cut short, or of a format that is not known, says as much as stands before that.
    let _ = read_assignment(names, &mut assignment, &mut owned);
    owned.sort_unstable();
    owned
}

fn read_assignment(names: &Names, from: &mut &[u8], owned: &mut Vec<(Topic, u32)>) -> Option<()> {
    let _version = from.split_off(..2)?;
    for _ in 0..read_i32(from)? {
        let length = i16::from_be_bytes(from.split_off(..2)?.try_into().ok()?);
        let name = std::str::from_utf8(from.split_off(..usize::try_from(length).ok()?)?).ok()?;
        for _ in 0..read_i32(from)? {
            owned.extend(place(names, name, read_i32(from)?));
        }
    }
    Some(())
}

fn read_i32(from: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(from.split_off(..4)?.try_into().ok()?))
}

/// A message as a record.
pub(super) fn delivered(names: &Names, message: &BorrowedMessage<'_>) -> Option<Delivered> {
    let (topic, partition) = place(names, message.topic(), message.partition())?;
    // The binding panics at a header whose name is not UTF-8: ours are, a foreign record's may not.
    let headers = std::panic::AssertUnwindSafe(|| {
        let headers = message.headers()?.iter();
        let owned = headers.map(|header| {
            let value = header.value.unwrap_or_default();
            (header.key.to_owned(), bytes::Bytes::copy_from_slice(value))
        });
        Some(owned.collect::<Vec<_>>())
    });
    let headers = std::panic::catch_unwind(headers).unwrap_or_default().unwrap_or_default();
    Some(Delivered {
        topic,
        partition,
        position: u64::try_from(message.offset()).unwrap_or(0),
        appended_at_ms: message.timestamp().to_millis().unwrap_or(0),
        key: bytes::Bytes::copy_from_slice(message.key().unwrap_or_default()),
        headers,
        body: bytes::Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    })
}

impl Inner {
    /// Lets the client that asks tell what happened since.
    fn hear(&self) {
        for _ in 0..EVENTS {
            let _ = self.asking.poll(Duration::ZERO);
            let _ = self.written.poll(Duration::ZERO);
        }
    }

    /// Every partition of a topic.
    pub(super) fn all_of(&self, topic: Topic) -> impl Iterator<Item = (Topic, u32)> + use<> {
        (0..topic.partitions(self.settings.partitions)).map(move |partition| (topic, partition))
    }

    /// One past the newest readable record of every partition.
    pub(super) fn all_ends(&self) -> Result<Positions, Error> {
        self.hear();
        let all: Vec<_> =
            crate::topic::ALL.into_iter().flat_map(|topic| self.all_of(topic)).collect();
        Ok(positions(&self.ends(&all)?))
    }

    /// One past the newest readable record of these partitions.
    ///
    /// A commit is certain a moment before its records can be read, so this waits for everything
    /// that was written before the call, for as long as an ordinary transaction takes.
    pub(super) fn ends(&self, of: &[(Topic, u32)]) -> Result<Offsets, Error> {
        let why = |error: KafkaError| self.why("asking where a topic ends", &error);
        let written = bounds(&self.written, &self.names, of, Which::End, PATIENCE).map_err(why)?;
        let deadline = Instant::now() + SETTLED;
        loop {
            let ends = bounds(&self.asking, &self.names, of, Which::End, PATIENCE).map_err(why)?;
            let readable = written.iter().all(|(at, written)| ends.get(at) >= Some(written));
            if readable || Instant::now() > deadline {
                return Ok(ends);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where every stage stands.
    pub(super) fn stage_positions(&self) -> Result<Vec<(String, Positions)>, Error> {
        let doing = "asking where the stages stand";
        let groups = self.asking.fetch_group_list(None, PATIENCE);
        let groups = groups.map_err(|error| self.why(doing, &error))?;
        let mut stages: Vec<String> = groups
            .groups()
            .iter()
            .filter_map(|group| Some(self.names.stage(group.name())?.to_owned()))
            .collect();
        stages.sort_unstable();
        let mut found = Vec::new();
        for stage in stages {
            let stored = self.stage_position(&stage)?;
            if !stored.is_empty() {
                found.push((stage, stored));
            }
        }
        Ok(found)
    }

    /// Who reads, in every group of ours.
    pub(super) fn members(&self) -> Result<Vec<Member>, Error> {
        let groups = self.asking.fetch_group_list(None, PATIENCE);
        let groups = groups.map_err(|error| self.why("asking who reads", &error))?;
        let mut found = Vec::new();
        for group in groups.groups() {
            let Some(stage) = self.names.stage(group.name()) else { continue };
            found.extend(group.members().iter().map(|member| Member {
                stage: stage.to_owned(),
                name: member.id().to_owned(),
                host: member.client_host().trim_start_matches('/').to_owned(),
                owns: owned(&self.names, member.assignment().unwrap_or_default()),
            }));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Where one stage stands.
    pub(super) fn stage_position(&self, stage: &str) -> Result<Positions, Error> {
        let all: Vec<_> =
            crate::topic::ALL.into_iter().flat_map(|topic| self.all_of(topic)).collect();
        let consumer = client(&self.settings, Some(&self.names.group(stage)))?;
        let stored = stored(&consumer, &self.names, &all, PATIENCE);
        Ok(positions(&stored.map_err(|error| self.why("asking where a stage stands", &error))?))
    }

    /// The record at one position.
    pub(super) fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> Result<Option<Delivered>, Error> {
        let at = (topic, partition);
        let doing = "reading a record";
        if partition >= topic.partitions(self.settings.partitions) {
            return Ok(None);
        }
        let why = |error: KafkaError| self.why(doing, &error);
        let ask = |which| bounds(&self.asking, &self.names, &[at], which, PATIENCE);
        let (oldest, end) = (ask(Which::Oldest).map_err(why)?, ask(Which::End).map_err(why)?);
        if position < oldest[&at] || position >= end[&at] {
            return Ok(None);
        }
        let start = BTreeMap::from([(at, position)]);
        let mut found = None;
        self.walk(doing, &start, &end, |record| {
            found.get_or_insert(record);
            false
        })?;
        Ok(found.filter(|record| record.position == position))
    }

    /// The newest value of each key.
    ///
    /// What is committed may lie behind a transaction that is still open, so this waits until
    /// everything that was written before the call can be read, or was taken back.
    pub(super) fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        let doing = "reading the newest values";
        let all: Vec<_> = self.all_of(topic).collect();
        let why = |error: KafkaError| self.why(doing, &error);
        let end = bounds(&self.written, &self.names, &all, Which::End, PATIENCE).map_err(why)?;
        let start = bounds(&self.asking, &self.names, &all, Which::Oldest, PATIENCE);
        let mut newest = HashMap::new();
        self.walk(doing, &start.map_err(why)?, &end, |record| {
            newest.insert((record.partition, record.key.clone()), record);
            true
        })?;
        let mut newest: Vec<Delivered> = newest.into_values().collect();
        newest.sort_unstable_by_key(|record| (record.partition, record.position));
        Ok(newest)
    }

    /// Hands out the records of one topic between start and end, until they are all or `take` has
    /// enough.
    fn walk(
        &self,
        doing: &'static str,
        start: &Offsets,
        end: &Offsets,
        mut take: impl FnMut(Delivered) -> bool,
    ) -> Result<(), Error> {
        let open = start.iter().filter(|(at, start)| end.get(at) > Some(start));
        let mut open: Offsets = open.map(|(at, start)| (*at, *start)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let why = |error: KafkaError| self.why(doing, &error);
        let mut config = self.settings.reading();
        // It joins no group; the client only wants a name before it hands out records.
        config.set("group.id", self.names.group("asking")).set("enable.partition.eof", "true");
        let consumer: BaseConsumer<AskContext> =
            config.create_with_context(AskContext::default()).map_err(why)?;
        let places = open.iter().map(|(at, from)| (*at, offset(*from)));
        consumer.assign(&list(&self.names, places).map_err(why)?).map_err(why)?;
        let mut patience = Instant::now() + WALK;
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                None if Instant::now() > patience => {
                    let reason = match consumer.context().trouble() {
                        Some((code, reason)) => format!("{code}: {reason}"),
                        None => format!("no answer within {WALK:?}"),
                    };
                    return Err(Error::Unavailable { doing, reason });
                }
                None => {}
                // Nothing readable is left there now; behind the last record lie only marks.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let at = open.keys().find(|(_, of)| number(*of) == partition).copied();
                    let Some(at) = at else { continue };
                    let readable = bounds(&self.asking, &self.names, &[at], Which::End, PATIENCE);
                    if readable.map_err(why)?.get(&at) >= end.get(&at) {
                        open.remove(&at);
                    }
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(code) if is_refusal(code) => return Err(why(error)),
                    _ => tracing::debug!(%error, "reading on"),
                },
                Some(Ok(message)) => {
                    patience = Instant::now() + WALK;
                    let Some(record) = delivered(&self.names, &message) else { continue };
                    let at = (record.topic, record.partition);
                    let (behind, end) = (record.position + 1, end.get(&at).copied().unwrap_or(0));
                    if behind > end || !take(record) {
                        open.remove(&at);
                    }
                    if behind >= end {
                        open.remove(&at);
                    }
                }
            }
        }
        Ok(())
    }

    /// An error with the trouble behind it, where the client has told of one.
    pub(super) fn why(&self, doing: &'static str, error: &KafkaError) -> Error {
        self.hear();
        match (unavailable(doing, error), self.asking.context().trouble()) {
            (Error::Unavailable { reason, .. }, Some((code, trouble))) => {
                let reason = format!("{reason}: {trouble}");
                match is_refusal(code) {
                    true => Error::Refused { doing, reason },
                    false => Error::Unavailable { doing, reason },
                }
            }
            (error, _) => error,
        }
    }
}

pub(super) fn positions(of: &Offsets) -> Positions {
    let mut positions = Positions::none();
    for (&(topic, partition), &position) in of {
        positions.set(topic, partition, position);
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{EVENTS, RAW};

    #[test]
    fn an_assignment_is_read_as_far_as_it_goes() {
        let names = Names::new("a.");
        let mut bytes = vec![0, 3, 0, 0, 0, 3];
        for (name, partitions) in [
            ("a.hubwarden.raw.v1", &[2, 0][..]),
            ("foreign", &[7]),
            ("a.hubwarden.events.v1", &[1]),
        ] {
            bytes.extend((name.len() as u16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as u32).to_be_bytes());
            partitions.iter().for_each(|number: &i32| bytes.extend(number.to_be_bytes()));
        }
        let whole = [(RAW, 0), (RAW, 2), (EVENTS, 1)];
        assert_eq!(owned(&names, &bytes), whole);
        for end in 0..bytes.len() {
            let part = owned(&names, &bytes[..end]);
            assert!(part.len() < 3 && part.iter().all(|at| whole.contains(at)), "{part:?}");
        }
        // Lengths that cannot be: no allocation, no panic.
        assert_eq!(owned(&names, &[0, 1, 0x7f, 255, 255, 255, 255, 255, 1]), []);
        assert_eq!(owned(&names, &[0, 1, 255, 255, 255, 255]), []);
    }
}
