use std::path::PathBuf;
use std::time::Duration;

/// Why a snapshot cannot be stored or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the target says nothing that is understood.
    #[error(
        "`{url}` is no target for snapshots: {reason}; correct `state.snapshots`, such as file:///var/lib/snapshots or s3://bucket/prefix"
    )]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The secret key of the bucket is not where the configuration says.
    #[error("the secret key of the bucket for snapshots is missing")]
    Secret(#[from] hubwarden_service::SecretError),
    /// The store refused or did not answer.
    #[error(
        "the store of snapshots failed while {doing} {name}; check that it is up and lets Hubwarden in"
    )]
    Store {
        /// What was tried.
        doing: &'static str,
        /// The object.
        name: String,
        /// The refusal.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The store did not take a snapshot.
    #[error("the snapshot {name} could not be stored; the one before it stays")]
    Upload {
        /// The object.
        name: String,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// The store does not list what it has just taken.
    #[error(
        "the store does not list the snapshot {name} that it has just taken; it must show writes at once"
    )]
    Vanished {
        /// The object.
        name: String,
    },
    /// A file that does not end as it was written.
    #[error("the snapshot {name} is torn, so it is not used; remove it")]
    Torn {
        /// The object.
        name: String,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// A file that is something else.
    #[error("{name} is not used: it is no snapshot of this partition ({reason}); remove it")]
    Foreign {
        /// The object.
        name: String,
        /// What it is.
        reason: String,
    },
    /// A snapshot of another layout.
    #[error(
        "the snapshot {name} has format {found}, this release reads {reads}, so it is not used; start the release that wrote it"
    )]
    Format {
        /// The object.
        name: String,
        /// Its format.
        found: i64,
        /// What this release reads.
        reads: i64,
    },
    /// A snapshot with which nothing certain can be begun any more.
    #[error(
        "the snapshot {name} is {age:?} old and `matches` is kept for {retention:?}, so what follows it may be gone; start once with --rebuild or --accept-loss"
    )]
    TooOld {
        /// The object.
        name: String,
        /// Its age.
        age: Duration,
        /// How long `matches` is kept.
        retention: Duration,
    },
    /// SQLite refused to copy.
    #[error("the state file {file} could not be copied")]
    Copy {
        /// The state file.
        file: PathBuf,
        /// The refusal.
        #[source]
        source: rusqlite::Error,
    },
    /// The operating system refused.
    #[error("{doing} {} failed; check the disk of `state.dir`", file.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// The process ends.
    #[error("stopped in the middle of a snapshot")]
    Stopped,
}

impl Error {
    /// Whether this snapshot will never be usable by this release; an older one may be.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Torn { .. } | Self::Foreign { .. } | Self::Format { .. })
    }
}
