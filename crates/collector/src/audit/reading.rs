use std::collections::HashSet;

use hubwarden_event::{
    ConnectionId, Feed, Hash, Kind, Progress, RawBody, RunEnd, RunId, Timestamp,
};
use hubwarden_proto::v1;
use reqwest::Url;

use super::config::Poll;

/// A backfill is read in windows of this length, so that time moves on while it runs.
const WINDOW_MS: i64 = 24 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// The parts in which a log is read, in the order of their urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What happens from now on, both kinds together.
    Live,
    /// Git events before that, which GitHub forgets first.
    BackfillGit,
    /// Web events before that.
    BackfillWeb,
}

impl Part {
    const ALL: [Self; 3] = [Self::Live, Self::BackfillGit, Self::BackfillWeb];

    /// How the part is called in the scope of its cursor; the live one is the scope itself.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::BackfillGit => "#git",
            Self::BackfillWeb => "#web",
        }
    }

    /// The part of this scope that a cursor stands for.
    pub(super) fn of(cursor: &v1::FeedCursor, scope: &str) -> Option<Self> {
        let is_ours = cursor.feed == Feed::AuditRest.as_str();
        let suffix = cursor.scope.strip_prefix(scope).filter(|_| is_ours)?;
        Self::ALL.into_iter().find(|part| part.suffix() == suffix)
    }

    pub(super) const fn include(self) -> &'static str {
        match self {
            Self::Live => "all",
            Self::BackfillGit => "git",
            Self::BackfillWeb => "web",
        }
    }

    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Live => &[Kind::Audit, Kind::Git],
            Self::BackfillGit => &[Kind::Git],
            Self::BackfillWeb => &[Kind::Audit],
        }
    }
}

/// How far one part has been read. Its cursor is all that outlives the process.
///
/// In the cursor `pass_from_ms` is the moment at which the pass of `next_link` was begun: when the
/// pass has been read to its end, everything before that moment has been read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) part: Part,
    pub(super) cursor: v1::FeedCursor,
    /// Pages of this pass that were asked for; a page that leads to one of them is a circle.
    followed: HashSet<Hash>,
}

/// What a page means for its reading.
#[derive(Debug)]
pub(super) enum Step {
    /// The pass goes on.
    Page,
    /// The pass is complete; these say so.
    Complete(Vec<RawBody>),
    /// The next page is one of this pass; the pass will start again.
    Circle,
}

impl Reading {
    fn new(part: Part, scope: &str, run: &RunId, from: Timestamp, until_ms: i64) -> Self {
        let cursor = v1::FeedCursor {
            feed: Feed::AuditRest.to_string(),
            scope: format!("{scope}{}", part.suffix()),
            run: run.to_string(),
            from_ms: from.as_millis(),
            until_ms,
            ..v1::FeedCursor::default()
        };
        Self { part, cursor, followed: HashSet::new() }
    }

    pub(super) fn run(&self) -> RunId {
        RunId::from(self.cursor.run.as_str())
    }

    /// Whether a pass has been begun and not been read to its end.
    pub(super) fn is_open(&self) -> bool {
        !self.cursor.next_link.is_empty()
    }

    /// The page to ask for next; begins a pass where none is open.
    pub(super) fn request(&mut self, log: &Url, now: Timestamp, poll: &Poll, per_page: u32) -> Url {
        let stored = Url::parse(&self.cursor.next_link).ok();
        let url = stored.unwrap_or_else(|| {
            self.followed.clear();
            self.cursor.next_link.clear();
            self.cursor.pass_from_ms = now.as_millis();
            let mut url = log.clone();
            url.query_pairs_mut()
                .append_pair("include", self.part.include())
                .append_pair("order", "asc")
                .append_pair("per_page", &per_page.to_string())
                .append_pair("phrase", &self.phrase(poll));
            url
        });
        self.followed.insert(Hash::of(url.as_str().as_bytes()));
        url
    }

    fn phrase(&self, poll: &Poll) -> String {
        let (start, end) = self.window();
        match self.part {
            Part::Live => {
                let overlap = i64::try_from(poll.overlap.as_millis()).unwrap_or(i64::MAX);
                let from = start.saturating_sub(overlap).max(self.cursor.from_ms);
                format!("created:>={}", second(from, 0))
            }
            _ => format!("created:{}..{}", second(start, 0), second(end, 999)),
        }
    }

    /// First and last moment of the window that is read now; they meet those beside it.
    fn window(&self) -> (i64, i64) {
        let start = self.cursor.through_ms.max(self.cursor.from_ms);
        (start, (start + WINDOW_MS).min(self.cursor.until_ms))
    }

