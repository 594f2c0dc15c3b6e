use std::collections::BTreeMap;
use std::sync::Arc;

use hubwarden_bus::{Bus, topic};
use hubwarden_event::{Feed, Reader, SourceStatus};
use hubwarden_proto::v1::source_service_server::{SourceService, SourceServiceServer};
use hubwarden_proto::{Message, v1};
use hubwarden_service::grpc::page;
use hubwarden_service::nearest;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::audit::{self, Clock, Connection, id_of, left_over};

/// Tells of sources that are no connections, such as what a demo makes up.
type Others = Arc<dyn Fn() -> Vec<SourceStatus> + Send + Sync>;

/// The sources of all connections, whoever reads them.
///
/// Of those that this process reads the pollers tell, of the others the topic `cursors`.
#[derive(Clone)]
pub struct Sources<B> {
    bus: B,
    clock: Clock,
    connections: Vec<(Connection, Option<watch::Receiver<audit::Status>>)>,
    others: Option<Others>,
}

impl<B: Bus> Sources<B> {
    /// No connection yet; cursors are read from this bus.
    pub fn new(bus: B, clock: Clock) -> Self {
        Self { bus, clock, connections: Vec::new(), others: None }
    }

    /// And a connection that a poller of this process reads when it owns it.
    pub fn add(&mut self, connection: Connection, status: watch::Receiver<audit::Status>) {
        self.connections.push((connection, Some(status)));
    }

    /// And a connection that nobody reads, since no server runs.
    pub fn add_stopped(&mut self, connection: Connection) {
        self.connections.push((connection, None));
    }

    /// And what this tells of.
    pub fn add_others(&mut self, others: Others) {
        self.others = Some(others);
    }

    /// What the pollers of this process tell; of a connection that others read it may be old.
    pub fn here(&self) -> Vec<SourceStatus> {
        let told = self
            .connections
            .iter()
            .filter_map(|(connection, status)| Some(status.as_ref()?.borrow().source(connection)));
        told.chain(self.others()).collect()
    }

    fn others(&self) -> Vec<SourceStatus> {
        self.others.as_ref().map(|others| others()).unwrap_or_default()
    }

    /// All sources.
    ///
    /// # Errors
    /// The bus cannot be read.
    pub async fn list(&self) -> Result<Vec<SourceStatus>, Error> {
        let mut cursors = BTreeMap::new();
        for record in self.bus.newest(topic::CURSORS).await? {
            let id = String::from_utf8_lossy(&record.key).into_owned();
            cursors.insert(id, v1::Cursor::decode(record.body));
        }
        let now = (self.clock)();
        let mut sources = Vec::new();
        for (connection, status) in &self.connections {
            let cursor = cursors.remove(&connection.id);
            let here = status.as_ref().map(|status| status.borrow().clone());
            if let Some(here) = here.filter(|here| here.reading) {
                sources.push(here.source(connection));
                continue;
            }
            let (cursor, error) = match cursor.transpose() {
                Ok(cursor) => (cursor, None),
                Err(error) => (None, Some(error)),
            };
            let mut stored = audit::Status::stored(connection, cursor.as_ref(), now);
            stored.error = error.map(|error| Error::from(error).to_string());
            let reader = if status.is_some() { Reader::Elsewhere } else { Reader::Nobody };
            sources.push(SourceStatus { reader, ..stored.source(connection) });
        }
        sources.extend(cursors.into_iter().filter_map(|(id, cursor)| match cursor {
            Ok(cursor) => left_over(&id, &cursor),
            Err(error) => Some(SourceStatus {
                id: id_of(&id),
                connection: id,
                feed: Feed::AuditRest.to_string(),
                errors: 1,
                last_error: Some(Error::from(error).to_string()),
                reader: Reader::Nobody,
                ..SourceStatus::default()
            }),
        }));
        sources.extend(self.others());
        Ok(sources)
    }

