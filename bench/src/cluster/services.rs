//! The four services as processes: what they hold idle, and how long a finding takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hubwarden_bus::topic::FINDINGS;
use hubwarden_bus::{Bus, Kafka as Cluster, Limit, Sink, Source};
use hubwarden_collector::{Append, ToServer};
use hubwarden_event::RawBody;
use hubwarden_proto as proto;
use hubwarden_simulator::{Life, Plan};
use hubwarden_testkit::{INGEST_TOKEN, Kafka, Postgres, Services};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use super::{raw, settings};
use crate::figure::{Bound, Figure, Outcome};
use crate::memory::rename;
use crate::process::Resident;

const MB: f64 = 1e6;
/// How long the idle services are watched.
const WATCHED: Duration = Duration::from_secs(5);
/// Rates that are tried, in events a second.
const RATES: [u64; 6] = [3_000, 5_000, 8_000, 12_000, 16_000, 24_000];
/// How long each is held.
const HELD: Duration = Duration::from_secs(12);
/// Senders at the same time, each with a stream of its own.
const SENDERS: u64 = 8;
/// A sender sends this often.
const EVERY: Duration = Duration::from_millis(400);
/// The last finding of a rate is waited for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// A finding may take so long at the slowest of a hundred.
const P99_MS: f64 = 2_000.0;

/// Memory of each service when nothing happens, and the time from an acknowledged event to its finding.
pub(crate) fn measure() -> Outcome<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (kafka, postgres) = (Kafka::start(), Postgres::start());
    let mut services = Services::new(&kafka.addresses(), "");
    services.start_all(&postgres.database());
    let grpc = format!("http://{}", services.grpc("collector"));
    for name in ["normalizer", "detector", "console"] {
        services.grpc(name);
    }
    let mut figures = idle(&mut services)?;
    let bus = runtime.block_on(Cluster::connect(settings(&kafka, "")))?;
    let load = Load::new(grpc);
    runtime.block_on(load.hold(&bus, RATES[0], "start"))?; // until everything has begun
    let mut best = None;
    for rate in RATES {
        let held = runtime.block_on(load.hold(&bus, rate, &format!("at-{rate}")))?;
        services.check();
        eprintln!("  {rate} events/s: {held:?}");
        let fine = held.is_steady(rate);
        if fine || best.is_none() {
            best = Some((rate, held));
        }
        if !fine {
            break;
        }
    }
    let (rate, held) = best.ok_or("no rate was tried")?;
    figures.push(Figure {
        name: "accept to finding, p99, ms",
        measured: format!(
            "{:.0} ms (median {:.0} ms) at {rate} events/s, {:.0} sent",
            held.at(0.99),
            held.at(0.5),
            held.sent_per_s
        ),
        beside: String::new(),
        value: held.at(0.99),
        bound: Bound::AtMost(P99_MS),
    });
    figures.push(Figure {
        name: "events/s over four services",
        measured: format!("{:.0} events/s", held.sent_per_s),
        beside: String::new(),
        value: if held.is_steady(rate) { held.sent_per_s } else { 0.0 },
        bound: Bound::AtLeast(2_990.0), // 3,000 are sent; the clock takes its part
    });
    Ok(figures)
}

/// What each holds at most while nothing happens.
fn idle(services: &mut Services) -> Outcome<Vec<Figure>> {
    let names = [
        ("collector", "collector, idle, MB resident", 60.0),
        ("normalizer", "normalizer, idle, MB resident", 60.0),
        ("detector", "detector, idle, MB resident", 100.0),
        ("console", "console, idle, MB resident", 100.0),
    ];
    let (began, mut most) = (Instant::now(), [0; 4]);
    while began.elapsed() < WATCHED {
        services.check();
        for (most, (name, ..)) in most.iter_mut().zip(names) {
            let now = Resident::of(services.process(name)).ok_or("a service has ended")?.now;
            *most = (*most).max(now);
        }
        std::thread::sleep(Duration::from_millis(100)); // between two looks
    }
    let figure = |(most, (_, name, limit)): (u64, (_, _, _))| Figure {
        name,
        measured: format!("{:.1} MB at most in {WATCHED:?}", most as f64 / MB),
        beside: String::new(),
        value: most as f64 / MB,
        bound: Bound::AtMost(limit),
    };
    Ok(most.into_iter().zip(names).map(figure).collect())
}

/// What came of a rate.
struct Held {
    /// From acknowledgement to finding, in milliseconds, sorted.
    waited: Vec<f64>,
    sent_per_s: f64,
    missing: usize,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} sent, {} findings after {:.0} ms (median), {:.0} ms (p99), {} missing",
            self.sent_per_s,
            self.waited.len(),
            self.at(0.5),
            self.at(0.99),
            self.missing
        )
    }
}

impl Held {
    fn at(&self, part: f64) -> f64 {
        let place = (self.waited.len() as f64 * part) as usize;
        self.waited.get(place).or(self.waited.last()).copied().unwrap_or(f64::NAN)
    }

