//! Keeps findings in PostgreSQL, for any number of consoles at once.

mod label;
mod letters;
mod migrate;
mod select;
mod tally;
mod write;

use std::io;
use std::time::Duration;

use hubwarden_bus::Positions;
use hubwarden_event::{Finding, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, PgTransaction};

use super::letters::{
    Keep, KeptLetter, LetterAt, LetterCount, LetterPage, LetterQuery, LetterStore, TopicLetters,
};
use super::{
    DayCount, EntityCount, FindingQuery, FindingStore, Intake, Page, RuleCount, SeverityCounts,
};
use crate::Error;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a question may take.
const QUESTION: Duration = Duration::from_secs(30);
/// How long an intake may take, waiting for other writers included.
const INTAKE: Duration = Duration::from_secs(60);
/// How long bringing a database to the newest schema may take.
const MIGRATION: Duration = Duration::from_secs(600);
/// How often an intake is tried again that lost to another writer.
const TRIES: usize = 5;

const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// A committed intake survives a crash, however the server is set: the bus forgets what has been consumed.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', true)
    WHERE current_setting('synchronous_commit') = 'off'";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A findings store in a PostgreSQL database, which any number of consoles may use at once.
pub struct PostgresStore {
    pool: PgPool,
    place: String,
}

impl PostgresStore {
    /// Connects to the database of a URL and brings it to the newest schema.
    ///
    /// Holds at most `pool` connections. Consoles that start at the same time wait for each other.
    ///
    /// # Errors
    /// [`Error::LaterSchema`] for a database of a later release; what [`Error::is_retryable`] may
    /// succeed later.
    pub async fn connect(url: &SecretString, pool: u32) -> Result<Self, Error> {
        // What is wrong with it is not told: the reason may quote the password.
        let options: PgConnectOptions = url.expose_secret().parse().map_err(|_| Error::Address)?;
        let options = options.application_name("hubwarden-console").disable_statement_logging();
        let place = place(&options);
        within(MIGRATION, &place, migrate::migrate(options.clone(), &place)).await?;
        let pool = PgPoolOptions::new()
            .max_connections(pool)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(options);
        Ok(Self { pool, place })
    }

    /// Answers from one committed state, though it may take several statements.
    async fn read<T>(
        &self,
        question: impl AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, Problem>,
    ) -> Result<T, Error> {
        let answer = async {
            let answered = async {
                let mut transaction = self.pool.begin_with(READ).await?;
                let answer = question(&mut transaction).await?;
                transaction.commit().await?;
                Ok(answer)
            };
            answered.await.map_err(|problem: Problem| problem.at(&self.place))
        };
        within(QUESTION, &self.place, answer).await
    }

    /// Writes in one transaction, again while other writers are in the way.
    async fn write(&self, work: Work<'_>) -> Result<usize, Error> {
        let tries = async {
            let mut left = TRIES;
            loop {
                left -= 1;
                match self.try_to(&work).await {
                    Err(problem) if left > 0 && problem.is_conflict() => {}
                    ended => return ended.map_err(|problem| problem.at(&self.place)),
                }
            }
        };
        within(INTAKE, &self.place, tries).await
    }

    async fn try_to(&self, work: &Work<'_>) -> Result<usize, Problem> {
        let mut transaction = self.pool.begin_with(WRITE).await?;
        sqlx::query(DURABLE).execute(&mut *transaction).await?;
        let at = &mut transaction;
        let changed = match *work {
            Work::Findings(intake) => write::take_in(at, intake).await?,
            Work::Letters(new, consumed, keep) => letters::take(at, new, consumed, keep).await?,
            Work::BeginRetry(letter, seen, by, now) => {
                letters::begin_retry(at, letter, seen, by, now).await?
            }
            Work::EndRetry(letter, begun, arrived) => {
                letters::end_retry(at, letter, begun, arrived).await?
            }
        };
        transaction.commit().await?;
        Ok(changed)
    }
}

