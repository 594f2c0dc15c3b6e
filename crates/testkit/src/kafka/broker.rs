use std::fmt::Write;
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::certificates::Certificates;
use super::proxy::Proxy;
use super::{PASSWORD, PATIENCE, Ports, USER, libs, local};
use crate::waiting::until;

/// One broker, which is a controller too.
pub(super) struct Broker {
    ports: Ports,
    folder: PathBuf,
    proxy: Proxy,
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// Kills the broker when this process is gone: its input ends then.
    guard: Child,
    _input: ChildStdin,
}

impl Broker {
    /// Number `id`, counted from 1, of a cluster with these ports.
    pub(super) fn new(
        id: u32,
        all: &[Ports],
        folder: &Path,
        certificates: Option<&Certificates>,
    ) -> Self {
        let ports = all[id as usize - 1];
        let folder = folder.join(format!("broker-{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        let proxy = Proxy::start(local(ports.behind).parse().unwrap());
        let properties =
            properties(id, all, &folder.join("data"), proxy.address().port(), certificates);
        std::fs::write(folder.join("server.properties"), properties).unwrap();
        Self { ports, folder, proxy, running: None }
    }

    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Prepares the data folder.
    pub(super) fn format(&self, cluster: &str) {
        let mut command = java(&self.folder, "kafka.tools.StorageTool");
        command.args(["format", "-t", cluster, "-c"]).arg(self.folder.join("server.properties"));
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let user = format!("{mechanism}=[name={USER},password={PASSWORD}]");
            command.args(["--add-scram", &user]);
        }
        let output = command.output().expect("java runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn spawn(&mut self) {
        assert!(self.running.is_none(), "the broker runs already");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = java(&self.folder, "kafka.Kafka");
        command.arg(self.folder.join("server.properties")).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("java runs");
        let mut guard = Command::new("sh");
        guard.args(["-c", "cat > /dev/null; kill -9 \"$0\"; rm -rf \"$1\""]);
        guard.arg(child.id().to_string()).arg(self.folder.parent().unwrap());
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.spawn().expect("sh runs");
        let input = guard.stdin.take().unwrap();
        self.running = Some(Running { child, guard, _input: input });
    }

    /// Whether it takes connections; fails the test when it has ended.
    pub(super) fn is_up(&mut self) -> bool {
        let Some(running) = &mut self.running else { return true };
        let ended = running.child.try_wait().unwrap();
        assert!(ended.is_none(), "the broker ended: {}", self.said());
        TcpStream::connect(local(self.ports.plain)).is_ok()
    }

    pub(super) fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut running) = self.running.take() {
            running.unguard();
            until("the end of a Kafka broker", PATIENCE, || running.child.try_wait().unwrap());
        }
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.unguard();
            drop(running.child.kill()); // it may have ended already
            drop(running.child.wait());
        }
    }

    pub(super) fn signal(&self, signal: &str) {
        let running = self.running.as_ref().expect("the broker runs");
        let order = format!("kill -{signal} {}", running.child.id());
        assert!(Command::new("sh").args(["-c", &order]).status().unwrap().success());
    }

    fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Running {
    fn unguard(&mut self) {
        drop(self.guard.kill());
        drop(self.guard.wait());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An id for a new cluster.
pub(super) fn random_id() -> String {
    // 16 bytes in URL-safe base64; the folder's name is random already and Kafka only asks for form.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let text = format!("{:x}{:x}AAAAAAAAAAAAAAAAAAAAAA", now.as_nanos(), std::process::id());
    format!("{}Q", &text[..21])
}

pub(super) fn java(folder: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    // Small and quick to start: tests put little load on it.
    command.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", libs().display())).arg(class).current_dir(folder);
    command
}

fn properties(
    id: u32,
    all: &[Ports],
    data: &Path,
    proxy: u16,
    certificates: Option<&Certificates>,
) -> String {
    let ports = all[id as usize - 1];
    let voters: Vec<String> =
        (1..).zip(all).map(|(id, of)| format!("{id}@{}", local(of.controller))).collect();
    let copies = all.len().min(3);
    let mut listeners = vec![
        ("PLAIN", ports.plain, ports.plain, "PLAINTEXT"),
        ("BEHIND", ports.behind, proxy, "PLAINTEXT"),
        ("INTERNAL", ports.internal, ports.internal, "PLAINTEXT"),
    ];
    if certificates.is_some() {
        listeners.push(("SASL", ports.sasl, ports.sasl, "SASL_PLAINTEXT"));
        listeners.push(("SASLTLS", ports.sasl_tls, ports.sasl_tls, "SASL_SSL"));
        listeners.push(("TLS", ports.tls, ports.tls, "SSL"));
    }
    let join = |of: &dyn Fn(&(&str, u16, u16, &str)) -> String| {
        listeners.iter().map(of).collect::<Vec<_>>().join(",")
    };
    let mut text = String::new();
    let mut put = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key}={value}").expect("text grows");
    };
    put("process.roles", &"broker,controller");
    put("node.id", &id);
    put("controller.quorum.voters", &voters.join(","));
    put("controller.listener.names", &"CONTROLLER");
    put("inter.broker.listener.name", &"INTERNAL");
    let listens = join(&|(name, port, _, _)| format!("{name}://{}", local(*port)));
    put("listeners", &format!("{listens},CONTROLLER://{}", local(ports.controller)));
    put("advertised.listeners", &join(&|(name, _, port, _)| format!("{name}://{}", local(*port))));
    let protocols = join(&|(name, _, _, protocol)| format!("{name}:{protocol}"));
    put("listener.security.protocol.map", &format!("{protocols},CONTROLLER:PLAINTEXT"));
    put("log.dirs", &data.display());
    put("offsets.topic.replication.factor", &copies);
    put("transaction.state.log.replication.factor", &copies);
    put("transaction.state.log.min.isr", &(copies - copies / 2));
    put("share.coordinator.state.topic.replication.factor", &copies);
    put("share.coordinator.state.topic.min.isr", &1);
    put("offsets.topic.num.partitions", &4);
    put("transaction.state.log.num.partitions", &4);
    put("group.initial.rebalance.delay.ms", &0);
    put("transaction.abort.timed.out.transaction.cleanup.interval.ms", &1000);
    put("auto.create.topics.enable", &false);
    put("num.network.threads", &1);
    put("num.io.threads", &4);
    put("log.index.size.max.bytes", &65536);
    if let Some(certificates) = certificates {
        put("sasl.enabled.mechanisms", &"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512");
        let module = "org.apache.kafka.common.security";
        for name in ["sasl", "sasltls"] {
            let plain =
                format!("{module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";");
            put(&format!("listener.name.{name}.plain.sasl.jaas.config"), &plain);
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                let scram = format!("{module}.scram.ScramLoginModule required;");
                put(&format!("listener.name.{name}.{mechanism}.sasl.jaas.config"), &scram);
            }
        }
        put("ssl.keystore.type", &"PEM");
        put("ssl.keystore.location", &certificates.broker_store.display());
        put("ssl.truststore.type", &"PEM");
        put("ssl.truststore.location", &certificates.ca.display());
        put("listener.name.tls.ssl.client.auth", &"required");
    }
    text
}
