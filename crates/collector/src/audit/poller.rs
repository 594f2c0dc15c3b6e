use std::sync::Arc;
use std::time::Duration;

use hubwarden_bus::{
    Bus, Delivered, Error as BusError, Positions, Record, Sink, Source, partition_of, topic,
};
use hubwarden_event::{ConnectionId, ContentType, Feed, RawBody, RawRecord, Timestamp};
use hubwarden_proto::{Message, v1};
use hubwarden_service::Backoff;
use reqwest::Url;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::client::{Client, Fetch, Page, moment};
use super::config::{Connection, Poll};
use super::ownership::{lose, own};
use super::reading::{Part, Readings, Step};
use super::recent::Recent;
use super::refusal;
use super::status::{Pace, Status};
use crate::Error;
use crate::error::Limit;
use crate::metrics;
use crate::publish::{self, MAX_COMMIT};
use crate::source_id::source_id;

/// Tells the time; an argument, so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> Clock {
    Arc::new(|| Timestamp::from_millis(jiff::Timestamp::now().as_millisecond()))
}

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

/// Between the loss of a connection and the next look at who owns it.
const PAUSE: Duration = Duration::from_secs(1);

/// First wait after what somebody has to put right; it doubles up to an hour.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
const MAX_PATIENCE: Duration = Duration::from_secs(3600);

/// Reads the audit log of one connection and publishes it.
pub struct Poller {
    connection: Connection,
    lead: Duration,
    clock: Clock,
    status: watch::Sender<Status>,
}

impl Poller {
    /// A poller that begins its live run `lead` before the moment of connecting: the longest window
    /// of any rule, so that no pattern falls between it and the backfill.
    pub fn new(connection: Connection, lead: Duration, clock: Clock) -> Self {
        let status = Status {
            connection: connection.id.clone(),
            scope: connection.scope(),
            ..Status::default()
        };
        Self { connection, lead, clock, status: watch::Sender::new(status) }
    }

    /// How it goes, for the console and the command line.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Reads until `stop`; what GitHub refuses is shown in the status and tried again.
    ///
    /// # Errors
    /// The configuration makes no sense, or the bus no longer takes records.
    pub async fn run<B: Bus>(self, bus: &B, stop: CancellationToken) -> Result<(), Error> {
        let client = Client::new(&self.connection, self.clock.clone())?;
        self.run_with(client, bus, stop).await
    }

    pub(super) async fn run_with<B: Bus>(
        self,
        fetch: impl Fetch,
        bus: &B,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let id = self.connection.connection_id();
        let partitions = bus.partitions(topic::CURSORS);
        let partition = partition_of(id.as_str().as_bytes(), partitions);
        let mut reader = bus.reader(&format!("collector-{id}"), &[topic::CURSORS])?;
        let mut budget = Budget::new(self.connection.poll.rate(), (self.clock)());
        let reading = async {
            loop {
                own(&mut reader, partition).await?;
                let ended = match self.begin(&fetch, bus, &mut reader, &mut budget).await {
                    Ok(mut work) => work.run().await,
                    Err(error) => Err(error),
                };
                match ended {
                    Err(Error::Bus(error @ BusError::Reassigned { .. })) => {
                        tracing::info!(connection = %id, %error, "reading stops here");
                        metrics::forget(id.as_str());
                        tokio::time::sleep(PAUSE).await;
                    }
                    ended => return ended,
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = reading => ended,
        }
    }

    /// Takes up what the bus has of this connection: nothing that an earlier owner, or this one
    /// before a commit that came to nothing, remembered is used.
    async fn begin<'a, F: Fetch, R: Source + Sink>(
        &'a self,
        fetch: &'a F,
        bus: &impl Bus,
        reader: &'a mut R,
        budget: &'a mut Budget,
    ) -> Result<Work<'a, F, R>, Error> {
        let now = (self.clock)();
        let id = self.connection.connection_id();
        let stored = stored(&bus.newest(topic::CURSORS).await?, &id)?;
        let fresh = stored.is_none();
        let poll = self.connection.poll.clone();
        let lead = i64::try_from(self.lead.as_millis()).unwrap_or(i64::MAX);
        let scope = self.connection.scope();
        let readings = Readings::resume(&id, &scope, stored, now, lead, &poll);
        let mut work = Work {
            fetch,
            reader,
            partition: partition_of(id.as_str().as_bytes(), bus.partitions(topic::CURSORS)),
            partitions: bus.partitions(topic::RAW),
            log: self.connection.log_url()?,
            budget,
            pace: Pace::new(&readings, now),
            per_page: poll.per_page,
            id,
            poll,
            recent: recent(&readings),
            readings,
            backoff: Backoff::default(),
            patience: 0,
            next_live: now,
            pass_requests: 0,
            blocked_until: now,
            clock: self.clock.clone(),
            status: &self.status,
        };
        if fresh {
            // the moment of connecting is kept whatever happens next
            let begun = work.cursor_record();
            work.commit(vec![begun]).await?;
        }
        Ok(work)
    }
}

/// An empty memory for each reading.
fn recent(readings: &Readings) -> Vec<Recent> {
    let remembered = |part| if part == Part::Live { REMEMBERED } else { REMEMBERED_BORDER };
    readings.all.iter().map(|reading| Recent::new(remembered(reading.part))).collect()
}

/// The newest cursor of this connection.
fn stored(newest: &[Delivered], id: &ConnectionId) -> Result<Option<v1::Cursor>, Error> {
    let ours = newest.iter().find(|record| record.key == id.as_str().as_bytes());
    Ok(ours.map(|record| v1::Cursor::decode(record.body.clone())).transpose()?)
}

struct Work<'a, F, R> {
    fetch: &'a F,
    /// Reads `cursors` to know what it owns; every commit holds the position there, so that the
    /// commit of a collector that has lost the connection comes to nothing.
    reader: &'a mut R,
    /// The partition of `cursors` to which the connection belongs.
    partition: u32,
    /// Of the topic `raw`.
    partitions: u32,
    id: ConnectionId,
    log: Url,
    poll: Poll,
    readings: Readings,
    /// What each reading has published lately.
    recent: Vec<Recent>,
    budget: &'a mut Budget,
    backoff: Backoff,
    /// How often in a row somebody would have had to put something right.
    patience: u32,
    per_page: u32,
    next_live: Timestamp,
    pass_requests: u32,
    blocked_until: Timestamp,
    pace: Pace,
    clock: Clock,
    status: &'a watch::Sender<Status>,
}

impl<F: Fetch, R: Source + Sink> Work<'_, F, R> {
    async fn run(&mut self) -> Result<(), Error> {
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
    async fn commit(&mut self, outputs: Vec<Record>) -> Result<(), Error> {
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

    fn cursor_record(&self) -> Record {
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

    fn show(&self) {
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
