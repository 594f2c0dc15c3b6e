//! The poller under paused time, with a made-up server in the place of GitHub.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubwarden_bus::{Bus, Memory, Source, topic};
use hubwarden_event::{Kind, RawBody, RunId, Timestamp};
use hubwarden_proto::decode_raw;
use hubwarden_service::SecretRef;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Fetch, Page};
use super::{Clock, Connection, Poll, Poller};
use crate::Error;
use crate::error::Limit;

pub(super) const START: i64 = 1_800_000_000_000;
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || Timestamp::from_millis(START + start.elapsed().as_millis() as i64))
}

pub(super) fn connection(poll: Poll) -> Connection {
    Connection {
        name: "octo".into(),
        id: "c".into(),
        enterprise: None,
        org: Some("octo".into()),
        base_url: "https://api.github.com".into(),
        token: SecretRef::Env("NOT_READ".into()),
        poll,
    }
}

/// A log whose passes have `pages` pages with one event each, of a name that never changes.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pages: u32,
    pub(super) asked: Arc<Mutex<Vec<(Duration, Url)>>>,
    refusals: Arc<Mutex<VecDeque<Error>>>,
    forgotten: Arc<Mutex<u32>>,
    start: Option<Instant>,
}

impl Fake {
    pub(super) fn new(pages: u32, refusals: Vec<Error>) -> Self {
        let refusals = Arc::new(Mutex::new(refusals.into()));
        Self { pages, refusals, start: Some(Instant::now()), ..Self::default() }
    }

    /// Seconds since the start at which pages were asked for.
    fn seconds(&self) -> Vec<u64> {
        self.asked.lock().unwrap().iter().map(|(at, _)| at.as_secs()).collect()
    }
}

