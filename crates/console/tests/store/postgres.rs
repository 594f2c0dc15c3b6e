//! PostgreSQL stores, a database each, and what only they promise.

use hubwarden_console::{Error, FindingStore, Intake, PostgresStore, StoreConfig, StoreKind};
use hubwarden_service::SecretRef;
use hubwarden_testkit::Postgres;
use tokio_util::sync::CancellationToken;

use crate::{NOW, Sort, all, everything, samples};

pub(crate) struct Postgresql;

impl Sort for Postgresql {
    type Store = PostgresStore;

    fn new() -> Self {
        Self
    }

    fn fresh_place(&self) -> String {
        Postgres::shared().database()
    }

    async fn open(&self, place: &str) -> Result<PostgresStore, Error> {
        PostgresStore::connect(&place.to_owned().into(), 4).await
    }

    fn make_later(&self, place: &str) {
        let sql = "INSERT INTO _sqlx_migrations VALUES (99, 'later', now(), true, '', 0)";
        Postgres::shared().sql(name(place), sql);
    }
}

/// The name of the database in a URL.
pub(crate) fn name(url: &str) -> &str {
    let path = url.split('?').next().unwrap();
    path.rsplit('/').next().unwrap()
}

pub(crate) async fn connect(url: &str) -> Result<PostgresStore, Error> {
    Postgresql.open(url).await
}

/// Replicas of a console start at the same moment on an empty database.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_that_start_together_wait_for_each_other() {
    let url = Postgres::shared().database();
    let start = || {
        let url = url.clone();
        tokio::spawn(async move { connect(&url).await.map(drop) })
    };
    let starting: Vec<_> = (0..8).map(|_| start()).collect();
    for started in starting {
        started.await.unwrap().unwrap();
    }
    let sql = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    assert_eq!(Postgres::shared().sql(name(&url), sql), "2", "each step once");
}

/// As where the user may make tables and no extensions: slower, and the same answers.
#[tokio::test]
async fn text_is_found_without_the_extension() {
    let server = Postgres::shared();
    let (with, without) = (server.database(), server.database());
    let owner = "CREATE ROLE plain LOGIN; GRANT CREATE ON SCHEMA public TO plain";
    server.sql(name(&without), owner);
    let as_plain = without.replace("hubwarden@", "plain@");
    let (with, without) = (connect(&with).await.unwrap(), connect(&as_plain).await.unwrap());
    let sql = "SELECT count(*) FROM pg_indexes WHERE indexname = 'finding_words'";
    assert_eq!(server.sql(name(&as_plain), sql), "0");
    for store in [&with, &without] {
        let findings = samples::many(50, NOW);
        store.take_in(Intake { findings, ..Intake::default() }).await.unwrap();
    }
    assert_eq!(everything(&with).await, everything(&without).await);
    let query = || hubwarden_console::FindingQuery { text: Some("runner".into()), ..all() };
    let found = with.list(query()).await.unwrap();
    assert!(found.total > 0);
    assert_eq!(without.list(query()).await.unwrap(), found);
}

/// What waiting does not mend is said at once, with what to do, and without a password.
#[tokio::test]
async fn what_is_wrong_with_the_database_is_named() {
    let server = Postgres::shared();
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    server.sql("postgres", latin);
    server.sql("postgres", "CREATE ROLE guest LOGIN");
    let closed = server.database();
    for (url, said) in [
        ("postgres://u:hunter2@host:port/x".to_owned(), "store.url is not the address"),
        (server.url("nowhere"), "nowhere at"),
        (server.url("nowhere"), "refused; check user, password and database in store.url"),
        (server.url("latin"), "has the encoding LATIN1"),
        (closed.replace("hubwarden@", "guest:hunter2@"), "may create and use tables there"),
    ] {
        let error = connect(&url).await.err().unwrap();
        assert!(!error.is_retryable(), "{error}");
        let mut text = error.to_string();
        assert!(text.contains(said), "{text}");
        let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_schema_that_no_release_made_is_refused() {
    let server = Postgres::shared();
    let url = server.database();
    drop(connect(&url).await.unwrap());
    server.sql(name(&url), "UPDATE _sqlx_migrations SET success = false");
    let error = connect(&url).await.err().unwrap();
    assert!(matches!(error, Error::Schema { .. }), "{error}");
    // The failed step held the lock that all take; it is free again.
    assert!(matches!(connect(&url).await.err().unwrap(), Error::Schema { .. }));
}

#[tokio::test]
async fn the_configured_store_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.url");
    let url = Postgres::shared().database();
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let postgres =
        StoreConfig { kind: StoreKind::Postgres, url: Some(SecretRef::File(file)), pool: 2 };
    let stop = CancellationToken::new();
    for config in [postgres.clone(), StoreConfig::default()] {
        for changed in [3, 0] {
            let store = config.open(folder.path(), &stop).await.unwrap().unwrap();
            let findings = samples::many(3, NOW);
            let intake = Intake { findings, ..Intake::default() };
            assert_eq!(store.take_in(intake).await.unwrap(), changed, "{config:?}");
        }
    }
    std::fs::remove_file(folder.path().join("store.url")).unwrap();
    let error = postgres.open(folder.path(), &stop).await.err().unwrap();
    assert!(matches!(error, Error::Secret(_)), "{error}");
}
