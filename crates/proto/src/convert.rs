use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use hubwarden_event::{
    DeadLetter, Event, EventBody, EventId, FlatRecord, GroupKey, Hash, Hit, Match, MatchBody,
    Origin, Progress, RawBody, RawPosition, RawRecord, RunEnd, RunId, SourceId, Timestamp,
    Watermark,
};

use crate::{Error, v1};

pub(crate) fn parse<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Unknown { field, value: text.into() })
}

/// One shared copy of a text that stands in nearly every record, such as a connection or a run.
pub(crate) fn shared(text: &str) -> Arc<str> {
    thread_local! {
        static KNOWN: RefCell<HashSet<Arc<str>>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| match known.get(text) {
        Some(copy) => copy.clone(),
        None => {
            let copy: Arc<str> = text.into();
            if known.len() < 1024 {
                known.insert(copy.clone());
            }
            copy
        }
    })
}

pub(crate) fn event_id(bytes: &[u8]) -> Result<EventId, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::Missing("event id"))?;
    Ok(EventId::from_bytes(bytes))
}

fn hash(field: &'static str, bytes: &[u8]) -> Result<Hash, Error> {
    bytes.try_into().map(Hash).map_err(|_| Error::Missing(field))
}

fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl From<RawPosition> for v1::Position {
    fn from(position: RawPosition) -> Self {
        Self { partition: position.partition, offset: position.offset }
    }
}

pub(crate) fn position(position: Option<v1::Position>) -> RawPosition {
    position.map_or_else(RawPosition::default, |position| RawPosition {
        partition: position.partition,
        offset: position.offset,
    })
}

impl From<Origin> for v1::Origin {
    fn from(origin: Origin) -> Self {
        Self { file: origin.file.to_string(), line: origin.line }
    }
}

impl From<v1::Origin> for Origin {
    fn from(origin: v1::Origin) -> Self {
        Self { file: shared(&origin.file), line: origin.line }
    }
}

