//! What probes and Prometheus ask a service: `/livez`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Gauge, catalogue};
use crate::{Invalid, Validate};

static READY: Gauge<1> = Gauge::new(&catalogue::service::READY);
static ALIVE: Gauge<1> = Gauge::new(&catalogue::service::ALIVE);
static BUILD: Gauge<1> = Gauge::new(&catalogue::service::BUILD);
static STARTED: Gauge<0> = Gauge::new(&catalogue::service::STARTED);

/// Section `[health]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Address of the probes and of `/metrics`; nothing secret is told there.
    pub listen: String,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { listen: "0.0.0.0:7476".into() }
    }
}

impl Validate for HealthConfig {
    fn validate(&self) -> Result<(), Invalid> {
        address("health.listen", &self.listen).map(|_| ())
    }
}

/// Reads an address, or names its key.
pub(crate) fn address(key: &str, text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        Invalid::new(key, format!("`{text}` is no address with port; write 0.0.0.0:7476"))
    })
}

/// An address on which nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}; stop what uses the port, or set {key} to another")]
pub struct ListenError {
    /// The address.
    pub listen: String,
    /// The key that holds it.
    pub key: &'static str,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

/// What this process says about itself; clones tell the same.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    ready: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct State {
    conditions: BTreeMap<String, Result<(), String>>,
    loops: BTreeMap<&'static str, Loop>,
    stopping: bool,
}

#[derive(Debug)]
struct Loop {
    limit: Duration,
    /// Since when it works; nothing while it waits.
    since: Option<Instant>,
}

impl Loop {
    fn stuck(&self, now: Instant) -> Option<Duration> {
        let busy = now.saturating_duration_since(self.since?);
        (busy > self.limit).then_some(busy)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { state: Arc::default(), ready: Arc::new(watch::Sender::new(true)) }
    }
}

/// One thing that must hold before the service is ready, such as `bus`, `store` or `assignment`.
#[derive(Debug, Clone)]
pub struct Condition {
    health: Health,
    name: Arc<str>,
}

impl Condition {
    /// It holds.
    pub fn ready(&self) {
        self.set(Ok(()));
    }

    /// It does not hold, for this reason; probes show it.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    /// It is asked no more, such as that of a partition which another replica owns now.
    pub fn forget(&self) {
        let mut state = self.health.lock();
        state.conditions.remove(&*self.name);
        READY.retain(|[name]| **name != *self.name);
        self.health.tell(&state);
    }

    fn set(&self, holds: Result<(), String>) {
        let mut state = self.health.lock();
        if state.conditions.get(&*self.name) != Some(&holds) {
            match &holds {
                Ok(()) => tracing::info!(condition = %self.name, "ready"),
                Err(reason) => tracing::info!(condition = %self.name, %reason, "not ready"),
            }
        }
        READY.set(f64::from(u8::from(holds.is_ok())), [&self.name]);
        state.conditions.insert(self.name.to_string(), holds);
        self.health.tell(&state);
    }
}

/// One loop that must turn, else the process is restarted.
#[derive(Debug, Clone)]
pub struct Pulse {
    health: Health,
    name: &'static str,
}

impl Pulse {
    /// The loop has begun to work: it must be back within its limit.
    pub fn work(&self) {
        self.set(Some(Instant::now()));
    }

    /// The loop waits for input, which may take any time.
    pub fn wait(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        if let Some(one) = self.health.lock().loops.get_mut(self.name) {
            one.since = since;
        }
    }
}

impl Health {
    /// Nothing is asked of the service yet: it counts as alive and ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that does not hold yet; its name is never something that a sender chooses.
    pub fn condition(&self, name: &str) -> Condition {
        let condition = Condition { health: self.clone(), name: name.into() };
        condition.set(Err("starting".into()));
        condition
    }

    /// Adds a loop that waits; once it works, it must be back within `limit`.
    pub fn pulse(&self, name: &'static str, limit: Duration) -> Pulse {
        self.lock().loops.insert(name, Loop { limit, since: None });
        Pulse { health: self.clone(), name }
    }

    /// The service stops: not ready from here on, so that no new work is sent to it.
    pub fn stopping(&self) {
        let mut state = self.lock();
        state.stopping = true;
        self.tell(&state);
    }

    /// Whether every condition holds and the service is not stopping.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Sees every change of readiness.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn tell(&self, state: &State) {
        let ready = !state.stopping && state.conditions.values().all(Result::is_ok);
        self.ready.send_if_modified(|before| std::mem::replace(before, ready) != ready);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loops that are stuck, with since when.
    fn stuck(&self) -> Vec<(&'static str, Duration)> {
        let now = Instant::now();
        let state = self.lock();
        let stuck: Vec<_> =
            state.loops.iter().filter_map(|(name, one)| Some((*name, one.stuck(now)?))).collect();
        for name in state.loops.keys() {
            let alive = stuck.iter().all(|(stuck, _)| stuck != name);
            ALIVE.set(f64::from(u8::from(alive)), [name]);
        }
        stuck
    }

