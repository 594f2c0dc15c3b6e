use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, EventId, FindingId, RawPosition, RunId, Timestamp, UnknownName};

/// A finding carries the earliest so many events as evidence.
pub const EVIDENCE_LIMIT: usize = 20;

/// How bad it is, in Sigma's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Informational,
    /// Worth a look some day.
    Low,
    /// Worth a look this week.
    Medium,
    /// Worth a look today.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] =
        [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Sigma's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| UnknownName(text.into()))
    }
}

/// How sure the rule is that what it finds is what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Often harmless.
    Low,
    /// Sometimes harmless.
    Medium,
    /// Seldom harmless.
    High,
}

impl Confidence {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl FromStr for Confidence {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let all = [Self::Low, Self::Medium, Self::High];
        all.into_iter().find(|level| level.as_str() == text).ok_or_else(|| UnknownName(text.into()))
    }
}

/// The rule that made a finding, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleRef {
    /// Sigma's `id`, if the rule has one.
    pub id: Option<String>,
    /// The rule's name; its concept is what stands before `--`.
    pub name: String,
    /// The rule's title.
    pub title: String,
    /// Content hash of the rule, in hexadecimal.
    pub hash: String,
    /// ATT&CK techniques, such as `T1562.001`.
    pub attack: Vec<String>,
}

/// One condition that held, and the value that made it hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// The condition in words of the rule, such as `visibility is public`.
    pub condition: String,
    /// The field that it looks at.
    pub field: String,
    /// What stood there, or the count that was reached.
    pub value: String,
    /// The count that had to be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
    /// What is usual here, for rules that learn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<String>,
}

/// Somebody or something that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntityRef {
    /// Its part in the story, such as `actor` or `target`.
    pub role: String,
    /// What it is, such as `user`, `org`, `repo`, `token`, `address`.
    pub kind: String,
    /// GitHub's number for it, when the event has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    pub name: String,
}

/// One event that belongs to a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The event.
    pub id: EventId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// GitHub's action name.
    pub action: String,
    /// Where its raw record stands.
    pub position: RawPosition,
    /// The event's fields as JSON, at most 8 KiB of them.
    pub record: serde_json::Map<String, serde_json::Value>,
}

/// What a person reads: that something happened, to whom, why Hubwarden says so, and what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same for the same rule, group and bucket, whenever and wherever it is computed.
    pub id: FindingId,
    /// How many distinct matches have been folded in.
    pub revision: u64,
    /// The highest severity of them.
    pub severity: Severity,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// The rule.
    pub rule: RuleRef,
    /// Whose finding it is.
    pub connection: ConnectionId,
    /// A run that published it: of several the first by name, whichever came first.
    pub run: RunId,
    /// Event time of the earliest match.
    pub first_seen: Timestamp,
    /// Event time of the latest match.
    pub last_seen: Timestamp,
    /// How many distinct events.
    pub count: u64,
    /// Whether count and revision read "at least".
    #[serde(default)]
    pub at_least: bool,
    /// Who did what to which thing, in one sentence.
    pub sentence: String,
    /// Why it fired.
    pub reason: Vec<Reason>,
    /// Who and what it is about.
    pub entities: Vec<EntityRef>,
    /// The events in evidence.
    pub event_ids: Vec<EventId>,
    /// The earliest events, at most [`EVIDENCE_LIMIT`], by time and id.
    pub evidence: Vec<Evidence>,
    /// What to do first.
    pub response: String,
}

