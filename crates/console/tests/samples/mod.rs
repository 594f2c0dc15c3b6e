#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]
//! Findings as the shipped rules make them, for tests and for the sample server.

use bytes::Bytes;
use hubwarden_bus::{Member, Positions, topic};
use hubwarden_console::{KeptLetter, LINE, LetterAt, StageStatus, StageWatch, Status};
use hubwarden_event::{
    Backfill, BlindRule, Confidence, ConnectionId, ContentType, DeadLetter, EntityRef, EventId,
    Evidence, Feed, Finding, FindingId, Hash, RawPosition, RawRecord, Reason, RuleRef, RulesStatus,
    RunId, Severity, SourceId, SourceStatus, Timestamp,
};
use serde_json::json;

const HOUR: i64 = 3_600_000;

/// What varies between the sample findings.
struct Case {
    rule: &'static str,
    title: &'static str,
    severity: Severity,
    confidence: Confidence,
    attack: &'static [&'static str],
    action: &'static str,
    sentence: &'static str,
    reason: (&'static str, &'static str, &'static str, Option<&'static str>),
    response: &'static str,
    events: u64,
}

const CASES: [Case; 7] = [
    Case {
        rule: "sso-disabled",
        title: "Single sign-on switched off",
        severity: Severity::Critical,
        confidence: Confidence::High,
        attack: &["T1556", "T1562.001"],
        action: "org.disable_saml",
        sentence: "{actor} switched off single sign-on for {org}",
        reason: ("action is one of 4 that switch off sign-on", "action", "org.disable_saml", None),
        response: "Ask an owner who did not make the change to confirm it by another channel.\n\
                   If nobody can, switch single sign-on back on and end all sessions of the actor.",
        events: 1,
    },
    Case {
        rule: "mass-repository-clone",
        title: "Many private repositories cloned by one account",
        severity: Severity::High,
        confidence: Confidence::Medium,
        attack: &["T1213.003"],
        action: "git.clone",
        sentence: "{actor} cloned 34 private repositories of {org} in 38 minutes",
        reason: ("distinct repositories within 1 h", "repo", "34", Some("more than 20")),
        response: "Ask the owner of the account whether it was them.\n\
                   Revoke the token if not: it is named under who and what.",
        events: 34,
    },
    Case {
        rule: "repository-made-public",
        title: "Repository made public",
        severity: Severity::High,
        confidence: Confidence::High,
        attack: &["T1567"],
        action: "repo.access",
        sentence: "{actor} made {repo} public, which was private",
        reason: ("visibility is public", "visibility", "public", None),
        response: "Make the repository private again, then rotate every secret in its history.",
        events: 1,
    },
    Case {
        rule: "branch-protection-removed",
        title: "Branch protection removed",
        severity: Severity::High,
        confidence: Confidence::Medium,
        attack: &["T1562.001"],
        action: "protected_branch.destroy",
        sentence: "{actor} removed the protection of branch main of {repo}",
        reason: ("action is protected_branch.destroy", "action", "protected_branch.destroy", None),
        response: "Compare what was pushed since with the last reviewed commit.",
        events: 2,
    },
    Case {
        rule: "self-hosted-runner-registered",
        title: "Self-hosted runner registered",
        severity: Severity::Medium,
        confidence: Confidence::Medium,
        attack: &["T1195.002"],
        action: "repo.register_self_hosted_runner",
        sentence: "{actor} registered a self-hosted runner for {repo}",
        reason: ("action registers a runner", "action", "repo.register_self_hosted_runner", None),
        response: "Check that the machine is one of yours.",
        events: 1,
    },
    Case {
        rule: "deploy-key-added",
        title: "Deploy key with write access added",
        severity: Severity::Low,
        confidence: Confidence::Low,
        attack: &["T1098.004"],
        action: "public_key.create",
        sentence: "{actor} added a deploy key with write access to {repo}",
        reason: ("read_only is false", "read_only", "false", None),
        response: "Confirm the key with its owner.",
        events: 1,
    },
    Case {
        rule: "org-member-added",
        title: "Member joined organization",
        severity: Severity::Informational,
        confidence: Confidence::Low,
        attack: &["T1136.003"],
        action: "org.add_member",
        sentence: "{actor} added a member to {org}",
        reason: ("action is org.add_member", "action", "org.add_member", None),
        response: "",
        events: 3,
    },
];

