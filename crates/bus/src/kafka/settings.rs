//! How to reach a cluster, and what its clients are told.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::port::{MAX_BODY, MAX_LABELS};
use crate::{Error, Topic, topic};

/// The largest message: a record of the largest size with what Kafka writes around it.
pub(super) const MAX_MESSAGE: usize = MAX_BODY + MAX_LABELS + (64 << 10);

/// How long a transaction may take before the cluster takes it back.
pub(super) const TRANSACTION: Duration = Duration::from_secs(10);

/// How long a record may wait for its broker: shorter, so that a transaction that cannot be
/// delivered is taken back by its writer and not by the cluster.
pub(super) const DELIVERY: Duration = Duration::from_secs(6);

/// Where the cluster is and how its topics are laid out; section `[bus.kafka]` of a configuration.
///
/// `P` is how the configuration says a password; [`resolve`](Settings::resolve) turns it into the
/// password itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound(deserialize = "P: Deserialize<'de>"))]
pub struct Settings<P = SecretString> {
    /// Some of the brokers, each `host:port`; the rest is learned from them.
    pub brokers: Vec<String>,
    /// Stands before the name of every topic, group and transaction, so that several deployments
    /// can share a cluster.
    pub topic_prefix: String,
    /// Partitions of a topic; fixed once the topics exist.
    pub partitions: u32,
    /// Brokers that hold each record.
    pub replication: u32,
    /// Encrypt, and prove who is who.
    pub tls: Option<Tls>,
    /// Sign in with a password.
    pub sasl: Option<Sasl<P>>,
    /// How often the figures of [`Kafka::lag`](super::Kafka::lag) are renewed.
    #[serde(skip)]
    pub figures_every: Duration,
}

/// Files for TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates to trust; those of the system when absent.
    pub ca: Option<PathBuf>,
    /// The certificate of this client.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// How to sign in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl<P = SecretString> {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: P,
}

/// How a password is proved to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// It is sent; only sensible with TLS.
    Plain,
    /// Salted and hashed with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// Salted and hashed with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl<P> Default for Settings<P> {
    fn default() -> Settings<P> {
        Settings {
            brokers: Vec::new(),
            topic_prefix: String::new(),
            partitions: 12,
            replication: 3,
            tls: None,
            sasl: None,
            figures_every: Duration::from_secs(5),
        }
    }
}

impl<P> Settings<P> {
    /// The same settings with the password itself.
    ///
    /// # Errors
    /// What `read` says of the password.
    pub fn resolve<E>(
        self,
        read: impl FnOnce(P) -> Result<SecretString, E>,
    ) -> Result<Settings, E> {
        let resolved = |sasl: Sasl<P>| {
            let password = read(sasl.password)?;
            Ok(Sasl { mechanism: sasl.mechanism, user: sasl.user, password })
        };
        Ok(Settings {
            brokers: self.brokers,
            topic_prefix: self.topic_prefix,
            partitions: self.partitions,
            replication: self.replication,
            tls: self.tls,
            sasl: self.sasl.map(resolved).transpose()?,
            figures_every: self.figures_every,
        })
    }

    /// Refuses what cannot work, naming the key as the operator writes it.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Settings { reason });
        if self.brokers.is_empty() {
            return refuse("bus.kafka.brokers names no broker; give at least one host:port".into());
        }
        for broker in &self.brokers {
            let port = broker.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || broker.contains([',', '\0', ' ']) {
                return refuse(format!("bus.kafka.brokers: `{broker}` is not host:port"));
            }
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        if !self.topic_prefix.chars().all(allowed) || self.topic_prefix.len() > 100 {
            return refuse(
                "bus.kafka.topic_prefix may hold up to 100 letters, digits, dots, dashes and underscores"
                    .into(),
            );
        }
        for (key, value, most) in
            [("partitions", self.partitions, 10_000), ("replication", self.replication, 100)]
        {
            if value == 0 || value > most {
                return refuse(format!("bus.kafka.{key} is {value}; it may be 1 to {most}"));
            }
        }
        if let Some(tls) = &self.tls
            && tls.cert.is_some() != tls.key.is_some()
        {
            return refuse("bus.kafka.tls needs cert and key together, or neither".into());
        }
        Ok(())
    }
}

