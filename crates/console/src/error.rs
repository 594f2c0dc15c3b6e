use std::path::PathBuf;

use hubwarden_bus::Topic;

/// Why a question to the console, or its work, came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No finding has that id, or an id that begins so.
    #[error("there is no finding `{id}`; `hubwarden finding list` shows those there are")]
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// Several findings have an id that begins so.
    #[error("`{prefix}` is the beginning of several findings, add characters: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some of the findings that it may mean.
        candidates: Vec<String>,
    },
    /// A part of a question that cannot be understood.
    #[error("`{value}` is not a {field}; {hint}")]
    BadQuery {
        /// The part.
        field: &'static str,
        /// What stood there.
        value: String,
        /// What may stand there.
        hint: &'static str,
    },
    /// The findings store was written by a later release.
    #[error(
        "the findings store {} has format {found}, this release knows formats up to {known}; use the release that wrote it, or a newer one", file.display()
    )]
    LaterFormat {
        /// The database file.
        file: PathBuf,
        /// Its format.
        found: usize,
        /// The newest format this release reads.
        known: usize,
    },
    /// SQLite refused.
    #[error("the findings store failed; check free space and permissions of its folder")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored finding cannot be read back.
    #[error("a stored finding cannot be read; it was written by a later release or is damaged")]
    Damaged(#[from] hubwarden_proto::Error),
    /// The store has been closed.
    #[error("the findings store is closed")]
    Closed,
    /// The bus refused.
    #[error("the console cannot read {topic} from the bus", topic = hubwarden_bus::topic::FINDINGS)]
    Bus(#[from] hubwarden_bus::Error),
    /// Findings that the store has not seen are no longer on the bus.
    #[error(
        "findings {position} to {oldest} of {topic} are no longer kept and the store has not seen them; \
         remove the findings store to rebuild it from what is kept"
    )]
    Missed {
        /// The topic.
        topic: Topic,
        /// Where the store stands.
        position: u64,
        /// The oldest record that is still there.
        oldest: u64,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes, so no link can be made")]
    Random(#[from] getrandom::Error),
    /// A list cannot be written as CSV.
    #[error("the findings cannot be written as CSV")]
    Csv(#[from] csv::Error),
    /// A finding cannot be written as JSON.
    #[error("the finding cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// Whether the question was wrong, not the answer.
    pub fn is_question(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Ambiguous { .. } | Self::BadQuery { .. })
    }
}
