//! What several test files share: a forgetting disk, and a load whose traces can be checked.

#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod disk;
pub mod load;
mod records;

pub use records::*;
