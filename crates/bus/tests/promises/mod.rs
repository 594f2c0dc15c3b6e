//! What every bus promises, whatever it is made of.
//!
//! Positions rise but need not be dense, and batches may be empty: a cluster puts marks of its own
//! between records and shares partitions out as readers come and go.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

mod committing;
mod partitions;
mod reading;
#[path = "../support/records.rs"]
pub mod records;

use std::future::Future;

use hubwarden_bus::Bus;

pub use committing::*;
pub use partitions::*;
pub use reading::*;

/// One implementation, with the data of one test.
pub trait Subject {
    type Bus: Bus;
    /// A handle, after everything of before was closed where the data outlives that.
    fn open(&mut self) -> impl Future<Output = Self::Bus>;
}

/// Calls a macro with the name of every promise.
macro_rules! all_promises {
    ($test:ident) => {
        $test!(
            commits_over_topics_as_one,
            resumes_at_the_stored_position,
            hands_out_again_what_was_not_committed,
            serves_many_readers,
            counts_positions_upwards,
            ends_a_batch_at_the_limit,
            reads_from_given_positions,
            stores_positions_without_outputs,
            takes_what_the_latest_commit_says,
            waits_for_records,
            loses_nothing_when_a_wait_is_dropped,
            knows_its_ends,
            keeps_keys_headers_and_bodies,
            takes_big_records_and_refuses_bigger,
            refuses_positions_beyond_the_end,
            reads_single_records,
            knows_the_newest_values,
            puts_keys_where_they_belong,
            puts_records_where_they_say,
            resumes_every_partition_by_itself,
            delivers_to_a_keeping_reader_what_it_named,
            leaves_what_is_not_named_as_it_is,
            knows_who_reads,
        );
    };
}
