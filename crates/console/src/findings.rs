use std::sync::Arc;

use bytes::Bytes;
use hubwarden_bus::{Bus, topic};
use hubwarden_event::{Evidence, Finding, RawBody, RawPosition};

use crate::{Error, FindingQuery, FindingStore, Page};

/// Gives the payload that GitHub sent for a position of `raw`, or nothing once it is no longer kept.
///
/// It may read from disk; it is called off the async threads.
pub type RawBytes = Arc<dyn Fn(RawPosition) -> Option<Bytes> + Send + Sync>;

/// Fetches what GitHub sent from the topic `raw` of a bus.
pub fn raw_bytes<B: Bus>(bus: B) -> RawBytes {
    Arc::new(move |position| {
        // It is called where blocking is allowed.
        let read = bus.read_at(topic::RAW, position.partition, position.offset);
        let delivered = tokio::runtime::Handle::current().block_on(read).ok()??;
        match hubwarden_proto::decode_raw(delivered.body).ok()? {
            RawBody::Record(record) => Some(record.payload),
            _ => None,
        }
    })
}

/// The questions about findings that pages, JSON API and gRPC share.
#[derive(Clone)]
pub struct Findings {
    store: Arc<dyn FindingStore>,
    raw: RawBytes,
}

/// One event of a finding.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineEntry {
    /// The event.
    pub evidence: Evidence,
    /// The record as GitHub sent it, while it is kept.
    pub raw: Option<Bytes>,
}

impl Findings {
    /// Asks this store, and this source of raw records.
    pub fn new(store: Arc<dyn FindingStore>, raw: RawBytes) -> Self {
        Self { store, raw }
    }

    /// The store, for counts.
    pub fn store(&self) -> &dyn FindingStore {
        &*self.store
    }

    /// One page of the findings that pass the filter.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, query: FindingQuery) -> Result<Page, Error> {
        self.store.list(query).await
    }

    /// The finding with this id, or with the only id that begins so.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Ambiguous`] with the candidates.
    pub async fn get(&self, id: &str) -> Result<Finding, Error> {
        self.store.get(id.to_owned()).await
    }

    /// A finding and its events in time order, with their raw bytes.
    ///
    /// # Errors
    /// As [`Findings::get`].
    pub async fn timeline(&self, id: &str) -> Result<(Finding, Vec<TimelineEntry>), Error> {
        let finding = self.get(id).await?;
        let evidence = finding.evidence.clone();
        let raw = self.raw.clone();
        let read = move || {
            let entry = |evidence: Evidence| {
                let raw = raw(evidence.position);
                TimelineEntry { evidence, raw }
            };
            evidence.into_iter().map(entry).collect()
        };
        let entries = tokio::task::spawn_blocking(read).await.map_err(|_| Error::Closed)?;
        Ok((finding, entries))
    }
}
