//! What every findings store must do.

use hubwarden_bus::{Positions, topic};
use hubwarden_console::{Error, FindingQuery, FindingStore, Intake, Order, Page, Unreadable};
use hubwarden_event::{EntityRef, Finding, FindingId, RunId, Severity};

use crate::{DAY, NOW, Sort, all, everything, samples, version};

fn ids(page: &Page) -> Vec<&str> {
    page.findings.iter().map(|finding| finding.id.as_str()).collect()
}

async fn filled<S: FindingStore>(store: S, findings: &[Finding]) -> S {
    let intake = Intake { findings: findings.to_vec(), ..Intake::default() };
    assert_eq!(store.take_in(intake).await.unwrap(), findings.len());
    store
}

pub(crate) async fn order_and_repeats_do_not_matter(sort: &impl Sort) {
    let mut expected = None;
    for order in [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3], [3, 3, 4, 1]] {
        let store = sort.fresh().await;
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

pub(crate) async fn a_join_that_changes_nothing_is_not_counted(sort: &impl Sort) {
    let store = sort.fresh().await;
    for (matches, changed) in [(2, 1), (2, 0), (1, 0), (3, 1), (3, 0)] {
        let intake = Intake { findings: vec![version(matches)], ..Intake::default() };
        assert_eq!(store.take_in(intake).await.unwrap(), changed, "{matches}");
    }
    let counts = store.severity_counts().await.unwrap();
    assert_eq!((counts.of(Severity::High), counts.total()), (1, 1), "moved, not counted twice");
}

pub(crate) async fn position_and_what_it_stands_for_are_one(sort: &impl Sort) {
    let store = sort.fresh().await;
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

pub(crate) async fn filters_agree_with_looking_at_each(sort: &impl Sort) {
    let findings = samples::many(200, NOW);
    let store = filled(sort.fresh().await, &findings).await;
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

pub(crate) async fn pages_join_to_the_whole(sort: &impl Sort) {
    let findings = samples::many(53, NOW);
    let store = filled(sort.fresh().await, &findings).await;
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

pub(crate) async fn a_beginning_names_a_finding(sort: &impl Sort) {
    let with_id = |id: &str| Finding { id: FindingId::from_text(id), ..version(1) };
    let findings = ["F-ABCDEF22", "F-ABCXYZ22", "F-QQQQ2222"].map(with_id);
    let store = filled(sort.fresh().await, &findings).await;
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

pub(crate) async fn counts_follow_the_findings(sort: &impl Sort) {
    let findings = samples::many(100, NOW);
    let store = filled(sort.fresh().await, &findings).await;
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

/// Versions of one revision, words and runs included: whatever comes first, the answers are the same.
pub(crate) async fn versions_of_one_revision_join_alike(sort: &impl Sort) {
    let mut versions = [version(3), version(3), version(3)];
    versions[1].rule.title = "A later title".into();
    versions[1].sentence = "said otherwise".into();
    versions[2].run = RunId::new("import-1");
    for one in &mut versions[2].evidence {
        one.position.offset += 1;
    }
    let mut expected = None;
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let store = sort.fresh().await;
        for place in order {
            let intake = Intake { findings: vec![versions[place].clone()], ..Intake::default() };
            store.take_in(intake).await.unwrap();
        }
        let found = everything(&store).await;
        assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{order:?}");
    }
}

pub(crate) async fn versions_in_one_intake_are_one_change(sort: &impl Sort) {
    let store = sort.fresh().await;
    let findings = vec![version(2), version(4), version(1), samples::finding(0, NOW)];
    let intake = Intake { findings, ..Intake::default() };
    assert_eq!(store.take_in(intake).await.unwrap(), 2);
    assert_eq!(store.get(version(1).id.to_string()).await.unwrap().count, 4);
    assert_eq!(store.severity_counts().await.unwrap().total(), 2);
}

/// A console that has lost its partition to another may still write what it read before.
pub(crate) async fn a_position_never_goes_back(sort: &impl Sort) {
    let store = sort.fresh().await;
    let mut expected = Positions::none();
    for (partition, next, highest) in [(0, 7, 7), (3, 5, 5), (0, 4, 7), (0, 9, 9), (3, 5, 5)] {
        let consumed = Positions::of(topic::FINDINGS, partition, next);
        store.take_in(Intake { consumed, ..Intake::default() }).await.unwrap();
        expected.set(topic::FINDINGS, partition, highest);
        assert_eq!(store.positions().await.unwrap(), expected);
    }
}

/// Names as strangers may choose them: no store refuses one, for that would block all findings.
pub(crate) async fn every_name_can_be_kept_and_found(sort: &impl Sort) {
    let store = sort.fresh().await;
    let long = "x".repeat(100_000);
    let names =
        ["\0", "a\0b", "%", "50%_\\", "\n\u{1f}\u{1e}", "#", "Straße/İstanbul", "😀", &long];
    for (number, name) in names.into_iter().chain(samples::HOSTILE).enumerate() {
        let mut finding = samples::about(name, number, NOW);
        finding.id = FindingId::from_text(format!("F-N{number}"));
        finding.rule.name = format!("named {}", name.replace("--", "-"));
        finding.rule.title = name.into();
        finding.entities[0].kind = name.into();
        let intake = Intake {
            findings: vec![finding.clone()],
            unreadable: vec![Unreadable {
                topic: topic::FINDINGS,
                partition: 0,
                position: number as u64,
                reason: name.into(),
                body: name.as_bytes().to_vec().into(),
            }],
            ..Intake::default()
        };
        assert_eq!(store.take_in(intake).await.unwrap(), 1, "{name:.20}");
        assert_eq!(store.get(finding.id.to_string()).await.unwrap(), finding, "{name:.20}");
        for (filter, query) in [
            ("entity", FindingQuery { entity: Some(format!("repo/{name}")), ..all() }),
            ("rule", FindingQuery { rule: Some(finding.rule.name.clone()), ..all() }),
            ("text", FindingQuery { text: Some(name.into()), ..all() }),
        ] {
            let page = store.list(query).await.unwrap();
            assert!(page.findings.contains(&finding), "{filter} {name:.20}");
            if filter != "text" {
                assert_eq!(page.total, 1, "{filter} {name:.20}");
            }
        }
    }
    let rules = store.top_rules(NOW.plus_millis(-DAY), 100).await.unwrap();
    assert_eq!(rules.len(), names.len() + samples::HOSTILE.len());
}

/// Upper and lower case are one thing, counted once in a finding and by the same name in any order.
pub(crate) async fn spellings_of_a_name_are_one_thing(sort: &impl Sort) {
    let spelt = |number: usize, names: &[&str]| {
        let mut finding = samples::finding(number, NOW);
        let entity = |name: &&str| EntityRef {
            role: "actor".into(),
            kind: "user".into(),
            id: None,
            name: (*name).into(),
        };
        finding.entities = names.iter().map(entity).collect();
        finding
    };
    let findings = [spelt(0, &["Mona", "mona"]), spelt(1, &["MONA"]), spelt(2, &["mona"])];
    let mut expected = None;
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let store = sort.fresh().await;
        for place in order {
            let intake = Intake { findings: vec![findings[place].clone()], ..Intake::default() };
            store.take_in(intake).await.unwrap();
        }
        let entities = store.top_entities(NOW.plus_millis(-DAY), 10).await.unwrap();
        let [mona] = entities.as_slice() else { panic!("{entities:?}") };
        assert_eq!(mona.findings, 3);
        assert_eq!(expected.get_or_insert_with(|| mona.name.clone()), &mona.name, "{order:?}");
        let query = FindingQuery { actor: Some("mOnA".into()), ..all() };
        assert_eq!(store.count(query).await.unwrap(), 3);
    }
}

pub(crate) async fn everything_is_kept_over_a_restart(sort: &impl Sort) {
    let place = sort.fresh_place();
    let store = filled(sort.open(&place).await.unwrap(), &samples::many(20, NOW)).await;
    let before = everything(&store).await;
    drop(store);
    assert_eq!(everything(&sort.open(&place).await.unwrap()).await, before);
}

pub(crate) async fn a_later_format_is_refused(sort: &impl Sort) {
    let place = sort.fresh_place();
    drop(sort.open(&place).await.unwrap());
    sort.make_later(&place);
    let error = sort.open(&place).await.err().unwrap();
    let text = error.to_string();
    assert!(!error.is_retryable() && text.contains("99, this release knows"), "{text}");
    assert!(text.contains("use the release that wrote it, or a newer one"), "{text}");
}
