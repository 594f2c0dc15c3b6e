//! Reads GitHub without gaps and publishes raw records.
//!
//! [`files`] cuts exports into records as a stream, [`source_id`] names each record so that the same
//! event is one whichever way it came.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
pub mod files;
mod source_id;

pub use error::Error;
pub use source_id::source_id;
