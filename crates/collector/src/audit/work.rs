use std::time::Duration;

use hubwarden_bus::{Positions, Record, Sink, Source, topic};
use hubwarden_event::{ConnectionId, ContentType, Feed, RawBody, RawRecord, Timestamp};
use hubwarden_proto::Message;
use hubwarden_service::Backoff;
use reqwest::Url;
use tokio::sync::watch;

use super::budget::Budget;
use super::client::{Fetch, Page, moment};
use super::config::Poll;
use super::ownership::lose;
use super::poller::Clock;
use super::reading::{Part, Readings, Step};
use super::recent::Recent;
use super::refusal;
use super::status::{Pace, Status};
use crate::error::Limit;
use crate::publish::{self, MAX_COMMIT};
use crate::source_id::source_id;
use crate::{Error, metrics};

/// Share of the bucket that a backfill leaves to the live run.
const KEPT_FOR_LIVE: f64 = 0.5;

/// The most of the hourly budget that the live run spends, so that a backfill ends some day.
const LIVE_SHARE: f64 = 0.6;

/// Ids that are remembered of the live run: more than a log can bring in an hour within GitHub's limit.
const REMEMBERED: usize = 200_000;

/// Ids that are remembered of a backfill, whose windows share only their borders.
const REMEMBERED_BORDER: usize = 10_000;

/// No wait is longer, so that a changed clock is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// First wait after what somebody has to put right; it doubles up to an hour.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
const MAX_PATIENCE: Duration = Duration::from_secs(3600);

/// The reading of one connection by its owner, from one cursor of the bus on.
pub(super) struct Work<'a, F, R> {
    pub(super) fetch: &'a F,
    /// Reads `cursors` to know what it owns; every commit holds the position there, so that the
    /// commit of a collector that has lost the connection comes to nothing.
    pub(super) reader: &'a mut R,
    /// The partition of `cursors` to which the connection belongs.
    pub(super) partition: u32,
    /// Of the topic `raw`.
    pub(super) partitions: u32,
    pub(super) id: ConnectionId,
    pub(super) log: Url,
    pub(super) poll: Poll,
    pub(super) readings: Readings,
    /// What each reading has published lately.
    pub(super) recent: Vec<Recent>,
    pub(super) budget: &'a mut Budget,
    pub(super) backoff: Backoff,
    /// How often in a row somebody would have had to put something right.
    pub(super) patience: u32,
    pub(super) per_page: u32,
    pub(super) next_live: Timestamp,
    pub(super) pass_requests: u32,
    pub(super) blocked_until: Timestamp,
    pub(super) pace: Pace,
    pub(super) clock: Clock,
    pub(super) status: &'a watch::Sender<Status>,
}

