//! The events that the simulator holds, in the order of time and id.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::cursor::Key;
use super::phrase::Phrase;
use crate::life::mix;

const DAY_MS: i64 = 86_400_000;
/// Web events are kept for 180 days, Git events for seven; without `created:` three months are searched.
const WEB_KEPT_MS: i64 = 180 * DAY_MS;
const GIT_KEPT_MS: i64 = 7 * DAY_MS;
const DEFAULT_WINDOW_MS: i64 = 91 * DAY_MS;

/// Which events a request may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Web,
    Git,
    All,
}

/// Whose log is read.
#[derive(Clone, Copy)]
pub(crate) enum Log<'a> {
    Org(&'a str),
    Enterprise,
}

/// One request for a page.
pub(crate) struct Query<'a> {
    pub(crate) log: Log<'a>,
    pub(crate) include: Include,
    pub(crate) ascending: bool,
    pub(crate) phrase: &'a Phrase,
    pub(crate) now_ms: i64,
    /// Shows by page instead of by cursor keep everything for ever.
    pub(crate) keeps_all: bool,
    pub(crate) twice_per_mille: u64,
}

/// Where the page lies in the list.
pub(crate) enum At {
    Start,
    After(Key),
    Before(Key),
}

/// A page with what its links need.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) events: Vec<Bytes>,
    pub(crate) first: Option<Key>,
    pub(crate) last: Option<Key>,
    pub(crate) has_next: bool,
    pub(crate) has_previous: bool,
}

struct Entry {
    body: Bytes,
    orgs: Vec<String>,
    is_git: bool,
    visible_ms: i64,
}

#[derive(Default)]
pub(crate) struct Store(BTreeMap<Key, Entry>);

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "@timestamp")]
    at_ms: i64,
    #[serde(rename = "_document_id")]
    id: Option<Value>,
    action: String,
    org: Option<Value>,
}

/// Which part of the events come late, and how late.
#[derive(Clone, Copy)]
pub(crate) struct Lateness {
    pub(crate) per_mille: u64,
    pub(crate) by: Duration,
}

impl Store {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one event; `enterprise_only` keeps it out of the organizations' logs. The same time and id replace.
    pub(crate) fn add(
        &mut self,
        body: Bytes,
        enterprise_only: bool,
        late: Lateness,
    ) -> Result<(), String> {
        let head: Head = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        if head.action == "api.request" {
            return Ok(()); // never in this log, only in streams
        }
        let id = match head.id {
            Some(Value::String(id)) => id,
            _ => format!("h{:021x}", fold(&body)),
        };
        let orgs = match head.org {
            _ if enterprise_only => Vec::new(),
            Some(Value::String(org)) => vec![org.to_lowercase()],
            Some(Value::Array(orgs)) => {
                orgs.iter().filter_map(Value::as_str).map(str::to_lowercase).collect()
            }
            _ => Vec::new(),
        };
        let is_late = mix(fold(id.as_bytes()) ^ 1) % 1000 < late.per_mille;
        let delay =
            if is_late { i64::try_from(late.by.as_millis()).unwrap_or(i64::MAX) } else { 0 };
        let entry = Entry {
            is_git: head.action.starts_with("git."),
            visible_ms: head.at_ms.saturating_add(delay),
            orgs,
            body,
        };
        self.0.insert((head.at_ms, id), entry);
        Ok(())
    }

    /// The page of `size` events at a place of the list that the query describes.
    pub(crate) fn page(&self, query: &Query<'_>, at: &At, size: usize) -> Page {
        let forward = query.ascending != matches!(at, At::Before(_));
        let from = match at {
            At::Start => None,
            At::After(key) | At::Before(key) => Some(key),
        };
        let mut page = Page::default();
        let mut keys = Vec::new();
        for (key, entry) in self.walk(query, forward, from) {
            if page.events.len() == size {
                page.has_next = true;
                break;
            }
            let twice = mix(fold(key.1.as_bytes()) ^ 2) % 1000 < query.twice_per_mille;
            page.events.push(entry.body.clone());
            if twice && page.events.len() < size {
                page.events.push(entry.body.clone());
            }
            keys.push(key);
        }
        if let (At::Before(_), more_behind) = (at, page.has_next) {
            page.events.reverse();
            keys.reverse();
            page.has_previous = more_behind;
            page.has_next = true; // the place that it lies before
        }
        page.first = keys.first().map(|key| (*key).clone());
        page.last = keys.last().map(|key| (*key).clone());
        if let (At::After(_), Some(first)) = (at, &page.first) {
            page.has_previous = self.walk(query, !query.ascending, Some(first)).next().is_some();
        }
        page
    }

    /// The events of page `number` (from 1) by counting, and how many there are in all.
    pub(crate) fn numbered(
        &self,
        query: &Query<'_>,
        number: usize,
        size: usize,
    ) -> (Vec<Bytes>, usize) {
        let all: Vec<&Entry> =
            self.walk(query, query.ascending, None).map(|(_, entry)| entry).collect();
        let page = all.iter().skip((number.max(1) - 1).saturating_mul(size)).take(size);
        (page.map(|entry| entry.body.clone()).collect(), all.len())
    }

    /// What the query may see, from a place on, forward in time or backward.
    fn walk<'a>(
        &'a self,
        query: &'a Query<'a>,
        forward: bool,
        from: Option<&Key>,
    ) -> Box<dyn Iterator<Item = (&'a Key, &'a Entry)> + 'a> {
        let window = if query.phrase.has_created() { WEB_KEPT_MS } else { DEFAULT_WINDOW_MS };
        let kept = match query.include {
            Include::Git if !query.keeps_all => GIT_KEPT_MS,
            _ if query.keeps_all && query.phrase.has_created() => i64::MAX / 2,
            _ => window,
        };
        let (low, high) = query.phrase.bounds();
        let low = low.max(query.now_ms.saturating_sub(kept));
        let high = high.min(query.now_ms);
        let mut start = Included((low, String::new()));
        let mut end =
            if high == i64::MAX { Unbounded } else { Excluded((high + 1, String::new())) };
        match from {
            Some(key) if forward && key.0 >= low => start = Excluded(key.clone()),
            Some(key) if !forward && key.0 <= high => end = Excluded(key.clone()),
            _ => {}
        }
        if is_empty(&start, &end) {
            return Box::new(std::iter::empty());
        }
        let range = self.0.range((start, end));
        let visible = move |(key, entry): &(&Key, &Entry)| query.sees(key, entry);
        if forward {
            Box::new(range.filter(visible))
        } else {
            Box::new(range.rev().filter(visible))
        }
    }
}

impl Query<'_> {
    fn sees(&self, (at_ms, _): &Key, entry: &Entry) -> bool {
        let of_log = match self.log {
            Log::Enterprise => true,
            Log::Org(org) => entry.orgs.iter().any(|of| of == org),
        };
        let included = match self.include {
            Include::All => true,
            Include::Git => entry.is_git,
            Include::Web => !entry.is_git,
        };
        let kept =
            self.keeps_all || !entry.is_git || *at_ms >= self.now_ms.saturating_sub(GIT_KEPT_MS);
        of_log
            && included
            && kept
            && entry.visible_ms <= self.now_ms
            && self.phrase.matches(*at_ms, &entry.body)
    }
}

/// Whether a range would be refused by the map, which panics when its start lies behind its end.
fn is_empty(start: &std::ops::Bound<Key>, end: &std::ops::Bound<Key>) -> bool {
    match (start, end) {
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
        _ => false,
    }
}

fn fold(bytes: &[u8]) -> u64 {
    mix(bytes
        .iter()
        .fold(0, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)))
}