/// What one transaction writes.
enum Work<'a> {
    Findings(&'a Intake),
    Letters(&'a [KeptLetter], &'a Positions, Keep),
    BeginRetry(LetterAt, u32, &'a str, Timestamp),
    EndRetry(LetterAt, u32, bool),
}

#[tonic::async_trait]
impl FindingStore for PostgresStore {
    async fn take_in(&self, intake: Intake) -> Result<usize, Error> {
        self.write(Work::Findings(&intake)).await
    }

    async fn positions(&self) -> Result<Positions, Error> {
        self.read(async |at| select::positions(at).await).await
    }

    async fn list(&self, query: FindingQuery) -> Result<Page, Error> {
        self.read(async |at| select::list(at, &query).await).await
    }

    async fn count(&self, query: FindingQuery) -> Result<u64, Error> {
        self.read(async |at| select::count(at, &query).await).await
    }

    async fn get(&self, id: String) -> Result<Finding, Error> {
        self.read(async |at| select::by_prefix(at, &id).await).await
    }

    async fn severity_counts(&self) -> Result<SeverityCounts, Error> {
        self.read(async |at| tally::severity_counts(at).await).await
    }

    async fn per_day(&self, since: Timestamp) -> Result<Vec<DayCount>, Error> {
        self.read(async |at| tally::per_day(at, since).await).await
    }

    async fn top_rules(&self, since: Timestamp, limit: usize) -> Result<Vec<RuleCount>, Error> {
        self.read(async |at| tally::top_rules(at, since, limit).await).await
    }

    async fn top_entities(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<EntityCount>, Error> {
        self.read(async |at| tally::top_entities(at, since, limit).await).await
    }

    async fn unreadable(&self) -> Result<u64, Error> {
        self.read(async |at| select::unreadable(at).await).await
    }
}

#[tonic::async_trait]
impl LetterStore for PostgresStore {
    async fn take_letters(
        &self,
        letters: Vec<KeptLetter>,
        consumed: Positions,
        keep: Keep,
    ) -> Result<usize, Error> {
        self.write(Work::Letters(&letters, &consumed, keep)).await
    }

    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, Error> {
        self.read(async |at| letters::list(at, &query).await).await
    }

    async fn letter(&self, letter: LetterAt) -> Result<Option<KeptLetter>, Error> {
        self.read(async |at| letters::get(at, letter).await).await
    }

    async fn letter_counts(&self, limit: usize) -> Result<Vec<LetterCount>, Error> {
        self.read(async |at| letters::counts(at, limit).await).await
    }

    async fn letter_topics(&self) -> Result<Vec<TopicLetters>, Error> {
        self.read(async |at| letters::topics(at).await).await
    }

    async fn begin_retry(
        &self,
        letter: LetterAt,
        seen: u32,
        by: String,
        now: Timestamp,
    ) -> Result<bool, Error> {
        Ok(self.write(Work::BeginRetry(letter, seen, &by, now)).await? > 0)
    }

    async fn end_retry(&self, letter: LetterAt, begun: u32, arrived: bool) -> Result<(), Error> {
        self.write(Work::EndRetry(letter, begun, arrived)).await.map(drop)
    }
}

/// Why a transaction came to nothing.
enum Problem {
    /// The database, or the way to it.
    Sql(sqlx::Error),
    /// What was asked, or what is stored.
    Told(Error),
    /// Another writer; a new try sees what it did.
    Again,
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Problem {
    /// Whether another writer was in the way.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Again => true,
            // Serialization failure, deadlock.
            Self::Sql(error) => matches!(code(error).as_deref(), Some("40001" | "40P01")),
            Self::Told(_) => false,
        }
    }

    fn at(self, place: &str) -> Error {
        match self {
            Self::Sql(error) => failed(place, error),
            Self::Told(error) => error,
            Self::Again => {
                let reason = "other writers were in the way each time";
                failed(place, sqlx::Error::Protocol(reason.into()))
            }
        }
    }
}

/// PostgreSQL's code for what went wrong.
fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(Into::into)
}

/// What an error means for whoever asked.
fn failed(place: &str, source: sqlx::Error) -> Error {
    let place = place.to_owned();
    match &source {
        sqlx::Error::PoolClosed => Error::Closed,
        sqlx::Error::Database(_) => {
            let code = code(&source).unwrap_or_default();
            // Connection, resources, operator's intervention, another writer, a lock.
            let passing = ["08", "53", "57", "40", "55", "25P03"];
            if code == "25006" {
                Error::ReadOnly { place, source }
            } else if passing.iter().any(|class| code.starts_with(class)) {
                Error::Away { place, source }
            } else {
                Error::Refused { place, source }
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Error::Away { place, source },
        _ => Error::Refused { place, source },
    }
}

/// Gives up after a while: a database may also stop to answer without closing the connection.
async fn within<T>(
    limit: Duration,
    place: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let reason = io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"));
        Err(failed(place, sqlx::Error::Io(reason)))
    })
}

/// Where the database is, without user and password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(folder) => format!("{database} at {}", folder.display()),
        None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
    }
}
