//! What every store must do with dead letters.

use std::collections::BTreeSet;

use hubwarden_bus::{Positions, topic};
use hubwarden_console::{
    FindingStore, Keep, KeptLetter, LetterAt, LetterQuery, LetterStore, Retry,
};

use crate::{DAY, NOW, Sort, samples};

const ALL: Keep = Keep { since: NOW.plus_millis(-DAY), most: 1000 };

fn query() -> LetterQuery {
    LetterQuery { limit: 500, ..LetterQuery::default() }
}

async fn filled<S: LetterStore>(store: S) -> S {
    let letters = samples::letters(NOW);
    let count = letters.len();
    assert_eq!(store.take_letters(letters, Positions::none(), ALL).await.unwrap(), count);
    store
}

fn at(text: &str) -> LetterAt {
    text.parse().unwrap()
}

async fn retry(store: &impl LetterStore, letter: LetterAt) -> Option<Retry> {
    store.letter(letter).await.unwrap().unwrap().retry
}

async fn begin(store: &impl LetterStore, letter: &str, seen: u32, by: &str) -> bool {
    store.begin_retry(at(letter), seen, by.into(), NOW).await.unwrap()
}

pub(crate) async fn letters_come_once_and_with_their_position(sort: &impl Sort) {
    let store = sort.fresh().await;
    let letters = samples::letters(NOW);
    for (next, new, stands) in [(9, letters.len(), 9), (4, 0, 9), (11, 0, 11)] {
        let consumed = Positions::of(topic::RAW_DEAD, 1, next);
        assert_eq!(store.take_letters(letters.clone(), consumed, ALL).await.unwrap(), new);
        let positions = store.positions().await.unwrap();
        assert_eq!(positions, Positions::of(topic::RAW_DEAD, 1, stands), "never back");
    }
    for letter in letters {
        assert_eq!(store.letter(letter.at).await.unwrap(), Some(letter), "byte for byte");
    }
    assert_eq!(store.letter(at("raw.dead-7-0")).await.unwrap(), None);
}

pub(crate) async fn letters_are_listed_newest_first_by_topic_and_reason(sort: &impl Sort) {
    let store = filled(sort.fresh().await).await;
    let mut expected = samples::letters(NOW);
    expected.sort_by_key(|letter| std::cmp::Reverse(letter.appended_at));
    let page = store.letters(query()).await.unwrap();
    assert_eq!((page.total, page.next), (expected.len() as u64, None));
    assert_eq!(page.letters, expected);

    let (mut pages, mut paged) = (LetterQuery { limit: 7, ..query() }, Vec::new());
    loop {
        let page = store.letters(pages.clone()).await.unwrap();
        assert_eq!(page.total, expected.len() as u64, "of all pages");
        paged.extend(page.letters);
        pages.page = page.next;
        if pages.page.is_none() {
            break;
        }
    }
    assert_eq!(paged, expected);

    let reason = || Some("field `action` is missing".to_owned());
    for (query, passes) in [
        (LetterQuery { topic: Some(topic::EVENTS_DEAD), ..query() }, 2),
        (LetterQuery { reason: reason(), ..query() }, 60),
        (LetterQuery { reason: reason(), topic: Some(topic::EVENTS_DEAD), ..query() }, 0),
        (LetterQuery { reason: Some("field".into()), ..query() }, 0),
        (LetterQuery { reason: Some("\0".into()), ..query() }, 0),
    ] {
        let page = store.letters(query.clone()).await.unwrap();
        assert_eq!((page.total, page.letters.len()), (passes, passes as usize), "{query:?}");
    }
    let counts = store.letter_counts(2).await.unwrap();
    assert_eq!(counts.len(), 2, "at most as many as asked for");
    assert_eq!(
        (counts[0].letters, counts[0].waiting, &counts[0].reason),
        (60, 60, &reason().unwrap())
    );
    assert_eq!(counts[0].newest, NOW.plus_millis(-141 * 60_000));
    let topics = store.letter_topics().await.unwrap();
    let topics: Vec<_> = topics.iter().map(|of| (of.topic, of.letters, of.waiting)).collect();
    assert_eq!(topics, [(topic::EVENTS_DEAD, 2, 2), (topic::RAW_DEAD, 62, 62)]);
    let raw = store.letter_topics().await.unwrap().pop().unwrap();
    let minutes = |moment| NOW.millis_since(moment) / 60_000;
    assert_eq!((minutes(raw.oldest), minutes(raw.newest)), (200, 8));
}

