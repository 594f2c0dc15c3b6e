//! What tests of the whole program need: the binary itself, a home for it, servers to kill, a Kafka
//! and a PostgreSQL to run on, the services as processes.
//!
//! A development dependency only. Everything here panics with the reason when it cannot do its work:
//! it runs inside tests.

#![allow(clippy::unwrap_used)] // a test helper that cannot go on fails the test

mod binary;
mod home;
mod kafka;
mod postgres;
mod server;
mod services;
mod waiting;

pub use binary::{hubwarden_bin, service_bin, workspace};
pub use home::{Home, Memory, Ran};
pub use kafka::{Certificates, Fault, Kafka, Options as KafkaOptions, PASSWORD, Proxy, USER, api};
pub use postgres::Postgres;
pub use server::Server;
pub use services::{INGEST_TOKEN, Services, VIEWER_TOKEN};
pub use waiting::until;
