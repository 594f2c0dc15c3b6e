//! Keeps findings, answers questions about them, and shows them.
//!
//! [`consume`] moves findings from the bus into a [`FindingStore`]; [`Findings`] are the questions
//! that the pages, the JSON API and gRPC ([`FindingApi`]) share; [`web`] renders the pages. Whatever
//! a finding says was written by strangers: [`escape`] and [`link`] are the only ways out.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod api;
pub mod consume;
mod error;
pub mod escape;
mod filter;
mod findings;
pub mod letters;
pub mod link;
mod metrics;
mod patience;
mod stages;
mod status;
mod store;
pub mod web;

pub use access::Access;
pub use api::FindingApi;
pub use error::Error;
pub use filter::{Filter, parse_when};
pub use findings::{Findings, RawBytes, TimelineEntry, raw_bytes};
pub use letters::Letters;
pub use stages::{LINE, StagePoint, StageWatch};
pub use status::{
    MemberStatus, PartitionStatus, PipelineStatus, StageHistory, StageStatus, Status,
    StatusProvider,
};
pub use store::letters::{
    Keep, KeptLetter, LetterAt, LetterCount, LetterPage, LetterQuery, LetterStore, Retry,
    TopicLetters,
};
pub use store::{
    DayCount, EntityCount, FindingQuery, FindingStore, Intake, MAX_PAGE, Order, Page, PageToken,
    PostgresStore, RuleCount, SeverityCounts, SqliteStore, StoreConfig, StoreKind, Unreadable,
    concept_of,
};
