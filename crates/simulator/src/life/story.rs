//! How a story is told: its events are written beforehand, then mixed into ordinary life.

use super::act::GIT_TAIL;
use super::line::{Line, document_id};
use super::presence::{Class, Credential, Presence};
use super::rhythm::{DAY, HOUR, is_weekend};
use super::rng::Rng;
use super::world::{ENTERPRISE, ENTERPRISE_ID, Repo, World};
use super::{Plan, alarms, campaigns, lookalikes};

/// Whether a story must be found or must be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoryKind {
    /// An attack: findings are expected.
    Campaign,
    /// Harmless, although parts of it look like an attack: no finding is expected.
    Lookalike,
}

/// A labelled course of events within the life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Stable name, such as `token-stolen-repositories-cloned`.
    pub name: String,
    /// Campaign or look-alike.
    pub kind: StoryKind,
    /// What happens, for a reader.
    pub title: String,
    /// Detection concepts that must fire; empty for a look-alike.
    pub expects: Vec<&'static str>,
    /// When its first event happens, in milliseconds since 1970.
    pub first_ms: i64,
    /// When its last event happens.
    pub last_ms: i64,
    /// How many events it has.
    pub events: usize,
}

/// An event written beforehand.
pub(crate) struct Told {
    pub(crate) at_ms: i64,
    pub(crate) org: Option<usize>,
    pub(crate) document_id: String,
    pub(crate) json: Vec<u8>,
    pub(crate) story: Option<usize>,
}

/// What a story is before it is told.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) kind: StoryKind,
    pub(crate) title: &'static str,
    pub(crate) expects: &'static [&'static str],
    /// When in the period it begins, in thousandths, and at which hour (UTC) of that day.
    pub(crate) begins: (i64, i64),
    /// At most so many hours long.
    pub(crate) hours: i64,
    pub(crate) tell: fn(&mut Teller<'_>),
}

/// Tells every story of the plan; the events come back in the order of time.
pub(crate) fn tell_all(plan: &Plan, world: &World, rng: &mut Rng) -> (Vec<Story>, Vec<Told>) {
    let mut stories = Vec::new();
    let mut told = Vec::new();
    if !plan.stories {
        return (stories, told);
    }
    for script in campaigns::SCRIPTS.iter().chain(&lookalikes::SCRIPTS) {
        let mut teller = Teller {
            world,
            rng: Rng::new(rng.next()),
            start_ms: start(plan, script),
            story: Some(stories.len()),
            told: Vec::new(),
        };
        (script.tell)(&mut teller);
        let times = || teller.told.iter().map(|told| told.at_ms);
        stories.push(Story {
            name: script.name.to_owned(),
            kind: script.kind,
            title: script.title.to_owned(),
            expects: script.expects.to_vec(),
            first_ms: times().min().unwrap_or(plan.start_ms),
            last_ms: times().max().unwrap_or(plan.start_ms),
            events: teller.told.len(),
        });
        told.append(&mut teller.told);
    }
    let mut teller =
        Teller { world, rng: Rng::new(rng.next()), start_ms: plan.start_ms, story: None, told };
    alarms::ring(&mut teller, plan);
    let mut told = teller.told;
    told.sort_by_key(|told| told.at_ms);
    (stories, told)
}

/// When a script begins: on its day and hour, on a working day where there is room, and early enough to end in time.
fn start(plan: &Plan, script: &Script) -> i64 {
    let (thousandths, hour) = script.begins;
    let latest = plan.end_ms() - script.hours * HOUR;
    let day =
        (plan.start_ms + i64::from(plan.days.max(1)) * DAY / 1000 * thousandths).div_euclid(DAY);
    let wanted = day * DAY + hour * HOUR;
    let fits = |at_ms: i64| (plan.start_ms..=latest).contains(&at_ms);
    let candidates = [0, 1, -1, 2, -2].map(|days| wanted + days * DAY);
    let working_day = candidates.into_iter().find(|&at_ms| fits(at_ms) && !is_weekend(at_ms));
    working_day
        .or(candidates.into_iter().find(|&at_ms| fits(at_ms)))
        .unwrap_or(plan.start_ms.max(latest))
}

/// Somebody in a story: an account at an address, with a credential where one is used.
pub(crate) struct Cast {
    pub(crate) login: String,
    pub(crate) id: i64,
    pub(crate) class: Class,
    pub(crate) address: Option<String>,
    pub(crate) country: &'static str,
    pub(crate) browser: &'static str,
    pub(crate) git: &'static str,
    pub(crate) credential: Credential,
}

impl Cast {
    pub(crate) fn presence<'a>(&'a self, user_agent: &'a str) -> Presence<'a> {
        let Self { login, id, class, address, country, .. } = self;
        Presence { login, id: *id, class: *class, address: address.as_deref(), country, user_agent }
    }
}

/// What a told event names besides its actor.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Repo(&'a Repo),
    Org(usize),
    Enterprise,
}

/// Writes the events of one story.
pub(crate) struct Teller<'a> {
    pub(crate) world: &'a World,
    pub(crate) rng: Rng,
    pub(crate) start_ms: i64,
    pub(crate) story: Option<usize>,
    pub(crate) told: Vec<Told>,
}

impl Teller<'_> {
    /// A web event; `fields` adds what the action has beyond the usual.
    pub(crate) fn web(
        &mut self,
        at_ms: i64,
        cast: &Cast,
        place: Place<'_>,
        action: &str,
        operation: &str,
        fields: impl FnOnce(&mut Line),
    ) {
        let id = document_id(&mut self.rng);
        let mut line = Line::event(at_ms, &id, action);
        cast.presence(cast.browser).write_web(&mut line);
        let org = match place {
            Place::Repo(repo) => {
                line.raw(&repo.web);
                Some(repo.org)
            }
            Place::Org(org) => {
                line.raw(&self.world.orgs[org].web);
                Some(org)
            }
            Place::Enterprise => {
                line.text("business", ENTERPRISE).int("business_id", ENTERPRISE_ID);
                None
            }
        };
        line.int("created_at", at_ms)
            .text("operation_type", operation)
            .null("request_access_security_header");
        line.text("request_category", "other").request_id(&mut self.rng);
        fields(&mut line);
        self.push(at_ms, org, &id, line);
    }

    /// A Git operation with the actor's credential.
    pub(crate) fn git(&mut self, at_ms: i64, cast: &Cast, repo: &Repo, action: &str) {
        let id = document_id(&mut self.rng);
        let mut line = Line::event(at_ms, &id, action);
        cast.presence(cast.git).write_git(&mut line, &cast.credential);
        line.raw(&repo.git).request_id(&mut self.rng).raw(GIT_TAIL);
        self.push(at_ms, Some(repo.org), &id, line);
    }

    fn push(&mut self, at_ms: i64, org: Option<usize>, id: &[u8; 22], line: Line) {
        let document_id = id.iter().copied().map(char::from).collect();
        self.told.push(Told { at_ms, org, document_id, json: line.close(), story: self.story });
    }
}

/// Adds the fields of the person whom an event is about.
pub(crate) fn about(line: &mut Line, login: &str, id: i64) {
    line.text("user", login).int("user_id", id);
}
