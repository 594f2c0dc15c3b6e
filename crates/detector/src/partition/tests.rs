use hubwarden_bus::topic;
use hubwarden_event::{
    Confidence, ConnectionId, FlatBuilder, GroupKey, Hit, Kind, Match, RawPosition, RunId,
    Severity, SourceId, Timestamp,
};
use hubwarden_rules::{RuleInfo, Window};
use hubwarden_service::trace::TRACEPARENT;

use super::*;

fn rules() -> Arc<RuleSet> {
    Arc::new(RuleSet::from_rules(vec![RuleInfo {
        id: None,
        name: "one".into(),
        title: "one".into(),
        description: String::new(),
        hash: Hash::of(b"one"),
        state_hash: Hash::of(b"one"),
        level: Severity::High,
        confidence: Confidence::High,
        attack: vec![],
        group_by: Arc::new(["actor".into()]),
        fold_ms: 1000,
        window: Window::Single,
        severity_steps: vec![],
        sentence: "{actor} did it".into(),
        response: String::new(),
        false_positives: vec![],
        file: String::new(),
    }]))
}

fn delivered(position: u64, actor: &str, trace: Option<&'static str>) -> Delivered {
    let connection = ConnectionId::from("octo");
    let source = SourceId::new(position.to_string());
    let body = MatchBody::Match(Match {
        event_id: EventId::of(&connection, &RunId::live(), &source),
        occurred_at: Timestamp::from_millis(0),
        connection,
        run: RunId::live(),
        kind: Kind::Audit,
        position: RawPosition::default(),
        group: GroupKey { names: Arc::new(["actor".into()]), values: vec![actor.into()] },
        hits: vec![Hit {
            rule: Hash::of(b"one"),
            state: Hash::of(b"one"),
            severity: Severity::High,
            value: None,
        }],
        record: FlatBuilder::default().finish(),
    });
    Delivered {
        topic: topic::MATCHES,
        partition: 0,
        position,
        appended_at_ms: 0,
        key: Bytes::new(),
        headers: trace.iter().map(|trace| (TRACEPARENT.into(), Bytes::from(*trace))).collect(),
        body: proto::encode_match(body),
    }
}

#[tokio::test]
async fn a_finding_keeps_its_trace_until_the_piece_of_the_outbox_that_has_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Correlating::alone(folder.path().into(), 0);
    let (mut partition, _) = Partition::open(&settings, 0, rules(), 1, 0).await.unwrap();
    let records =
        [("mona", Some("a")), ("hubot", Some("b")), ("octocat", None)].into_iter().enumerate();
    let records: Vec<_> =
        records.map(|(at, (actor, trace))| delivered(at as u64, actor, trace)).collect();
    // no memory at all: what is found is stored record by record
    let counts = partition.work(&records, 0, &|_| Ok(Answer::Gone)).unwrap();
    assert_eq!((counts.records, counts.unreadable), (3, 0));

    let outbox = partition.state.outbox(usize::MAX).unwrap();
    let ids: Vec<&str> = outbox.iter().map(|(id, _)| &**id).collect();
    assert_eq!(ids.len(), 3);
    let traced = |partition: &Partition| -> Vec<String> {
        let mut traced: Vec<_> = partition.traced.keys().cloned().collect();
        traced.sort();
        traced
    };
    let all = traced(&partition);
    assert_eq!(all.len(), 2);
    for (sent, id) in ids.iter().enumerate() {
        assert_eq!(partition.state.waiting().unwrap(), ids.len() - sent);
        assert_eq!(partition.published(id).unwrap(), 1);
        let left: Vec<_> = all.iter().filter(|traced| &***traced > *id).cloned().collect();
        assert_eq!(traced(&partition), left);
    }
    assert_eq!(partition.state.waiting().unwrap(), 0);
}

#[tokio::test]
async fn a_state_that_is_refused_again_does_not_displace_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Correlating::alone(folder.path().into(), 0);
    let file = folder.path().join("correlate-0.db");
    for (round, name) in ["correlate-0.refused-1", "correlate-0.refused-2"].into_iter().enumerate()
    {
        let db = rusqlite::Connection::open(&file).unwrap();
        db.pragma_update(None, "user_version", 90 + round as i64).unwrap(); // as a later release leaves it
        drop(db);
        let (partition, start) = Partition::open(&settings, 0, rules(), 1, 7).await.unwrap();
        assert!(matches!(start, Start::Oldest), "everything that is kept is judged again");
        assert_eq!(partition.position().unwrap(), 0);
        drop(partition);
        let aside = rusqlite::Connection::open(folder.path().join(name)).unwrap();
        let version = aside.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        assert_eq!(version.unwrap(), 90 + round as i64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_state_that_is_refused_a_snapshot_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::directory(&folder.path().join("snapshots")).unwrap();
    let week = std::time::Duration::from_secs(7 * 86_400);
    let snapshots = Snapshots { target: target.clone(), every: week, retention: week };
    let settings = Correlating {
        snapshots: Some(snapshots),
        lost: Lost::AcceptLoss,
        ..Correlating::alone(folder.path().into(), 0)
    };
    let file = folder.path().join("correlate-0.db");
    let (mut partition, _) = Partition::open(&settings, 0, rules(), 1, 0).await.unwrap();
    partition.begin_at(5).unwrap();
    drop(partition);
    target.save(&file, 0, folder.path()).await.unwrap();
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 90).unwrap(); // as a later release leaves it
    drop(db);
    let (_, start) = Partition::open(&settings, 0, rules(), 1, 9).await.unwrap();
    assert!(matches!(start, Start::At(5)), "what follows the snapshot is judged again");
}