impl Fetch for Fake {
    async fn page(&self, url: &Url) -> Result<Page, Error> {
        tokio::task::yield_now().await; // as a network would
        let at = self.start.unwrap().elapsed();
        self.asked.lock().unwrap().push((at, url.clone()));
        if let Some(error) = self.refusals.lock().unwrap().pop_front() {
            return Err(error);
        }
        let number = |url: &Url| {
            url.query_pairs()
                .find(|(name, _)| name == "page")
                .map_or(1, |(_, page)| page.parse().unwrap())
        };
        let page: u32 = number(url);
        let include = url.query_pairs().find(|(name, _)| name == "include").unwrap().1;
        let event = format!(r#"{{"_document_id":"{include}-{page}","@timestamp":{START}}}"#);
        let next = (page < self.pages).then(|| {
            let mut next = url.clone();
            let kept: Vec<_> = url.query_pairs().filter(|(name, _)| name != "page").collect();
            next.query_pairs_mut()
                .clear()
                .extend_pairs(kept)
                .append_pair("page", &(page + 1).to_string());
            next
        });
        let body = bytes::Bytes::from(format!("[{event}]"));
        let events = std::iter::once(1..body.len() - 1).collect();
        Ok(Page { body, events, next, headers: HeaderMap::new() })
    }

    fn forget_token(&self) {
        *self.forgotten.lock().unwrap() += 1;
    }
}

/// Lets a poller run for so long, then drops it as a kill would.
async fn run(fake: &Fake, bus: &Memory, poll: Poll, time: Duration) -> super::Status {
    let poller = Poller::new(connection(poll), HOUR, clock());
    let status = poller.status();
    let running = poller.run_with(fake.clone(), bus, CancellationToken::new());
    let ended = tokio::time::timeout(time, running).await;
    assert!(ended.is_err(), "the poller ended by itself: {ended:?}");
    status.borrow().clone()
}

pub(super) async fn bodies(bus: &Memory) -> Vec<RawBody> {
    let mut reader = bus.reader("test", &[topic::RAW]).unwrap();
    let mut bodies = Vec::new();
    while reader.positions() != reader.ends().await.unwrap() {
        let batch = reader.next_batch(hubwarden_bus::Limit::default()).await.unwrap();
        bodies.extend(batch.records.into_iter().map(|record| decode_raw(record.body).unwrap()));
    }
    bodies
}

#[tokio::test(start_paused = true)]
async fn no_hour_holds_more_requests_than_the_budget_and_live_goes_first() {
    let poll = Poll { requests_per_hour: 400, budget: 0.5, ..Poll::default() };
    let fake = Fake::new(10, vec![]);
    run(&fake, &Memory::default(), poll, 6 * HOUR).await;
    let asked = fake.asked.lock().unwrap();
    let within =
        |from: Duration| asked.iter().filter(|(at, _)| (from..from + HOUR).contains(at)).count();
    let worst = asked.iter().map(|(at, _)| within(*at)).max().unwrap();
    assert!(worst <= 200, "{worst} requests in an hour");
    assert!(within(2 * HOUR) >= 170, "{} are too few", within(2 * HOUR));
    let live = |url: &Url| url.as_str().contains("include=all");
    let passes: Vec<Duration> = asked
        .iter()
        .filter(|(_, url)| live(url) && !url.as_str().contains("page="))
        .map(|(at, _)| *at)
        .collect();
    assert!(passes.windows(2).all(|pair| pair[1] - pair[0] < HOUR / 6), "{passes:?}");
    let backfill = asked.iter().filter(|(_, url)| !live(url)).count();
    assert!(backfill * 5 > asked.len(), "the backfill stands still: {backfill}");
}

#[tokio::test(start_paused = true)]
async fn waits_for_as_long_as_github_asks() {
    let limited = |limit, seconds: Option<u64>| Error::RateLimited {
        limit,
        wait: seconds.map(Duration::from_secs),
    };
    let poll = || Poll { backfill_days: 0, backfill_git_days: 0, ..Poll::default() };
    for (refusals, expected) in [
        (vec![limited(Limit::Primary, Some(1800))], vec![0, 1800]),
        (vec![limited(Limit::Secondary, Some(7))], vec![0, 7]),
        ((0..3).map(|_| limited(Limit::Secondary, None)).collect(), vec![0, 60, 180, 420]),
        (vec![Error::Server { status: 503, wait: Some(Duration::from_secs(30)) }], vec![0, 30]),
        ((0..3).map(|_| Error::Unauthorized).collect(), vec![0, 60, 180, 420]),
    ] {
        let count = expected.len();
        let fake = Fake::new(1, refusals);
        run(&fake, &Memory::default(), poll(), HOUR).await;
        let seconds: Vec<u64> = fake.seconds()[..count].to_vec();
        let near = seconds.iter().zip(&expected).all(|(is, should)| is.abs_diff(*should) <= 1);
        assert!(near, "{seconds:?} instead of {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn server_errors_are_tried_again_with_growing_waits() {
    let refusals = (0..12).map(|_| Error::Server { status: 502, wait: None }).collect();
    let fake = Fake::new(1, refusals);
    let poll = Poll { backfill_days: 0, backfill_git_days: 0, ..Poll::default() };
    let status = run(&fake, &Memory::default(), poll, HOUR).await;
    let seconds = fake.seconds();
    assert!(seconds[12] > 60 && seconds[12] < 900, "{seconds:?}");
    assert_eq!((status.errors, status.error), (12, None), "an error that is over is not shown");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_read_again_and_the_error_is_shown() {
    let fake = Fake::new(1, (0..99).map(|_| Error::Unauthorized).collect());
    let poll = Poll { backfill_days: 0, backfill_git_days: 0, ..Poll::default() };
    let status = run(&fake, &Memory::default(), poll, 24 * HOUR).await;
    let asked = fake.seconds().len() as u32;
    assert!((24..40).contains(&asked), "{asked} tries in a day");
    assert_eq!(*fake.forgotten.lock().unwrap(), asked);
    assert!(status.error.unwrap().contains("refused the token"));
    assert!(status.waiting_until.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_overlap_is_published_once_and_every_pass_tells_the_time() {
    let fake = Fake::new(3, vec![]);
    let bus = Memory::default();
    let poll = Poll { backfill_days: 2, backfill_git_days: 1, ..Poll::default() };
    let status = run(&fake, &bus, poll, HOUR / 2).await;
    let bodies = bodies(&bus).await;
    let records = |run: &RunId| {
        bodies
            .iter()
            .filter(|body| matches!(body, RawBody::Record(record) if record.run == *run))
            .count()
    };
    assert_eq!(records(&RunId::live()), 3);
    let backfill = RunId::from(format!("backfill-{START}").as_str());
    assert_eq!(records(&backfill), 6, "the web window's events came twice");
    let throughs = |run: &RunId, kind| {
        let progress = bodies.iter().filter_map(|body| match body {
            RawBody::Progress(progress) if progress.run == *run && progress.kind == kind => {
                Some(progress.through.as_millis() - START)
            }
            _ => None,
        });
        progress.collect::<Vec<_>>()
    };
    let live = throughs(&RunId::live(), Kind::Audit);
    assert!(live.len() > 15 && live.is_sorted() && live[0] < 1000, "{live:?}");
    assert_eq!(live, throughs(&RunId::live(), Kind::Git));
    let day = 24 * 3_600_000;
    assert_eq!(throughs(&backfill, Kind::Git), [0]);
    assert_eq!(throughs(&backfill, Kind::Audit), [-day, 0]);
    let ends: Vec<usize> = (0..bodies.len())
        .filter(|at| matches!(&bodies[*at], RawBody::RunEnd(end) if end.run == backfill))
        .collect();
    let [end] = ends.as_slice() else { panic!("{ends:?}") };
    let after = bodies[*end..].iter().any(|body| match body {
        RawBody::Record(record) => record.run == backfill,
        RawBody::Progress(progress) => progress.run == backfill,
        RawBody::RunEnd(_) => false,
    });
    assert!(!after, "the run went on after its end");
    assert!(status.feeds[1..].iter().all(|feed| feed.done && feed.remaining.is_none()));
    assert_eq!(status.feeds[0].last_event_at, Some(Timestamp::from_millis(START)));
    assert!(status.feeds[0].lag(Timestamp::from_millis(START)).is_some());
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_it_asks_for_the_page_that_comes_next() {
    let bus = Memory::default();
    let poll = || Poll { backfill_days: 0, backfill_git_days: 0, ..Poll::default() };
    let mut asked = Vec::new();
    for _ in 0..5 {
        let fake = Fake::new(5, vec![]);
        run_one_page(&fake, &bus, poll()).await;
        asked.push(fake.asked.lock().unwrap()[0].1.clone());
    }
    for (number, url) in asked.iter().enumerate().skip(1) {
        assert!(url.as_str().ends_with(&format!("page={}", number + 1)), "{asked:?}");
    }
    let kept = bus.newest(topic::CURSORS).await.unwrap();
    assert_eq!(kept.len(), 1);
    let records = bodies(&bus).await;
    let records = records.iter().filter(|body| matches!(body, RawBody::Record(_))).count();
    assert_eq!(records, 5);
}

/// Runs until a page has been published, then drops the poller as a kill would.
async fn run_one_page(fake: &Fake, bus: &Memory, poll: Poll) {
    let poller = Poller::new(connection(poll), HOUR, clock());
    let mut status = poller.status();
    let running = poller.run_with(fake.clone(), bus, CancellationToken::new());
    let seen =
        |status: &super::Status| status.feeds.iter().any(|feed| feed.last_event_at.is_some());
    tokio::select! {
        biased;
        published = status.wait_for(seen) => drop(published.unwrap()),
        ended = running => panic!("{ended:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn git_events_that_github_no_longer_keeps_are_told_after_a_long_stop() {
    const DAY: u64 = 24 * 3600;
    let poll = || Poll { backfill_days: 0, backfill_git_days: 0, ..Poll::default() };
    for (days, lost) in [(0, false), (6, false), (7, true), (30, true)] {
        let bus = Memory::default();
        let status = run(&Fake::new(1, vec![]), &bus, poll(), HOUR / 2).await;
        assert_eq!(status.git_lost, None, "nothing is lost at the first start");
        let through = status.feeds[0].through.unwrap();
        let stopped = Duration::from_secs(days * DAY);
        let start = Instant::now();
        let later: Clock = Arc::new(move || {
            let at = start.elapsed() + stopped + HOUR / 2;
            Timestamp::from_millis(START + at.as_millis() as i64)
        });
        let now = later();
        let known = super::git_loss(&bus, &connection(poll()), now).await.unwrap();
        let poller = Poller::new(connection(poll()), HOUR, later);
        let status = poller.status();
        let running = poller.run_with(Fake::new(1, vec![]), &bus, CancellationToken::new());
        assert!(tokio::time::timeout(HOUR / 2, running).await.is_err());
        let status = status.borrow().clone();
        assert!(status.feeds[0].through > Some(through), "it goes on");
        assert_eq!(status.git_lost.is_some(), lost, "{days} days");
        assert_eq!(known, status.git_lost, "the same before and after the start");
        if let Some(loss) = status.git_lost {
            assert_eq!(loss.from, through);
            assert_eq!(loss.until, now.plus_millis(-7 * DAY as i64 * 1000));
            assert!(loss.to_string().contains(&format!("between {through} and")), "{loss}");
        }
    }
}
