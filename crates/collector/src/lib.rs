//! Reads GitHub without gaps and publishes raw records.
//!
//! [`files`] cuts exports into records as a stream, [`source_id`] names each record so that the same
//! event is one whichever way it came, [`import`] puts them on the bus or pushes them to a server,
//! [`IngestApi`] is that server. [`audit`] follows the audit log over REST, [`Sources`] tells how that goes.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
mod error;
pub mod files;
mod import;
mod ingest;
mod metrics;
mod publish;
mod source_id;
mod sources;

pub use audit::Connection;
pub use error::{Error, Limit};
pub use import::{Advance, Append, Import, ToBus, import};
pub use ingest::{IngestApi, ToServer};
pub use source_id::source_id;
pub use sources::{SourceApi, Sources};
