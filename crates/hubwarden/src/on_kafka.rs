//! What `serve` needs beside the stages when they meet on Kafka.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hubwarden_bus::{Kafka, topic};
use hubwarden_collector::audit::Level;
use hubwarden_detector::snapshot::{Error as SnapshotError, Target};
use hubwarden_detector::{Correlating, Lost, Snapshots};
use hubwarden_service::trace::{System, set_system};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::BusKind;
use crate::failure::{Exit, Failure};
use crate::pipeline::{create, journal_dir, refuse_other_bus};
use crate::rule_check::CheckLine;
use crate::{Config, failure};

/// The name of `serve` among the members of its groups: one on a prefix, and a second takes the
/// place of the first instead of half of its partitions.
const MEMBER: &str = "serve";

/// A broker is given so long to take a connection.
const REACH: Duration = Duration::from_secs(5);

/// A day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The file that says which topics the findings and the state of a data folder stand on.
pub(crate) fn claim_file(data_dir: &Path) -> PathBuf {
    data_dir.join("kafka.json")
}

/// The hold of one process on a data folder, as long as it lives.
pub(crate) struct Claim {
    _lock: File,
}

/// What [`claim_file`] holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claimed {
    topic_prefix: String,
}

impl Claim {
    /// Takes the data folder for this process and these topics.
    ///
    /// # Errors
    /// Another process has it, or it belongs to a journal or to topics of another prefix.
    pub(crate) fn take(config: &Config) -> Result<Self, Failure> {
        let folder = &config.storage.data_dir;
        create(folder)?;
        let begun = is_begun(config)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(claim_file(folder))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!(
                    "the data folder {} is in use by another process; stop that one or use another folder",
                    folder.display()
                );
                return Err(Failure::new(Exit::Failed, text));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if !begun {
            lock.set_len(0)?;
            lock.write_all(serde_json::to_string(&Claimed::of(config))?.as_bytes())?;
            lock.sync_all()?;
        }
        Ok(Self { _lock: lock })
    }
}

impl Claimed {
    fn of(config: &Config) -> Self {
        Self { topic_prefix: config.bus.kafka.topic_prefix.clone() }
    }
}

/// Whether the data folder holds something of these topics.
///
/// # Errors
/// It belongs to a journal or to topics of another prefix.
pub(crate) fn is_begun(config: &Config) -> Result<bool, Failure> {
    let folder = &config.storage.data_dir;
    refuse_other_bus(folder, &journal_dir(folder), BusKind::Journal)?;
    let text = match std::fs::read_to_string(claim_file(folder)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        text => text?,
    };
    // Half of it is what a crash left of the first start: nothing has been judged by then.
    let Ok(theirs) = serde_json::from_str::<Claimed>(&text) else { return Ok(false) };
    let ours = Claimed::of(config);
    if theirs == ours {
        return Ok(true);
    }
    let text = format!(
        "the data folder {} belongs to bus.kafka.topic_prefix = \"{}\", not \"{}\"; set it back, or name \
         another folder with --data-dir",
        folder.display(),
        theirs.topic_prefix,
        ours.topic_prefix
    );
    Err(Failure::new(Exit::Failed, text))
}

/// Reaches the cluster and says how its partitions are correlated in the data folder.
///
/// What is lost of the state is judged again from what `matches` keeps, as over the journal.
///
/// # Errors
/// The password is not where the configuration says, the cluster cannot be used, or the place of
/// the snapshots is none.
pub(crate) async fn connect(config: &Config) -> Result<(Kafka, Correlating), Failure> {
    set_system(System::Kafka);
    let bus = config.bus.services();
    let settings = bus.kafka.clone().resolve(|password| password.resolve())?;
    let member = if bus.member.is_empty() { MEMBER } else { &bus.member };
    let kafka = Kafka::connect(settings).await?.member(member);
    let correlating = Correlating {
        dir: config.storage.data_dir.clone(),
        lateness_ms: i64::from(config.detection.lateness_min) * 60_000,
        snapshots: Some(Snapshots {
            target: snapshots(config).map_err(|error| {
                let text = format!("state.snapshots: {}", failure::with_causes(&error));
                Failure::new(Exit::Failed, text)
            })?,
            every: config.state.snapshot_every,
            retention: DAY * topic::MATCHES.kept_days(),
        }),
        lost: Lost::Rebuild,
    };
    Ok((kafka, correlating))
}

