//! The database goes away and comes back, or takes no writes: the stage waits and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use hubwarden_bus::{Bus, Memory, Positions, Record, Sink, topic};
use hubwarden_console::consume::{STAGE, run};
use hubwarden_console::web::{ConsoleState, router};
use hubwarden_console::{
    Access, Error, FindingApi, FindingQuery, FindingStore, Findings, Letters, PostgresStore,
    StageWatch, StoreConfig, StoreKind,
};
use hubwarden_event::Finding;
use hubwarden_proto::v1::finding_service_server::FindingService;
use hubwarden_service::SecretRef;
use hubwarden_testkit::Postgres;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::postgres::{connect, name};
use crate::{NOW, samples};

const PATIENCE: Duration = Duration::from_secs(60);

/// A console's stage over a store, with its end.
struct Stage {
    bus: Memory,
    store: Arc<PostgresStore>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Stage {
    async fn start(url: &str) -> Self {
        let (bus, stop) = (Memory::default(), CancellationToken::new());
        let store = Arc::new(connect(url).await.unwrap());
        let reader = bus.reader(STAGE, &[topic::FINDINGS]).unwrap();
        let (writes, token) = (store.clone(), stop.clone());
        let running = tokio::spawn(async move { run(reader, &*writes, token).await });
        Self { bus, store, stop, running }
    }

    async fn publish(&self, findings: &[Finding]) {
        let record = |finding: &Finding| {
            let body = hubwarden_proto::encode_finding(finding.clone());
            Record::new(topic::FINDINGS, finding.id.to_string(), body)
        };
        let records = findings.iter().map(record).collect();
        self.bus.writer("test").commit(records, &Positions::none()).await.unwrap();
    }

    /// What the bus has been told: it may forget everything before.
    async fn told(&self) -> u64 {
        let stages = self.bus.stage_positions().await.unwrap();
        let mine = stages.iter().find(|(name, _)| name == STAGE);
        mine.and_then(|(_, positions)| positions.get(topic::FINDINGS, 0)).unwrap_or(0)
    }

    async fn until_told(&self, position: u64) {
        let progress = async {
            while self.told().await != position {
                assert!(!self.running.is_finished(), "the stage ended");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, progress).await.unwrap();
    }

    async fn total(&self) -> u64 {
        self.store.count(FindingQuery::default()).await.unwrap()
    }
}

fn is_away(error: &Error) -> bool {
    let text = error.to_string();
    let named = text.contains("cannot be used now; findings wait on the bus until it can");
    matches!(error, Error::Away { .. }) && error.is_retryable() && named
}

/// Whoever asks the console meanwhile is told to come back, not that it is broken.
async fn says_so(store: Arc<PostgresStore>) {
    let state = ConsoleState {
        findings: Findings::new(store.clone(), Arc::new(samples::raw)),
        status: Arc::new(|| samples::status(NOW)),
        watch: StageWatch::default(),
        letters: Letters::new(store, Memory::default()),
        access: Arc::new(Access::with_api_token("token".into())),
        public_hosts: Arc::new([]),
        clock: || NOW,
    };
    for path in ["/findings", "/api/v1/findings", "/dead-letters", "/pipeline", "/healthz"] {
        let request = Request::builder().uri(path).header("host", "localhost");
        let request = request.header("authorization", "Bearer token").body(Body::empty()).unwrap();
        let response = router(state.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let api = FindingApi::new(state.findings);
    let status = api.list_findings(tonic::Request::new(Default::default())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
}

/// Also after a crash of a server that is set to forget the latest commits in one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stage_waits_while_the_database_is_away() {
    let mut server = Postgres::start();
    let stage = Stage::start(&server.database()).await;
    let findings = samples::many(30, NOW);
    stage.publish(&findings[..10]).await;
    stage.until_told(10).await;
    for (round, end) in [Postgres::stop, Postgres::crash].into_iter().enumerate() {
        end(&mut server);
        let done = 10 * (round + 1);
        stage.publish(&findings[done..done + 10]).await;
        let error = stage.store.positions().await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        says_so(stage.store.clone()).await;
        assert_eq!(stage.told().await, done as u64, "nothing is told before it is stored");
        assert!(!stage.running.is_finished());
        server.start_again();
        assert_eq!(server.sql("postgres", "SHOW synchronous_commit"), "off");
        stage.until_told(done as u64 + 10).await;
        assert_eq!(stage.total().await, done as u64 + 10);
    }
    stage.stop.cancel();
    stage.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stage_waits_while_the_database_is_read_only() {
    let server = Postgres::shared();
    let url = server.database();
    let database = name(&url).to_owned();
    let stage = Stage::start(&url).await;
    let findings = samples::many(20, NOW);
    stage.publish(&findings[..10]).await;
    stage.until_told(10).await;
    let switch = |to: &str| {
        // Holds for new sessions, so the old ones end.
        let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = {to}");
        server.sql("postgres", &set);
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        );
        server.sql("postgres", &end);
    };
    switch("on");
    let error = stage.store.take_in(Default::default()).await;
    assert!(error.is_ok(), "nothing to write is no write: {error:?}");
    let intake = hubwarden_console::Intake { findings: findings.clone(), ..Default::default() };
    let error = stage.store.take_in(intake).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::ReadOnly { .. }) && error.is_retryable(), "{error:?}");
    assert!(
        text.contains("is read-only; findings wait on the bus until it takes writes"),
        "{text}"
    );
    stage.publish(&findings[10..]).await;
    assert_eq!(stage.total().await, 10, "questions are answered meanwhile");
    drop(connect(&url).await.expect("a console that starts now answers questions too"));
    assert_eq!(stage.told().await, 10);
    switch("off");
    stage.until_told(20).await;
    assert_eq!(stage.total().await, 20);
    stage.stop.cancel();
    stage.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_stage_stops_when_told() {
    let mut server = Postgres::start();
    let stage = Stage::start(&server.database()).await;
    server.stop();
    stage.publish(&samples::many(1, NOW)).await;
    let error = stage.store.positions().await.unwrap_err();
    assert!(is_away(&error), "{error:?}");
    stage.stop.cancel();
    tokio::time::timeout(PATIENCE, stage.running).await.unwrap().unwrap().unwrap();
    assert_eq!(stage.bus.ends().await.unwrap().get(topic::FINDINGS, 0), Some(1));
}

/// A console may start before its database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_waits_for_the_database() {
    let mut server = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, server.database()).unwrap();
    let config =
        StoreConfig { kind: StoreKind::Postgres, url: Some(SecretRef::File(file)), pool: 2 };
    server.stop();
    let stop = CancellationToken::new();
    let (place, token) = (folder.path().to_owned(), stop.clone());
    let opening = {
        let config = config.clone();
        tokio::spawn(async move { config.open(&place, &token).await })
    };
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert!(config.open(folder.path(), &stopped).await.unwrap().is_none(), "stopped while waiting");
    assert!(!opening.is_finished());
    server.start_again();
    let store = tokio::time::timeout(PATIENCE, opening).await.unwrap().unwrap().unwrap().unwrap();
    assert_eq!(store.unreadable().await.unwrap(), 0);
}
