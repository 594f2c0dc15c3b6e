use std::sync::Arc;
use std::time::Duration;

use hubwarden_bus::{Bus, Delivered, Error as BusError, Sink, Source, partition_of, topic};
use hubwarden_event::{ConnectionId, Timestamp};
use hubwarden_proto::{Message, v1};
use hubwarden_service::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::client::{Client, Fetch};
use super::config::Connection;
use super::ownership::own;
use super::reading::Readings;
use super::status::{GitLoss, Pace, Status, lost};
use super::work::{Work, recent};
use crate::{Error, metrics};

/// Tells the time; an argument, so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> Clock {
    Arc::new(|| Timestamp::from_millis(jiff::Timestamp::now().as_millisecond()))
}

/// Between the loss of a connection and the next look at who owns it.
const PAUSE: Duration = Duration::from_secs(1);

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
                        self.status.send_modify(|status| status.reading = false);
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
        let git_lost = stored.as_ref().and_then(|cursor| lost(cursor, &self.connection, now));
        if let Some(lost) = git_lost {
            tracing::warn!(connection = %id, "{lost}");
        }
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
        self.status.send_modify(|status| {
            (status.git_lost, status.reading) = (git_lost, true);
            // what was known when it was last read here
            (status.error, status.failing, status.requests_left) = (None, 0, None);
        });
        work.show();
        Ok(work)
    }
}

/// Git events that a connection can no longer get when it goes on reading at `now`.
///
/// # Errors
/// The bus cannot be read, or its cursor was written by a later release.
pub async fn git_loss<B: Bus>(
    bus: &B,
    connection: &Connection,
    now: Timestamp,
) -> Result<Option<GitLoss>, Error> {
    let cursor = stored(&bus.newest(topic::CURSORS).await?, &connection.connection_id())?;
    Ok(cursor.and_then(|cursor| lost(&cursor, connection, now)))
}

/// The newest cursor of this connection.
fn stored(newest: &[Delivered], id: &ConnectionId) -> Result<Option<v1::Cursor>, Error> {
    let ours = newest.iter().find(|record| record.key == id.as_str().as_bytes());
    Ok(ours.map(|record| v1::Cursor::decode(record.body.clone())).transpose()?)
}
