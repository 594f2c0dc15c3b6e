use std::sync::Arc;

use hubwarden_bus::Journal;
use hubwarden_console::web::now;
use hubwarden_console::{Filter, FindingQuery, Findings, Order, RawBytes, SqliteStore, raw_bytes};
use hubwarden_event::{Finding, Timestamp};
use hubwarden_proto::v1;
use serde::Serialize;

use super::configure;
use crate::Config;
use crate::args::{self, FindingFilter, Format, Global};
use crate::client::{self, Client};
use crate::config::BusKind;
use crate::failure::{Exit, Failure};
use crate::output::{Rows, print_one, say};
use crate::pipeline::{findings_file, journal_dir};

/// `hubwarden finding …`
pub(crate) async fn run(global: &Global, command: args::Finding) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let remote = match &command {
        args::Finding::List(filter) => &filter.remote,
        args::Finding::Get(which)
        | args::Finding::Explain(which)
        | args::Finding::Timeline(which) => &which.remote,
    };
    let desk = Desk::open(remote, &config).await?;
    match command {
        args::Finding::List(filter) => {
            let (findings, total) = desk.list(&filter).await?;
            print_findings(global.output, &findings)?;
            if (findings.len() as u64) < total {
                say(&format!("{} of {total} shown; --limit shows more", findings.len()));
            }
        }
        args::Finding::Get(which) => {
            let finding = desk.get(&which.id).await?;
            print_one(global.output, &finding, &describe(&finding))?;
        }
        args::Finding::Explain(which) => {
            let finding = desk.get(&which.id).await?;
            print_one(global.output, &explanation(&finding), &explain(&finding))?;
        }
        args::Finding::Timeline(which) => {
            let entries = desk.timeline(&which.id).await?;
            if matches!(desk, Desk::Here(_)) && config.bus.kind == BusKind::Kafka {
                say("what GitHub sent is on the brokers; it is shown while `hubwarden serve` runs");
            }
            let header = &["time", "action", "event", "raw"];
            let row = |entry: &Entry| {
                vec![
                    entry.occurred_at.to_string(),
                    entry.action.clone(),
                    entry.id.clone(),
                    entry.raw.clone(),
                ]
            };
            Rows { header, values: &entries, row }.print(global.output)?;
        }
    }
    Ok(Exit::Done)
}

/// Where findings are asked for: a running server, or the store of the data folder.
enum Desk {
    Server(Client),
    Here(Findings),
}

/// One event of a finding's timeline.
#[derive(Debug, Serialize)]
struct Entry {
    occurred_at: Timestamp,
    action: String,
    id: String,
    /// The record as GitHub sent it; empty once it is no longer kept.
    raw: String,
}

impl Desk {
    async fn open(remote: &args::Remote, config: &Config) -> Result<Self, Failure> {
        if let Some(client) = Client::of(remote, config).await? {
            return Ok(Self::Server(client));
        }
        let folder = &config.storage.data_dir;
        let file = findings_file(folder);
        if !file.is_file() {
            let text = format!(
                "there are no findings in {}; run `hubwarden serve` or `hubwarden import` first, or name the folder with --data-dir",
                folder.display()
            );
            return Err(Failure::new(Exit::Failed, text));
        }
        let store = Arc::new(SqliteStore::connect(file).await?);
        // Without the journal the findings are still there; only raw bytes are missing.
        let raw: RawBytes = match Journal::open_read_only(journal_dir(folder)) {
            Ok(journal) => raw_bytes(journal),
            Err(_) => Arc::new(|_| None),
        };
        Ok(Self::Here(Findings::new(store, raw)))
    }

    async fn list(&self, filter: &FindingFilter) -> Result<(Vec<Finding>, u64), Failure> {
        let query = query(filter)?;
        match self {
            Self::Here(findings) => {
                let page = findings.list(query).await?;
                Ok((page.findings, page.total))
            }
            Self::Server(client) => {
                let request = v1::ListFindingsRequest {
                    severities: query
                        .severities
                        .iter()
                        .map(|severity| severity.as_str().into())
                        .collect(),
                    rule: query.rule.unwrap_or_default(),
                    since_ms: client::millis(query.since),
                    until_ms: client::millis(query.until),
                    org: query.org.unwrap_or_default(),
                    text: query.text.unwrap_or_default(),
                    entity: query.entity.unwrap_or_default(),
                    actor: query.actor.unwrap_or_default(),
                    newest_first: query.order == Order::Newest,
                    limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
                    page_token: String::new(),
                };
                let list = async || client.findings().list_findings(request.clone()).await;
                let answer = client::ask("FindingService/ListFindings", list).await?;
                let findings =
                    answer.findings.into_iter().map(client::finding).collect::<Result<_, _>>()?;
                Ok((findings, answer.total))
            }
        }
    }

