use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, SqlSafeStr};

use super::{CONNECT, failed};
use crate::Error;

/// The steps from an empty database to the newest schema, each run once and in order.
///
/// A step that has been released is never edited; a change is a new step.
const STEPS: &[(i64, &str, &str)] = &[
    (1, "findings", include_str!("../../../migrations/0001_findings.sql")),
    (2, "dead letters", include_str!("../../../migrations/0002_dead_letters.sql")),
];

/// Brings the database to the newest schema, one program at a time, over a connection of its own.
///
/// A database that has it is not written to, so that a read-only one can be opened too.
pub(super) async fn migrate(options: PgConnectOptions, place: &str) -> Result<(), Error> {
    let alone = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
    let pool = alone.connect_with(options).await.map_err(|error| failed(place, error))?;
    let outcome = bring(&pool, place).await;
    // A step that failed has left its lock to the connection.
    pool.close().await;
    outcome
}

async fn bring(pool: &PgPool, place: &str) -> Result<(), Error> {
    let sql =
        "SELECT current_setting('server_encoding'), to_regclass('_sqlx_migrations') IS NOT NULL";
    let (encoding, exists): (String, bool) =
        sqlx::query_as(sql).fetch_one(pool).await.map_err(|error| failed(place, error))?;
    if encoding != "UTF8" {
        return Err(Error::Encoding { place: place.into(), encoding });
    }
    if exists {
        let sql = "SELECT max(version) FROM _sqlx_migrations WHERE success";
        let found = sqlx::query_scalar(sql).fetch_one(pool).await;
        let found: Option<i64> = found.map_err(|error| failed(place, error))?;
        match found {
            Some(found) if found > newest() => return Err(later(place, found)),
            Some(found) if found == newest() => return Ok(()),
            _ => {}
        }
    }
    let step = |(version, name, sql): &(i64, &'static str, &'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(*version, (*name).into(), kind, sql.into_sql_str(), false)
    };
    let steps = Migrator::with_migrations(STEPS.iter().map(step).collect());
    steps.run(pool).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            failed(place, error)
        }
        MigrateError::VersionMissing(found) => later(place, found),
        other => Error::Schema { place: place.into(), source: Box::new(other) },
    })
}

fn later(place: &str, found: i64) -> Error {
    Error::LaterSchema { place: place.into(), found, known: newest() }
}

fn newest() -> i64 {
    STEPS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}
