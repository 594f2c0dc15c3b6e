//! One contract for every findings store, run on SQLite.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../samples/mod.rs"]
mod samples;

use hubwarden_bus::{Positions, topic};
use hubwarden_console::{
    Error, FindingQuery, FindingStore, Intake, Order, Page, SqliteStore, Unreadable,
};
use hubwarden_event::{Finding, FindingId, Severity, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_741_611_463_961);
const DAY: i64 = 86_400_000;

fn all() -> FindingQuery {
    FindingQuery { limit: 500, ..FindingQuery::default() }
}

fn ids(page: &Page) -> Vec<&str> {
    page.findings.iter().map(|finding| finding.id.as_str()).collect()
}

async fn filled<S: FindingStore>(store: S, findings: &[Finding]) -> S {
    let intake = Intake { findings: findings.to_vec(), ..Intake::default() };
    assert_eq!(store.take_in(intake).await.unwrap(), findings.len());
    store
}

/// A finding as it was after its first `matches` matches.
fn version(matches: usize) -> Finding {
    let mut finding = samples::finding(9, NOW);
    finding.evidence.truncate(matches);
    finding.last_seen = finding.evidence[matches - 1].occurred_at;
    finding.event_ids.truncate(matches);
    finding.revision = matches as u64;
    finding.count = matches as u64;
    finding.sentence = format!("{matches} repositories");
    finding.severity = if matches < 3 { Severity::Medium } else { Severity::High };
    finding
}

/// Everything that a store says.
async fn everything(store: &impl FindingStore) -> String {
    let long_ago = NOW.plus_millis(-400 * DAY);
    format!(
        "{:#?}",
        (
            store.list(all()).await.unwrap(),
            store.severity_counts().await.unwrap(),
            store.per_day(long_ago).await.unwrap(),
            store.top_rules(long_ago, 10).await.unwrap(),
            store.top_entities(long_ago, 50).await.unwrap(),
        )
    )
}

async fn order_and_repeats_do_not_matter<S: FindingStore>(open: impl Fn() -> S) {
    let mut expected = None;
    for order in [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3], [3, 3, 4, 1]] {
        let store = open();
        for matches in order.into_iter().chain([2, 2]) {
            let findings = vec![version(matches), samples::finding(0, NOW)];
            store.take_in(Intake { findings, ..Intake::default() }).await.unwrap();
        }
        let found = everything(&store).await;
        if let Some(expected) = &expected {
            // The order without version 2 has it from the two repeats.
            assert_eq!(&found, expected, "{order:?}");
        }
        expected.get_or_insert(found);
        let kept = store.get(version(1).id.to_string()).await.unwrap();
        assert_eq!((kept.count, kept.evidence.len()), (4, 4), "{order:?}");
        assert_eq!(kept.sentence, "4 repositories", "{order:?}");
    }
}

async fn a_join_that_changes_nothing_is_not_counted<S: FindingStore>(open: impl Fn() -> S) {
    let store = open();
    for (matches, changed) in [(2, 1), (2, 0), (1, 0), (3, 1), (3, 0)] {
        let intake = Intake { findings: vec![version(matches)], ..Intake::default() };
        assert_eq!(store.take_in(intake).await.unwrap(), changed, "{matches}");
    }
    let counts = store.severity_counts().await.unwrap();
    assert_eq!((counts.of(Severity::High), counts.total()), (1, 1), "moved, not counted twice");
}

async fn position_and_what_it_stands_for_are_one<S: FindingStore>(open: impl Fn() -> S) {
    let store = open();
    assert!(store.positions().await.unwrap().is_empty());
    let consumed = Positions::of(topic::FINDINGS, 0, 7);
    let unreadable = Unreadable {
        topic: topic::FINDINGS,
        partition: 0,
        position: 6,
        reason: "not a message".into(),
        body: vec![1, 2].into(),
    };
    for _ in 0..2 {
        let intake = Intake {
            findings: vec![version(1)],
            unreadable: vec![unreadable.clone()],
            consumed: consumed.clone(),
        };
        store.take_in(intake).await.unwrap();
        assert_eq!(store.positions().await.unwrap(), consumed);
        assert_eq!(store.unreadable().await.unwrap(), 1, "a repeat is one");
    }
}

