use std::path::Path;
use std::sync::Arc;

use hubwarden_service::{Invalid, SecretRef, Validate};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{FindingStore, PostgresStore, SqliteStore};
use crate::Error;
use crate::patience::patiently;

/// The SQLite store in the data folder.
const FILE: &str = "findings.db";

/// Where findings are kept: the section `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The sort of store.
    pub kind: StoreKind,
    /// The address of the PostgreSQL database, a secret as it carries the password.
    pub url: Option<SecretRef>,
    /// At most so many connections to PostgreSQL.
    pub pool: u32,
}

/// The sorts of findings stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One file in the data folder, for one process.
    #[default]
    Sqlite,
    /// A PostgreSQL database, for any number of consoles.
    Postgres,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { kind: StoreKind::default(), url: None, pool: 8 }
    }
}

impl Validate for StoreConfig {
    fn validate(&self) -> Result<(), Invalid> {
        if !(2..=100).contains(&self.pool) {
            return Err(Invalid::new("store.pool", "there are 2 to 100 connections"));
        }
        match (self.kind, &self.url) {
            (StoreKind::Postgres, None) => Err(Invalid::new(
                "store.url",
                "PostgreSQL needs the address of its database; write it to a file and name that: \
                 url = { file = \"/etc/hubwarden/store.url\" }",
            )),
            (StoreKind::Sqlite, Some(_)) => Err(Invalid::new(
                "store.url",
                "SQLite has no address; leave it out, or set store.kind = \"postgres\"",
            )),
            _ => Ok(()),
        }
    }
}

impl StoreConfig {
    /// Opens the store; a SQLite file lies in `folder`. Gives nothing when stopped meanwhile.
    ///
    /// Waits as long as a database is away. The secret is read at each try, so that one that has
    /// been rotated is seen.
    ///
    /// # Errors
    /// What will not pass by waiting: a missing secret, a refused password, a later format.
    pub async fn open(
        &self,
        folder: &Path,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<dyn FindingStore>>, Error> {
        match (self.kind, &self.url) {
            (StoreKind::Postgres, Some(url)) => {
                let connect = || async { PostgresStore::connect(&url.resolve()?, self.pool).await };
                let store = patiently("opening the findings store", stop, connect).await?;
                Ok(store.map(|store| Arc::new(store) as Arc<dyn FindingStore>))
            }
            (StoreKind::Postgres, None) => Err(Error::Address),
            (StoreKind::Sqlite, _) => {
                Ok(Some(Arc::new(SqliteStore::connect(folder.join(FILE)).await?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_section_is_named() {
        let url = Some(SecretRef::Env("STORE_URL".into()));
        let postgres = StoreConfig { kind: StoreKind::Postgres, ..StoreConfig::default() };
        for (config, key) in [
            (StoreConfig::default(), None),
            (StoreConfig { url: url.clone(), ..postgres.clone() }, None),
            (postgres.clone(), Some("store.url")),
            (StoreConfig { url: url.clone(), ..StoreConfig::default() }, Some("store.url")),
            (StoreConfig { pool: 0, ..StoreConfig::default() }, Some("store.pool")),
            (StoreConfig { url, pool: 101, ..postgres }, Some("store.pool")),
        ] {
            let found = config.validate().err().map(|invalid| invalid.key);
            assert_eq!(found.as_deref(), key, "{config:?}");
        }
    }

    #[test]
    fn reads_as_it_is_written_in_the_file() {
        let section = r#"{"kind":"postgres","url":{"file":"store.url"},"pool":4}"#;
        let config: StoreConfig = serde_json::from_str(section).unwrap();
        let url = Some(SecretRef::File("store.url".into()));
        assert_eq!(config, StoreConfig { kind: StoreKind::Postgres, url, pool: 4 });
        assert!(serde_json::from_str::<StoreConfig>(r#"{"path":"x"}"#).is_err());
    }
}