impl<F: Fetch, R: Source + Sink> Work<'_, F, R> {
    pub(super) async fn run(&mut self) -> Result<(), Error> {
        loop {
            match self.choose() {
                Ok(index) => self.turn(index).await?,
                Err(wait) => {
                    self.show();
                    let wait = wait.clamp(Duration::from_millis(1), MAX_SLEEP);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        lost = lose(self.reader, self.partition) => return Err(lost),
                    }
                }
            }
        }
    }

    /// Commits as the owner of the connection.
    pub(super) async fn commit(&mut self, outputs: Vec<Record>) -> Result<(), Error> {
        let at = self.reader.positions().get(topic::CURSORS, self.partition).unwrap_or(0);
        let at = Positions::of(topic::CURSORS, self.partition, at);
        Ok(publish::commit(self.reader, outputs, &at).await?)
    }

    /// What to read now, or how long nothing is to be read: live first, then the backfill.
    fn choose(&mut self) -> Result<usize, Duration> {
        let now = (self.clock)();
        if let Some(wait) = until(self.blocked_until, now) {
            return Err(wait);
        }
        let Some(live_in) = until(self.next_live, now).filter(|_| !self.readings.all[0].is_open())
        else {
            return self.budget.take(now, 0.0).map(|()| 0);
        };
        match self.readings.backfill() {
            Some(index) => {
                let taken = self.budget.take(now, KEPT_FOR_LIVE);
                taken.map(|()| index).map_err(|wait| wait.min(live_in))
            }
            None => Err(live_in),
        }
    }

    async fn turn(&mut self, index: usize) -> Result<(), Error> {
        let now = (self.clock)();
        let url = self.readings.all[index].request(&self.log, now, &self.poll, self.per_page);
        if index == 0 {
            self.pass_requests += 1;
        }
        self.status.send_modify(|status| status.requests += 1);
        let page = tokio::select! {
            page = self.fetch.page(&url) => page,
            lost = lose(self.reader, self.partition) => return Err(lost),
        };
        match page {
            Ok(page) => self.accept(index, &page).await,
            Err(error) => {
                self.refused(index, &error);
                Ok(())
            }
        }
    }

    /// Publishes a page together with the cursor that stands for it.
    async fn accept(&mut self, index: usize, page: &Page) -> Result<(), Error> {
        self.backoff.reset();
        self.patience = 0;
        self.status.send_modify(|status| status.failing = 0);
        let now = (self.clock)();
        let records = self.records(index, page, now);
        let mut last = Vec::new();
        let reading = &mut self.readings.all[index];
        reading.cursor.records += records.len() as u64;
        let newest = page.events.last().and_then(|range| moment(&page.body[range.clone()]));
        self.pace.saw(index, newest);
        let step = reading.advance(page.next.as_ref(), &self.id);
        let complete = matches!(step, Step::Complete(_));
        if let Step::Complete(progress) = step {
            let marks = progress.into_iter().chain(self.readings.run_end(index));
            last.extend(marks.flat_map(|mark| publish::raw(mark, self.partitions)));
        } else if let Step::Circle = step {
            let link = page.next.as_ref().map(Url::to_string).unwrap_or_default();
            self.refused(index, &Error::Loop { link });
        } else {
            self.status.send_modify(|status| status.error = None);
        }
        last.push(self.cursor_record());
        for part in parts(records, last) {
            self.commit(part).await?;
        }
        if complete {
            self.status.send_modify(|status| status.error = partial(page));
            if index == 0 {
                self.rest();
            }
        }
        let left = refusal::number(&page.headers, "x-ratelimit-remaining");
        self.status.send_modify(|status| status.requests_left = left);
        if let Some(wait) = refusal::used_up(&page.headers, now) {
            self.block(wait);
        }
        self.show();
        Ok(())
    }

    /// The records of a page, without those of an overlap that were already published.
    fn records(&mut self, index: usize, page: &Page, now: Timestamp) -> Vec<Record> {
        let run = self.readings.all[index].run();
        let mut records = Vec::with_capacity(page.events.len() + 4);
        for range in &page.events {
            let payload = page.body.slice(range.clone());
            let record = RawRecord {
                connection: self.id.clone(),
                feed: Feed::AuditRest,
                run: run.clone(),
                source_id: source_id(ContentType::Json, &payload),
                received_at: now,
                content_type: ContentType::Json,
                payload,
                scrubs: Vec::new(),
                origin: None,
                damage: None,
            };
            if self.recent[index].insert(record.event_id()) {
                records.extend(publish::raw(RawBody::Record(record), self.partitions));
            }
        }
        records
    }

    pub(super) fn cursor_record(&self) -> Record {
        let key = self.id.as_str().as_bytes().to_vec();
        Record::new(topic::CURSORS, key, self.readings.cursor().encode_to_vec())
    }

    /// Sets when the next live pass begins: a long pass is followed by a longer rest.
    fn rest(&mut self) {
        let spent = f64::from(std::mem::take(&mut self.pass_requests));
        let earned = Duration::from_secs_f64(spent * 3600.0 / (self.poll.rate() * LIVE_SHARE));
        let now = (self.clock)();
        self.next_live = later(now, self.poll.interval.max(earned));
    }

    /// Decides when to ask again after an answer that brought nothing.
    fn refused(&mut self, index: usize, error: &Error) {
        let doubled = FIRST_PATIENCE * 2u32.pow(self.patience.min(6));
        let wait = match error {
            Error::RateLimited { limit: Limit::Secondary, wait: None } => {
                self.patience += 1;
                doubled
            }
            // its pages arrive well, so counting failures in a row would not slow it down
            Error::Loop { .. } => self.poll.interval.max(FIRST_PATIENCE),
            error => match error.wait() {
                Some(wait) => wait,
                None if error.is_retryable() => self.backoff.next_wait(),
                None => {
                    self.patience += 1;
                    self.fetch.forget_token();
                    doubled
                }
            },
        };
        if let Error::TooLarge { .. } = error {
            self.per_page = (self.per_page / 2).max(1);
        }
        if matches!(
            error,
            Error::NotFound { .. }
                | Error::Phrase { .. }
                | Error::Unexpected { .. }
                | Error::OtherHost { .. }
                | Error::Loop { .. }
                | Error::TooLarge { .. }
        ) {
            // the stored page may be what is wrong; nothing is lost, the pass is read again
            self.readings.all[index].restart();
        }
        self.block(wait.min(MAX_PATIENCE.max(error.wait().unwrap_or_default())));
        let text = chain(error);
        self.status.send_modify(|status| {
            status.errors += 1;
            status.failing += 1;
            if status.error.as_ref() != Some(&text) {
                tracing::warn!(connection = %status.connection, wait = ?wait, "{text}");
            }
            status.error = Some(text);
        });
        self.show();
    }

    fn block(&mut self, wait: Duration) {
        self.blocked_until = later((self.clock)(), wait);
    }

    /// Tells how it goes.
    pub(super) fn show(&self) {
        let now = (self.clock)();
        let feeds = self.pace.feeds(&self.readings, now);
        let waiting_until = (self.blocked_until > now).then_some(self.blocked_until);
        self.status.send_modify(|status| {
            status.feeds = feeds;
            status.waiting_until = waiting_until;
            metrics::source(status);
        });
    }
}

/// Commits of at most 8 MiB; the last one holds marks and cursor, so that they are never ahead.
fn parts(records: Vec<Record>, last: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts = vec![Vec::new()];
    let mut size = 0;
    for record in records {
        if size > 0 && size + record.body.len() > MAX_COMMIT {
            parts.push(Vec::new());
            size = 0;
        }
        size += record.body.len();
        if let Some(part) = parts.last_mut() {
            part.push(record);
        }
    }
    if let Some(part) = parts.last_mut() {
        part.extend(last);
    }
    parts
}

/// A complaint about organizations that GitHub left out for want of single sign-on.
fn partial(page: &Page) -> Option<String> {
    let sso = refusal::text(&page.headers, "x-github-sso")?;
    let organizations = sso.strip_prefix("partial-results; organizations=")?;
    Some(format!(
        "GitHub leaves out organizations {organizations}: the token is not authorized for their single sign-on, so their events are missing; authorize it there"
    ))
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn until(moment: Timestamp, now: Timestamp) -> Option<Duration> {
    let wait = u64::try_from(moment.millis_since(now)).ok().filter(|wait| *wait > 0)?;
    Some(Duration::from_millis(wait))
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

/// An empty memory for each reading.
pub(super) fn recent(readings: &Readings) -> Vec<Recent> {
    let remembered = |part| if part == Part::Live { REMEMBERED } else { REMEMBERED_BORDER };
    readings.all.iter().map(|reading| Recent::new(remembered(reading.part))).collect()
}
