//! Generated wire types of `hubwarden.v1` and their conversions to and from the vocabulary.
//!
//! Topics carry [`v1`] messages; `encode_*` and `decode_*` turn them into and out of
//! [`hubwarden_event`] values. A conversion never decides anything: what does not fit is an [`Error`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod body;
mod convert;
mod error;
mod finding;
mod status;

/// The generated messages and services.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("hubwarden.v1");
}

pub use body::{
    decode_dead_letter, decode_event, decode_finding, decode_match, decode_raw, encode_dead_letter,
    encode_event, encode_finding, encode_match, encode_raw,
};
/// The whole contract as an encoded descriptor set, for gRPC reflection.
pub const CONTRACT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hubwarden.bin"));

pub use error::Error;
pub use prost::Message;