/// Where copies of the state go: what the configuration names, else beside the state.
fn snapshots(config: &Config) -> Result<Target, SnapshotError> {
    match config.state.snapshots.as_str() {
        "" => Target::directory(&config.storage.data_dir.join("snapshots")),
        url => Target::open(url, &config.state.s3),
    }
}

/// Whether the cluster can be reached, and what signs in lies where the configuration says.
///
/// Rights and topics are looked at when `serve` starts: asking would make what is missing.
pub(crate) async fn check(config: &Config) -> Vec<CheckLine> {
    let kafka = &config.bus.kafka;
    let mut lines = Vec::new();
    for broker in &kafka.brokers {
        let (level, found) = match timeout(REACH, TcpStream::connect(broker)).await {
            Ok(Ok(_)) => (Level::Ok, "takes connections".to_owned()),
            Ok(Err(error)) => {
                (Level::Fail, format!("cannot be reached: {error}; correct bus.kafka.brokers"))
            }
            Err(_) => {
                (Level::Fail, "does not answer; correct bus.kafka.brokers or the network".into())
            }
        };
        lines.push(CheckLine::new(level, format!("broker {broker}"), found));
    }
    if let Some(Err(error)) = kafka.sasl.as_ref().map(|sasl| sasl.password.resolve()) {
        lines.push(CheckLine::new(Level::Fail, "bus.kafka.sasl", failure::with_causes(&error)));
    }
    let tls = kafka.tls.iter().flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]).flatten();
    for file in tls {
        if let Err(error) = File::open(file) {
            let found = format!("cannot read {}: {error}", file.display());
            lines.push(CheckLine::new(Level::Fail, "bus.kafka.tls", found));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, prefix: &str) -> Config {
        let mut config = Config::default();
        config.storage.data_dir = folder.into();
        config.bus.kafka.topic_prefix = prefix.into();
        config
    }

    fn refused(folder: &Path, prefix: &str) -> String {
        Claim::take(&config(folder, prefix)).err().map(|failure| failure.message).unwrap()
    }

    #[test]
    fn a_folder_belongs_to_one_process_and_to_the_topics_it_began_with() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::take(&config(folder.path(), "a.")).unwrap();
        assert!(refused(folder.path(), "a.").contains("in use by another process"));
        drop(claim);
        let said = refused(folder.path(), "b.");
        assert!(said.contains("topic_prefix = \"a.\", not \"b.\""), "{said}");
        std::fs::write(claim_file(folder.path()), "{\"topic_pre").unwrap(); // cut by a crash
        drop(Claim::take(&config(folder.path(), "b.")).unwrap());
        assert!(refused(folder.path(), "a.").contains("topic_prefix = \"b.\""));
    }

    #[test]
    fn a_folder_does_not_change_its_kind_of_bus() {
        let folder = tempfile::tempdir().unwrap();
        drop(Claim::take(&config(folder.path(), "")).unwrap());
        let opened =
            crate::pipeline::open_journal(folder.path(), hubwarden_bus::Options::default());
        let said = opened.err().map(|failure| failure.message).unwrap();
        assert!(said.contains("belongs to bus.kind = \"kafka\""), "{said}");
        let folder = tempfile::tempdir().unwrap();
        drop(crate::pipeline::open_journal(folder.path(), hubwarden_bus::Options::default()));
        let said = refused(folder.path(), "");
        assert!(said.contains("belongs to bus.kind = \"journal\""), "{said}");
    }
}
