//! The findings store: what it keeps and what it can be asked.

mod config;
pub(crate) mod letters;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hubwarden_bus::{Positions, Topic};
use hubwarden_event::{Finding, FindingId, Severity, Timestamp};

use crate::Error;
use crate::store::letters::LetterStore;
pub use config::{StoreConfig, StoreKind};
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

/// The most findings that one page holds.
pub const MAX_PAGE: usize = 500;

/// Keeps findings and the bus position that they stand for.
///
/// Two stores that were given the same findings, in any order and any number of times, answer
/// alike. Every question is answered from one committed state.
#[tonic::async_trait]
pub trait FindingStore: LetterStore {
    /// Joins findings with what is kept and stores the bus position, both or neither.
    ///
    /// Gives how many findings were new or changed. A position never goes back: what stands before
    /// the higher one is kept, whoever wrote it.
    ///
    /// # Errors
    /// [`Error::is_retryable`] when the same intake may pass later; nothing of it is kept, or all.
    async fn take_in(&self, intake: Intake) -> Result<usize, Error>;

    /// The bus positions of all intakes; names nothing in a fresh store.
    async fn positions(&self) -> Result<Positions, Error>;

    /// One page of the findings that pass the filter.
    async fn list(&self, query: FindingQuery) -> Result<Page, Error>;

    /// How many findings pass the filter; order, limit and page do not count.
    async fn count(&self, query: FindingQuery) -> Result<u64, Error>;

    /// The finding with this id, or with the only id that begins so.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Ambiguous`] with the candidates.
    async fn get(&self, id: String) -> Result<Finding, Error>;

    /// How many findings there are of each severity.
    async fn severity_counts(&self) -> Result<SeverityCounts, Error>;

    /// Findings by the UTC day they were first seen on, oldest first, without the empty days.
    async fn per_day(&self, since: Timestamp) -> Result<Vec<DayCount>, Error>;

    /// The rules with the most findings first seen since then.
    async fn top_rules(&self, since: Timestamp, limit: usize) -> Result<Vec<RuleCount>, Error>;

    /// The users, repositories and other things with the most findings first seen since then.
    async fn top_entities(&self, since: Timestamp, limit: usize)
    -> Result<Vec<EntityCount>, Error>;

    /// How many records of the bus could not be read as findings.
    async fn unreadable(&self) -> Result<u64, Error>;
}

/// What one batch of the bus brings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intake {
    /// Findings, repeats included.
    pub findings: Vec<Finding>,
    /// Records that are not findings.
    pub unreadable: Vec<Unreadable>,
    /// Where the next batch begins.
    pub consumed: Positions,
}

/// A record of the bus that is not a finding, kept so that it does not vanish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub position: u64,
    /// Why it cannot be read.
    pub reason: String,
    /// At most 64 KiB of it.
    pub body: Bytes,
}

/// Which findings to list, in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingQuery {
    /// Only these severities; empty means all.
    pub severities: Vec<Severity>,
    /// A rule's name, or its concept (what stands before `--`).
    pub rule: Option<String>,
    /// Only findings whose last event is not older.
    pub since: Option<Timestamp>,
    /// Only findings whose last event is older.
    pub until: Option<Timestamp>,
    /// An organization by name, upper and lower case alike.
    pub org: Option<String>,
    /// Anything by `name` or `kind/name`, such as `octocat` or `user/octocat`.
    pub entity: Option<String>,
    /// Who did it, by name.
    pub actor: Option<String>,
    /// Text that sentence, rule, id or the name of an entity contains.
    pub text: Option<String>,
    /// What comes first.
    pub order: Order,
    /// At most so many, and never more than [`MAX_PAGE`].
    pub limit: usize,
    /// Where the previous page ended.
    pub page: Option<PageToken>,
}

impl Default for FindingQuery {
    fn default() -> Self {
        Self {
            severities: Vec::new(),
            rule: None,
            since: None,
            until: None,
            org: None,
            entity: None,
            actor: None,
            text: None,
            order: Order::default(),
            limit: 100,
            page: None,
        }
    }
}