impl Settings {
    /// What every client of the cluster is told.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", "hubwarden");
        config.set("socket.keepalive.enable", "true");
        config.set("reconnect.backoff.max.ms", "2000");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            for (key, file) in [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.cert),
                ("ssl.key.location", &tls.key),
            ] {
                if let Some(file) = file {
                    config.set(key, file.to_string_lossy());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            let mechanism = match sasl.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism);
            config.set("sasl.username", &sasl.user);
            config.set("sasl.password", sasl.password.expose_secret());
        }
        config
    }

    /// What a client that reads is told beside that.
    pub(super) fn reading(&self) -> ClientConfig {
        let mut config = self.client();
        let most = MAX_MESSAGE.to_string();
        // The client unpacks a batch into a buffer that it makes three times as large until the batch
        // fits or the buffer is beyond this limit: below three times it may pass over what would fit.
        let receive = 3 * MAX_MESSAGE + (1 << 20);
        for (key, value) in [
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("max.poll.interval.ms", "120000"),
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.wait.max.ms", "50"),
            ("fetch.max.bytes", &most),
            ("receive.message.max.bytes", &receive.to_string()),
        ] {
            config.set(key, value);
        }
        config
    }

    /// What a client that writes in transactions is told beside the first.
    pub(super) fn writing(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.client();
        let (limit, delivery) =
            (TRANSACTION.as_millis().to_string(), DELIVERY.as_millis().to_string());
        for (key, value) in [
            ("transactional.id", transactional_id),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "zstd"),
            ("linger.ms", "5"),
            ("partitioner", "murmur2_random"),
            ("transaction.timeout.ms", &limit),
            ("message.timeout.ms", &delivery),
            ("message.max.bytes", &MAX_MESSAGE.to_string()),
            ("queue.buffering.max.kbytes", "131072"),
        ] {
            config.set(key, value);
        }
        config
    }
}

/// Names on the cluster: the prefix before each of ours.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    topics: [String; topic::COUNT],
}

impl Names {
    pub(super) fn new(prefix: &str) -> Names {
        let topics = topic::ALL.map(|topic| format!("{prefix}{topic}"));
        Names { prefix: prefix.to_owned(), topics }
    }

    pub(super) fn of(&self, topic: Topic) -> &str {
        &self.topics[topic.index()]
    }

    pub(super) fn topic(&self, name: &str) -> Option<Topic> {
        Topic::by_name(name.strip_prefix(&self.prefix)?)
    }

    /// The group of a stage; its transactions are named alike, with more behind.
    pub(super) fn group(&self, stage: &str) -> String {
        format!("{}hubwarden.{stage}", self.prefix)
    }

    /// The stage of a group.
    pub(super) fn stage<'a>(&self, group: &'a str) -> Option<&'a str> {
        group.strip_prefix(&self.prefix)?.strip_prefix("hubwarden.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings =
            Settings { brokers: vec!["kafka-0.kafka:9092".into()], ..Settings::default() };
        change(&mut settings);
        settings
    }

    #[test]
    fn names_the_key_that_cannot_work() {
        settings(|_| {}).check().unwrap();
        let some = |file: &str| Some(PathBuf::from(file));
        for (bad, named) in [
            (settings(|all| all.brokers.clear()), "bus.kafka.brokers"),
            (settings(|all| all.brokers[0] = "kafka".into()), "`kafka` is not host:port"),
            (settings(|all| all.topic_prefix = "a b".into()), "bus.kafka.topic_prefix"),
            (settings(|all| all.partitions = 0), "bus.kafka.partitions is 0"),
            (settings(|all| all.replication = 101), "bus.kafka.replication is 101"),
            (
                settings(|all| all.tls = Some(Tls { cert: some("a"), ..Tls::default() })),
                "cert and key together",
            ),
        ] {
            let said = bad.check().unwrap_err().to_string();
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn a_password_is_resolved_and_never_shown() {
        let sasl = Sasl { mechanism: Mechanism::ScramSha512, user: "u".into(), password: "ref" };
        let with: Settings<&str> = Settings { sasl: Some(sasl), ..Settings::default() };
        let resolved =
            with.resolve(|name| Ok::<_, ()>(format!("secret of {name}").into())).unwrap();
        assert!(!format!("{resolved:?}").contains("secret of"));
        let client = resolved.client();
        assert_eq!(client.get("sasl.password"), Some("secret of ref"));
        assert_eq!(client.get("security.protocol"), Some("sasl_plaintext"));
    }

    #[test]
    fn names_lead_back_to_what_they_stand_for() {
        let names = Names::new("test.");
        assert_eq!(names.of(topic::RAW), "test.hubwarden.raw.v1");
        assert_eq!(names.topic("test.hubwarden.raw.v1"), Some(topic::RAW));
        assert_eq!(names.topic("hubwarden.raw.v1"), None);
        assert_eq!(names.stage(&names.group("match")), Some("match"));
    }
}
