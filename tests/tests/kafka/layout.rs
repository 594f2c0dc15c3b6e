//! Topics that are missing, and topics that do not fit.

use hubwarden_bus::topic::{CURSORS, RAW};
use hubwarden_bus::{Error, Kafka};

use crate::{cluster, settings};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[tokio::test(flavor = "multi_thread")]
async fn missing_topics_are_made_as_they_must_be() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let settings = settings(kafka.addresses());
    Kafka::connect(settings.clone()).await.unwrap();
    let described = tokio::task::block_in_place(|| {
        let topics = format!("{}.*", settings.topic_prefix.replace('.', "\\."));
        kafka.tool(TOPICS, &["--describe", "--topic", &topics])
    });
    let line = |topic: &str| {
        let found = described.lines().find(|line| line.starts_with(&format!("Topic: {topic}\t")));
        found.unwrap_or_else(|| panic!("{topic}: {described}")).to_owned()
    };
    let raw = line(&format!("{}{RAW}", settings.topic_prefix));
    for part in [
        "PartitionCount: 3",
        "retention.ms=604800000",
        "message.timestamp.type=LogAppendTime",
        "max.message.bytes=33685504",
    ] {
        assert!(raw.contains(part), "{part}: {raw}");
    }
    let cursors = line(&format!("{}{CURSORS}", settings.topic_prefix));
    assert!(cursors.contains("cleanup.policy=compact"), "{cursors}");
    assert_eq!(described.lines().filter(|line| line.starts_with("Topic: ")).count(), 10);
    // Once made, they fit.
    Kafka::connect(settings).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_do_not_fit_are_named_and_left_as_they_are() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let settings = settings(kafka.addresses());
    let name = format!("{}{RAW}", settings.topic_prefix);
    let describe =
        || tokio::task::block_in_place(|| kafka.tool(TOPICS, &["--describe", "--topic", &name]));
    tokio::task::block_in_place(|| {
        let create = ["--create", "--topic", &name, "--partitions", "5"];
        let retention = ["--config", "retention.ms=3600000", "--config", "cleanup.policy=compact"];
        kafka.tool(TOPICS, &[&create[..], &retention[..]].concat())
    });
    let before = describe();
    let refused = Kafka::connect(settings.clone()).await.err().unwrap();
    assert!(matches!(refused, Error::Topics { .. }), "{refused:?}");
    let said = refused.to_string();
    for part in [
        format!("{name} has 5 partitions, not 3"),
        format!("{name} has retention.ms=3600000, not at least 604800000"),
        format!("{name} has cleanup.policy=compact, not delete"),
        format!("{name} has message.timestamp.type=CreateTime, not LogAppendTime"),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    assert_eq!(describe(), before);
    let all = tokio::task::block_in_place(|| kafka.tool(TOPICS, &["--list"]));
    let ours = all.lines().filter(|line| line.starts_with(&settings.topic_prefix));
    assert_eq!(ours.collect::<Vec<_>>(), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_copies_than_brokers_are_refused() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let mut settings = settings(kafka.addresses());
    settings.replication = 3;
    let refused = Kafka::connect(settings).await.err().unwrap();
    assert!(refused.to_string().contains("replication 3"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_may_come_back() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Kafka::connect(settings(vec![away.to_string()])).await.err().unwrap();
    assert!(error.is_retryable(), "{error:?}");
}
