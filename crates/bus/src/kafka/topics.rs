//! The topics of a cluster: made where they are missing, checked where they are there.
//!
//! A topic that is laid out otherwise is named and never changed: its records are somebody's.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::Inner;
use super::context::is_refusal;
use super::lookup::PATIENCE;
use super::settings::MAX_MESSAGE;
use crate::topic;
use crate::{Error, Topic};

/// One try to reach a broker.
const TRY: Duration = Duration::from_secs(1);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What a topic is told when it is made, and may not contradict when it is there.
struct Layout {
    partitions: u32,
    replication: u32,
    settings: Vec<(&'static str, Wanted)>,
}

enum Wanted {
    Exactly(String),
    /// Or more, or without a limit.
    AtLeast(i64),
}

impl Wanted {
    fn value(&self) -> String {
        match self {
            Wanted::Exactly(value) => value.clone(),
            Wanted::AtLeast(value) => value.to_string(),
        }
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Wanted::Exactly(wanted) => wanted == value,
            Wanted::AtLeast(least) => {
                value.parse::<i64>().is_ok_and(|value| value == -1 || value >= *least)
            }
        }
    }
}

fn layout(topic: Topic, partitions: u32, replication: u32) -> Layout {
    let days = i64::from(topic.kept_days());
    let policy = if topic.is_compacted() { "compact" } else { "delete" };
    let exactly = |value: &str| Wanted::Exactly(value.to_owned());
    let mut settings = vec![
        ("cleanup.policy", exactly(policy)),
        ("message.timestamp.type", exactly("LogAppendTime")),
        ("max.message.bytes", Wanted::AtLeast(i64::try_from(MAX_MESSAGE).unwrap_or(i64::MAX))),
        ("unclean.leader.election.enable", exactly("false")),
    ];
    if !topic.is_compacted() {
        settings.push(("retention.ms", Wanted::AtLeast(days * DAY_MS)));
    }
    if replication > 2 {
        settings.push(("min.insync.replicas", Wanted::AtLeast(2)));
    }
    Layout { partitions: topic.partitions(partitions), replication, settings }
}

/// Makes what is missing and checks what is there.
pub(super) async fn prepare(inner: &std::sync::Arc<Inner>) -> Result<(), Error> {
    let found = described(inner).await?;
    let admin: AdminClient<DefaultClientContext> =
        inner.settings.client().create().map_err(|error| Error::Settings {
            reason: format!("the Kafka client says: {error}"),
        })?;
    check(inner, &admin, &found).await?;
    let missing: Vec<Topic> =
        topic::ALL.into_iter().filter(|topic| !found.contains(topic)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    create(inner, &admin, &missing).await?;
    appear(inner).await?;
    check(inner, &admin, &missing).await
}

fn layout_of(inner: &Inner, topic: Topic) -> Layout {
    layout(topic, inner.settings.partitions, inner.settings.replication)
}

/// The topics that are there, once a broker answers.
async fn described(inner: &std::sync::Arc<Inner>) -> Result<Vec<Topic>, Error> {
    let metadata = metadata(inner).await?;
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(topics.filter_map(|topic| inner.names.topic(topic.name())).collect())
}

async fn metadata(inner: &std::sync::Arc<Inner>) -> Result<Metadata, Error> {
    let inner = inner.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match inner.asking.fetch_metadata(None, TRY) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => inner.why("reaching the brokers", &error),
            };
            if matches!(error, Error::Refused { .. }) || Instant::now() > deadline {
                return Err(error);
            }
        }
    });
    asked.await.unwrap_or_else(|error| Err(Error::Closed { reason: error.to_string() }))
}