    /// The source with this id, or the only one of the connection with this id or name.
    ///
    /// # Errors
    /// [`Error::NoSource`], [`Error::SeveralSources`], or the bus cannot be read.
    pub async fn get(&self, id: &str) -> Result<SourceStatus, Error> {
        let sources = self.list().await?;
        if let Some(source) = sources.iter().find(|source| source.id == id) {
            return Ok(source.clone());
        }
        let connection = |source: &&SourceStatus| {
            source.connection == id || source.id.rsplit_once('/').is_some_and(|(of, _)| of == id)
        };
        let mut found: Vec<_> = sources.iter().filter(connection).collect();
        match (found.pop(), found.as_slice()) {
            (Some(only), []) => Ok(only.clone()),
            (None, _) => Err(no_source(id, &sources)),
            (Some(last), others) => {
                let all = others.iter().copied().chain([last]);
                Err(Error::SeveralSources {
                    name: id.into(),
                    ids: all.map(|source| source.id.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    }
}

fn no_source(id: &str, sources: &[SourceStatus]) -> Error {
    let names = sources.iter().flat_map(|source| [source.connection.as_str(), &source.id]);
    let hint = match nearest(id, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`hubwarden source list` shows those there are".into(),
    };
    Error::NoSource { id: id.into(), hint }
}

/// gRPC's `SourceService`.
pub struct SourceApi<B> {
    sources: Sources<B>,
}

impl<B: Bus> SourceApi<B> {
    /// The service over these sources, to be added to a server.
    pub fn service(sources: Sources<B>) -> SourceServiceServer<Self> {
        SourceServiceServer::new(Self { sources })
    }

    fn message(&self, source: SourceStatus) -> v1::Source {
        let health = source.health((self.sources.clock)());
        v1::Source::of(source, health)
    }
}

#[tonic::async_trait]
impl<B: Bus> SourceService for SourceApi<B> {
    async fn list_sources(
        &self,
        request: Request<v1::ListSourcesRequest>,
    ) -> Result<Response<v1::ListSourcesResponse>, Status> {
        let v1::ListSourcesRequest { limit, page_token } = request.into_inner();
        let sources = self.sources.list().await.map_err(status)?;
        let page = page(sources, |source| source.id.clone(), limit, &page_token)?;
        Ok(Response::new(v1::ListSourcesResponse {
            sources: page.entries.into_iter().map(|source| self.message(source)).collect(),
            next_page_token: page.next_page_token,
            total: page.total,
        }))
    }

    async fn get_source(
        &self,
        request: Request<v1::GetSourceRequest>,
    ) -> Result<Response<v1::GetSourceResponse>, Status> {
        let source = self.sources.get(&request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(v1::GetSourceResponse { source: Some(self.message(source)) }))
    }
}

/// What the caller learns; what failed inside is logged here and not told.
fn status(error: Error) -> Status {
    match error {
        Error::NoSource { .. } => Status::not_found(error.to_string()),
        Error::SeveralSources { .. } => Status::failed_precondition(error.to_string()),
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "a call failed");
            Status::unavailable("the cursors on the bus cannot be read now; see the server's log")
        }
    }
}

#[cfg(test)]
mod tests {
    use hubwarden_bus::{Memory, Positions, Record, Sink};
    use hubwarden_event::{SourceHealth, Timestamp};
    use tonic::Code;

    use super::*;
    use crate::audit::Poller;

    const NOW: i64 = 1_800_000_000_000;
    const DAY: i64 = 24 * 3_600_000;

    fn clock() -> Clock {
        Arc::new(|| Timestamp::from_millis(NOW))
    }

    fn connection(id: &str, name: &str) -> Connection {
        let text = format!("name = '{name}'\nid = '{id}'\norg = 'octo'\ntoken = {{ env = 'T' }}");
        toml::from_str(&text).unwrap()
    }

    fn feed(scope: &str, through_ms: i64, until_ms: i64) -> v1::FeedCursor {
        v1::FeedCursor {
            feed: "audit-rest".into(),
            scope: scope.into(),
            from_ms: NOW - 10 * DAY,
            until_ms,
            through_ms,
            records: 5,
            ..v1::FeedCursor::default()
        }
    }

    async fn put(bus: &Memory, id: &str, body: impl Into<bytes::Bytes>) {
        let record = Record::new(topic::CURSORS, id.as_bytes().to_vec(), body);
        bus.writer("test").commit(vec![record], &Positions::none()).await.unwrap();
    }

    async fn put_cursor(bus: &Memory, id: &str, through_ms: i64) {
        let mut feeds =
            vec![feed("org/octo", through_ms, 0), feed("org/octo#git", NOW - 3 * DAY, NOW)];
        feeds.push(feed("org/formerly", 1, 0));
        let cursor = v1::Cursor { connection: id.into(), feeds };
        put(bus, id, cursor.encode_to_vec()).await;
    }

    /// Three connections that are configured, and the poller of the first, which reads nothing yet.
    async fn sources(bus: &Memory) -> Sources<Memory> {
        put_cursor(bus, "c1", NOW - 1_000).await;
        put_cursor(bus, "c2", NOW - 9 * DAY).await;
        put_cursor(bus, "gone", NOW).await;
        put(bus, "later", b"\xff\xff".to_vec()).await;
        let mut sources = Sources::new(bus.clone(), clock());
        for (id, name) in [("c1", "one"), ("c2", "two"), ("c3", "three")] {
            let connection = connection(id, name);
            let poller = Poller::new(connection.clone(), std::time::Duration::ZERO, clock());
            sources.add(connection, poller.status());
        }
        sources
    }

    #[tokio::test]
    async fn tells_of_every_connection_what_its_cursor_says() {
        let bus = Memory::default();
        let all = sources(&bus).await.list().await.unwrap();
        let now = Timestamp::from_millis(NOW);
        let told: Vec<_> = all
            .iter()
            .map(|one| (one.id.as_str(), one.connection.as_str(), one.reader, one.health(now)))
            .collect();
        let expected = [
            ("c1/audit-rest", "one", Reader::Elsewhere, SourceHealth::Healthy),
            ("c2/audit-rest", "two", Reader::Elsewhere, SourceHealth::Stale),
            ("c3/audit-rest", "three", Reader::Elsewhere, SourceHealth::Starting),
            ("gone/audit-rest", "gone", Reader::Nobody, SourceHealth::Healthy),
            ("later/audit-rest", "later", Reader::Nobody, SourceHealth::Failing),
        ];
        assert_eq!(told, expected);
        for source in [&all[0], &all[3]] {
            assert_eq!((source.scope.as_str(), source.records), ("org/octo", 10), "{source:?}");
            assert_eq!(source.backfill.as_ref().unwrap().percent(), 69);
        }
        assert_eq!(all[0].lost, None);
        assert!(all[1].lost.as_ref().unwrap().contains("are lost"), "{:?}", all[1].lost);
        assert!(all[4].last_error.as_ref().unwrap().contains("later release"), "{:?}", all[4]);
    }

    #[tokio::test]
    async fn tells_of_what_is_read_here_what_the_poller_says() {
        let bus = Memory::default();
        let mut sources = Sources::new(bus.clone(), clock());
        put_cursor(&bus, "c1", NOW - DAY).await;
        let (tell, status) = watch::channel(audit::Status::default());
        sources.add(connection("c1", "one"), status);
        tell.send_modify(|status| {
            *status = audit::Status { error: Some("refused".into()), failing: 3, ..status.clone() };
            (status.reading, status.requests_left) = (true, Some(17));
        });
        let source = sources.get("one").await.unwrap();
        assert_eq!(
            (source.reader, source.errors, source.requests_left),
            (Reader::Here, 3, Some(17))
        );
        tell.send_modify(|status| status.reading = false);
        let source = sources.get("one").await.unwrap();
        assert_eq!(
            (source.reader, source.errors, source.requests_left),
            (Reader::Elsewhere, 0, None)
        );
        assert_eq!(source.read_through, Some(Timestamp::from_millis(NOW - DAY)));
    }

    #[tokio::test]
    async fn a_source_is_found_by_its_id_and_by_its_connection() {
        let bus = Memory::default();
        let api = SourceApi { sources: sources(&bus).await };
        let get = async |id: &str| {
            let request = Request::new(v1::GetSourceRequest { id: id.into() });
            let source = api.get_source(request).await?.into_inner().source.unwrap();
            Ok::<_, Status>(source.id)
        };
        for id in ["c1/audit-rest", "c1", "one"] {
            assert_eq!(get(id).await.unwrap(), "c1/audit-rest");
        }
        for (id, hint) in [("thre", "did you mean `three`?"), ("", "`hubwarden source list`")] {
            let status = get(id).await.unwrap_err();
            assert_eq!(status.code(), Code::NotFound, "{id}");
            assert!(status.message().contains(hint), "{status}");
        }
        let mut several = api.sources.clone();
        several.add_stopped(connection("c9", "one"));
        let error = several.get("one").await.unwrap_err().to_string();
        assert!(error.contains("c1/audit-rest, c9/audit-rest"), "{error}");
    }

    #[tokio::test]
    async fn lists_page_by_page() {
        let bus = Memory::default();
        let api = SourceApi { sources: sources(&bus).await };
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        for page in 1..=3 {
            let request = v1::ListSourcesRequest { limit: 2, page_token };
            let answer = api.list_sources(Request::new(request)).await.unwrap().into_inner();
            assert_eq!(answer.total, 5);
            ids.extend(answer.sources.into_iter().map(|source| source.id));
            page_token = answer.next_page_token;
            assert_eq!(page_token.is_empty(), page == 3);
        }
        assert_eq!(ids.len(), 5);
        let request = v1::ListSourcesRequest { limit: 2, page_token: "?".into() };
        let status = api.list_sources(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
