//! One contract for every findings store, run on SQLite and on PostgreSQL, and what each promises besides.
#![allow(missing_docs, clippy::unwrap_used)]

mod contract;
mod outage;
mod postgres;
#[path = "../samples/mod.rs"]
mod samples;
mod sqlite;
mod together;

use hubwarden_console::{Error, FindingQuery, FindingStore};
use hubwarden_event::{Finding, Severity, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_741_611_463_961);
const DAY: i64 = 86_400_000;

/// A sort of store, and places for it.
trait Sort {
    type Store: FindingStore;

    fn new() -> Self;

    /// A place where no store has been yet.
    fn fresh_place(&self) -> String;

    async fn open(&self, place: &str) -> Result<Self::Store, Error>;

    /// Marks the store as one of a later release.
    fn make_later(&self, place: &str);

    async fn fresh(&self) -> Self::Store {
        self.open(&self.fresh_place()).await.unwrap()
    }
}

fn all() -> FindingQuery {
    FindingQuery { limit: 500, ..FindingQuery::default() }
}

/// A finding as it was after its first `matches` matches.
fn version(matches: usize) -> Finding {
    let mut finding = samples::finding(9, NOW);
    finding.evidence.truncate(matches);
    finding.last_seen = finding.evidence[matches - 1].occurred_at;
    finding.event_ids.truncate(matches);
    finding.revision = matches as u64;
    finding.count = matches as u64;
    finding.sentence = format!("{matches} repositories");
    finding.severity = if matches < 3 { Severity::Medium } else { Severity::High };
    finding
}

/// Everything that a store says.
async fn everything(store: &impl FindingStore) -> String {
    let long_ago = NOW.plus_millis(-400 * DAY);
    format!(
        "{:#?}",
        (
            store.list(all()).await.unwrap(),
            store.severity_counts().await.unwrap(),
            store.per_day(long_ago).await.unwrap(),
            store.top_rules(long_ago, 10).await.unwrap(),
            store.top_entities(long_ago, 50).await.unwrap(),
        )
    )
}

macro_rules! contract {
    ($($module:ident: $sort:ty),+; $names:tt) => {
        $(contract! { @one $module $sort; $names })+
    };
    (@one $module:ident $sort:ty; ($($name:ident),+ $(,)?)) => {
        mod $module {
            use crate::{Sort, contract};
            $(
                #[tokio::test]
                async fn $name() {
                    contract::$name(&<$sort>::new()).await;
                }
            )+
        }
    };
}

contract! {
    on_sqlite: crate::sqlite::Sqlite, on_postgres: crate::postgres::Postgresql; (
        order_and_repeats_do_not_matter,
        a_join_that_changes_nothing_is_not_counted,
        position_and_what_it_stands_for_are_one,
        filters_agree_with_looking_at_each,
        pages_join_to_the_whole,
        a_beginning_names_a_finding,
        counts_follow_the_findings,
        versions_of_one_revision_join_alike,
        versions_in_one_intake_are_one_change,
        a_position_never_goes_back,
        every_name_can_be_kept_and_found,
        spellings_of_a_name_are_one_thing,
        everything_is_kept_over_a_restart,
        a_later_format_is_refused,
    )
}
