//! The same month over four services on a real Kafka and PostgreSQL as in one process.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hubwarden_console::PostgresStore;
use hubwarden_simulator::{Life, Plan, Settings, Simulator, Token};
use hubwarden_testkit::{Kafka, Postgres, service_bin};
use hubwarden_tests::{all_findings, assert_same, essence, lists_section, scanned};
use tempfile::TempDir;

/// Events of the month.
const EVENTS: u64 = 12_000;
/// The services are given so long for all of it.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the store is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// A running service; it is killed when nobody holds it any more.
struct Service {
    name: String,
    child: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended already
        drop(self.child.wait());
    }
}

/// A folder with a configuration file and a log for each service.
struct Cluster {
    folder: TempDir,
    common: String,
    running: Vec<Service>,
}

impl Cluster {
    fn new(kafka: &Kafka) -> Self {
        let common = format!(
            r#"
            [bus.kafka]
            brokers = {:?}
            replication = 1
            [grpc]
            listen = "127.0.0.1:0"
            [health]
            listen = "127.0.0.1:0"
            [log]
            filter = "info"
            format = "json"
            "#,
            kafka.addresses()
        );
        Self { folder: tempfile::tempdir().unwrap(), common, running: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts one more service under a name of its own.
    fn start(&mut self, program: &str, args: &[&str], name: &str, sections: &str) {
        let config = self.path().join(format!("{name}.toml"));
        let member = format!("[bus]\nmember = \"{name}\"\n");
        std::fs::write(&config, format!("{member}{}{sections}", self.common)).unwrap();
        let log = File::create(self.path().join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(service_bin(program));
        command.args(args).arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        self.running.push(Service { name: name.into(), child });
    }

    /// Fails with the last lines of a service that has ended.
    fn check(&mut self) {
        for service in &mut self.running {
            if let Some(status) = service.child.try_wait().unwrap() {
                let log = self.folder.path().join(format!("{}.log", service.name));
                let log = std::fs::read_to_string(log).unwrap();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                panic!("{} ended with {status}: {last:#?}", service.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_services_find_what_one_process_finds() {
    let now = hubwarden_console::web::now().as_millis();
    let life =
        Life::new(Plan { events: EVENTS, days: 5, ..Plan::default() }.ending_at(now - 60_000));
    let expected = scanned(&life);
    assert!(expected.len() > 20, "{} findings", expected.len());
    let settings = Settings {
        rate_limit: u64::MAX / 2,
        tokens: vec![Token::new("ghp_simulator")],
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.add(life.events()).unwrap();

    let (kafka, postgres) =
        tokio::task::spawn_blocking(|| (Kafka::start(), Postgres::start())).await.unwrap();
    let url = postgres.database();
    let mut cluster = Cluster::new(&kafka);
    for (file, secret) in
        [("github.token", "ghp_simulator"), ("web.token", "web"), ("store.url", &url)]
    {
        std::fs::write(cluster.path().join(file), secret).unwrap();
    }
    let snapshots = cluster.path().join("snapshots");
    let state = |number: u32| {
        format!(
            "[state]\ndir = \"state-{number}\"\nsnapshots = \"file://{}\"\n",
            snapshots.display()
        )
    };
    let [first, second] = [state(0), state(1)];
    cluster.start("hubwarden-normalizer", &[], "normalizer-0", "");
    cluster.start("hubwarden-normalizer", &[], "normalizer-1", "");
    cluster.start("hubwarden-detector", &["--role", "match"], "match-0", &lists_section(&life));
    cluster.start("hubwarden-detector", &["--role", "match"], "match-1", &lists_section(&life));
    cluster.start("hubwarden-detector", &["--role", "correlate"], "correlate-0", &first);
    cluster.start("hubwarden-detector", &["--role", "correlate"], "correlate-1", &second);
    let console = "[store]\nkind = \"postgres\"\nurl = { file = \"store.url\" }\n\
                   [web]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"web.token\" }\n";
    cluster.start("hubwarden-console", &[], "console-0", console);
    let github = format!(
        r#"
        [[github]]
        name = "octo"
        id = "octo"
        enterprise = "{enterprise}"
        base_url = "{url}"
        token = {{ file = "github.token" }}
        [github.poll]
        interval = "1s"
        budget = 1.0
        requests_per_hour = 100000000
        backfill_days = 7
        backfill_git_days = 7
        "#,
        enterprise = life.enterprise(),
        url = simulator.url(),
    );
    cluster.start("hubwarden-collector", &[], "collector-0", &github);

    let store = PostgresStore::connect(&url.into(), 2).await.unwrap();
    let started = Instant::now();
    let mut found = Vec::new();
    while found != expected && started.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        cluster.check();
        found = essence(&all_findings(&store).await);
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_same("four services and one process", &found, &expected);
    eprintln!("{} findings of {EVENTS} events are equal after {seconds:.1} s", found.len());
}