    /// The routes, to be served alone or beside others.
    pub fn router(&self) -> Router {
        BUILD.set(1.0, [env!("CARGO_PKG_VERSION")]);
        let (live, ready, shown) = (self.clone(), self.clone(), self.clone());
        Router::new()
            .route("/livez", get(async move || live.livez()))
            .route("/readyz", get(async move || ready.readyz()))
            .route("/metrics", get(async move || shown.metrics()))
    }

    fn livez(&self) -> impl IntoResponse + use<> {
        let stuck = self.stuck();
        let status = status(stuck.is_empty());
        let stuck: BTreeMap<_, _> = stuck
            .into_iter()
            .map(|(name, busy)| (name, format!("works for {} s", busy.as_secs())))
            .collect();
        (status, Json(json!({ "alive": status.is_success(), "stuck": stuck })))
    }

    fn readyz(&self) -> impl IntoResponse + use<> {
        let state = self.lock();
        let conditions: BTreeMap<_, _> = state
            .conditions
            .iter()
            .map(|(name, holds)| (name, holds.as_ref().err().map_or("ok", String::as_str)))
            .collect();
        let ready = self.is_ready();
        let body = json!({ "ready": ready, "stopping": state.stopping, "conditions": conditions });
        (status(ready), Json(body))
    }

    fn metrics(&self) -> impl IntoResponse + use<> {
        self.stuck();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text())
    }

    /// Listens, so that a taken port is an error before anything runs.
    ///
    /// # Errors
    /// An address that is taken or not this machine's.
    pub async fn bind(&self, config: &HealthConfig) -> Result<HealthServer, ListenError> {
        let taken =
            |source| ListenError { listen: config.listen.clone(), key: "health.listen", source };
        let listener = TcpListener::bind(&config.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        tracing::info!(listen = %address, "probes are answered");
        let now = jiff::Timestamp::now();
        STARTED.set(now.as_millisecond() as f64 / 1000.0, []);
        Ok(HealthServer { listener, router: self.router() })
    }
}

fn status(fine: bool) -> StatusCode {
    if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// A listener for probes that is not served yet.
#[derive(Debug)]
pub struct HealthServer {
    listener: TcpListener,
    router: Router,
}

impl HealthServer {
    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until told to stop: stop it last, so that probes see the service stopping.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        axum::serve(self.listener, self.router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    #[tokio::test]
    async fn probes_name_what_does_not_hold() {
        metrics::enable();
        let health = Health::new();
        let bus = health.condition("bus");
        let store = health.condition("store");
        let pulse = health.pulse("normalize", Duration::from_secs(60));
        let server = health.bind(&HealthConfig { listen: "127.0.0.1:0".into() }).await.unwrap();
        let address = server.address().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        bus.ready();
        store.not_ready("read-only");
        let (status, body) = get(address, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains(r#""conditions":{"bus":"ok","store":"read-only"}"#), "{body}");
        store.ready();
        assert_eq!(get(address, "/readyz").await.0, 200);

        pulse.work();
        assert_eq!(get(address, "/livez").await.0, 200);
        health.pulse("stuck", Duration::ZERO).work();
        let (status, body) = get(address, "/livez").await;
        assert_eq!(status, 503);
        assert!(body.contains("stuck") && !body.contains("normalize"), "{body}");

        let (status, body) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        for line in [
            "hubwarden_service_condition_ready{condition=\"bus\"} 1",
            "hubwarden_service_loop_alive{loop=\"stuck\"} 0",
            "hubwarden_service_loop_alive{loop=\"normalize\"} 1",
        ] {
            assert!(body.contains(line), "{line} is not in\n{body}");
        }
        let partition = health.condition("partition 3 of matches");
        assert_eq!(get(address, "/readyz").await.0, 503, "a new condition does not hold yet");
        partition.forget();
        assert_eq!(get(address, "/readyz").await.0, 200);
        assert!(!get(address, "/metrics").await.1.contains("partition 3"));
        let mut watched = health.watch();
        assert!(*watched.borrow_and_update());
        health.stopping();
        watched.changed().await.unwrap();
        assert_eq!(get(address, "/readyz").await.0, 503);
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = taken.local_addr().unwrap().to_string();
        let error = Health::new().bind(&HealthConfig { listen: listen.clone() }).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&listen) && text.contains("health.listen"), "{text}");
    }

    #[test]
    fn a_loop_that_waits_is_alive() {
        let health = Health::new();
        let pulse = health.pulse("match", Duration::ZERO);
        assert!(health.stuck().is_empty());
        pulse.work();
        while health.stuck().is_empty() {
            std::thread::yield_now();
        }
        pulse.wait();
        assert!(health.stuck().is_empty());
    }
}