/// Which findings come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The worst, and among them those with the latest event.
    #[default]
    Worst,
    /// Those with the latest event.
    Newest,
}

/// The last finding of a page; the next page begins behind it, whatever arrived meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// Its severity.
    pub severity: Severity,
    /// Its latest event.
    pub last_seen: Timestamp,
    /// Its id.
    pub id: FindingId,
}

impl PageToken {
    /// The token of the page that ends with this finding.
    pub fn after(finding: &Finding) -> Self {
        Self { severity: finding.severity, last_seen: finding.last_seen, id: finding.id.clone() }
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.severity, self.last_seen.as_millis(), self.id)
    }
}

impl FromStr for PageToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let mut parts = text.splitn(3, '.');
            Some(Self {
                severity: parts.next()?.parse().ok()?,
                last_seen: Timestamp::from_millis(parts.next()?.parse().ok()?),
                id: FindingId::from_text(parts.next()?),
            })
        };
        read().ok_or_else(|| Error::BadQuery {
            field: "page",
            value: text.into(),
            hint: "take it from the previous page as it is, or leave it out to start at the first",
        })
    }
}

/// One page of findings.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order asked for.
    pub findings: Vec<Finding>,
    /// Names the next page, if there is one.
    pub next: Option<PageToken>,
    /// How many findings pass the filter on all pages.
    pub total: u64,
}

/// A number for each severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeverityCounts([u64; Severity::ALL.len()]);

impl SeverityCounts {
    /// The number for one severity.
    pub fn of(&self, severity: Severity) -> u64 {
        self.0[severity as usize]
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts more of one severity.
    pub fn add(&mut self, severity: Severity, more: u64) {
        self.0[severity as usize] += more;
    }
}

/// The findings of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayCount {
    /// Its first moment, in UTC.
    pub day: Timestamp,
    /// By severity.
    pub counts: SeverityCounts,
}

/// The findings of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    /// The concept of the rule.
    pub concept: String,
    /// Its title.
    pub title: String,
    /// The highest severity among them.
    pub worst: Severity,
    /// How many.
    pub findings: u64,
}

/// The findings about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityCount {
    /// What it is, such as `user`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The highest severity among them.
    pub worst: Severity,
    /// How many.
    pub findings: u64,
}

/// The concept that a rule's name stands for: what precedes `--`, else all of it.
pub fn concept_of(rule: &str) -> &str {
    rule.split_once("--").map_or(rule, |(concept, _)| concept)
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// An error names at most so many findings.
const CANDIDATES: usize = 8;

/// The findings of an intake by id, each joined from all that came of it, its parts in the order
/// that every later join keeps.
fn joined(findings: &[Finding]) -> BTreeMap<FindingId, Finding> {
    let mut joined: BTreeMap<FindingId, Finding> = BTreeMap::new();
    for finding in findings {
        joined.entry(finding.id.clone()).or_insert_with(|| finding.clone()).join(finding);
    }
    joined
}

/// What a text search looks at.
fn search_text(finding: &Finding) -> String {
    let Finding { sentence, rule, id, .. } = finding;
    let mut text = format!("{sentence}\n{}\n{}\n{id}", rule.name, rule.title);
    for entity in &finding.entities {
        text.push('\n');
        text.push_str(&entity.name);
    }
    text.to_lowercase().replace('\0', " ")
}

/// The range of ids that begin as asked, its end excluded; nothing if that says too little.
fn beginning(asked: &str) -> Option<(String, String)> {
    let upper = asked.trim().to_ascii_uppercase();
    let prefix = if upper.starts_with("F-") { upper } else { format!("F-{upper}") };
    // Ids are ASCII, so everything that begins so sorts before this.
    let end = format!("{prefix}\u{7f}");
    (prefix.len() >= 3).then_some((prefix, end))
}

/// The severity that a stored number stands for; the stores write no other numbers.
fn severity_of(number: i64) -> Severity {
    let place = usize::try_from(number).unwrap_or(0);
    Severity::ALL.get(place).copied().unwrap_or(Severity::Critical)
}

/// The integers of SQL end at 2^63, further than any bus will get.
fn stored(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
