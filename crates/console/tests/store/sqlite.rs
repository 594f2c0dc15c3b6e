//! SQLite stores in a temporary folder.

use std::cell::Cell;
use std::path::Path;

use hubwarden_console::{Error, SqliteStore};
use tempfile::TempDir;

use crate::Sort;

pub(crate) struct Sqlite {
    folder: TempDir,
    next: Cell<u32>,
}

impl Sort for Sqlite {
    type Store = SqliteStore;

    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), next: Cell::default() }
    }

    fn fresh_place(&self) -> String {
        self.next.set(self.next.get() + 1);
        self.folder.path().join(format!("{}.db", self.next.get())).to_str().unwrap().into()
    }

    async fn open(&self, place: &str) -> Result<SqliteStore, Error> {
        SqliteStore::open(Path::new(place))
    }

    fn make_later(&self, place: &str) {
        let raw = rusqlite::Connection::open(place).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
    }
}