    async fn get(&self, id: &str) -> Result<Finding, Failure> {
        match self {
            Self::Here(findings) => Ok(findings.get(id).await?),
            Self::Server(client) => {
                let request = v1::GetFindingRequest { id: id.into() };
                let get = async || client.findings().get_finding(request.clone()).await;
                let answer = client::ask("FindingService/GetFinding", get).await?;
                client::finding(answer.finding.unwrap_or_default())
            }
        }
    }

    async fn timeline(&self, id: &str) -> Result<Vec<Entry>, Failure> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Here(findings) => {
                let (_, entries) = findings.timeline(id).await?;
                let entry = |entry: hubwarden_console::TimelineEntry| Entry {
                    occurred_at: entry.evidence.occurred_at,
                    action: entry.evidence.action,
                    id: entry.evidence.id.to_string(),
                    raw: entry.raw.map(|raw| text(&raw)).unwrap_or_default(),
                };
                Ok(entries.into_iter().map(entry).collect())
            }
            Self::Server(client) => {
                let request = v1::FindingTimelineRequest { id: id.into() };
                let get = async || client.findings().finding_timeline(request.clone()).await;
                let answer = client::ask("FindingService/FindingTimeline", get).await?;
                let entry = |entry: v1::TimelineEntry| {
                    let evidence = entry.evidence.unwrap_or_default();
                    let id: [u8; 16] = evidence.id.as_ref().try_into().unwrap_or_default();
                    Entry {
                        occurred_at: Timestamp::from_millis(evidence.occurred_at_ms),
                        action: evidence.action,
                        id: hubwarden_event::EventId::from_bytes(id).to_string(),
                        raw: text(&entry.raw),
                    }
                };
                Ok(answer.entries.into_iter().map(entry).collect())
            }
        }
    }
}

fn query(filter: &FindingFilter) -> Result<FindingQuery, Failure> {
    let severities = filter.severity.iter().map(|severity| severity.as_str());
    let severities = severities.collect::<Vec<_>>().join(",");
    let pairs = [
        ("severity", Some(severities).filter(|text| !text.is_empty())),
        ("rule", filter.rule.clone()),
        ("org", filter.org.clone()),
        ("entity", filter.entity.clone()),
        ("actor", filter.actor.clone()),
        ("text", filter.text.clone()),
        ("since", filter.since.clone()),
        ("until", filter.until.clone()),
        ("sort", Some(filter.sort.clone())),
    ];
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Ok(Filter::from_pairs(pairs).query(now(), filter.limit)?)
}

/// Prints findings: whole for programs, a line each for people.
pub(crate) fn print_findings(format: Format, findings: &[Finding]) -> Result<(), Failure> {
    let header = &["severity", "finding", "first seen", "count", "rule", "sentence"];
    let row = |finding: &Finding| {
        vec![
            finding.severity.to_string(),
            finding.id.short().to_owned(),
            finding.first_seen.to_string(),
            format!("{}{}", if finding.at_least { "≥" } else { "" }, finding.count),
            finding.rule.name.clone(),
            finding.sentence.clone(),
        ]
    };
    Rows { header, values: findings, row }.print(format)
}

fn describe(finding: &Finding) -> Vec<String> {
    let mut lines = vec![
        format!("{} · {}", finding.severity.as_str().to_uppercase(), finding.sentence),
        String::new(),
        format!("Finding    {} (revision {})", finding.id, finding.revision),
        format!("Rule       {} ({})", finding.rule.title, finding.rule.name),
        format!("ATT&CK     {}", finding.rule.attack.join(" ")),
        format!("Seen       {} to {}", finding.first_seen, finding.last_seen),
        format!("Events     {}{}", if finding.at_least { "at least " } else { "" }, finding.count),
        format!("Confidence {}", finding.confidence.as_str()),
        String::new(),
    ];
    for entity in &finding.entities {
        lines.push(format!("{:<10} {}/{}", entity.role, entity.kind, entity.name));
    }
    lines.push(String::new());
    lines.extend(explain(finding));
    lines.extend([String::new(), format!("First step: {}", finding.response)]);
    lines
}

#[derive(Debug, Serialize)]
struct Explanation<'a> {
    id: &'a hubwarden_event::FindingId,
    sentence: &'a str,
    rule: &'a hubwarden_event::RuleRef,
    reason: &'a [hubwarden_event::Reason],
}

fn explanation(finding: &Finding) -> Explanation<'_> {
    Explanation {
        id: &finding.id,
        sentence: &finding.sentence,
        rule: &finding.rule,
        reason: &finding.reason,
    }
}

fn explain(finding: &Finding) -> Vec<String> {
    let mut lines = vec![format!("{} fired because", finding.rule.name)];
    for reason in &finding.reason {
        let threshold = reason.threshold.as_ref().map(|threshold| format!(", needed {threshold}"));
        lines.push(format!(
            "  {}: {}{}",
            reason.condition,
            reason.value,
            threshold.unwrap_or_default()
        ));
    }
    lines
}
