use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Journal, Positions, Record, commit_when_room, topic};
use hubwarden_collector::audit::system_clock;
use hubwarden_collector::{Sources, source_id};
use hubwarden_console::web::now;
use hubwarden_console::{FindingQuery, Findings, MAX_PAGE, Order, concept_of};
use hubwarden_detector::Rulebook;
use hubwarden_event::{
    ConnectionId, ContentType, Feed, Finding, RawBody, RawRecord, RunEnd, RunId, Severity,
    SourceStatus, Timestamp,
};
use hubwarden_proto as proto;
use hubwarden_service::{signalled, supervise};
use hubwarden_simulator::{Life, Plan, Story, StoryKind};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::serve::{self, rules_status};
use crate::args::{self, Format, Global};
use crate::casework::run_shipped_cases;
use crate::failure::{Exit, Failure};
use crate::output::{print_one, say};
use crate::server::{Answers, Server};
use crate::{Pipeline, Settings};

/// Records a commit of the demo's source.
const BATCH: usize = 4_000;

/// What the demo prints.
#[derive(Debug, Serialize)]
struct Report {
    events: u64,
    seconds: f64,
    first_finding_seconds: Option<f64>,
    rules: usize,
    rule_cases_passed: usize,
    rule_cases_failed: usize,
    findings: BTreeMap<&'static str, u64>,
    campaigns: BTreeMap<String, bool>,
    lookalikes: BTreeMap<String, bool>,
    /// Findings of severity high or critical that belong to no campaign.
    other_high_findings: usize,
}

