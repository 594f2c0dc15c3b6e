//! Turns raw records into enriched events.
//!
//! [`Normalizer`] is the pure core: one record in, one event or the reason against it out, without
//! clock or IO. [`NormalizerStage`] does that for batches and drops repeats; [`run`] moves batches
//! between the bus and the stage and decides nothing.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod counts;
mod csv_row;
mod enrich;
mod facts;
mod flatten;
mod json;
mod metrics;
mod networks;
mod normalize;
mod quick;
mod rejected;
mod repeats;
mod route;
mod run;
mod stage;
mod steps;
mod time;

pub use api::EventApi;
pub use counts::{Counts, NameCounts};
pub use networks::{InvalidNetwork, Networks};
pub use normalize::Normalizer;
pub use rejected::{Rejected, dead_letter};
pub use run::{Error, STAGE, run};
pub use stage::{NormalizerStage, Outputs};
pub use steps::{CellStep, EventStep, Steps, TimeStep};
