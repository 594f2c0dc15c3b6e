//! One contract for every findings store, run on SQLite and on PostgreSQL, and what each promises besides.
#![allow(missing_docs, clippy::unwrap_used)]

mod contract;
mod letters;
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
    (@one $module:ident $sort:ty; ($($part:ident::$name:ident),+ $(,)?)) => {
        mod $module {
            use crate::{Sort, contract, letters};
            $(
                #[tokio::test]
                async fn $name() {
                    $part::$name(&<$sort>::new()).await;
                }
            )+
        }
    };
}

contract! {
    on_sqlite: crate::sqlite::Sqlite, on_postgres: crate::postgres::Postgresql; (
        contract::order_and_repeats_do_not_matter,
        contract::a_join_that_changes_nothing_is_not_counted,
        contract::position_and_what_it_stands_for_are_one,
        contract::filters_agree_with_looking_at_each,
        contract::pages_join_to_the_whole,
        contract::a_beginning_names_a_finding,
        contract::counts_follow_the_findings,
        contract::versions_of_one_revision_join_alike,
        contract::versions_in_one_intake_are_one_change,
        contract::a_position_never_goes_back,
        contract::every_name_can_be_kept_and_found,
        contract::spellings_of_a_name_are_one_thing,
        contract::everything_is_kept_over_a_restart,
        contract::a_later_format_is_refused,
        letters::letters_come_once_and_with_their_position,
        letters::letters_are_listed_newest_first_by_topic_and_reason,
        letters::old_letters_and_too_many_go,
        letters::of_several_who_saw_the_same_one_goes_on,
        letters::a_retry_that_came_to_nothing_leaves_no_trace,
        letters::a_retry_is_kept_over_a_restart_and_over_a_repeat,
    )
}
