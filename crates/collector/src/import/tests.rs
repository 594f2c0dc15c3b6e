use std::io::Write;

use hubwarden_bus::{Bus, Limit, Memory, Source, topic};
use hubwarden_proto::decode_raw;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::{IngestApi, ToServer};

fn file(lines: usize) -> (tempfile::TempDir, Input) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.json");
    let mut file = std::fs::File::create(&path).unwrap();
    for number in 0..lines {
        let pad = "x".repeat(800);
        writeln!(file, r#"{{"_document_id":"d{number}","action":"a","pad":"{pad}"}}"#).unwrap();
    }
    file.write_all(b"not a record\n").unwrap();
    (folder, Input::Path(path))
}

fn named(input: &Input) -> Import {
    Import::new("c".into(), std::slice::from_ref(input), Timestamp::from_millis(1))
}

async fn bodies(bus: &Memory, count: usize) -> Vec<RawBody> {
    let mut reader = bus.reader("test", &[topic::RAW]).unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let batch = reader.next_batch(Limit::default()).await.unwrap();
        reader.commit(vec![], &batch.consumed()).await.unwrap();
        bodies.extend(batch.records.into_iter().map(|record| decode_raw(record.body).unwrap()));
    }
    bodies
}

fn check(bodies: &[RawBody], lines: usize, input: &Input, import: &Import) {
    for (number, body) in bodies[..lines].iter().enumerate() {
        let RawBody::Record(record) = body else { panic!("{body:?}") };
        assert_eq!(record.source_id.as_str(), format!("d{number}"));
        let origin = Origin { file: input.name(), line: number as u64 + 1 };
        assert_eq!(record.origin, Some(origin));
    }
    let RawBody::Record(last) = &bodies[lines] else { panic!() };
    assert_eq!(&last.payload[..], b"not a record");
    assert!(last.damage.is_some());
    assert_eq!(bodies[lines + 1..], [RawBody::RunEnd(import.end())]);
}

#[test]
fn a_run_is_named_after_its_files_and_its_start() {
    let run = |files: &[&str], start| {
        let files: Vec<Input> = files.iter().map(|file| Input::from_argument(*file)).collect();
        Import::new("c".into(), &files, Timestamp::from_millis(start)).run().clone()
    };
    assert_eq!(run(&["a", "b"], 1), run(&["a", "b"], 1));
    assert_ne!(run(&["a", "b"], 1), run(&["ab"], 1));
    assert_ne!(run(&["a"], 1), run(&["a"], 2));
    assert!(run(&["a"], 1).as_str().starts_with("import-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_in_order_and_then_the_end_of_the_run() {
    let (_folder, input) = file(5_000);
    let (bus, import) = (Memory::default(), named(&input));
    let mut heard = Vec::new();
    let stop = CancellationToken::new();
    let mut to = ToBus::new(bus.writer("import"), 1);
    let told = |advance: &Advance| heard.push(advance.clone());
    let end = super::import(vec![input.clone()], &import, &mut to, told, &stop).await.unwrap();
    assert_eq!((end.records, end.damaged), (5_001, 1));
    assert_eq!(Some(end.bytes), end.size);
    assert!(heard.len() >= 3 && heard.is_sorted_by_key(|advance| advance.records), "{heard:?}");
    check(&bodies(&bus, 5_002).await, 5_000, &input, &import);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bus_slows_the_import_and_loses_nothing() {
    let (_folder, input) = file(3_000);
    let (bus, import) = (Memory::new(1_000_000), named(&input));
    let reader = bodies(&bus, 3_002); // opened when first polled, before the writer runs full
    let stop = CancellationToken::new();
    let mut to = ToBus::new(Slow { inner: bus.writer("import"), refusals: 3 }, 1);
    let importing = super::import(vec![input.clone()], &import, &mut to, |_| (), &stop);
    let (bodies, done) = tokio::join!(reader, importing);
    assert_eq!(done.unwrap().records, 3_001);
    check(&bodies, 3_000, &input, &import);
}

/// A bus that says it is full the first few times.
struct Slow<S> {
    inner: S,
    refusals: u32,
}

impl<S: Sink> Sink for Slow<S> {
    async fn commit(
        &mut self,
        outputs: Vec<hubwarden_bus::Record>,
        consumed: &hubwarden_bus::Positions,
    ) -> Result<(), hubwarden_bus::Error> {
        if self.refusals > 0 {
            self.refusals -= 1;
            let waiting_for = "a test".into();
            return Err(hubwarden_bus::Error::Full { used: 2, budget: 1, waiting_for });
        }
        self.inner.commit(outputs, consumed).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_appends_nothing_and_a_stop_appends_no_end() {
    let (folder, input) = file(10);
    let (bus, import) = (Memory::default(), named(&input));
    let mut to = ToBus::new(bus.writer("import"), 1);
    let stop = CancellationToken::new();
    let files = vec![input.clone(), Input::Path(folder.path().join("missing"))];
    let error = super::import(files, &import, &mut to, |_| (), &stop).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }));
    stop.cancel();
    let error = super::import(vec![input], &import, &mut to, |_| (), &stop).await.unwrap_err();
    assert!(matches!(error, Error::Stopped));
    assert_eq!(bus.ends().await.unwrap().get(topic::RAW, 0).unwrap_or_default(), 0);
}

async fn server(bus: Memory) -> tonic::transport::Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = tonic::transport::Server::builder().add_service(IngestApi::service(bus));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_acknowledges_what_is_durable() {
    let (_folder, input) = file(5_000);
    let (bus, import) = (Memory::default(), named(&input));
    let mut to = ToServer::open(server(bus.clone()).await).await.unwrap();
    let stop = CancellationToken::new();
    let mut durable = true;
    let told = |advance: &Advance| {
        durable &= ready(bus.ends()).unwrap().get(topic::RAW, 0) >= Some(advance.records);
    };
    let end = super::import(vec![input.clone()], &import, &mut to, told, &stop).await.unwrap();
    assert_eq!(end.records, 5_001);
    assert!(durable, "told of records that are not on the bus");
    check(&bodies(&bus, 5_002).await, 5_000, &input, &import);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_refuses_time_and_other_runs() {
    let (_folder, input) = file(1);
    let channel = server(Memory::default()).await;
    let mut reader = files::open(&input).unwrap();
    let chunk = reader.next_chunk().unwrap();
    let record = named(&input).record(&chunk, &chunk.items[0]);
    let live = RawRecord { run: RunId::live(), ..record.clone() };
    let polled = RawRecord { feed: Feed::AuditRest, ..record };
    let progress = hubwarden_event::Progress {
        connection: "c".into(),
        run: RunId::from("import-1"),
        kind: hubwarden_event::Kind::Audit,
        through: Timestamp::from_millis(1),
    };
    for body in [RawBody::Record(live), RawBody::Record(polled), RawBody::Progress(progress)] {
        let mut to = ToServer::open(channel.clone()).await.unwrap();
        let error = to.append(vec![body]).await.unwrap_err();
        let Error::Ingest(status) = error else { panic!("{error}") };
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
}

/// What a future gives that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the memory bus does not wait here"),
    }
}
