//! What an event costs the correlator when few or many windows are open.

use std::path::Path;
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Limit, Memory, Positions, Record, Sink, topic};
use hubwarden_detector::{Correlating, Readiness, Rulebook, run_correlate};
use hubwarden_event::{
    CellKind, Event, EventId, FlatBuilder, Kind, Match, MatchBody, RawPosition, RunId, Timestamp,
};
use hubwarden_proto as proto;
use hubwarden_rules::{Engine, RuleFile, Scratch};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::figure::{Bound, Figure, Outcome};

const ROUNDS: usize = 7;
/// As many as a batch has records: a batch then writes as many windows with few as with many.
const FEW: u64 = 4_000;
/// Timed matches; each batch of the stage meets as many different windows, however many there are.
const TIMED: u64 = 10 * FEW;
const DEADLINE: Duration = Duration::from_secs(120);

const RULE: &str = "
title: Many events of one actor
name: many--events
logsource: { product: github, service: audit }
detection:
    selection: { action: repo.create }
    condition: selection
level: informational
---
title: Very many events of one actor
name: many
correlation:
    type: event_count
    rules: [many--events]
    group-by: [actor]
    timespan: 24h
    condition: { gte: 1000 }
level: high
";

/// What a match costs the durable correlate stage with 40,000 open windows, beside 4,000.
pub(crate) fn windows() -> Outcome<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut few, mut many) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir()?;
        few = few.min(runtime.block_on(seconds(&folder.path().join("few"), FEW))?);
        many = many.min(runtime.block_on(seconds(&folder.path().join("many"), 10 * FEW))?);
    }
    let cost = |seconds: f64| format!("{:.2} µs a match", seconds * 1e6 / TIMED as f64);
    Ok(Figure {
        name: "open windows 10 times as many",
        measured: cost(many),
        beside: cost(few),
        value: many / few,
        bound: Bound::AtMost(1.2),
    })
}

/// Opens so many windows, then times matches that go round them.
async fn seconds(folder: &Path, windows: u64) -> Outcome<f64> {
    let bus = Memory::default();
    let rulebook = Rulebook {
        files: vec![RuleFile { name: "many.yml".into(), text: RULE.into(), shipped: false }],
        ..Rulebook::default()
    };
    rulebook.publish(&bus).await?;
    let matches = Matches::new(&rulebook);
    let opening = matches.records(0..windows, windows)?;
    let timed = matches.records(windows..windows + TIMED, windows)?;
    let (told, mut seen) = watch::channel(0);
    let stop = CancellationToken::new();
    let settings = Correlating::alone(folder.to_path_buf(), 3_600_000);
    let (stage_bus, stage_stop) = (bus.clone(), stop.clone());
    let stage = tokio::spawn(async move {
        run_correlate(stage_bus, settings, Readiness::default(), stage_stop, |counts| {
            told.send_modify(|records| *records += counts.records);
        })
        .await
    });
    let mut writer = bus.writer("bench");
    send(&mut writer, opening).await?;
    let waiting = seen.wait_for(|records| *records == windows);
    tokio::time::timeout(DEADLINE, waiting).await??;
    let start = Instant::now();
    send(&mut writer, timed).await?;
    let waiting = seen.wait_for(|records| *records == windows + TIMED);
    tokio::time::timeout(DEADLINE, waiting).await??;
    let seconds = start.elapsed().as_secs_f64();
    stop.cancel();
    stage.await??;
    Ok(seconds)
}

async fn send(writer: &mut impl Sink, records: Vec<Record>) -> Outcome<()> {
    for batch in records.chunks(Limit::default().records) {
        writer.commit(batch.to_vec(), &Positions::none()).await?;
    }
    Ok(())
}

/// Makes matches as the match stage would.
struct Matches {
    engine: Engine,
}

impl Matches {
    fn new(rulebook: &Rulebook) -> Self {
        Self { engine: Engine::new(rulebook.compile().set.into()) }
    }

    /// The matches of these events; event `n` belongs to window `n % windows`.
    fn records(&self, events: std::ops::Range<u64>, windows: u64) -> Outcome<Vec<Record>> {
        let count = events.end - events.start;
        let (mut scratch, mut matches) = (Scratch::default(), Vec::<Match>::new());
        for number in events {
            self.engine.evaluate(&event(number, windows), &mut scratch, &mut matches);
        }
        if matches.len() as u64 != count {
            return Err(format!("{} matches of {count} events", matches.len()).into());
        }
        let record = |matched: Match| {
            let key = matched.group.bus_key(&matched.connection).0.to_vec();
            Record::new(topic::MATCHES, key, proto::encode_match(MatchBody::Match(matched)))
        };
        Ok(matches.into_iter().map(record).collect())
    }
}

fn event(number: u64, windows: u64) -> Event {
    let mut builder = FlatBuilder::default();
    builder.push("action", CellKind::Text, "repo.create");
    builder.push("actor", CellKind::Text, &format!("actor-{}", number % windows));
    builder.push("repo", CellKind::Text, &format!("acme/service-{number}"));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Event {
        id: EventId::from_bytes(id),
        // a second for every thousand: all windows stay open
        occurred_at: Timestamp::from_millis(1_790_000_000_000 + number as i64),
        observed_at: Timestamp::from_millis(1_790_000_000_000),
        connection: "bench".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        product: "github".into(),
        service: "audit".into(),
        position: RawPosition::default(),
        suspect: false,
        record: builder.finish(),
    }
}
