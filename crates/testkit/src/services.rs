use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::service_bin;
use crate::waiting::until;

/// A service may take so long to start or to stop; generous, for busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// Token with which records may be pushed to every service that [`Services`] starts.
pub const INGEST_TOKEN: &str = "hwt_ingest";
/// Token with which every service that [`Services`] starts may be read.
pub const VIEWER_TOKEN: &str = "hwt_viewer";
/// SHA-256 of [`VIEWER_TOKEN`].
const VIEWER_SHA256: &str = "b93c30245a5d87cfac8e4b6ac4eefa2a405fe749a319625f9ec2a3b121fa164d";
/// SHA-256 of [`INGEST_TOKEN`]: a configuration holds nothing else.
const INGEST_SHA256: &str = "841b5aedf8e5c9c50dbf87f247cb10900fc25840739cc6a9826508c567ab0f11";

/// The services as processes of their own: configurations, secrets and logs lie in one folder.
pub struct Services {
    common: String,
    running: Vec<Service>,
    /// Removed after the services are gone.
    folder: TempDir,
}

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

impl Services {
    /// None yet, for these brokers; `more` is added to the configuration of each.
    pub fn new(brokers: &[String], more: &str) -> Self {
        let copies = brokers.len().min(3);
        let common = format!(
            r#"
            [bus.kafka]
            brokers = {brokers:?}
            replication = {copies}
            [grpc]
            listen = "127.0.0.1:0"
            [health]
            listen = "127.0.0.1:0"
            [log]
            filter = "info"
            format = "json"
            [tokens]
            test = {{ sha256 = "{INGEST_SHA256}", role = "ingest", expires = "2099-01-01T00:00:00Z" }}
            reader = {{ sha256 = "{VIEWER_SHA256}", role = "viewer", expires = "2099-01-01T00:00:00Z" }}
            {more}
            "#
        );
        Self { common, running: Vec::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a secret beside the configurations, which name it by its file.
    pub fn secret(&self, file: &str, value: &str) {
        std::fs::write(self.folder().join(file), value).unwrap();
    }

    /// Starts one more service under a name of its own, with what it left behind when it ran before.
    pub fn start(&mut self, program: &str, args: &[&str], name: &str, sections: &str) {
        let config = self.folder().join(format!("{name}.toml"));
        let member = format!("[bus]\nmember = \"{name}\"\n");
        std::fs::write(&config, format!("{member}{}{sections}", self.common)).unwrap();
        let log = File::options().create(true).append(true).open(self.log(name)).unwrap();
        let mut command = Command::new(service_bin(program));
        command.args(args).arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.running.push(Service { name: name.into(), child: command.spawn().unwrap() });
    }

    /// Starts one of each: `collector`, `normalizer`, `detector` with both of its roles, and
    /// `console`, whose findings go to the PostgreSQL database at this URL.
    pub fn start_all(&mut self, store: &str) {
        self.secret("store.url", store);
        self.secret("web.token", "web");
        let state = format!(
            "[state]\ndir = \"state\"\nsnapshots = \"file://{}\"\n",
            self.folder().join("snapshots").display()
        );
        let console = "[store]\nkind = \"postgres\"\nurl = { file = \"store.url\" }\n\
                       [web]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"web.token\" }\n";
        self.start("hubwarden-normalizer", &[], "normalizer", "");
        self.start("hubwarden-detector", &[], "detector", &state);
        self.start("hubwarden-console", &[], "console", console);
        self.start("hubwarden-collector", &[], "collector", "");
    }

    /// Fails with the last lines of a service that has ended.
    pub fn check(&mut self) {
        if let Some(name) = self.ended().first() {
            panic!("{name} ended: {:#?}", self.last_words(name));
        }
    }

    /// Services that have ended by themselves; [`kill`](Self::kill) takes one off this list.
    pub fn ended(&mut self) -> Vec<String> {
        let ended = self.running.iter_mut().filter_map(|service| {
            service.child.try_wait().unwrap().is_some().then(|| service.name.clone())
        });
        ended.collect()
    }

    /// The last lines of a service, the newest first.
    pub fn last_words(&self, name: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log(name)).unwrap();
        log.lines().rev().take(5).map(str::to_owned).collect()
    }

    /// Ends a service at once.
    pub fn kill(&mut self, name: &str) {
        self.running.retain(|service| service.name != name);
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, name: &str, signal: &str) {
        let order = format!("kill -{signal} {}", self.process(name).id());
        assert!(Command::new("sh").args(["-c", &order]).status().unwrap().success());
    }

    /// Asks a service to end and waits until it has, in good order; gives how long that took.
    pub fn stop(&mut self, name: &str) -> Duration {
        self.signal(name, "TERM");
        let asked = Instant::now();
        let at = self.running.iter().position(|service| service.name == name);
        let mut service = self.running.remove(at.expect("a service of this name was started"));
        let status = service.child.wait().unwrap();
        assert!(status.success(), "{name} ended with {status}: {:#?}", self.last_words(name));
        asked.elapsed()
    }

    /// Keeps the folder of services that failed, and says where it is.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
        eprintln!("logs and state are kept in {}", self.folder().display());
    }

    /// Where a service takes gRPC calls; waits until it does.
    pub fn grpc(&mut self, name: &str) -> SocketAddr {
        self.listening(name, "gRPC is served")
    }

    /// Where a console serves its pages; waits until it does.
    pub fn web(&mut self, name: &str) -> SocketAddr {
        self.listening(name, "pages are served")
    }

    /// Where a service answers probes; waits until it does.
    pub fn health(&mut self, name: &str) -> SocketAddr {
        self.listening(name, "probes are answered")
    }

    /// The process of a service.
    pub fn process(&self, name: &str) -> &Child {
        let service = self.running.iter().find(|service| service.name == name);
        &service.expect("a service of this name was started").child
    }

    /// The address in the line of a service's log that says so.
    fn listening(&mut self, name: &str, message: &str) -> SocketAddr {
        let log = self.log(name);
        until(&format!("{name}: {message}"), PATIENCE, || {
            self.check();
            let text = std::fs::read_to_string(&log).unwrap();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let line: Value = lines.find(|line: &Value| line["message"] == message)?;
            line["fields"]["listen"].as_str()?.parse().ok()
        })
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.folder().join(format!("{name}.log"))
    }
}
