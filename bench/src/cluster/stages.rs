//! The stages without state beside librdkafka's own loop: same broker, same records, in turns.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hubwarden_bus::topic::{EVENTS, LEDGER, RAW};
use hubwarden_bus::{Bus, Kafka as Cluster, Limit, Positions, Record, Sink, Topic};
use hubwarden_detector::{Readiness, Rulebook, run_match};
use hubwarden_event::RawBody;
use hubwarden_normalizer::{Networks, NormalizerStage};
use hubwarden_proto as proto;
use hubwarden_simulator::{Life, Plan};
use hubwarden_testkit::Kafka;
use tokio_util::sync::CancellationToken;

use super::{Commits, copy, median, raw, settings};
use crate::figure::{Bound, Figure, Outcome};

const ROUNDS: usize = 3;
const EVENTS_OF_A_ROUND: u64 = 120_000;
const PATIENCE: Duration = Duration::from_secs(180);

type Shared = Arc<Mutex<Commits>>;

/// Normalizer and match, each beside a loop that only copies what they read; and two normalizers
/// beside one.
pub(crate) fn measure() -> Outcome<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let kafka = Kafka::start();
    let life = Life::new(Plan { events: EVENTS_OF_A_ROUND, ..Plan::default() });
    let record = |event: Vec<u8>| {
        let record = raw(event);
        let key = record.event_id().as_bytes().to_vec();
        Record::new(RAW, key, proto::encode_raw(RawBody::Record(record)))
    };
    let mut keys = HashSet::new();
    let mut records: Vec<Record> = life.events().map(|event| record(event.json)).collect();
    records.retain(|record| keys.insert(record.key.clone())); // every record becomes an event
    let mut rates: [Vec<f64>; 5] = Default::default();
    for round in 0..ROUNDS {
        let found = runtime.block_on(one_round(&kafka, &records, &format!("r{round}.")))?;
        eprintln!(
            "  round {}: {:.0?} records/s (plain, normalizer, plain, match, two normalizers)",
            round + 1,
            found
        );
        for (rates, rate) in rates.iter_mut().zip(found) {
            rates.push(rate);
        }
    }
    let [plain_raw, normalizer, plain_events, matching, two] = rates;
    Ok(vec![
        beside("normalizer on Kafka", "librdkafka, no work", &normalizer, &plain_raw, 0.6),
        beside("match on Kafka", "librdkafka, no work", &matching, &plain_events, 0.6),
        beside("two normalizers", "one", &two, &normalizer, 0.9),
    ])
}

/// The middle of the ratios of the rounds.
fn beside(name: &'static str, other: &str, of: &[f64], than: &[f64], least: f64) -> Figure {
    let mut ratios: Vec<f64> = of.iter().zip(than).map(|(of, than)| of / than).collect();
    let rate = |rates: &[f64]| format!("{:.0} events/s", median(&mut rates.to_vec()));
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    Figure {
        name,
        measured: format!("{} with the broker on {cores} cores", rate(of)),
        beside: format!("{other}: {}", rate(than)),
        value: median(&mut ratios),
        bound: Bound::AtLeast(least),
    }
}

async fn one_round(kafka: &Kafka, records: &[Record], prefix: &str) -> Outcome<[f64; 5]> {
    let bus = Cluster::connect(settings(kafka, prefix)).await?;
    fill(&bus, records).await?;
    let count = records.len() as u64;
    let plain_raw = plain(kafka, prefix, RAW, count).await?;
    let normalizer = until_done(count, 1, |commits, stop| normalize(bus.clone(), commits, stop));
    let normalizer = normalizer.await?;
    let plain_events = plain(kafka, prefix, EVENTS, count).await?;
    Rulebook::shipped().publish(&bus).await?;
    let matching = until_done(count, 1, |commits, stop| judge(bus.clone(), commits, stop)).await?;
    let other = format!("two-{prefix}");
    let bus = Cluster::connect(settings(kafka, &other)).await?;
    fill(&bus, records).await?;
    let two = until_done(count, 2, |commits, stop| normalize(bus.clone(), commits, stop)).await?;
    Ok([plain_raw, normalizer, plain_events, matching, two])
}

async fn fill(bus: &Cluster, records: &[Record]) -> Outcome<()> {
    let mut writer = bus.writer("bench");
    for some in records.chunks(Limit::default().records) {
        writer.commit(some.to_vec(), &Positions::none()).await?;
    }
    Ok(())
}

/// Records a second of the loop that only copies.
async fn plain(kafka: &Kafka, prefix: &str, from: Topic, count: u64) -> Outcome<f64> {
    let (brokers, name) = (kafka.addresses(), |topic: Topic| format!("{prefix}{topic}"));
    let (from, to) = (name(from), name(LEDGER));
    let copying = move || copy::copy(&brokers, &format!("plain-{from}"), &from, &to, count);
    Ok(tokio::task::spawn_blocking(copying).await??.rate(0))
}

/// Records a second of so many members of a stage, once all of them have committed.
async fn until_done<F>(
    count: u64,
    members: usize,
    start: impl Fn(Shared, CancellationToken) -> F,
) -> Outcome<f64>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let of_members: Vec<Shared> = (0..members).map(|_| Shared::default()).collect();
    let running: Vec<_> = of_members
        .iter()
        .map(|commits| tokio::spawn(start(commits.clone(), stop.clone())))
        .collect();
    let began = Instant::now();
    let total = || of_members.iter().map(|commits| of(commits).total()).sum::<u64>();
    while total() < count {
        if began.elapsed() > PATIENCE || running.iter().any(tokio::task::JoinHandle::is_finished) {
            return Err(format!("{} of {count} records were worked through", total()).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
    }
    stop.cancel();
    for member in running {
        member.await??;
    }
    let firsts = of_members.iter().filter_map(|commits| of(commits).0.first().map(|(at, _)| *at));
    let from = firsts.max().ok_or("nothing was committed")?;
    let mut all = Vec::new();
    for commits in &of_members {
        let mut before = 0;
        for (at, so_far) in &of(commits).0 {
            all.push((*at, so_far - before));
            before = *so_far;
        }
    }
    all.sort();
    let mut merged = Commits::default();
    for (at, records) in all {
        let so_far = merged.total();
        merged.0.push((at, so_far + records));
    }
    let place = merged.0.iter().position(|(at, _)| *at >= from).unwrap_or(0);
    Ok(merged.rate(place))
}

fn of(commits: &Shared) -> std::sync::MutexGuard<'_, Commits> {
    commits.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn normalize(bus: Cluster, commits: Shared, stop: CancellationToken) -> Outcome<()> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let stage = NormalizerStage::new(Networks::default(), threads);
    let counted = move |counts: hubwarden_normalizer::Counts| of(&commits).add(counts.events);
    Ok(hubwarden_normalizer::run(bus, stage, stop, counted).await?)
}

async fn judge(bus: Cluster, commits: Shared, stop: CancellationToken) -> Outcome<()> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let told = move |counts: hubwarden_detector::MatchCounts| of(&commits).add(counts.events);
    Ok(run_match(bus, threads, Readiness::default(), stop, told).await?)
}