    /// Everything was sent in time and found in time.
    fn is_steady(&self, rate: u64) -> bool {
        self.missing == 0 && self.sent_per_s >= rate as f64 * 0.98 && self.at(0.99) <= P99_MS
    }
}

/// Sends generated events, and among them some that make a finding each.
struct Load {
    grpc: String,
    events: Arc<Vec<Vec<u8>>>,
}

impl Load {
    fn new(grpc: String) -> Self {
        let life = Life::new(Plan { events: 50_000, ..Plan::default() });
        Self { grpc, events: Arc::new(life.events().map(|event| event.json).collect()) }
    }

    /// Holds a rate for a while and waits for all findings.
    async fn hold(&self, bus: &Cluster, rate: u64, name: &str) -> Outcome<Held> {
        let mut reader = bus.reader(&format!("bench-{name}"), &[FINDINGS])?;
        let began = Instant::now();
        let senders = (0..SENDERS).map(|sender| {
            let name = format!("{name}-{sender}");
            tokio::spawn(send(self.grpc.clone(), self.events.clone(), name, rate))
        });
        let senders: Vec<_> = senders.collect();
        let (mut acknowledged, mut sent_per_s) = (HashMap::new(), 0.0);
        let mut found: HashMap<String, i64> = HashMap::new();
        let mut senders = senders.into_iter();
        let mut sending = senders.next();
        while sending.is_some() || found.len() < acknowledged.len() {
            if began.elapsed() > HELD + PATIENCE {
                break;
            }
            tokio::select! {
                Some(sent) = next(&mut sending) => {
                    let (marks, rate) = sent??;
                    acknowledged.extend(marks);
                    sent_per_s += rate;
                    sending = senders.next();
                }
                batch = reader.next_batch(Limit::default()) => {
                    let batch = batch?;
                    for record in &batch.records {
                        let finding = proto::decode_finding(record.body.clone())?;
                        for entity in &finding.entities {
                            if entity.name.starts_with(name) {
                                found.entry(entity.name.clone()).or_insert(record.appended_at_ms);
                            }
                        }
                    }
                    if !batch.records.is_empty() {
                        reader.commit(Vec::new(), &batch.consumed()).await?;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        let of = |(mark, at): (&String, &i64)| Some((found.get(mark)? - at).max(0) as f64);
        let mut waited: Vec<f64> = acknowledged.iter().filter_map(of).collect();
        waited.sort_by(f64::total_cmp);
        let missing = acknowledged.len() - waited.len();
        Ok(Held { waited, sent_per_s, missing })
    }
}

/// What the sender gives at its end; nothing where there is none.
async fn next<T>(
    sending: &mut Option<tokio::task::JoinHandle<T>>,
) -> Option<Result<T, tokio::task::JoinError>> {
    match sending {
        Some(sending) => Some(sending.await),
        None => None,
    }
}

/// Sends its share of a rate, one event in each batch that makes a finding; gives when each of
/// these was acknowledged, and how many events were in a second.
async fn send(
    grpc: String,
    events: Arc<Vec<Vec<u8>>>,
    name: String,
    rate: u64,
) -> Outcome<(Vec<(String, i64)>, f64)> {
    let channel = Endpoint::from_shared(grpc)?.connect().await?;
    let token = format!("Bearer {INGEST_TOKEN}").parse::<tonic::metadata::AsciiMetadataValue>()?;
    let with_token = move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", token.clone());
        Ok(request)
    };
    let mut to = ToServer::open(InterceptedService::new(channel, with_token)).await?;
    let share = rate as f64 * EVERY.as_secs_f64() / SENDERS as f64;
    // The collector begins to write for this stream: not part of a steady rate.
    to.append(vec![RawBody::Record(raw(marked(&format!("begin-{name}"))))]).await?;
    let began = Instant::now();
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let (mut marks, mut count) = (Vec::new(), 0);
    let unique = hash(&name);
    for batch in 0..(HELD.as_millis() / EVERY.as_millis()) as usize {
        clock.tick().await;
        let mark = format!("{name}-{batch}");
        let mut bodies = vec![RawBody::Record(raw(marked(&mark)))];
        while bodies.len() < share as usize {
            let mut event = events[(count as usize + bodies.len()) % events.len()].clone();
            rename(&mut event, unique + count + bodies.len() as u64);
            bodies.push(RawBody::Record(raw(event)));
        }
        count += bodies.len() as u64;
        to.append(bodies).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        marks.push((mark, i64::try_from(now)?));
    }
    let seconds = began.elapsed().max(HELD).as_secs_f64();
    Ok((marks, count as f64 / seconds))
}

/// A number for a name, far from those of others, below the twelve digits of an id.
fn hash(name: &str) -> u64 {
    let hash = name.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
    hash % 100_000 * 10_000_000
}

/// An event on which a shipped rule fires by itself, in a group of its own.
fn marked(mark: &str) -> Vec<u8> {
    serde_json::json!({
        "_document_id": mark, "@timestamp": 1_790_000_000_000_i64, "business": mark,
        "action": "audit_log_streaming.destroy", "actor": "mallory",
        "audit_log_stream_sink": "Amazon S3",
    })
    .to_string()
    .into_bytes()
}
