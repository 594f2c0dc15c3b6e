#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]
//! Findings as the shipped rules make them, for tests and for the sample server.

use bytes::Bytes;
use hubwarden_console::{StageStatus, Status};
use hubwarden_event::{
    Backfill, BlindRule, Confidence, ConnectionId, EntityRef, EventId, Evidence, Finding,
    FindingId, RawPosition, Reason, RuleRef, RulesStatus, RunId, Severity, SourceId, SourceStatus,
    Timestamp,
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
            .map(|name| StageStatus { name: name.into(), lag: 0 })
            .into(),
    }
}