const ACTORS: [&str; 6] = ["octocat", "mona", "hubot", "lisa-k", "deploy-bot", "j-okafor"];
const ORGS: [&str; 3] = ["octo-corp", "octo-labs", "octo-data"];
const REPOS: [&str; 5] = ["payments", "web", "infra-terraform", "ml-models", "mobile-app"];

/// Names that attack whoever shows them.
pub const HOSTILE: [&str; 5] = [
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\u{1b}[31mred\u{1b}]0;owned\u{7}",
    "app\u{202e}gpj.exe",
    "\"><img src=x onerror=alert(1)>",
];

/// The finding with this number: what it is follows from the number, its time from `last_seen`.
pub fn finding(number: usize, last_seen: Timestamp) -> Finding {
    // The rare rules are rare: most numbers fall on the harmless end.
    const MIX: [usize; 16] = [6, 5, 4, 3, 6, 5, 2, 4, 6, 1, 5, 3, 4, 6, 5, 0];
    let case = &CASES[MIX[number % MIX.len()]];
    let org = ORGS[number % 7 % ORGS.len()];
    let repo = format!("{org}/{}", REPOS[number % REPOS.len()]);
    named(case, number, ACTORS[number % ACTORS.len()], org, &repo, last_seen)
}

/// A finding about a repository with this name.
pub fn about(repo: &str, number: usize, last_seen: Timestamp) -> Finding {
    named(&CASES[2], number, "octocat", "octo-corp", repo, last_seen)
}

/// So many findings over the days before `now`, the number 0 the latest.
pub fn many(count: usize, now: Timestamp) -> Vec<Finding> {
    let spread = |number: usize| {
        // A step that is coprime to everything here, so that hours of the day vary.
        let minutes = 17 + number as i64 * 337 + number as i64 * number as i64 % 211;
        now.plus_millis(-minutes * 60_000)
    };
    (0..count).map(|number| finding(number, spread(number))).collect()
}

fn named(
    case: &Case,
    number: usize,
    actor: &str,
    org: &str,
    repo: &str,
    last_seen: Timestamp,
) -> Finding {
    let connection = ConnectionId::from("octo-corp");
    let run = RunId::live();
    let shown = case.events.min(20);
    let first_seen = last_seen.plus_millis(-(case.events as i64 - 1) * 68_000);
    let evidence: Vec<Evidence> = (0..shown)
        .map(|place| {
            let source = SourceId::new(format!("{number}-{place}"));
            let repo =
                if shown > 2 { format!("{org}/service-{place:02}") } else { repo.to_owned() };
            let record = json!({
                "@timestamp": first_seen.plus_millis(place as i64 * 68_000).as_millis(),
                "_document_id": format!("doc-{number}-{place}"),
                "action": case.action,
                "actor": actor,
                "actor_ip": format!("203.0.113.{}", number % 250),
                "actor_is_bot": false,
                "hw.actor.class": "person",
                "hw.repo.visibility": "private",
                "org": org,
                "repo": repo,
                "user_agent": "git/2.45.1",
            });
            Evidence {
                id: EventId::of(&connection, &run, &source),
                occurred_at: first_seen.plus_millis(place as i64 * 68_000),
                action: case.action.into(),
                position: RawPosition { partition: 0, offset: (number * 20) as u64 + place },
                record: record.as_object().cloned().unwrap_or_default(),
            }
        })
        .collect();
    let entity = |role: &str, kind: &str, name: &str| EntityRef {
        role: role.into(),
        kind: kind.into(),
        id: None,
        name: name.into(),
    };
    let mut entities = vec![entity("actor", "user", actor), entity("target", "org", org)];
    if case.sentence.contains("{repo}") {
        entities.push(entity("target", "repo", repo));
    }
    let fill =
        |text: &str| text.replace("{actor}", actor).replace("{org}", org).replace("{repo}", repo);
    let (condition, field, value, threshold) = case.reason;
    Finding {
        id: FindingId::of(
            &connection,
            &run,
            case.rule,
            [actor, org, repo, &number.to_string()],
            first_seen.floor_to(HOUR),
        ),
        revision: case.events,
        severity: case.severity,
        confidence: case.confidence,
        rule: RuleRef {
            id: None,
            name: case.rule.into(),
            title: case.title.into(),
            hash: "5f2b9a3e8c7d41f0a6b5c4d3e2f1098765432100ffeeddccbbaa998877665544".into(),
            attack: case.attack.iter().map(|technique| (*technique).into()).collect(),
        },
        connection,
        run,
        first_seen,
        last_seen,
        count: case.events,
        at_least: false,
        sentence: fill(case.sentence),
        reason: vec![Reason {
            condition: condition.into(),
            field: field.into(),
            value: value.into(),
            threshold: threshold.map(Into::into),
            usual: None,
        }],
        entities,
        event_ids: evidence.iter().map(|one| one.id).collect(),
        evidence,
        response: case.response.into(),
    }
}