/// `hubwarden demo`
pub(crate) async fn run(global: &Global, options: &args::Demo) -> Result<Exit, Failure> {
    let plan =
        Plan { seed: options.seed, days: options.days, events: options.events, ..Plan::default() };
    let life = Arc::new(Life::new(plan.ending_at(now().as_millis())));
    let folder = tempfile::Builder::new().prefix("hubwarden-demo-").tempdir()?;
    let mut rulebook = Rulebook::shipped();
    for (name, values) in life.lists() {
        rulebook.lists.insert(name, values);
    }
    let cases = run_shipped_cases(&Rulebook::shipped(), None)?;
    let rules = rules_status(&rulebook);
    let settings = Settings {
        data_dir: folder.path().into(),
        journal: hubwarden_bus::Options::default(),
        networks: hubwarden_normalizer::Networks::default(),
        rulebook,
        lateness_ms: 3_600_000,
    };
    say(&format!(
        "enterprise {}: {} organizations, {} days, {} events, {} rules; offline, in {}",
        life.enterprise(),
        life.orgs().count(),
        options.days,
        options.events,
        rules.loaded,
        folder.path().display()
    ));
    let started = Instant::now();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let pipeline = Pipeline::start(&settings, &mut tasks, &stop).await?;
    let source: Arc<Mutex<SourceStatus>> = Arc::new(Mutex::new(SourceStatus {
        id: format!("demo/{}", Feed::Import),
        connection: "demo".into(),
        feed: Feed::Import.to_string(),
        scope: format!("enterprise/{}", life.enterprise()),
        ..SourceStatus::default()
    }));
    let first = tokio::spawn(first_finding(pipeline.findings.clone(), started));
    let work = async {
        let events = feed(life.clone(), &pipeline.bus, &source).await?;
        pipeline.drained().await;
        Ok::<_, Failure>(events)
    };
    let events = tokio::select! {
        events = work => events?,
        Some(ended) = tasks.join_next() => {
            ended.unwrap_or_else(|panic| Err(panic.into()))?;
            return Err(Failure::new(Exit::Failed, "a stage ended before the demo"));
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let findings = all_findings(&pipeline.findings).await?;
    let first_finding_seconds = if findings.is_empty() { None } else { first.await.ok().flatten() };
    let failed = cases.iter().filter(|case| case.result == "failed").count();
    let report = Report {
        events,
        seconds: round(seconds),
        first_finding_seconds: first_finding_seconds.map(round),
        rules: rules.loaded,
        rule_cases_passed: cases.len() - failed,
        rule_cases_failed: failed,
        ..judge(&life, &findings)
    };
    print_one(
        if global.output == Format::Csv { Format::Table } else { global.output },
        &report,
        &lines(&report),
    )?;
    if options.no_serve {
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        return Ok(Exit::Done);
    }
    let rules = Arc::new(Mutex::new(rules));
    let mut sources = Sources::new(pipeline.bus.clone(), system_clock());
    sources.add_others(Arc::new(move || {
        source.lock().map(|source| vec![source.clone()]).unwrap_or_default()
    }));
    let newest = newest(&pipeline.findings).await?;
    let answers = Answers {
        status: serve::provider(serve::stages(&pipeline), sources.clone(), rules),
        networks: settings.networks.clone(),
        pipeline,
        sources,
    };
    let server = Server::bind(options.listen, folder.path(), answers).await?;
    say("");
    say(&format!("open  {}", server.link()?));
    let here = folder.path().display();
    say(&format!("next  hubwarden finding list --severity critical --data-dir {here}"));
    if let Some(finding) = newest {
        say(&format!("      hubwarden finding explain {} --data-dir {here}", finding.id.short()));
    }
    say("      hubwarden scan YOUR-AUDIT-LOG.json");
    tasks.spawn(server.run(stop.clone()));
    supervise(tasks, stop, Duration::from_secs(10), signalled()).await?;
    Ok(Exit::Done)
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// Puts every event of the life on the bus, then the end of the run.
async fn feed(
    life: Arc<Life>,
    journal: &Journal,
    source: &Mutex<SourceStatus>,
) -> Result<u64, Failure> {
    let (sender, mut batches) = mpsc::channel::<(Vec<Record>, i64)>(2);
    let received_at = now();
    tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(BATCH);
        let mut last = 0;
        for event in life.events() {
            last = event.at_ms;
            batch.push(record(event.json, received_at));
            if batch.len() == BATCH
                && sender.blocking_send((std::mem::take(&mut batch), last)).is_err()
            {
                return; // the demo has ended
            }
        }
        drop(sender.blocking_send((batch, last))); // refused only when the demo has ended
    });
    let mut writer = journal.writer("demo");
    let mut events = 0;
    while let Some((batch, last)) = batches.recv().await {
        let count = batch.len() as u64;
        commit_when_room(&mut writer, batch, &Positions::none()).await?;
        events += count;
        if let Ok(mut source) = source.lock() {
            source.records = events;
            source.last_event = Some(Timestamp::from_millis(last));
            source.read_through = source.last_event;
        }
    }
    let end = RawBody::RunEnd(RunEnd { connection: connection(), run: run_id() });
    let end = Record::new(topic::RAW, "demo", proto::encode_raw(end));
    commit_when_room(&mut writer, vec![end], &Positions::none()).await?;
    if let Ok(mut source) = source.lock() {
        source.finished = true;
    }
    Ok(events)
}

fn connection() -> ConnectionId {
    ConnectionId::from("demo")
}

fn run_id() -> RunId {
    RunId::new("import-demo")
}

fn record(json: Vec<u8>, received_at: Timestamp) -> Record {
    let payload = bytes::Bytes::from(json);
    let raw = RawRecord {
        connection: connection(),
        feed: Feed::Import,
        run: run_id(),
        source_id: source_id(ContentType::Json, &payload),
        received_at,
        content_type: ContentType::Json,
        payload,
        scrubs: Vec::new(),
        origin: None,
        damage: None,
    };
    let key = raw.event_id().as_bytes().to_vec();
    Record::new(topic::RAW, key, proto::encode_raw(RawBody::Record(raw)))
}

/// Seconds until the store has a finding.
async fn first_finding(findings: Findings, started: Instant) -> Option<f64> {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        looks.tick().await;
        let found = findings.store().count(FindingQuery::default()).await.ok()?;
        if found > 0 {
            return Some(started.elapsed().as_secs_f64());
        }
    }
}

