//! What the checks of metrics, dashboards and alerts share, and a real collector to send to.
//!
//! A crate of its own, so that they need nothing but `service` and are built in seconds. Everything
//! here panics with the reason when it cannot do its work: it runs inside tests.
#![allow(clippy::unwrap_used)] // a test helper that cannot go on fails the test

mod arrived;
mod collector;
mod promql;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use arrived::{arrived, attribute, every, spans};
pub use collector::Collector;
pub use promql::{Use, check_expression};

/// The folder of the repository.
///
/// # Panics
/// When there is none.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The program that a script of `scripts/` fetches or builds once and names.
///
/// # Panics
/// When the script fails.
pub fn tool(script: &str) -> PathBuf {
    let run = Command::new(workspace().join("scripts").join(script)).output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
    told.trim().into()
}

/// The files of a folder with this ending, by name.
///
/// # Panics
/// When the folder cannot be read or holds none.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().is_some_and(|path| path.ends_with(ending)));
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no {ending}");
    files
}