pub(crate) async fn old_letters_and_too_many_go(sort: &impl Sort) {
    let names = |letters: &[KeptLetter]| -> BTreeSet<LetterAt> {
        letters.iter().map(|letter| letter.at).collect()
    };
    let store = filled(sort.fresh().await).await;
    let keep = Keep { since: NOW.plus_millis(-150 * 60_000), most: 1000 };
    store.take_letters(Vec::new(), Positions::none(), keep).await.unwrap();
    let young = samples::letters(NOW).into_iter().filter(|one| one.appended_at >= keep.since);
    let young: Vec<_> = young.collect();
    assert_eq!(names(&store.letters(query()).await.unwrap().letters), names(&young));
    let keep = Keep { most: 3, ..keep };
    store.take_letters(Vec::new(), Positions::none(), keep).await.unwrap();
    let left = store.letters(query()).await.unwrap().letters;
    let left: Vec<String> = left.iter().map(|letter| letter.at.to_string()).collect();
    assert_eq!(left, ["events.dead-1-4", "events.dead-1-3", "raw.dead-1-101"], "the newest stay");
}

pub(crate) async fn of_several_who_saw_the_same_one_goes_on(sort: &impl Sort) {
    let store = filled(sort.fresh().await).await;
    let (a, b, c) = tokio::join!(
        begin(&store, "raw.dead-1-5", 0, "a"),
        begin(&store, "raw.dead-1-5", 0, "b"),
        begin(&store, "raw.dead-1-5", 0, "c"),
    );
    assert_eq!([a, b, c].iter().filter(|went| **went).count(), 1);
    let begun = retry(&store, at("raw.dead-1-5")).await.unwrap();
    assert_eq!((begun.times, begun.at, begun.arrived), (1, NOW, false));
    store.end_retry(at("raw.dead-1-5"), 1, true).await.unwrap();
    assert!(retry(&store, at("raw.dead-1-5")).await.unwrap().arrived);
    assert!(!begin(&store, "raw.dead-1-5", 0, "late").await, "it has been seen by nobody");
    assert!(begin(&store, "raw.dead-1-5", 1, "knows").await);
    let again = retry(&store, at("raw.dead-1-5")).await.unwrap();
    assert_eq!((again.times, again.by.as_str(), again.arrived), (2, "knows", true));
    assert!(!begin(&store, "raw.dead-1-999", 0, "x").await, "there is none");
    let waiting = store.letters(LetterQuery { waiting: true, ..query() }).await.unwrap();
    assert_eq!(waiting.total, samples::letters(NOW).len() as u64 - 1);
    assert!(waiting.letters.iter().all(|letter| letter.at != at("raw.dead-1-5")));
    let topics = store.letter_topics().await.unwrap();
    assert_eq!(topics.iter().map(|of| of.waiting).collect::<Vec<_>>(), [2, 61]);
    assert_eq!(store.letter_counts(1).await.unwrap()[0].waiting, 59);
}

pub(crate) async fn a_retry_that_came_to_nothing_leaves_no_trace(sort: &impl Sort) {
    let store = filled(sort.fresh().await).await;
    assert!(begin(&store, "raw.dead-1-5", 0, "a").await);
    store.end_retry(at("raw.dead-1-5"), 1, false).await.unwrap();
    assert_eq!(retry(&store, at("raw.dead-1-5")).await, None);
    assert!(begin(&store, "raw.dead-1-5", 0, "a").await);
    // One that stood for long ends after somebody else has put the record back.
    assert!(begin(&store, "raw.dead-1-5", 1, "b").await);
    store.end_retry(at("raw.dead-1-5"), 2, true).await.unwrap();
    store.end_retry(at("raw.dead-1-5"), 1, false).await.unwrap();
    let kept = retry(&store, at("raw.dead-1-5")).await.unwrap();
    assert_eq!((kept.times, kept.arrived), (2, true));
    // And one that came to nothing does not take back that it had arrived before.
    assert!(begin(&store, "raw.dead-1-5", 2, "c").await);
    store.end_retry(at("raw.dead-1-5"), 3, false).await.unwrap();
    let kept = retry(&store, at("raw.dead-1-5")).await.unwrap();
    assert_eq!((kept.times, kept.arrived), (2, true));
}

pub(crate) async fn a_retry_is_kept_over_a_restart_and_over_a_repeat(sort: &impl Sort) {
    let place = sort.fresh_place();
    let store = filled(sort.open(&place).await.unwrap()).await;
    assert!(begin(&store, "raw.dead-1-5", 0, "a\0b").await);
    store.end_retry(at("raw.dead-1-5"), 1, true).await.unwrap();
    let before = retry(&store, at("raw.dead-1-5")).await;
    drop(store);
    let store = sort.open(&place).await.unwrap();
    let letters = samples::letters(NOW);
    assert_eq!(store.take_letters(letters, Positions::none(), ALL).await.unwrap(), 0);
    assert_eq!(retry(&store, at("raw.dead-1-5")).await, before);
    assert!(before.unwrap().arrived);
}
