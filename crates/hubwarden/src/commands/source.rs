use hubwarden_bus::Journal;
use hubwarden_collector::Sources;
use hubwarden_collector::audit::system_clock;
use hubwarden_console::web::now;
use hubwarden_event::{Reader, SourceStatus, Timestamp};
use hubwarden_proto::v1;
use serde::Serialize;

use super::configure;
use crate::Config;
use crate::args::{self, Global};
use crate::client::{self, Client};
use crate::config::BusKind;
use crate::failure::{Exit, Failure};
use crate::output::{Rows, print_one};
use crate::pipeline::journal_dir;

/// Sources asked for at once.
const PAGE: u32 = 500;

/// `hubwarden source …`
pub(crate) async fn run(global: &Global, command: args::Source) -> Result<Exit, Failure> {
    let config = configure(global)?;
    match command {
        args::Source::List(remote) => {
            let sources = Desk::open(&remote, &config).await?.list().await?;
            let header =
                &["source", "connection", "scope", "state", "records", "read through", "note"];
            Rows { header, values: &sources, row: Told::row }.print(global.output)?;
        }
        args::Source::Get(which) => {
            let source = Desk::open(&which.remote, &config).await?.get(&which.id).await?;
            print_one(global.output, &source, &source.lines())?;
        }
    }
    Ok(Exit::Done)
}

/// Where sources are asked for: at a collector, or in the cursors of a stopped server.
enum Desk {
    Server(Client),
    Here(Sources<Journal>),
}

impl Desk {
    async fn open(remote: &args::Remote, config: &Config) -> Result<Self, Failure> {
        if let Some(client) = Client::of(remote, config).await? {
            return Ok(Self::Server(client));
        }
        if config.bus.kind == BusKind::Kafka {
            let text = "no server runs on this data folder, and how far sources are is known on the brokers only; \
                        start `hubwarden serve`, or name a collector with --server";
            return Err(Failure::new(Exit::Failed, text));
        }
        let journal = journal_dir(&config.storage.data_dir);
        if !journal.is_dir() {
            let text = format!(
                "nothing has been read into {} yet; run `hubwarden serve`, or name the folder with --data-dir",
                config.storage.data_dir.display()
            );
            return Err(Failure::new(Exit::Failed, text));
        }
        let mut sources = Sources::new(Journal::open_read_only(journal)?, system_clock());
        config.github.iter().cloned().for_each(|connection| sources.add_stopped(connection));
        Ok(Self::Here(sources))
    }

    async fn list(&self) -> Result<Vec<Told>, Failure> {
        let client = match self {
            Self::Here(sources) => {
                return Ok(sources.list().await?.into_iter().map(Told::here).collect());
            }
            Self::Server(client) => client,
        };
        let mut all = Vec::new();
        let mut request = v1::ListSourcesRequest { limit: PAGE, ..Default::default() };
        loop {
            let list = async || client.sources().list_sources(request.clone()).await;
            let page = client::ask("SourceService/ListSources", list).await?;
            let told = page.sources.into_iter().map(Told::by_server);
            all.extend(told.collect::<Result<Vec<_>, _>>()?);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn get(&self, id: &str) -> Result<Told, Failure> {
        let client = match self {
            Self::Here(sources) => return Ok(Told::here(sources.get(id).await?)),
            Self::Server(client) => client,
        };
        let request = v1::GetSourceRequest { id: id.into() };
        let get = async || client.sources().get_source(request.clone()).await;
        let answer = client::ask("SourceService/GetSource", get).await?;
        Told::by_server(answer.source.unwrap_or_default())
    }
}

/// A source with its health when it was told.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    source: SourceStatus,
    health: String,
}

impl Told {
    fn here(source: SourceStatus) -> Self {
        let health = source.health(now()).as_str().into();
        Self { source, health }
    }

    fn by_server(mut source: v1::Source) -> Result<Self, Failure> {
        let health = std::mem::take(&mut source.health);
        Ok(Self { source: source.try_into().map_err(client::foreign)?, health })
    }

    /// The health where somebody reads, else that nobody does.
    fn state(&self) -> &str {
        match self.source.reader {
            Reader::Nobody => "not read",
            Reader::Here | Reader::Elsewhere => &self.health,
        }
    }

    /// What there is to know before one relies on it.
    fn note(&self) -> String {
        let SourceStatus { last_error, lost, backfill, .. } = &self.source;
        let running = backfill.iter().filter(|backfill| !backfill.done);
        let running = running.map(|backfill| format!("backfill {} %", backfill.percent()));
        let lost = lost.iter().map(|lost| format!("LOST: {lost}"));
        last_error.iter().cloned().chain(lost).chain(running).collect::<Vec<_>>().join("; ")
    }

    fn row(&self) -> Vec<String> {
        let source = &self.source;
        vec![
            source.id.clone(),
            source.connection.clone(),
            source.scope.clone(),
            self.state().into(),
            source.records.to_string(),
            time(source.read_through),
            self.note(),
        ]
    }

    fn lines(&self) -> Vec<String> {
        let source = &self.source;
        let reader = match source.reader {
            Reader::Here => "the server that answers",
            Reader::Elsewhere => {
                "another collector, or none yet; ask that one for errors, newest event and budget"
            }
            Reader::Nobody => "nobody",
        };
        let mut lines = vec![
            format!("{} of {}", source.feed, source.scope),
            format!("connection   {} ({})", source.connection, source.id),
            format!("state        {}", self.state()),
            format!("read by      {reader}"),
            format!("records      {}", source.records),
            format!("read through {}", time(source.read_through)),
        ];
        if source.interval_ms > 0 {
            lines.push(format!("every        {} s", source.interval_ms / 1000));
        }
        if source.reader == Reader::Here {
            lines.push(format!("newest event {}", time(source.last_event)));
            lines.push(format!("errors       {} in a row", source.errors));
        }
        let left = source.requests_left;
        lines.extend(left.map(|left| format!("requests     {left} left in GitHub's hour")));
        lines.extend(source.backfill.as_ref().map(|backfill| {
            let (from, until) = (backfill.from, backfill.until);
            format!("backfill     {} % of {from} to {until}", backfill.percent())
        }));
        lines.extend(source.last_error.as_ref().map(|error| format!("FAILING: {error}")));
        lines.extend(source.lost.as_ref().map(|lost| format!("LOST: {lost}")));
        lines
    }
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "–".into(), |at| at.to_string())
}