    /// Takes note of a page that has been read.
    pub(super) fn advance(&mut self, next: Option<&Url>, connection: &ConnectionId) -> Step {
        match next {
            Some(next) if self.followed.contains(&Hash::of(next.as_str().as_bytes())) => {
                self.restart();
                Step::Circle
            }
            Some(next) => {
                self.cursor.next_link = next.as_str().into();
                Step::Page
            }
            None => {
                self.cursor.through_ms = match self.part {
                    Part::Live => self.cursor.pass_from_ms,
                    _ => self.window().1,
                };
                let until = self.cursor.until_ms;
                self.cursor.done = self.part != Part::Live && self.cursor.through_ms >= until;
                self.restart();
                Step::Complete(self.progress(connection))
            }
        }
    }

    /// Gives the open pass up; the next request begins it anew.
    pub(super) fn restart(&mut self) {
        self.cursor.next_link.clear();
        self.followed.clear();
    }

    fn progress(&self, connection: &ConnectionId) -> Vec<RawBody> {
        let progress = |kind: &Kind| {
            RawBody::Progress(Progress {
                connection: connection.clone(),
                run: self.run(),
                kind: *kind,
                through: Timestamp::from_millis(self.cursor.through_ms),
            })
        };
        self.part.kinds().iter().map(progress).collect()
    }
}

/// A moment as GitHub's search takes it, in whole seconds.
fn second(millis: i64, round_up_ms: i64) -> String {
    let seconds = millis.saturating_add(round_up_ms).div_euclid(1000);
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => "1970-01-01T00:00:00Z".into(),
    }
}

/// Everything that is read of one connection.
#[derive(Debug)]
pub(super) struct Readings {
    connection: ConnectionId,
    /// The live one first.
    pub(super) all: Vec<Reading>,
    /// Cursors of other feeds and scopes, kept as they are.
    others: Vec<v1::FeedCursor>,
}

impl Readings {
    /// Goes on where the stored cursor stands, or begins: live `lead_ms` before now, and a backfill
    /// that ends now.
    pub(super) fn resume(
        connection: &ConnectionId,
        scope: &str,
        stored: Option<v1::Cursor>,
        now: Timestamp,
        lead_ms: i64,
        poll: &Poll,
    ) -> Self {
        let feeds = stored.map(|cursor| cursor.feeds).unwrap_or_default();
        let (mut all, mut others) = (Vec::new(), Vec::new());
        for cursor in feeds {
            match Part::of(&cursor, scope) {
                Some(part) => all.push(Reading { part, cursor, followed: HashSet::new() }),
                None => others.push(cursor),
            }
        }
        if all.is_empty() {
            let live = RunId::live();
            all.push(Reading::new(Part::Live, scope, &live, now.plus_millis(-lead_ms), 0));
            let run = RunId::new(format!("backfill-{}", now.as_millis()));
            for (part, days) in [
                (Part::BackfillGit, poll.backfill_git_days),
                (Part::BackfillWeb, poll.backfill_days),
            ] {
                let from = now.plus_millis(-i64::from(days) * DAY_MS);
                if days > 0 {
                    all.push(Reading::new(part, scope, &run, from, now.as_millis()));
                }
            }
        }
        all.sort_by_key(|reading| reading.part as u8);
        Self { connection: connection.clone(), all, others }
    }

    /// The cursor as it is stored.
    pub(super) fn cursor(&self) -> v1::Cursor {
        let feeds = self.all.iter().map(|reading| reading.cursor.clone());
        let feeds = feeds.chain(self.others.iter().cloned()).collect();
        v1::Cursor { connection: self.connection.to_string(), feeds }
    }

    /// The end of the run of this reading, when all parts of the run are done.
    pub(super) fn run_end(&self, index: usize) -> Option<RawBody> {
        let run = &self.all.get(index)?.cursor.run;
        let mut parts = self.all.iter().filter(|reading| reading.cursor.run == *run);
        parts.all(|reading| reading.cursor.done).then(|| {
            let run = RunId::from(run.as_str());
            RawBody::RunEnd(RunEnd { connection: self.connection.clone(), run })
        })
    }