/// A raw record for a position; every seventh is no longer kept.
pub fn raw(position: RawPosition) -> Option<Bytes> {
    (position.offset % 7 != 6).then(|| {
        let body = json!({
            "@timestamp": 1_741_611_463_961_i64,
            "_document_id": format!("doc-{}", position.offset),
            "action": "git.clone",
            "actor": "octocat",
            "org": "octo-corp",
            "repo": "octo-corp/<script>alert(1)</script>",
        });
        body.to_string().into()
    })
}

/// A pipeline that is mostly well.
pub fn status(now: Timestamp) -> Status {
    let ago = |millis: i64| Some(now.plus_millis(-millis));
    Status {
        sources: vec![
            SourceStatus {
                connection: "octo-corp".into(),
                feed: "audit-rest".into(),
                scope: "enterprise/octo-corp".into(),
                records: 1_048_213,
                last_event: ago(34_000),
                read_through: ago(21_000),
                interval_ms: 60_000,
                backfill: Some(Backfill {
                    from: now.plus_millis(-180 * 24 * HOUR),
                    until: now,
                    through: now.plus_millis(-63 * 24 * HOUR),
                    done: false,
                }),
                ..SourceStatus::default()
            },
            SourceStatus {
                connection: "octo-labs".into(),
                feed: "audit-rest".into(),
                scope: "org/octo-labs".into(),
                records: 20_417,
                last_event: ago(3 * HOUR),
                read_through: ago(2 * HOUR),
                interval_ms: 60_000,
                errors: 4,
                last_error: Some(
                    "GitHub refused the token (401); make a new one and write it to stream.token"
                        .into(),
                ),
                ..SourceStatus::default()
            },
            SourceStatus {
                connection: "archive".into(),
                feed: "import".into(),
                scope: "audit-2025.json.gz".into(),
                records: 412_000,
                last_event: ago(40 * 24 * HOUR),
                read_through: ago(40 * 24 * HOUR),
                finished: true,
                ..SourceStatus::default()
            },
        ],
        rules: RulesStatus {
            loaded: 69,
            blind: vec![BlindRule {
                name: "invite-to-foreign-email-domain".into(),
                reason: "needs list company_domains".into(),
            }],
            refused: Vec::new(),
        },
        stages: ["normalizer", "match", "correlate", "console"]
            .map(|name| StageStatus { name: name.into(), ..StageStatus::default() })
            .into(),
    }
}

/// Five seconds apart, an hour of looks at three partitions: partition 1 of correlate stands still, and
/// the normalizer falls behind in between.
pub fn watch(now: Timestamp) -> StageWatch {
    let watch = StageWatch::default();
    let seconds: u64 = 61 * 60;
    for second in (0..=seconds).step_by(5) {
        let (mut ends, mut stored) = (Positions::none(), Vec::new());
        for (place, (name, of)) in LINE.into_iter().enumerate() {
            let mut at = Positions::none();
            for partition in 0..3 {
                let end = (second + 1) * [40, 38, 4, 1][place];
                let slow = if (1200..2400).contains(&second) { second - 1200 } else { 0 };
                let behind = match (name, partition) {
                    ("normalizer", _) => slow * 7,
                    ("correlate", 1) => second.saturating_sub(seconds - 300) * 4,
                    _ => 0,
                };
                ends.set(of, partition, end);
                at.set(of, partition, end - behind);
            }
            stored.push((name.to_owned(), at));
        }
        let ago = i64::try_from(seconds - second).unwrap() * 1000;
        watch.take(now.plus_millis(-ago), &ends, &stored, members());
    }
    watch
}

