//! A server that answers as GitHub's audit-log API does, over events that a test or the generator gives it.

mod answer;
mod audit;
mod clock;
mod cursor;
mod phrase;
mod profile;
mod routes;
mod settings;
mod state;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use clock::Clock;
pub use settings::{Fault, Settings, Token};
use state::State;

use crate::{Error, Generated, odd};

/// A running look-alike of GitHub. Dropping it stops it.
pub struct Simulator {
    state: Arc<State>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _guard: DropGuard,
}

impl Simulator {
    /// Starts to listen; the log is empty until events are given.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let address = settings.listen;
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(listen)?);
        let state = Arc::new(State::new(settings, url));
        let stop = CancellationToken::new();
        let server = axum::serve(listener, routes::router(state.clone()));
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            // A listener error ends the server; whoever talks to it sees the connection refused.
            let _ = server.with_graceful_shutdown(stopped).await;
        });
        Ok(Self { state, _guard: stop.clone().drop_guard(), stop, serving })
    }

    /// Base of all REST paths, without a slash at its end (GHES: with `/api/v3`).
    pub fn url(&self) -> String {
        self.state.base()
    }

    /// Adds events of the generator, also while requests are being answered.
    ///
    /// # Errors
    /// When one is not an audit event; those before it are added.
    pub fn add(&self, events: impl IntoIterator<Item = Generated>) -> Result<(), Error> {
        for (index, event) in events.into_iter().enumerate() {
            self.add_one(index, event.json.into(), event.enterprise_only)?;
        }
        Ok(())
    }

    /// Adds events given as JSON, one object each; those without `org` show only in the enterprise's log.
    ///
    /// # Errors
    /// When one is not an audit event; those before it are added.
    pub fn add_json<J: Into<Bytes>>(
        &self,
        events: impl IntoIterator<Item = J>,
    ) -> Result<(), Error> {
        for (index, event) in events.into_iter().enumerate() {
            self.add_one(index, event.into(), false)?;
        }
        Ok(())
    }

    fn add_one(&self, index: usize, json: Bytes, enterprise_only: bool) -> Result<(), Error> {
        let json = odd::twist(&json, self.state.settings.odd_per_mille).map_or(json, Bytes::from);
        let added = self.state.inner().store.add(json, enterprise_only, self.state.lateness());
        added.map_err(|reason| Error::Event { number: index + 1, reason })
    }

    /// How many distinct events the log holds, seen or not.
    pub fn len(&self) -> usize {
        self.state.inner().store.len()
    }

    /// Whether the log holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The clock, to be moved when it is a fixed one.
    pub fn clock(&self) -> Clock {
        self.state.settings.clock.clone()
    }

    /// Lets the `number`th audit request since the start (from 1) meet a fault.
    pub fn fault_at(&self, number: u64, fault: Fault) {
        self.state.inner().script(number, fault);
    }

    /// Lets the next audit request, or the one after those that have a fault already, meet a fault.
    pub fn fault_next(&self, fault: Fault) {
        self.state.inner().script_next(fault);
    }

    /// Lets every audit request that has no fault of its own meet this one, until `None` is set.
    pub fn fault_always(&self, fault: Option<Fault>) {
        self.state.inner().last(fault);
    }

    /// How many requests came, by path (without the query) and status.
    pub fn requests(&self) -> BTreeMap<(String, u16), u64> {
        self.state.inner().counters.clone()
    }

    /// How many requests came to an audit log with an accepted token.
    pub fn audit_requests(&self) -> u64 {
        self.state.inner().audit_requests()
    }

    /// Stops listening and waits until requests in work are answered.
    pub async fn stop(self) {
        self.stop.cancel();
        // The task ends by itself after the cancellation; it has nothing to report.
        let _ = self.serving.await;
    }
}