async fn filters_agree_with_looking_at_each<S: FindingStore>(open: impl Fn() -> S) {
    let findings = samples::many(200, NOW);
    let store = filled(open(), &findings).await;
    let since = NOW.plus_millis(-20 * DAY);
    let until = NOW.plus_millis(-5 * DAY);
    let named = |finding: &Finding, role: &str, kind: &str, name: &str| {
        finding.entities.iter().any(|one| {
            (role.is_empty() || one.role == role)
                && (kind.is_empty() || one.kind == kind)
                && one.name.eq_ignore_ascii_case(name)
        })
    };
    type Passes<'a> = Box<dyn Fn(&Finding) -> bool + 'a>;
    let cases: Vec<(&str, FindingQuery, Passes<'_>)> = vec![
        ("all", all(), Box::new(|_| true)),
        (
            "severities",
            FindingQuery { severities: vec![Severity::High, Severity::Low], ..all() },
            Box::new(|one| matches!(one.severity, Severity::High | Severity::Low)),
        ),
        (
            "rule",
            FindingQuery { rule: Some("deploy-key-added".into()), ..all() },
            Box::new(|one| one.rule.name == "deploy-key-added"),
        ),
        (
            "since, until",
            FindingQuery { since: Some(since), until: Some(until), ..all() },
            Box::new(|one| one.last_seen >= since && one.last_seen < until),
        ),
        (
            "org",
            FindingQuery { org: Some("Octo-Labs".into()), ..all() },
            Box::new(|one| named(one, "", "org", "octo-labs")),
        ),
        (
            "actor",
            FindingQuery { actor: Some("mona".into()), ..all() },
            Box::new(|one| named(one, "actor", "", "mona")),
        ),
        (
            "entity by name",
            FindingQuery { entity: Some("octo-corp/web".into()), ..all() },
            Box::new(|one| named(one, "", "", "octo-corp/web")),
        ),
        (
            "entity by kind and name",
            FindingQuery { entity: Some("repo/octo-corp/web".into()), ..all() },
            Box::new(|one| named(one, "", "repo", "octo-corp/web")),
        ),
        (
            "entity of another kind",
            FindingQuery { entity: Some("user/octo-corp".into()), ..all() },
            Box::new(|_| false),
        ),
        (
            "text",
            FindingQuery { text: Some("PROTECTION of branch".into()), ..all() },
            Box::new(|one| one.sentence.contains("protection of branch")),
        ),
        (
            "short text",
            FindingQuery { text: Some("-k".into()), ..all() },
            Box::new(|one| {
                let id = one.id.to_string();
                let words = [&one.sentence, &one.rule.name, &one.rule.title, &id];
                words.iter().any(|word| word.to_lowercase().contains("-k"))
                    || one.entities.iter().any(|entity| entity.name.contains("-k"))
            }),
        ),
        (
            "search syntax is text",
            FindingQuery { text: Some("octo\" OR \"mona".into()), ..all() },
            Box::new(|_| false),
        ),
        (
            "SQL is text",
            FindingQuery { org: Some("' OR 1=1 --".into()), ..all() },
            Box::new(|_| false),
        ),
        (
            "several at once",
            FindingQuery {
                severities: vec![Severity::High],
                org: Some("octo-corp".into()),
                since: Some(since),
                text: Some("mona".into()),
                ..all()
            },
            Box::new(|one| {
                one.severity == Severity::High
                    && named(one, "", "org", "octo-corp")
                    && one.last_seen >= since
                    && one.sentence.contains("mona")
            }),
        ),
    ];
    for (name, query, passes) in cases {
        let mut expected: Vec<&Finding> = findings.iter().filter(|one| passes(one)).collect();
        expected.sort_by(|a, b| {
            (b.severity, b.last_seen, &b.id).cmp(&(a.severity, a.last_seen, &a.id))
        });
        let expected: Vec<&str> = expected.iter().map(|one| one.id.as_str()).collect();
        let page = store.list(query.clone()).await.unwrap();
        assert_eq!(ids(&page), expected, "{name}");
        assert_eq!(page.total, expected.len() as u64, "{name}");
        assert_eq!(store.count(query).await.unwrap(), page.total, "{name}");
    }
}

async fn pages_join_to_the_whole<S: FindingStore>(open: impl Fn() -> S) {
    let findings = samples::many(53, NOW);
    let store = filled(open(), &findings).await;
    for order in [Order::Worst, Order::Newest] {
        let whole = store.list(FindingQuery { order, ..all() }).await.unwrap();
        let mut query = FindingQuery { order, limit: 10, ..FindingQuery::default() };
        let mut walked = Vec::new();
        for _ in 0..6 {
            let page = store.list(query.clone()).await.unwrap();
            assert_eq!(page.total, 53);
            walked.extend(page.findings);
            query.page = page.next.map(|token| token.to_string().parse().unwrap());
        }
        assert_eq!(query.page, None, "the last page says so");
        assert_eq!(walked, whole.findings);
    }
    let newest = store.list(FindingQuery { order: Order::Newest, ..all() }).await.unwrap();
    assert!(newest.findings.is_sorted_by(|a, b| a.last_seen >= b.last_seen));
}