fn members() -> Vec<Member> {
    let member = |stage: &str, name: &str, owns: &[u32]| {
        let (_, topic) = LINE.into_iter().find(|(of, _)| *of == stage).unwrap();
        Member {
            stage: stage.into(),
            name: name.into(),
            host: "10.2.0.17".into(),
            owns: owns.iter().map(|partition| (topic, *partition)).collect(),
        }
    };
    vec![
        member("normalizer", "hubwarden-7f1c", &[0, 1]),
        member("normalizer", "hubwarden-<script>alert(1)", &[2]),
        member("match", "hubwarden-91aa", &[0, 1, 2]),
        member("correlate", "correlate-0-5e2f", &[0, 1, 2]),
        member("console", "hubwarden-3b04", &[0, 1, 2]),
    ]
}

/// A raw record as the collector writes it.
pub fn raw_record(payload: impl Into<Bytes>) -> RawRecord {
    let payload = payload.into();
    RawRecord {
        connection: "octo-corp".into(),
        feed: Feed::AuditRest,
        run: RunId::live(),
        source_id: SourceId::from(&*Hash::of(&payload).to_string()),
        received_at: Timestamp::from_millis(1_741_611_000_000),
        content_type: ContentType::Json,
        payload,
        scrubs: Vec::new(),
        origin: None,
        damage: None,
    }
}

/// The letter for such a record, as the normalizer writes it.
pub fn dead_letter(raw: &RawRecord, offset: u64, reason: &str) -> DeadLetter {
    DeadLetter {
        position: RawPosition { partition: 2, offset },
        connection: Some(raw.connection.clone()),
        origin: None,
        reason: reason.into(),
        hash: Hash::of(&raw.payload),
        length: raw.payload.len() as u64,
        record: raw.payload.slice(..raw.payload.len().min(64 << 10)),
        envelope: Some(Box::new(RawRecord { payload: Bytes::new(), ..raw.clone() })),
    }
}

/// A letter as a store is given it.
pub fn kept(at: LetterAt, appended_at: Timestamp, letter: DeadLetter) -> KeptLetter {
    let reason = letter.reason.clone();
    let body = hubwarden_proto::encode_dead_letter(letter);
    KeptLetter { at, appended_at, reason, body, retry: None }
}

/// Letters of every sort: whole, cut, of events, hostile, and what is none.
pub fn letters(now: Timestamp) -> Vec<KeptLetter> {
    let at = |topic, position| LetterAt { topic, partition: 1, position };
    let ago = |minutes: i64| now.plus_millis(-minutes * 60_000);
    let raw = |payload: &str, offset, reason| {
        dead_letter(&raw_record(payload.as_bytes().to_vec()), offset, reason)
    };
    let mut letters: Vec<KeptLetter> = (0..60_u32)
        .map(|number| {
            let payload = format!(r#"{{"_document_id":"{number}","actor":"octocat"}}"#);
            let letter = raw(&payload, u64::from(number), "field `action` is missing");
            kept(at(topic::RAW_DEAD, u64::from(number)), ago(200 - i64::from(number)), letter)
        })
        .collect();
    let hostile = "<script>alert(1)</script>\u{1b}[31mred app\u{202e}gpj.exe";
    letters.push(kept(at(topic::RAW_DEAD, 100), ago(9), raw(hostile, 100, hostile)));
    let long = format!("[{}", "x".repeat(99_999));
    let reason = "not a JSON object but an array";
    letters.push(kept(at(topic::RAW_DEAD, 101), ago(8), raw(&long, 101, reason)));
    let mut event =
        raw("\u{1}\u{2}event of another release", 7, "not an event of this release: field 9");
    event.envelope = None;
    event.connection = None;
    letters.push(kept(at(topic::EVENTS_DEAD, 3), ago(5), event));
    letters.push(KeptLetter {
        at: at(topic::EVENTS_DEAD, 4),
        appended_at: ago(4),
        reason: "not a dead letter of this release: wrong wire type".into(),
        body: Bytes::from_static(b"\xff\xfe nobody knows"),
        retry: None,
    });
    letters
}
