//! What tests of the whole program need: the binary itself, a home for it, and servers to kill.
//!
//! A development dependency only. Everything here panics with the reason when it cannot do its work:
//! it runs inside tests.

#![allow(clippy::unwrap_used)] // a test helper that cannot go on fails the test

mod binary;
mod home;
mod postgres;
mod server;
mod waiting;

pub use binary::{hubwarden_bin, workspace};
pub use home::{Home, Memory, Ran};
pub use postgres::Postgres;
pub use server::Server;
pub use waiting::until;