async fn a_beginning_names_a_finding<S: FindingStore>(open: impl Fn() -> S) {
    let with_id = |id: &str| Finding { id: FindingId::from_text(id), ..version(1) };
    let findings = ["F-ABCDEF22", "F-ABCXYZ22", "F-QQQQ2222"].map(with_id);
    let store = filled(open(), &findings).await;
    for asked in ["F-QQQQ2222", "F-Q", "q", "f-qqqq", "QQQQ2222", " F-QQ "] {
        assert_eq!(store.get(asked.into()).await.unwrap().id.as_str(), "F-QQQQ2222", "{asked}");
    }
    match store.get("F-ABC".into()).await {
        Err(Error::Ambiguous { candidates, .. }) => {
            assert_eq!(candidates, ["F-ABCDEF22", "F-ABCXYZ22"]);
        }
        other => panic!("{other:?}"),
    }
    for asked in ["", "F-", "F-ZZ", "%", "_", "F-ABC%", "\u{0}"] {
        let error = store.get(asked.into()).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{asked}: {error}");
    }
}

async fn counts_follow_the_findings<S: FindingStore>(open: impl Fn() -> S) {
    let findings = samples::many(100, NOW);
    let store = filled(open(), &findings).await;
    let counts = store.severity_counts().await.unwrap();
    for severity in Severity::ALL {
        let expected = findings.iter().filter(|one| one.severity == severity).count();
        assert_eq!(counts.of(severity), expected as u64, "{severity}");
    }
    let since = NOW.floor_to(DAY).plus_millis(-9 * DAY);
    let recent: Vec<&Finding> = findings.iter().filter(|one| one.first_seen >= since).collect();
    let days = store.per_day(since).await.unwrap();
    assert!(days.is_sorted_by(|a, b| a.day < b.day));
    for day in &days {
        let expected = recent.iter().filter(|one| one.first_seen.floor_to(DAY) == day.day);
        assert_eq!(day.counts.total(), expected.count() as u64, "{}", day.day);
    }
    assert_eq!(days.iter().map(|day| day.counts.total()).sum::<u64>(), recent.len() as u64);
    let rules = store.top_rules(since, 3).await.unwrap();
    assert_eq!(rules.len(), 3);
    for rule in &rules {
        let mine: Vec<_> = recent.iter().filter(|one| one.rule.name == rule.concept).collect();
        assert_eq!(rule.findings, mine.len() as u64, "{}", rule.concept);
        assert_eq!(Some(rule.worst), mine.iter().map(|one| one.severity).max());
        assert_eq!(rule.title, mine[0].rule.title);
    }
    assert!(rules.is_sorted_by(|a, b| a.findings >= b.findings));
    let mona = store.top_entities(since, 100).await.unwrap();
    let mona = mona.iter().find(|one| one.kind == "user" && one.name == "mona").unwrap();
    let about = |one: &&&Finding| one.entities.iter().any(|entity| entity.name == "mona");
    assert_eq!(mona.findings, recent.iter().filter(about).count() as u64);
}

macro_rules! contract {
    ($module:ident, $open:expr; $($name:ident),+ $(,)?) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let next = std::cell::Cell::new(0);
                    super::$name(|| {
                        next.set(next.get() + 1);
                        $open(folder.path().join(format!("{}.db", next.get())))
                    })
                    .await;
                }
            )+
        }
    };
}

contract! {
    sqlite, |file: std::path::PathBuf| SqliteStore::open(&file).unwrap();
    order_and_repeats_do_not_matter,
    a_join_that_changes_nothing_is_not_counted,
    position_and_what_it_stands_for_are_one,
    filters_agree_with_looking_at_each,
    pages_join_to_the_whole,
    a_beginning_names_a_finding,
    counts_follow_the_findings,
}

#[tokio::test]
async fn sqlite_keeps_everything_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("findings.db");
    let store = filled(SqliteStore::open(&file).unwrap(), &samples::many(20, NOW)).await;
    let before = everything(&store).await;
    drop(store);
    assert_eq!(everything(&SqliteStore::open(&file).unwrap()).await, before);
}

#[test]
fn sqlite_refuses_a_later_format() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("findings.db");
    drop(SqliteStore::open(&file).unwrap());
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = SqliteStore::open(&file).err().unwrap().to_string();
    assert!(error.contains("has format 99, this release knows formats up to 1"), "{error}");
}