async fn all_findings(findings: &Findings) -> Result<Vec<Finding>, Failure> {
    let mut query = FindingQuery { limit: MAX_PAGE, ..FindingQuery::default() };
    let mut all = Vec::new();
    loop {
        let page = findings.list(query.clone()).await?;
        all.extend(page.findings);
        match page.next {
            Some(next) => query.page = Some(next),
            None => return Ok(all),
        }
    }
}

async fn newest(findings: &Findings) -> Result<Option<Finding>, Failure> {
    let query = FindingQuery { limit: 1, order: Order::default(), ..FindingQuery::default() };
    Ok(findings.list(query).await?.findings.into_iter().next())
}

/// Holds the findings against what the generator knows.
fn judge(life: &Life, findings: &[Finding]) -> Report {
    let stories: Vec<(&Story, BTreeSet<String>)> = life
        .stories()
        .iter()
        .enumerate()
        .map(|(index, story)| (story, life.document_ids(index)))
        .collect();
    let touches = |finding: &Finding, ids: &BTreeSet<String>| {
        let mut documents =
            finding.evidence.iter().filter_map(|event| event.record.get("_document_id")?.as_str());
        documents.any(|id| ids.contains(id))
    };
    let mut severities: BTreeMap<&'static str, u64> =
        Severity::ALL.map(|severity| (severity.as_str(), 0)).into();
    for finding in findings {
        *severities.entry(finding.severity.as_str()).or_default() += 1;
    }
    let mut campaigns = BTreeMap::new();
    let mut lookalikes = BTreeMap::new();
    for (story, ids) in &stories {
        let mut of_story = findings.iter().filter(|finding| touches(finding, ids));
        match story.kind {
            StoryKind::Campaign => {
                let fired: BTreeSet<&str> =
                    of_story.map(|finding| concept_of(&finding.rule.name)).collect();
                campaigns.insert(
                    story.name.clone(),
                    story.expects.iter().all(|concept| fired.contains(concept)),
                );
            }
            StoryKind::Lookalike => {
                lookalikes.insert(story.name.clone(), of_story.next().is_none());
            }
        }
    }
    let of_campaign = |finding: &Finding| {
        let mut campaigns = stories.iter().filter(|(story, _)| story.kind == StoryKind::Campaign);
        campaigns.any(|(_, ids)| touches(finding, ids))
    };
    let high = findings.iter().filter(|finding| finding.severity >= Severity::High);
    Report {
        events: 0,
        seconds: 0.0,
        first_finding_seconds: None,
        rules: 0,
        rule_cases_passed: 0,
        rule_cases_failed: 0,
        findings: severities,
        campaigns,
        lookalikes,
        other_high_findings: high.filter(|finding| !of_campaign(finding)).count(),
    }
}

fn lines(report: &Report) -> Vec<String> {
    let first =
        report.first_finding_seconds.map_or("none".into(), |seconds| format!("{seconds} s"));
    let mut lines = vec![
        format!("{} events in {} s, first finding after {first}", report.events, report.seconds),
        format!(
            "{} rules; {} of their cases pass, {} fail",
            report.rules, report.rule_cases_passed, report.rule_cases_failed
        ),
    ];
    let severities = Severity::ALL.iter().rev().map(|severity| {
        format!("{} {severity}", report.findings.get(severity.as_str()).copied().unwrap_or(0))
    });
    lines.push(format!("findings: {}", severities.collect::<Vec<_>>().join(", ")));
    let table = |title: &str, rows: &BTreeMap<String, bool>, good: &str, bad: &str| {
        let count = rows.values().filter(|fine| **fine).count();
        let mut lines = vec![format!("{title}: {count} of {} {good}", rows.len())];
        lines.extend(
            rows.iter()
                .map(|(name, fine)| format!("  {:<8} {name}", if *fine { good } else { bad })),
        );
        lines
    };
    lines.extend(table("campaigns", &report.campaigns, "found", "MISSED"));
    lines.extend(table("look-alikes", &report.lookalikes, "quiet", "LOUD"));
    lines
}