impl Finding {
    /// Takes over what a later or parallel version of the same finding knows; false if that is nothing.
    ///
    /// Counts and severity only rise, times only widen, evidence is the earliest of both. The words
    /// come from the version with the higher revision, and so does who is named. Where two versions
    /// differ at the same revision, as after a changed rule or over two runs, their content decides,
    /// so that the order of joining never does.
    pub fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        if other.words() > self.words() {
            self.sentence.clone_from(&other.sentence);
            self.reason.clone_from(&other.reason);
            self.response.clone_from(&other.response);
            self.rule.clone_from(&other.rule);
            self.confidence = other.confidence;
        }
        if other.revision > self.revision {
            self.entities.clone_from(&other.entities);
        } else if other.revision == self.revision {
            self.entities.extend(other.entities.iter().cloned());
            self.entities.sort();
            self.entities.dedup();
        }
        if other.run < self.run {
            self.run = other.run.clone();
        }
        self.revision = self.revision.max(other.revision);
        self.count = self.count.max(other.count);
        self.at_least |= other.at_least;
        self.severity = self.severity.max(other.severity);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.evidence.extend(other.evidence.iter().cloned());
        self.evidence.sort_by_key(|one| (one.occurred_at, one.id, one.position));
        self.evidence.dedup_by_key(|one| one.id);
        self.evidence.truncate(EVIDENCE_LIMIT);
        self.event_ids = self.evidence.iter().map(|one| one.id).collect();
        *self != before
    }

    /// What a version says in words, the higher revision first in rank.
    fn words(&self) -> impl Ord + '_ {
        let Self { revision, rule, confidence, sentence, reason, response, .. } = self;
        (*revision, rule, *confidence, sentence, reason, response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(revision: u64, times: &[i64]) -> Finding {
        let evidence: Vec<_> = times
            .iter()
            .map(|time| Evidence {
                id: EventId::from_bytes([*time as u8; 16]),
                occurred_at: Timestamp::from_millis(*time),
                action: "repo.access".into(),
                position: RawPosition::default(),
                record: serde_json::Map::new(),
            })
            .collect();
        Finding {
            id: FindingId::from_text("F-X"),
            revision,
            severity: Severity::High,
            confidence: Confidence::High,
            rule: RuleRef {
                id: None,
                name: "r".into(),
                title: "R".into(),
                hash: "h".into(),
                attack: vec![],
            },
            connection: "c".into(),
            run: RunId::live(),
            first_seen: Timestamp::from_millis(*times.iter().min().unwrap()),
            last_seen: Timestamp::from_millis(*times.iter().max().unwrap()),
            count: revision,
            at_least: false,
            sentence: format!("{revision} events"),
            reason: vec![],
            entities: vec![EntityRef {
                role: "actor".into(),
                kind: "user".into(),
                id: None,
                name: format!("of-{revision}"),
            }],
            event_ids: evidence.iter().map(|one| one.id).collect(),
            evidence,
            response: String::new(),
        }
    }

    #[test]
    fn join_is_idempotent_and_does_not_depend_on_order() {
        let versions = [finding(1, &[5]), finding(2, &[5, 3]), finding(3, &[5, 3, 9])];
        let join = |order: [usize; 4]| {
            let mut joined = versions[order[0]].clone();
            for next in &order[1..] {
                joined.join(&versions[*next]);
            }
            joined
        };
        let expected = join([0, 1, 2, 2]);
        assert_eq!(expected.count, 3);
        assert_eq!(expected.evidence.len(), 3);
        assert_eq!(expected.entities, versions[2].entities, "not those of versions on the way");
        for order in [[2, 1, 0, 1], [1, 2, 0, 0], [2, 0, 1, 2]] {
            assert_eq!(join(order), expected, "{order:?}");
        }
        let mut joined = expected.clone();
        assert!(!joined.join(&versions[1]), "what adds nothing is a no-op");
    }

    /// Two runs, or a rule before and after an edit, can make different versions of one revision.
    #[test]
    fn versions_of_one_revision_join_alike_in_any_order() {
        let mut versions = [finding(2, &[5, 3]), finding(2, &[5, 3]), finding(2, &[5, 9])];
        versions[1].sentence = "two events".into();
        versions[1].rule.title = "A".into();
        versions[2].run = RunId::new("backfill");
        for one in &mut versions[2].evidence {
            one.position.offset = 7; // the same event, read again by the other run
        }
        let mut found = Vec::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut joined = versions[order[0]].clone();
            for next in order {
                joined.join(&versions[next]);
            }
            found.push(joined);
        }
        assert!(found.iter().all(|one| *one == found[0]), "{found:#?}");
        assert_eq!((found[0].run.as_str(), found[0].evidence.len()), ("backfill", 3));
        assert!(
            found[0]
                .evidence
                .iter()
                .all(|one| one.occurred_at.as_millis() == 9 || one.position.offset == 0)
        );
    }
}