async fn create(
    inner: &Inner,
    admin: &AdminClient<DefaultClientContext>,
    missing: &[Topic],
) -> Result<(), Error> {
    let layouts: Vec<_> = missing.iter().map(|topic| (*topic, layout_of(inner, *topic))).collect();
    let values: Vec<Vec<(&str, String)>> = layouts
        .iter()
        .map(|(_, of)| of.settings.iter().map(|(key, wanted)| (*key, wanted.value())).collect())
        .collect();
    let topics: Vec<NewTopic<'_>> = layouts
        .iter()
        .zip(&values)
        .map(|((topic, of), values)| {
            let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
            let replication = TopicReplication::Fixed(count(of.replication));
            let new = NewTopic::new(inner.names.of(*topic), count(of.partitions), replication);
            values.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let created = admin.create_topics(&topics, &options).await;
    let created = created.map_err(|error| inner.why("creating the topics", &error))?;
    let mut wrong = Vec::new();
    for result in created {
        match result {
            // Another process was faster; it is checked like any other.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) if is_refusal(code) => {
                let reason =
                    format!("{code}; this user may not create {name}: create it, or let it");
                return Err(Error::Refused { doing: "creating a topic", reason });
            }
            Err((name, code)) => wrong.push(format!(
                "{name} cannot be created with {} partitions and replication {}: {code}",
                inner.settings.partitions, inner.settings.replication
            )),
        }
    }
    tracing::info!(count = missing.len() - wrong.len(), "created topics");
    if wrong.is_empty() { Ok(()) } else { Err(Error::Topics { wrong: wrong.join("; ") }) }
}

/// Waits until brokers tell of every topic with a leader for each partition.
async fn appear(inner: &std::sync::Arc<Inner>) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = metadata(inner).await?;
        let led = metadata.topics().iter().filter(|topic| {
            topic.error().is_none() && topic.partitions().iter().all(|of| of.leader() >= 0)
        });
        if led.filter(|topic| inner.names.topic(topic.name()).is_some()).count() == topic::COUNT {
            return Ok(());
        }
        if Instant::now() > deadline {
            let reason = format!("the new topics have no leaders after {PATIENCE:?}");
            return Err(Error::Unavailable { doing: "creating the topics", reason });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn check(
    inner: &std::sync::Arc<Inner>,
    admin: &AdminClient<DefaultClientContext>,
    topics: &[Topic],
) -> Result<(), Error> {
    if topics.is_empty() {
        return Ok(());
    }
    let metadata = metadata(inner).await?;
    let mut wrong = Vec::new();
    for topic in metadata.topics() {
        let which = inner.names.topic(topic.name()).filter(|which| topics.contains(which));
        let Some(which) = which else { continue };
        let layout = layout_of(inner, which);
        let partitions = topic.partitions().len();
        if partitions != layout.partitions as usize {
            let wanted = layout.partitions;
            wrong.push(format!("{} has {partitions} partitions, not {wanted}", topic.name()));
        }
        let copies = topic.partitions().iter().map(|of| of.replicas().len()).min().unwrap_or(0);
        if copies < layout.replication as usize {
            let wanted = layout.replication;
            wrong.push(format!("{} has replication {copies}, not {wanted}", topic.name()));
        }
    }
    for (&topic, told) in topics.iter().zip(told(inner, admin, topics).await?) {
        wrong.extend(contradictions(inner.names.of(topic), &layout_of(inner, topic), &told));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Topics { wrong: wrong.join("; ") }) }
}

/// The settings of topics, once the broker that is asked knows all of them.
///
/// One that has not heard yet of a topic that was just made answers with none at all.
async fn told(
    inner: &Inner,
    admin: &AdminClient<DefaultClientContext>,
    topics: &[Topic],
) -> Result<Vec<ConfigResource>, Error> {
    let asked = topics.iter().map(|topic| ResourceSpecifier::Topic(inner.names.of(*topic)));
    let asked: Vec<_> = asked.collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = admin.describe_configs(&asked, &options).await;
        let told = told.map_err(|error| inner.why("reading the settings of the topics", &error))?;
        let told = topics.iter().zip(told).map(|(topic, told)| match told {
            Ok(told) => Ok(Some(told).filter(|told| !told.entries.is_empty())),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
            Err(code) => {
                let reason = format!("{}: {code}", inner.names.of(*topic));
                Err(inner.why_refused("reading the settings of a topic", reason, code))
            }
        });
        let told: Vec<Option<ConfigResource>> = told.collect::<Result<_, _>>()?;
        if let Some(unknown) = told.iter().position(Option::is_none) {
            if Instant::now() > deadline {
                let name = inner.names.of(topics[unknown]);
                let reason = format!("a broker knows no settings of {name} after {PATIENCE:?}");
                return Err(Error::Unavailable { doing: "reading the settings of topics", reason });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        return Ok(told.into_iter().flatten().collect());
    }
}

fn contradictions(name: &str, layout: &Layout, told: &ConfigResource) -> Vec<String> {
    let told = told.entry_map();
    let wrong = layout.settings.iter().filter_map(|(key, wanted)| {
        let value = told.get(key).and_then(|entry| entry.value.as_deref()).unwrap_or("");
        if wanted.holds(value) {
            return None;
        }
        let least = if matches!(wanted, Wanted::AtLeast(_)) { "at least " } else { "" };
        Some(format!("{name} has {key}={value}, not {least}{}", wanted.value()))
    });
    wrong.collect()
}

impl Inner {
    fn why_refused(&self, doing: &'static str, reason: String, code: RDKafkaErrorCode) -> Error {
        match is_refusal(code) {
            true => Error::Refused { doing, reason },
            false => self.why(doing, &KafkaError::AdminOp(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_takes_more_and_no_limit() {
        for (value, holds) in
            [("100", true), ("101", true), ("99", false), ("-1", true), ("", false)]
        {
            assert_eq!(Wanted::AtLeast(100).holds(value), holds, "{value}");
        }
    }

    #[test]
    fn every_topic_has_its_layout() {
        let retention = |topic| {
            let layout = layout(topic, 12, 3);
            let found = layout.settings.iter().find(|(key, _)| *key == "retention.ms");
            found.map(|(_, wanted)| wanted.value())
        };
        assert_eq!(retention(topic::RAW).unwrap(), "604800000");
        assert_eq!(retention(topic::EVENTS).unwrap(), "259200000");
        assert_eq!(retention(topic::FINDINGS).unwrap(), "2592000000");
        assert_eq!(retention(topic::CURSORS), None);
        assert_eq!(layout(topic::RULES, 12, 3).partitions, 1);
        assert_eq!(layout(topic::CURSORS, 12, 3).settings[0].1.value(), "compact");
    }
}
