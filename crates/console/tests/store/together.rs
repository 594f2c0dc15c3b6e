//! Several consoles write into one database at once: whatever the order, the rows are the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hubwarden_bus::{Positions, topic};
use hubwarden_console::{FindingStore, Intake, PostgresStore};
use hubwarden_event::{Finding, Severity, Timestamp};
use hubwarden_testkit::Postgres;
use sqlx::Connection;

use crate::postgres::{connect, name};
use crate::{NOW, everything, samples, version};

/// A number that follows from a seed; good enough to mix.
fn mixed(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A version of one of a few findings: what it knows follows from the seed.
fn any_version(seed: u64) -> Finding {
    let mut finding = samples::finding(mixed(seed) as usize % 24, NOW);
    let bits = mixed(seed ^ 0xabc);
    let keep = 1 + bits as usize % finding.evidence.len();
    let from = (bits >> 8) as usize % (finding.evidence.len() - keep + 1);
    finding.evidence = finding.evidence[from..from + keep].to_vec();
    finding.event_ids = finding.evidence.iter().map(|one| one.id).collect();
    finding.first_seen = finding.evidence[0].occurred_at;
    finding.last_seen = finding.evidence[keep - 1].occurred_at;
    // Over midnight, so that findings move between the days that are counted.
    finding.first_seen =
        Timestamp::from_millis(finding.first_seen.as_millis() - (bits >> 20) as i64 % 90_000_000);
    finding.revision = 1 + (bits >> 16) % 3;
    finding.count = keep as u64;
    finding.severity = Severity::ALL[(bits >> 32) as usize % Severity::ALL.len()];
    finding.sentence = format!("said {}", (bits >> 40) % 3);
    finding.entities.truncate(1 + (bits >> 48) as usize % finding.entities.len());
    finding
}

/// Every row of the database, but for the order.
fn rows(url: &str) -> BTreeMap<&'static str, String> {
    let tables = ["finding", "rule_day", "entity_day", "consumed", "unreadable"];
    let all = |table| {
        // Counts that have come and gone again leave a row of zero or none.
        let only =
            if matches!(table, "rule_day" | "entity_day") { "findings <> 0" } else { "true" };
        let sql = format!(
            "SELECT md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")), count(*)
            FROM {table} t WHERE {only}"
        );
        (table, Postgres::shared().sql(name(url), &sql))
    };
    tables.into_iter().map(all).collect()
}

/// Two consoles with two writers each, and every writer meets the findings of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_interleaving_gives_the_same_rows() {
    for round in 0..6_u64 {
        let batches: Vec<Intake> = (0..80)
            .map(|batch| Intake {
                findings: (0..9).map(|one| any_version(round << 40 | batch << 8 | one)).collect(),
                unreadable: Vec::new(),
                consumed: Positions::of(topic::FINDINGS, (batch % 3) as u32, batch + 1),
            })
            .collect();
        let alone = Postgres::shared().database();
        let store = connect(&alone).await.unwrap();
        for intake in &batches {
            store.take_in(intake.clone()).await.unwrap();
        }
        let shared = Postgres::shared().database();
        let stores =
            [connect(&shared).await.unwrap(), connect(&shared).await.unwrap()].map(Arc::new);
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let store = stores[writer % 2].clone();
            // Each has half of all batches, every batch has two writers, some forwards, some backwards.
            let mut mine: Vec<Intake> =
                batches.iter().skip(writer % 2).step_by(2).cloned().collect();
            if writer >= 2 {
                mine.reverse();
            }
            writers.spawn(async move {
                for intake in mine {
                    store.take_in(intake).await.unwrap();
                }
            });
        }
        tokio::time::timeout(Duration::from_secs(120), writers.join_all()).await.unwrap();
        assert_eq!(everything(&*stores[0]).await, everything(&store).await, "round {round}");
        assert_eq!(rows(&shared), rows(&alone), "round {round}");
    }
}

/// Waits until so many sessions of the database wait for a lock.
async fn until_waiting(url: &str, sessions: u32) {
    let (database, sql) = (
        name(url).to_owned(),
        format!(
            "SELECT count(*) >= {sessions} FROM pg_stat_activity
            WHERE datname = '{}' AND wait_event_type = 'Lock'",
            name(url)
        ),
    );
    let wait = move || {
        hubwarden_testkit::until("waiting for locks", Duration::from_secs(60), || {
            (Postgres::shared().sql(&database, &sql) == "t").then_some(())
        });
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

fn write(store: &Arc<PostgresStore>, matches: usize) -> tokio::task::JoinHandle<usize> {
    let store = store.clone();
    let mut findings = vec![version(matches), samples::finding(matches, NOW)];
    if matches == 2 {
        // Each of the two that meet knows something that the other does not.
        findings[0].severity = Severity::Critical;
    }
    tokio::spawn(
        async move { store.take_in(Intake { findings, ..Intake::default() }).await.unwrap() },
    )
}

/// Both have come to the same finding before either can go on: no update is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_meet_at_one_finding_both_count() {
    let url = Postgres::shared().database();
    let stores = [connect(&url).await.unwrap(), connect(&url).await.unwrap()].map(Arc::new);
    assert_eq!(write(&stores[0], 1).await.unwrap(), 2);
    let mut gate = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN").execute(&mut gate).await.unwrap();
    let lock = "SELECT 1 FROM finding WHERE id = $1 FOR UPDATE";
    sqlx::query(lock).bind(version(1).id.as_str()).execute(&mut gate).await.unwrap();
    let writing = [write(&stores[0], 2), write(&stores[1], 4)];
    until_waiting(&url, 2).await;
    sqlx::query("ROLLBACK").execute(&mut gate).await.unwrap();
    for written in writing {
        written.await.unwrap();
    }
    let kept = stores[0].get(version(1).id.to_string()).await.unwrap();
    assert_eq!((kept.count, kept.evidence.len(), kept.revision), (4, 4, 4));
    assert_eq!(kept.severity, Severity::Critical);
    assert_eq!(stores[1].severity_counts().await.unwrap().total(), 4);
}

/// One inserts a finding and has not committed yet when the other comes with it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_insert_one_finding_both_count() {
    let url = Postgres::shared().database();
    let stores = [connect(&url).await.unwrap(), connect(&url).await.unwrap()].map(Arc::new);
    // Both end at the counts of the day, of which this holds a row.
    assert_eq!(write(&stores[0], 7).await.unwrap(), 2);
    let mut gate = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN").execute(&mut gate).await.unwrap();
    sqlx::query("LOCK TABLE rule_day IN EXCLUSIVE MODE").execute(&mut gate).await.unwrap();
    let others = |store: &Arc<PostgresStore>, matches: usize| {
        let mut finding = version(matches);
        finding.id = hubwarden_event::FindingId::from_text("F-NEW");
        let store = store.clone();
        tokio::spawn(async move {
            let intake = Intake { findings: vec![finding], ..Intake::default() };
            store.take_in(intake).await.unwrap()
        })
    };
    let first = others(&stores[0], 3);
    until_waiting(&url, 1).await;
    let second = others(&stores[1], 4);
    until_waiting(&url, 2).await;
    sqlx::query("ROLLBACK").execute(&mut gate).await.unwrap();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 1));
    let kept = stores[0].get("F-NEW".into()).await.unwrap();
    assert_eq!((kept.count, kept.evidence.len()), (4, 4));
    assert_eq!(stores[0].severity_counts().await.unwrap().total(), 3);
}