    /// The part of the backfill to read next.
    pub(super) fn backfill(&self) -> Option<usize> {
        self.all.iter().position(|reading| reading.part != Part::Live && !reading.cursor.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_500;

    fn log() -> Url {
        "https://api.github.com/orgs/octo/audit-log".parse().unwrap()
    }

    fn begin(stored: Option<v1::Cursor>) -> Readings {
        let poll = Poll { backfill_days: 9, ..Poll::default() };
        let now = Timestamp::from_millis(NOW);
        Readings::resume(&"c".into(), "org/octo", stored, now, 3_600_000, &poll)
    }

    fn phrase(url: &Url) -> String {
        let mut pairs = url.query_pairs();
        pairs.find(|(name, _)| name == "phrase").unwrap().1.into_owned()
    }

    fn next(number: u32) -> Url {
        format!("https://api.github.com/organizations/1/audit-log?after={number}").parse().unwrap()
    }

    #[test]
    fn live_moves_to_the_start_of_a_complete_pass_and_reaches_back_by_the_overlap() {
        let mut readings = begin(None);
        let (live, poll) = (&mut readings.all[0], Poll::default());
        let at = |millis| Timestamp::from_millis(NOW + millis);
        let url = live.request(&log(), at(0), &poll, 100);
        assert_eq!(phrase(&url), "created:>=2027-01-15T07:00:00Z");
        assert!(url.as_str().contains("include=all&order=asc&per_page=100"), "{url}");
        assert!(matches!(live.advance(Some(&next(1)), &"c".into()), Step::Page));
        assert!(live.is_open());
        assert_eq!(live.request(&log(), at(9_000), &poll, 100), next(1));
        let Step::Complete(progress) = live.advance(None, &"c".into()) else { panic!() };
        let throughs: Vec<_> = progress
            .iter()
            .map(|body| match body {
                RawBody::Progress(progress) => (progress.kind, progress.through),
                _ => panic!(),
            })
            .collect();
        assert_eq!(throughs, [(Kind::Audit, at(0)), (Kind::Git, at(0))], "not when it ended");
        let url = live.request(&log(), at(7_200_000), &poll, 100);
        assert_eq!(phrase(&url), "created:>=2027-01-15T07:00:00Z");
        live.advance(None, &"c".into());
        let url = live.request(&log(), at(7_300_000), &poll, 100);
        assert_eq!(phrase(&url), "created:>=2027-01-15T09:00:00Z");
    }

    #[test]
    fn a_backfill_reads_window_after_window_without_a_gap_and_then_ends() {
        let mut readings = begin(None);
        let mut ends = Vec::new();
        let mut phrases = Vec::new();
        while let Some(index) = readings.backfill() {
            let reading = &mut readings.all[index];
            let url = reading.request(&log(), Timestamp::from_millis(NOW), &Poll::default(), 100);
            phrases.push((reading.part, phrase(&url)));
            assert!(ends.is_empty(), "the run ended before its last window");
            reading.advance(None, &"c".into());
            ends.extend(readings.run_end(index));
            readings = begin(Some(readings.cursor())); // as after a kill
        }
        assert_eq!(ends.len(), 1);
        for (part, days) in [(Part::BackfillGit, 7), (Part::BackfillWeb, 9)] {
            let windows: Vec<_> = phrases
                .iter()
                .filter(|(of, _)| *of == part)
                .map(|(_, phrase)| {
                    phrase.strip_prefix("created:").unwrap().split_once("..").unwrap()
                })
                .collect();
            assert_eq!(windows.len(), days);
            assert!(windows.windows(2).all(|pair| pair[0].1 >= pair[1].0), "{windows:?}");
            assert_eq!(windows[days - 1].1, "2027-01-15T08:00:01Z", "rounded up");
        }
    }

    #[test]
    fn a_page_that_leads_back_is_a_circle_and_the_pass_starts_again() {
        let mut readings = begin(None);
        let (live, poll) = (&mut readings.all[0], Poll::default());
        let now = Timestamp::from_millis(NOW);
        let first = live.request(&log(), now, &poll, 100);
        for number in [1, 2] {
            assert!(matches!(live.advance(Some(&next(number)), &"c".into()), Step::Page));
            live.request(&log(), now, &poll, 100);
        }
        assert!(matches!(live.advance(Some(&next(1)), &"c".into()), Step::Circle));
        assert_eq!(live.request(&log(), now, &poll, 100), first);
        assert!(matches!(live.advance(Some(&first), &"c".into()), Step::Circle));
    }

    #[test]
    fn cursors_of_others_are_kept() {
        let other = v1::FeedCursor { feed: "webhook".into(), ..v1::FeedCursor::default() };
        let renamed = v1::FeedCursor {
            feed: "audit-rest".into(),
            scope: "org/octo2".into(),
            ..v1::FeedCursor::default()
        };
        let feeds = vec![other.clone(), renamed.clone()];
        let readings = begin(Some(v1::Cursor { connection: "c".into(), feeds }));
        let cursor = readings.cursor();
        assert_eq!(readings.all.len(), 3);
        assert!(cursor.feeds.contains(&other) && cursor.feeds.contains(&renamed));
    }
}
