//! Errors that brokers answer, on the client's own mock of a cluster.
//!
//! The mock creates topics by itself and knows nothing of their settings, so these tests pass the
//! check of topics over; everything else is the real thing.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Answer};

use super::*;
use crate::topic::{EVENTS, RAW};
use crate::{Batch, Limit, Sink, Source};

type Mock = MockCluster<'static, DefaultProducerContext>;

async fn mock() -> (Mock, Kafka) {
    let mock = MockCluster::new(1).unwrap();
    let settings = Settings {
        brokers: vec![mock.bootstrap_servers()],
        partitions: 1,
        figures_every: Duration::from_millis(200),
        ..Settings::default()
    };
    let kafka = Kafka { inner: Arc::new(Inner::new(settings).unwrap()), member: None };
    for topic in [RAW, EVENTS] {
        mock.create_topic(topic.name(), 1, 1).unwrap();
    }
    (mock, kafka)
}

async fn next(reader: &mut KafkaReader) -> Batch {
    let batch = async {
        loop {
            let batch = reader.next_batch(Limit::default()).await.unwrap();
            if !batch.records.is_empty() {
                return batch;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), batch).await.expect("a batch")
}

/// A reader with one batch, not yet committed, that has committed before.
async fn reading(kafka: &Kafka) -> (KafkaReader, Batch) {
    let write = async |body: &'static str| {
        let record = Record::new(RAW, "k", body);
        kafka.writer("w").commit(vec![record], &Positions::none()).await.unwrap();
    };
    write("first").await;
    let mut reader = kafka.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader).await;
    reader.commit(vec![Record::new(EVENTS, "k", "first")], &batch.consumed()).await.unwrap();
    // The mock forgets positions of transactions.
    reader.commit(Vec::new(), &batch.consumed()).await.unwrap();
    write("second").await;
    let batch = next(&mut reader).await;
    assert_eq!(batch.records[0].body, "second");
    (reader, batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_again_while_a_coordinator_moves() {
    let (mock, kafka) = mock().await;
    let (mut reader, batch) = reading(&kafka).await;
    let away = Answer::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
    let moved = Answer::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    let loading = Answer::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    for api in [Api::AddPartitionsToTxn, Api::AddOffsetsToTxn, Api::TxnOffsetCommit, Api::EndTxn] {
        mock.request_errors(api, &[away, moved, loading]);
    }
    let outputs = vec![Record::new(EVENTS, "k", "second")];
    reader.commit(outputs, &batch.consumed()).await.unwrap();
    assert_eq!(kafka.counts().taken_back, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_starts_where_it_stands_while_a_coordinator_moves() {
    let (mock, kafka) = mock().await;
    let (reader, batch) = reading(&kafka).await;
    drop(reader);
    let moved = Answer::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    mock.request_errors(Api::OffsetFetch, &[moved; 6]);
    let mut reader = kafka.reader("stage", &[RAW]).unwrap();
    assert_eq!(next(&mut reader).await, batch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_past_is_refused_and_reads_again() {
    for refusal in [
        Answer::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        Answer::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        Answer::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    ] {
        let (mock, kafka) = mock().await;
        let (mut reader, batch) = reading(&kafka).await;
        mock.request_errors(Api::TxnOffsetCommit, &[refusal]);
        let outputs = vec![Record::new(EVENTS, "k", "second")];
        let refused = reader.commit(outputs.clone(), &batch.consumed()).await;
        assert!(matches!(refused, Err(Error::Reassigned { .. })), "{refusal:?}: {refused:?}");
        let again = next(&mut reader).await;
        assert_eq!(again, batch, "{refusal:?}");
        reader.commit(outputs, &again.consumed()).await.unwrap();
        assert_eq!(kafka.counts().taken_back, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_without_outputs_is_refused_too() {
    let (mock, kafka) = mock().await;
    let (mut reader, batch) = reading(&kafka).await;
    mock.request_errors(Api::OffsetCommit, &[Answer::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    let refused = reader.commit(Vec::new(), &batch.consumed()).await;
    assert!(matches!(refused, Err(Error::Reassigned { .. })), "{refused:?}");
    assert_eq!(next(&mut reader).await, batch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_cannot_know_how_a_commit_ended_ends() {
    let (mock, kafka) = mock().await;
    let mut writer = kafka.writer("w");
    let record = || vec![Record::new(RAW, "k", "x")];
    writer.commit(record(), &Positions::none()).await.unwrap();
    mock.request_errors(Api::EndTxn, &[Answer::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    for _ in 0..2 {
        let refused = writer.commit(record(), &Positions::none()).await;
        assert!(matches!(refused, Err(Error::Fatal { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_transaction_was_open_for_too_long_goes_on() {
    let (mock, kafka) = mock().await;
    let mut writer = kafka.writer("w");
    let record = || vec![Record::new(RAW, "k", "x")];
    writer.commit(record(), &Positions::none()).await.unwrap();
    mock.request_errors(Api::EndTxn, &[Answer::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    let refused = writer.commit(record(), &Positions::none()).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    writer.commit(record(), &Positions::none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named() {
    let (mock, kafka) = mock().await;
    let denied = Answer::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    mock.request_errors(Api::JoinGroup, &[denied; 20]);
    let mut reader = kafka.reader("stage", &[RAW]).unwrap();
    let refused = async {
        loop {
            if let Err(error) = reader.next_batch(Limit::default()).await {
                return error;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("rights"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_finds_the_stage_waiting() {
    let (mock, kafka) = mock().await;
    let (mut reader, batch) = reading(&kafka).await;
    mock.broker_down(1).unwrap();
    let waiting = tokio::spawn(async move {
        let outputs = vec![Record::new(EVENTS, "k", "second")];
        let ended = reader.commit(outputs, &batch.consumed()).await;
        (reader, ended, batch)
    });
    // Longer than records wait: the transaction is lost, and the stage is told so at once.
    let (mut reader, ended, batch) = waiting.await.unwrap();
    assert!(matches!(ended, Err(Error::Reassigned { .. })), "{ended:?}");
    mock.broker_up(1).unwrap();
    let again = next(&mut reader).await;
    assert_eq!(again, batch);
}