impl From<RawRecord> for v1::RawRecord {
    fn from(record: RawRecord) -> Self {
        Self {
            connection: record.connection.to_string(),
            feed: record.feed.to_string(),
            run: record.run.to_string(),
            source_id: record.source_id.to_string(),
            received_at_ms: record.received_at.as_millis(),
            content_type: record.content_type.to_string(),
            payload: record.payload,
            scrubs: record.scrubs,
            origin: record.origin.map(Into::into),
            damage: record.damage.unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::RawRecord> for RawRecord {
    type Error = Error;

    fn try_from(record: v1::RawRecord) -> Result<Self, Error> {
        Ok(Self {
            connection: shared(&record.connection).into(),
            feed: parse("feed", &record.feed)?,
            run: RunId::new(shared(&record.run)),
            source_id: SourceId::new(record.source_id),
            received_at: Timestamp::from_millis(record.received_at_ms),
            content_type: parse("content_type", &record.content_type)?,
            payload: record.payload,
            scrubs: record.scrubs,
            origin: record.origin.map(Into::into),
            damage: (!record.damage.is_empty()).then_some(record.damage),
        })
    }
}

impl From<Progress> for v1::Progress {
    fn from(progress: Progress) -> Self {
        Self {
            connection: progress.connection.to_string(),
            run: progress.run.to_string(),
            kind: progress.kind.to_string(),
            through_ms: progress.through.as_millis(),
        }
    }
}

impl TryFrom<v1::Progress> for Progress {
    type Error = Error;

    fn try_from(progress: v1::Progress) -> Result<Self, Error> {
        Ok(Self {
            connection: shared(&progress.connection).into(),
            run: RunId::new(shared(&progress.run)),
            kind: parse("kind", &progress.kind)?,
            through: Timestamp::from_millis(progress.through_ms),
        })
    }
}

impl From<RunEnd> for v1::RunEnd {
    fn from(end: RunEnd) -> Self {
        Self { connection: end.connection.to_string(), run: end.run.to_string() }
    }
}

impl From<v1::RunEnd> for RunEnd {
    fn from(end: v1::RunEnd) -> Self {
        Self { connection: shared(&end.connection).into(), run: RunId::new(shared(&end.run)) }
    }
}

impl From<RawBody> for v1::RawBody {
    fn from(body: RawBody) -> Self {
        use v1::raw_body::Body;
        let body = match body {
            RawBody::Record(record) => Body::Record(record.into()),
            RawBody::Progress(progress) => Body::Progress(progress.into()),
            RawBody::RunEnd(end) => Body::RunEnd(end.into()),
        };
        Self { body: Some(body) }
    }
}

impl TryFrom<v1::RawBody> for RawBody {
    type Error = Error;

    fn try_from(message: v1::RawBody) -> Result<Self, Error> {
        use v1::raw_body::Body;
        Ok(match message.body.ok_or(Error::Missing("body"))? {
            Body::Record(record) => Self::Record(record.try_into()?),
            Body::Progress(progress) => Self::Progress(progress.try_into()?),
            Body::RunEnd(end) => Self::RunEnd(end.into()),
        })
    }
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            id: bytes_of(event.id.as_bytes()),
            occurred_at_ms: event.occurred_at.as_millis(),
            observed_at_ms: event.observed_at.as_millis(),
            connection: event.connection.to_string(),
            run: event.run.to_string(),
            kind: event.kind.to_string(),
            product: event.product.to_string(),
            service: event.service.to_string(),
            position: Some(event.position.into()),
            suspect: event.suspect,
            record: event.record.to_bytes().into(),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = Error;

    fn try_from(event: v1::Event) -> Result<Self, Error> {
        Ok(Self {
            id: event_id(&event.id)?,
            occurred_at: Timestamp::from_millis(event.occurred_at_ms),
            observed_at: Timestamp::from_millis(event.observed_at_ms),
            connection: shared(&event.connection).into(),
            run: RunId::new(shared(&event.run)),
            kind: parse("kind", &event.kind)?,
            product: shared(&event.product),
            service: shared(&event.service),
            position: position(event.position),
            suspect: event.suspect,
            record: FlatRecord::decode(&event.record)?.into(),
        })
    }
}

impl From<EventBody> for v1::EventBody {
    fn from(body: EventBody) -> Self {
        use v1::event_body::Body;
        let body = match body {
            EventBody::Event(event) => Body::Event(event.into()),
            EventBody::Progress(progress) => Body::Progress(progress.into()),
            EventBody::RunEnd(end) => Body::RunEnd(end.into()),
        };
        Self { body: Some(body) }
    }
}

impl TryFrom<v1::EventBody> for EventBody {
    type Error = Error;

    fn try_from(message: v1::EventBody) -> Result<Self, Error> {
        use v1::event_body::Body;
        Ok(match message.body.ok_or(Error::Missing("body"))? {
            Body::Event(event) => Self::Event(event.try_into()?),
            Body::Progress(progress) => Self::Progress(progress.try_into()?),
            Body::RunEnd(end) => Self::RunEnd(end.into()),
        })
    }
}

impl From<Hit> for v1::Hit {
    fn from(hit: Hit) -> Self {
        Self {
            rule: bytes_of(&hit.rule.0),
            state: bytes_of(&hit.state.0),
            severity: hit.severity.as_str().into(),
            value: hit.value,
        }
    }
}

impl TryFrom<v1::Hit> for Hit {
    type Error = Error;

    fn try_from(hit: v1::Hit) -> Result<Self, Error> {
        Ok(Self {
            rule: hash("rule", &hit.rule)?,
            state: hash("state", &hit.state)?,
            severity: parse("severity", &hit.severity)?,
            value: hit.value,
        })
    }
}

impl From<Match> for v1::Match {
    fn from(matched: Match) -> Self {
        Self {
            event_id: bytes_of(matched.event_id.as_bytes()),
            occurred_at_ms: matched.occurred_at.as_millis(),
            connection: matched.connection.to_string(),
            run: matched.run.to_string(),
            kind: matched.kind.to_string(),
            position: Some(matched.position.into()),
            group: Some(v1::GroupKey {
                names: matched.group.names.iter().map(|name| name.to_string()).collect(),
                values: matched.group.values,
            }),
            hits: matched.hits.into_iter().map(Into::into).collect(),
            record: matched.record.to_bytes().into(),
        }
    }
}

impl TryFrom<v1::Match> for Match {
    type Error = Error;

    fn try_from(matched: v1::Match) -> Result<Self, Error> {
        let group = matched.group.ok_or(Error::Missing("group"))?;
        Ok(Self {
            event_id: event_id(&matched.event_id)?,
            occurred_at: Timestamp::from_millis(matched.occurred_at_ms),
            connection: shared(&matched.connection).into(),
            run: RunId::new(shared(&matched.run)),
            kind: parse("kind", &matched.kind)?,
            position: position(matched.position),
            group: GroupKey {
                names: group.names.iter().map(|name| shared(name)).collect(),
                values: group.values,
            },
            hits: matched.hits.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            record: FlatRecord::decode(&matched.record)?.into(),
        })
    }
}

impl From<MatchBody> for v1::MatchBody {
    fn from(body: MatchBody) -> Self {
        use v1::match_body::Body;
        let body = match body {
            MatchBody::Match(matched) => Body::Match(matched.into()),
            MatchBody::Watermark(mark) => Body::Watermark(v1::Watermark {
                connection: mark.connection.to_string(),
                run: mark.run.to_string(),
                kind: mark.kind.to_string(),
                through_ms: mark.through.as_millis(),
                source_partition: mark.source_partition,
            }),
            MatchBody::RunEnd { end, source_partition } => {
                Body::RunEnd(v1::MatchRunEnd { end: Some(end.into()), source_partition })
            }
        };
        Self { body: Some(body) }
    }
}

impl TryFrom<v1::MatchBody> for MatchBody {
    type Error = Error;

    fn try_from(message: v1::MatchBody) -> Result<Self, Error> {
        use v1::match_body::Body;
        Ok(match message.body.ok_or(Error::Missing("body"))? {
            Body::Match(matched) => Self::Match(matched.try_into()?),
            Body::Watermark(mark) => Self::Watermark(Watermark {
                connection: shared(&mark.connection).into(),
                run: RunId::new(shared(&mark.run)),
                kind: parse("kind", &mark.kind)?,
                through: Timestamp::from_millis(mark.through_ms),
                source_partition: mark.source_partition,
            }),
            Body::RunEnd(message) => Self::RunEnd {
                end: message.end.ok_or(Error::Missing("end"))?.into(),
                source_partition: message.source_partition,
            },
        })
    }
}

impl From<DeadLetter> for v1::DeadLetter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            position: Some(letter.position.into()),
            connection: letter
                .connection
                .map(|connection| connection.to_string())
                .unwrap_or_default(),
            origin: letter.origin.map(Into::into),
            reason: letter.reason,
            hash: bytes_of(&letter.hash.0),
            length: letter.length,
            record: letter.record,
            envelope: letter.envelope.map(|envelope| (*envelope).into()),
        }
    }
}

impl TryFrom<v1::DeadLetter> for DeadLetter {
    type Error = Error;

    fn try_from(letter: v1::DeadLetter) -> Result<Self, Error> {
        Ok(Self {
            position: position(letter.position),
            connection: (!letter.connection.is_empty()).then(|| shared(&letter.connection).into()),
            origin: letter.origin.map(Into::into),
            reason: letter.reason,
            hash: hash("hash", &letter.hash)?,
            length: letter.length,
            record: letter.record,
            envelope: letter.envelope.map(RawRecord::try_from).transpose()?.map(Box::new),
        })
    }
}
