//! A real Apache Kafka on loopback: one broker or several, with faults in front when asked for.

mod broker;
mod certificates;
mod proxy;

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use broker::Broker;
pub use certificates::Certificates;
pub use proxy::{Fault, Proxy, api};
use tempfile::TempDir;

use crate::binary::workspace;
use crate::waiting::until;

/// How long a broker may take to start or to stop; generous, for busy machines.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the ports of brokers lie.
const PORTS: Range<u16> = 20_000..32_000;

/// The user of the secured listeners.
pub const USER: &str = "hubwarden";
/// The password of that user.
pub const PASSWORD: &str = "correct horse";

/// A running cluster; killed when dropped, and also when the test process dies.
pub struct Kafka {
    brokers: Vec<Broker>,
    certificates: Option<Certificates>,
    /// Removed after the brokers are gone.
    folder: TempDir,
}

/// What a cluster is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many brokers, one or three.
    pub brokers: u32,
    /// Whether there are listeners that ask for a password or a certificate.
    pub secured: bool,
}

/// What a broker listens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) behind: u16,
    pub(crate) internal: u16,
    pub(crate) controller: u16,
    pub(crate) sasl: u16,
    pub(crate) sasl_tls: u16,
    pub(crate) tls: u16,
}

impl Kafka {
    /// One broker without security.
    pub fn start() -> Self {
        Self::start_with(Options { brokers: 1, secured: false })
    }

    /// A cluster like this; waits until every broker takes connections.
    pub fn start_with(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("hubwarden-kafka-").tempdir().unwrap();
        let certificates = options.secured.then(|| Certificates::write(folder.path()));
        let ports: Vec<Ports> = (0..options.brokers).map(|_| Ports::free()).collect();
        let mut brokers: Vec<Broker> = (1..)
            .zip(&ports)
            .map(|(id, _)| Broker::new(id, &ports, folder.path(), certificates.as_ref()))
            .collect();
        let cluster = broker::random_id();
        brokers.iter().for_each(|broker| broker.format(&cluster));
        brokers.iter_mut().for_each(Broker::spawn);
        let mut kafka = Self { brokers, certificates, folder };
        kafka.wait();
        kafka
    }

    /// Addresses without security.
    pub fn addresses(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| local(broker.ports().plain)).collect()
    }

    /// Addresses behind the fault proxies; who comes this way stays behind them.
    pub fn addresses_behind_proxies(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| broker.proxy().address().to_string()).collect()
    }

    /// Addresses that ask for user and password.
    pub fn addresses_with_sasl(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| local(broker.ports().sasl)).collect()
    }

    /// Addresses that ask for user and password over TLS.
    pub fn addresses_with_sasl_and_tls(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| local(broker.ports().sasl_tls)).collect()
    }

    /// Addresses that ask for a certificate.
    pub fn addresses_with_tls(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| local(broker.ports().tls)).collect()
    }

    /// The certificates of a secured cluster.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the cluster was started secured")
    }

    /// The fault proxy before a broker, counted from 0.
    pub fn proxy(&self, broker: usize) -> &Proxy {
        self.brokers[broker].proxy()
    }

    /// Sets a fault at all proxies.
    pub fn fault(&self, fault: Fault) {
        self.brokers.iter().for_each(|broker| broker.proxy().set(fault));
    }

    /// Ends a broker in good order.
    pub fn stop(&mut self, broker: usize) {
        self.brokers[broker].stop();
    }

    /// Ends a broker at once, as a power cut would.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].kill();
    }

    /// Starts a broker again that was stopped or killed, on the same ports and data.
    pub fn start_again(&mut self, broker: usize) {
        self.brokers[broker].spawn();
        self.wait();
    }

    /// Stops a broker's clock: it keeps its connections and says nothing.
    pub fn freeze(&self, broker: usize) {
        self.brokers[broker].signal("STOP");
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&self, broker: usize) {
        self.brokers[broker].signal("CONT");
    }

    /// Runs one of Kafka's own tools against the cluster, and gives what it printed.
    pub fn tool(&self, class: &str, args: &[&str]) -> String {
        let mut command = broker::java(self.folder.path(), class);
        command.args(["--bootstrap-server", &self.addresses().join(",")]).args(args);
        let output = command.output().expect("java runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// A folder of the cluster, for files that a tool reads.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn wait(&mut self) {
        for broker in &mut self.brokers {
            until("the start of a Kafka broker", PATIENCE, || broker.is_up().then_some(()));
        }
    }
}

impl Ports {
    /// Free ones, below those that the system gives to connections: a broker takes them only when
    /// it starts, and again when it starts once more.
    fn free() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let first = std::process::id().wrapping_mul(101);
        let free = || {
            let steps = (0..u32::from(PORTS.end - PORTS.start)).map(|_| {
                let step = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
                PORTS.start + (step % u32::from(PORTS.end - PORTS.start)) as u16
            });
            let mut found = steps.filter(|port| TcpListener::bind(local(*port)).is_ok());
            found.next().expect("a free port")
        };
        let [plain, behind, internal, controller, sasl, sasl_tls, tls] =
            std::array::from_fn(|_| free());
        Self { plain, behind, internal, controller, sasl, sasl_tls, tls }
    }
}

fn local(port: u16) -> String {
    SocketAddr::from(([127, 0, 0, 1], port)).to_string()
}

/// The folder with Kafka's jars; fetched at the first call where it is missing.
fn libs() -> &'static Path {
    static LIBS: OnceLock<PathBuf> = OnceLock::new();
    LIBS.get_or_init(|| {
        let mut script = Command::new(workspace().join("scripts/kafka.sh"));
        let output = script.stderr(Stdio::inherit()).output().expect("scripts/kafka.sh runs");
        assert!(output.status.success(), "scripts/kafka.sh fetches Kafka");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}
