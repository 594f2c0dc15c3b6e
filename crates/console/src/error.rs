use std::path::PathBuf;

use hubwarden_bus::Topic;

use crate::letters::Lost;
use crate::store::letters::LetterAt;

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
    /// The findings database does not answer, or turns work away that it may take later.
    #[error(
        "the findings database {place} cannot be used now; findings wait on the bus until it can, \
         check that it runs, can be reached and has room"
    )]
    Away {
        /// The database and its server.
        place: String,
        /// What happened.
        #[source]
        source: sqlx::Error,
    },
    /// The findings database takes no writes.
    #[error(
        "the findings database {place} is read-only; findings wait on the bus until it takes writes, \
         check whether another server is the primary now and that `default_transaction_read_only` is off"
    )]
    ReadOnly {
        /// The database and its server.
        place: String,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// The findings database refused, and will again.
    #[error(
        "the findings database {place} refused; check user, password and database in store.url, \
         and that the user may create and use tables there"
    )]
    Refused {
        /// The database and its server.
        place: String,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// The address of the findings database cannot be understood.
    #[error(
        "store.url is not the address of a PostgreSQL database; write it as \
         postgres://user:password@host:5432/database"
    )]
    Address,
    /// The findings database cannot hold every name.
    #[error(
        "the findings database {place} has the encoding {encoding}, which does not hold every name; \
         create one with ENCODING 'UTF8' TEMPLATE template0 and name it in store.url"
    )]
    Encoding {
        /// The database and its server.
        place: String,
        /// Its encoding.
        encoding: String,
    },
    /// The findings database was written by a later release.
    #[error(
        "the findings database {place} has schema {found}, this release knows schemas up to {known}; \
         use the release that wrote it, or a newer one"
    )]
    LaterSchema {
        /// The database and its server.
        place: String,
        /// Its schema.
        found: i64,
        /// The newest schema that this release knows.
        known: i64,
    },
    /// The findings database is not as a release left it.
    #[error(
        "the schema of the findings database {place} is not one that a release made; restore a backup, \
         or name an empty database in store.url to fill it from the bus"
    )]
    Schema {
        /// The database and its server.
        place: String,
        /// What is wrong with it.
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
    /// The address of the findings database is a secret that is not there.
    #[error("store.url cannot be read")]
    Secret(#[from] hubwarden_service::SecretError),
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
    /// No dead letter stands there, or the store keeps it no longer.
    #[error("there is no dead letter `{at}`; `hubwarden dead-letter list` shows those there are")]
    NoLetter {
        /// What was asked for.
        at: LetterAt,
    },
    /// The record of a dead letter is not whole.
    #[error("the record of the dead letter {at} cannot be put back: {}", lost.as_str())]
    LostRecord {
        /// The letter.
        at: LetterAt,
        /// Why.
        lost: Lost,
    },
    /// Somebody else put a record back since the caller looked.
    #[error(
        "the record of the dead letter {at} was put back meanwhile; look at it again before you repeat that"
    )]
    RetriedMeanwhile {
        /// The letter.
        at: LetterAt,
    },
    /// The bus did not take records back.
    #[error(
        "the records were not put back ({0}), and the dead letters are as before; try again once the bus takes them"
    )]
    NotPut(#[source] hubwarden_bus::Error),
    /// The bus did not say in time whether it took records back.
    #[error(
        "the bus did not say in time whether it took {letters} records; each of the dead letters says so, \
         and putting one back again changes nothing where it arrived"
    )]
    NobodyKnows {
        /// How many.
        letters: usize,
    },
    /// Who asks may not do that.
    #[error(
        "your role is {role}, and that takes the role engineer or admin; ask somebody who has it"
    )]
    NotAllowed {
        /// Their role.
        role: &'static str,
    },
    /// A form did not come from a page of this console.
    #[error(
        "this form is not of your session, or that has ended; open the page again and repeat it there"
    )]
    ForeignForm,
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
    /// Whether the same call may succeed later without anything being repaired here.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Away { .. } | Self::ReadOnly { .. } => true,
            Self::Bus(error) | Self::NotPut(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether the question was wrong, not the answer.
    pub fn is_question(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Ambiguous { .. } | Self::BadQuery { .. })
    }
}
