use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hubwarden_bus::BusConfig;
use hubwarden_bus::kafka::Settings as Kafka;
use hubwarden_detector::snapshot::S3;
use hubwarden_detector::{ListSource, RulesConfig};
use hubwarden_service::config::{self, Loaded};
use hubwarden_service::{ClientTls, Invalid, LogConfig, SecretRef, Validate};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "hubwarden.toml";

/// The whole configuration of the one program.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[bus]`: what the stages meet on.
    pub bus: BusSection,
    /// `[state]`: where copies of the state go, over Kafka.
    pub state: StateConfig,
    /// `[[github]]`, one a connection.
    pub github: Vec<hubwarden_collector::audit::Connection>,
    /// `[networks]`: your own networks as label and CIDR lists.
    pub networks: BTreeMap<String, Vec<String>>,
    /// `[rules]`
    pub rules: RulesConfig,
    /// `[lists]`: values that rules refer to.
    pub lists: BTreeMap<String, ListSource>,
    /// `[detection]`
    pub detection: DetectionConfig,
    /// `[remote]`: what commands show to the service that `--server` names.
    pub remote: RemoteConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// Section `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address of pages, JSON API and gRPC; loopback only, there is no TLS here yet.
    pub listen: String,
    /// How long stages may take to stop, in seconds.
    pub grace_s: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7474".into(), grace_s: 10 }
    }
}

/// Section `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Where the journal, if that is the bus, state and findings are kept.
    pub data_dir: PathBuf,
    /// How long raw records and events are kept once consumed, in days.
    pub keep_days: u32,
    /// How much disk the journal may take, in GiB; when it is full, sources wait.
    pub budget_gib: u64,
    /// How much disk is left to others, in MiB.
    pub free_floor_mib: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { data_dir: "data".into(), keep_days: 7, budget_gib: 20, free_floor_mib: 256 }
    }
}

/// Section `[bus]`; with Kafka, its words are those of the services.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusSection {
    /// What the stages meet on.
    pub kind: BusKind,
    /// The name of this process in the groups of the cluster; empty: `serve`.
    pub member: String,
    /// The cluster.
    pub kafka: Kafka<SecretRef>,
}

impl BusSection {
    /// The section as the services have it.
    pub(crate) fn services(&self) -> BusConfig<SecretRef> {
        BusConfig { member: self.member.clone(), kafka: self.kafka.clone() }
    }

    fn validate(&self) -> Result<(), Invalid> {
        match self.kind {
            BusKind::Kafka => {
                self.kafka.check().map_err(|error| Invalid::new("bus.kafka", error.to_string()))
            }
            BusKind::Journal if !self.kafka.brokers.is_empty() => {
                let reason = "is \"journal\", but bus.kafka.brokers names brokers; set kind = \"kafka\", \
                              or take the brokers out";
                Err(Invalid::new("bus.kind", reason))
            }
            BusKind::Journal => Ok(()),
        }
    }
}

/// What the stages of the one program meet on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// A journal in the data folder.
    #[default]
    Journal,
    /// A Kafka cluster.
    Kafka,
}

impl std::fmt::Display for BusKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Journal => "journal",
            Self::Kafka => "kafka",
        })
    }
}

/// Section `[state]`: copies of what is under way in the correlators, over Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// Where snapshots go: `file:///folder` or `s3://bucket/prefix`; empty: `snapshots` in the data
    /// folder.
    pub snapshots: String,
    /// How often.
    #[serde(with = "hubwarden_service::duration")]
    pub snapshot_every: Duration,
    /// How the bucket is reached.
    pub s3: S3,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            snapshots: String::new(),
            snapshot_every: Duration::from_secs(15 * 60),
            s3: S3::default(),
        }
    }
}

/// Section `[detection]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionConfig {
    /// How late an event may be and still count as in time, in minutes; at least the poll overlap.
    pub lateness_min: u32,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self { lateness_min: 60 }
    }
}

/// Section `[remote]`: how commands reach the service that `--server` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// The token that is shown, where a certificate does not say who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// What to trust and show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// How long a call may take, in seconds.
    pub deadline_s: u64,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self { token: None, tls: None, deadline_s: 30 }
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        let listen: Result<std::net::SocketAddr, _> = self.server.listen.parse();
        match listen {
            Err(_) => {
                let reason = format!(
                    "`{}` is no address with port; write 127.0.0.1:7474",
                    self.server.listen
                );
                return Err(Invalid::new("server.listen", reason));
            }
            Ok(address) if !address.ip().is_loopback() => {
                let reason =
                    "only loopback addresses are served without TLS; use 127.0.0.1 and a tunnel";
                return Err(Invalid::new("server.listen", reason));
            }
            Ok(_) => {}
        }
        for (key, value) in [
            ("storage.keep_days", u64::from(self.storage.keep_days)),
            ("storage.budget_gib", self.storage.budget_gib),
            ("server.grace_s", self.server.grace_s),
            ("remote.deadline_s", self.remote.deadline_s),
        ] {
            if value == 0 {
                return Err(Invalid::new(key, "must be at least 1"));
            }
        }
        self.bus.validate()?;
        if self.state.snapshot_every < Duration::from_secs(10) {
            return Err(Invalid::new("state.snapshot_every", "must be at least 10s"));
        }
        hubwarden_collector::audit::validate_all(&self.github)?;
        hubwarden_normalizer::Networks::parse(networks(&self.networks))
            .map_err(|error| Invalid::new("networks", error.to_string()))?;
        if let Some(tls) = &self.remote.tls {
            tls.validate_at("remote.tls")?;
        }
        self.log.validate()
    }
}

