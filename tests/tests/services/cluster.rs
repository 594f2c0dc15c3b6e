//! Four services as processes on a real Kafka and PostgreSQL, fed by a simulated GitHub.

use std::path::Path;
use std::time::{Duration, Instant};

use hubwarden_console::PostgresStore;
use hubwarden_simulator::Fault::Slow;
use hubwarden_simulator::{Life, Settings, Simulator, Token};
use hubwarden_testkit::{Kafka, Postgres, Services};
use hubwarden_tests::{all_findings, essence, github_section, lists_section};
use serde_json::Value;

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

/// The services and what they work on.
pub(crate) struct Cluster {
    services: Services,
    pub(crate) store: PostgresStore,
    /// How often a service ended by itself and was started again.
    pub(crate) restarts: u32,
    simulator: Simulator,
    lists: String,
    github: String,
}

impl Cluster {
    /// Writes what the services need; none runs yet.
    pub(crate) async fn new(life: &Life, kafka: &Kafka, postgres: &Postgres) -> Self {
        let settings = Settings {
            rate_limit: u64::MAX / 2,
            tokens: vec![Token::new("ghp_simulator")],
            ..Settings::default()
        };
        let simulator = Simulator::start(settings).await.unwrap();
        simulator.add(life.events()).unwrap();
        let services = Services::new(&kafka.addresses(), "");
        let url = postgres.database();
        services.secret("github.token", "ghp_simulator");
        services.secret("web.token", "web");
        services.secret("store.url", &url);
        Self {
            services,
            store: PostgresStore::connect(&url.into(), 2).await.unwrap(),
            restarts: 0,
            github: github_section(life, &simulator.url()),
            simulator,
            lists: lists_section(life),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.services.folder()
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
    pub(crate) fn start(&mut self, name: &str) {
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
            _ => ("hubwarden-collector", &[], self.github.clone()),
        };
        self.services.start(program, args, name, &sections);
    }

    /// Ends a service at once.
    pub(crate) fn kill(&mut self, name: &str) {
        self.services.kill(name);
    }

    pub(crate) fn signal(&self, name: &str, signal: &str) {
        self.services.signal(name, signal);
    }

    /// Ends a service in good order; gives how long that took.
    pub(crate) fn stop(&mut self, name: &str) -> Duration {
        self.services.stop(name)
    }

    /// The address of the console's pages.
    pub(crate) fn pages(&mut self) -> String {
        format!("http://{}", self.services.web("console-0"))
    }

    /// Starts services again that have ended by themselves, as an orchestrator does.
    pub(crate) fn supervise(&mut self) {
        for name in self.services.ended() {
            eprintln!("{name} ended: {:?}", self.services.last_words(&name).first());
            self.restarts += 1;
            self.kill(&name);
            self.start(&name);
        }
    }

    /// Keeps configuration, logs and state of a cluster that failed.
    pub(crate) fn keep(&mut self) {
        self.services.keep();
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
