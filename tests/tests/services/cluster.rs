//! Four services as processes on a real Kafka and PostgreSQL, fed by a simulated GitHub.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hubwarden_console::PostgresStore;
use hubwarden_simulator::Fault::Slow;
use hubwarden_simulator::{Life, Settings, Simulator, Token};
use hubwarden_testkit::{Kafka, Postgres, service_bin};
use hubwarden_tests::{all_findings, essence, lists_section};
use serde_json::Value;
use tempfile::TempDir;

/// How often the store is looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Every service, each but collector and console twice.
pub(crate) const ALL: [&str; 8] = [
    "normalizer-0",
    "normalizer-1",
    "match-0",
    "match-1",
    "correlate-0",
    "correlate-1",
    "console-0",
    "collector-0",
];

/// A running service; it is killed when nobody holds it any more.
struct Service {
    name: &'static str,
    child: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended already
        drop(self.child.wait());
    }
}

/// The services, with a folder that holds a configuration file and a log of each.
pub(crate) struct Cluster {
    running: Vec<Service>,
    folder: TempDir,
    pub(crate) store: PostgresStore,
    /// How often a service ended by itself and was started again.
    pub(crate) restarts: u32,
    simulator: Simulator,
    lists: String,
    enterprise: String,
    common: String,
}

impl Cluster {
    /// Writes what the services need; none runs yet.
    pub(crate) async fn new(life: &Life, kafka: &Kafka, postgres: &Postgres, copies: u32) -> Self {
        let settings = Settings {
            rate_limit: u64::MAX / 2,
            tokens: vec![Token::new("ghp_simulator")],
            ..Settings::default()
        };
        let simulator = Simulator::start(settings).await.unwrap();
        simulator.add(life.events()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = postgres.database();
        for (file, secret) in
            [("github.token", "ghp_simulator"), ("web.token", "web"), ("store.url", &url)]
        {
            std::fs::write(folder.path().join(file), secret).unwrap();
        }
        let common = format!(
            r#"
            [bus.kafka]
            brokers = {:?}
            replication = {copies}
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
        Self {
            running: Vec::new(),
            folder,
            store: PostgresStore::connect(&url.into(), 2).await.unwrap(),
            restarts: 0,
            simulator,
            lists: lists_section(life),
            enterprise: life.enterprise().to_owned(),
            common,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Lets GitHub answer each request so much later, so that reading takes its time.
    pub(crate) fn slow_down(&self, by: Duration) {
        self.simulator.fault_always(Some(Slow(by)));
    }

    /// Starts every service.
    pub(crate) fn start_all(&mut self) {
        ALL.into_iter().for_each(|name| self.start(name));
    }

    /// Starts a service, with what it left behind when it ran before.
    pub(crate) fn start(&mut self, name: &'static str) {
        let (stage, number) = name.split_once('-').unwrap();
        let snapshots = self.path().join("snapshots");
        let (program, args, sections): (_, &[&str], _) = match stage {
            "normalizer" => ("hubwarden-normalizer", &[], String::new()),
            "match" => ("hubwarden-detector", &["--role", "match"], self.lists.clone()),
            "correlate" => {
                let state = format!(
                    "[state]\ndir = \"state-{number}\"\nsnapshot_every = \"10s\"\nsnapshots = \"file://{}\"\n",
                    snapshots.display()
                );
                ("hubwarden-detector", &["--role", "correlate"], state)
            }
            "console" => ("hubwarden-console", &[], CONSOLE.to_owned()),
            _ => ("hubwarden-collector", &[], self.github()),
        };
        let config = self.path().join(format!("{name}.toml"));
        let member = format!("[bus]\nmember = \"{name}\"\n");
        std::fs::write(&config, format!("{member}{}{sections}", self.common)).unwrap();
        let log = File::options().create(true).append(true).open(self.log(name)).unwrap();
        let mut command = Command::new(service_bin(program));
        command.args(args).arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        self.running.push(Service { name, child });
    }

    fn github(&self) -> String {
        format!(
            r#"
            [[github]]
            name = "octo"
            id = "octo"
            enterprise = "{}"
            base_url = "{}"
            token = {{ file = "github.token" }}
            [github.poll]
            interval = "1s"
            budget = 1.0
            requests_per_hour = 100000000
            backfill_days = 7
            backfill_git_days = 7
            "#,
            self.enterprise,
            self.simulator.url(),
        )
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// Ends a service at once.
    pub(crate) fn kill(&mut self, name: &str) {
        self.running.retain(|service| service.name != name);
    }

    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let service = self.running.iter().find(|service| service.name == name).unwrap();
        let order = format!("kill -{signal} {}", service.child.id());
        assert!(Command::new("sh").args(["-c", &order]).status().unwrap().success());
    }

    /// Asks a service to end and waits until it has; gives how long that took.
    pub(crate) fn stop(&mut self, name: &str) -> Duration {
        self.signal(name, "TERM");
        let asked = Instant::now();
        let at = self.running.iter().position(|service| service.name == name).unwrap();
        let mut service = self.running.remove(at);
        let status = service.child.wait().unwrap();
        assert!(status.success(), "{name} ended with {status}: {:#?}", self.last_words(name));
        asked.elapsed()
    }

    /// Starts services again that have ended by themselves, as an orchestrator does.
    pub(crate) fn supervise(&mut self) {
        let ended = |service: &mut Service| service.child.try_wait().unwrap().is_some();
        let ended: Vec<_> =
            self.running.iter_mut().filter_map(|one| ended(one).then_some(one.name)).collect();
        for name in ended {
            eprintln!("{name} ended: {:?}", self.last_words(name).first());
            self.restarts += 1;
            self.kill(name);
            self.start(name);
        }
    }

    /// The last lines of a service, the newest first.
    fn last_words(&self, name: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log(name)).unwrap();
        log.lines().rev().take(5).map(str::to_owned).collect()
    }

    /// Keeps configuration, logs and state of a cluster that failed, and says where.
    pub(crate) fn keep(&mut self) {
        self.folder.disable_cleanup(true);
        eprintln!("logs and state are kept in {}", self.path().display());
    }

    /// Lets time pass, while services that end are started again.
    pub(crate) async fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.supervise();
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn findings(&self) -> Vec<Value> {
        essence(&all_findings(&self.store).await)
    }

    /// Waits until the store has these findings; gives what it has at the end.
    pub(crate) async fn wait_for(&mut self, expected: &[Value], within: Duration) -> Vec<Value> {
        let started = Instant::now();
        let mut found = Vec::new();
        while found != expected && started.elapsed() < within {
            tokio::time::sleep(LOOK).await;
            self.supervise();
            found = self.findings().await;
        }
        found
    }
}

const CONSOLE: &str = "[store]\nkind = \"postgres\"\nurl = { file = \"store.url\" }\n\
                       [web]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"web.token\" }\n";