fn networks(map: &BTreeMap<String, Vec<String>>) -> impl Iterator<Item = (&str, &[String])> {
    map.iter().map(|(label, ranges)| (label.as_str(), ranges.as_slice()))
}

impl Config {
    /// The networks as the normalizer wants them; validated before.
    pub(crate) fn networks(&self) -> hubwarden_normalizer::Networks {
        hubwarden_normalizer::Networks::parse(networks(&self.networks)).unwrap_or_default()
    }

    /// Makes every relative path start at the folder of the configuration file.
    fn resolve_paths(&mut self, folder: &Path) {
        self.storage.data_dir = folder.join(&self.storage.data_dir);
        let bus = self.bus.services().relative_to(folder, |password| password.relative_to(folder));
        self.bus.kafka = bus.kafka;
        self.state.s3.secret_key =
            self.state.s3.secret_key.take().map(|key| key.relative_to(folder));
        self.remote.token = self.remote.token.take().map(|token| token.relative_to(folder));
        self.remote.tls = self.remote.tls.take().map(|tls| tls.relative_to(folder));
        for path in &mut self.rules.dirs {
            *path = folder.join(&*path);
        }
        for list in self.lists.values_mut() {
            if let ListSource::File { file } = list {
                *file = folder.join(&*file);
            }
        }
        for connection in &mut self.github {
            connection.token = connection.token.clone().relative_to(folder);
        }
    }
}

/// Reads the configuration: the named file, else `hubwarden.toml` here if there is one.
pub(crate) fn load(
    file: Option<&Path>,
    data_dir: Option<&Path>,
) -> Result<Loaded<Config>, Failure> {
    let here = Path::new(DEFAULT_FILE);
    let file = file.or_else(|| here.is_file().then_some(here));
    let absolute = data_dir.map(std::path::absolute).transpose()?; // a flag starts where it is typed
    let flag = absolute.map(|path| ("storage.data_dir", path.display().to_string().into()));
    let mut loaded: Loaded<Config> = config::load(file, flag.as_slice())?;
    let folder = file.and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
    loaded.config.resolve_paths(&folder);
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_connections_with_one_id_are_refused() {
        let text = |id: &str| {
            format!("[[github]]\nname = 'x'\nid = '{id}'\norg = 'octo'\ntoken = {{ env = 'T' }}\n")
        };
        let check = |second: &str| {
            let config: Config = toml::from_str(&(text("a") + &text(second))).unwrap();
            config.validate()
        };
        assert!(check("b").is_ok());
        let invalid = check("a").unwrap_err();
        assert_eq!(invalid.key, "github[1].id");
    }

    #[test]
    fn the_bus_is_named_where_it_cannot_work() {
        let check = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            config.validate().map_err(|invalid| invalid.to_string())
        };
        assert!(check("[bus]\nkind = 'kafka'\n[bus.kafka]\nbrokers = ['k:9092']").is_ok());
        for (text, named) in [
            ("[bus]\nkind = 'kafka'", "bus.kafka.brokers names no broker"),
            ("[bus]\nkind = 'kafka'\n[bus.kafka]\nbrokers = ['k']", "`k` is not host:port"),
            ("[bus.kafka]\nbrokers = ['k:9092']", "set kind = \"kafka\""),
            ("[state]\nsnapshot_every = '1s'", "state.snapshot_every"),
        ] {
            let said = check(text).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn what_is_shown_to_a_service_is_checked_and_starts_at_the_same_folder() {
        let check = |text: &str| toml::from_str::<Config>(text).unwrap().validate();
        let named = |text: &str| check(text).unwrap_err().key;
        assert_eq!(named("[remote]\ntls = { cert = 'tls.crt' }"), "remote.tls.key");
        assert_eq!(named("[remote]\ndeadline_s = 0"), "remote.deadline_s");
        let text = "[remote]\ntoken = { file = 't' }\ntls = { ca = 'ca.crt' }";
        let mut config: Config = toml::from_str(text).unwrap();
        config.resolve_paths(Path::new("/etc/hw"));
        assert_eq!(config.remote.token, Some(SecretRef::File("/etc/hw/t".into())));
        assert_eq!(config.remote.tls.unwrap().ca, Some("/etc/hw/ca.crt".into()));
    }

    #[test]
    fn files_of_the_bus_start_at_the_folder_of_the_configuration() {
        let text = "[bus]\nkind = 'kafka'\n[bus.kafka]\nbrokers = ['k:9092']\ntls = { ca = 'ca.crt' }\n\
                    sasl = { mechanism = 'plain', user = 'u', password = { file = 'password' } }";
        let mut config: Config = toml::from_str(text).unwrap();
        config.resolve_paths(Path::new("/etc/hw"));
        assert_eq!(config.bus.kafka.tls.unwrap().ca, Some("/etc/hw/ca.crt".into()));
        let password = config.bus.kafka.sasl.unwrap().password;
        assert_eq!(password, SecretRef::File("/etc/hw/password".into()));
    }
}
