//! A seeded generator of an enterprise's life: ordinary days, attacks among them, and things that only look like ones.

mod act;
mod alarms;
mod campaigns;
mod line;
mod lookalikes;
mod names;
mod ordinary;
mod presence;
mod rhythm;
mod rng;
mod story;
mod web;
mod world;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::slice::Iter;
use std::sync::Arc;

use ordinary::Ordinary;
use rng::Rng;
pub(crate) use rng::mix;
use story::Told;
pub use story::{Story, StoryKind};
use world::{World, bot};

/// How long, how busy and which life is to be lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The same seed and plan give the same bytes.
    pub seed: u64,
    /// First moment, in milliseconds since 1970.
    pub start_ms: i64,
    /// Length in days; 0 counts as 1.
    pub days: u32,
    /// How many events there are; never fewer than the stories need (about 700).
    pub events: u64,
    /// Whether campaigns and look-alikes happen; without them every event is ordinary.
    pub stories: bool,
}

impl Default for Plan {
    /// Thirty days of one million events that end on the first of November 2026.
    fn default() -> Self {
        Self {
            seed: 1,
            start_ms: 1_793_491_200_000 - 30 * rhythm::DAY,
            days: 30,
            events: 1_000_000,
            stories: true,
        }
    }
}

impl Plan {
    /// The same plan, moved so that its last moment is `end_ms`.
    pub fn ending_at(self, end_ms: i64) -> Self {
        let start_ms = end_ms - i64::from(self.days.max(1)) * rhythm::DAY;
        Self { start_ms, ..self }
    }

    /// The first moment that no longer belongs to the plan.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + i64::from(self.days.max(1)) * rhythm::DAY
    }
}

/// One audit event as GitHub would have sent it, with what only its maker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// When it happened: the event's `@timestamp`.
    pub at_ms: i64,
    /// The organization in whose log it is; empty for events that only the enterprise's log has.
    pub org: Arc<str>,
    /// One JSON object without line breaks.
    pub json: Vec<u8>,
    /// Which of [`Life::stories`] it belongs to, if any.
    pub story: Option<usize>,
    /// Whether only the enterprise's log shows it.
    pub enterprise_only: bool,
}

/// The life of an enterprise, ready to be told any number of times.
pub struct Life {
    plan: Plan,
    world: World,
    stories: Vec<Story>,
    told: Vec<Told>,
}

impl Life {
    /// Builds the enterprise and its stories; ordinary events are made while [`Life::events`] is read.
    pub fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let world = World::new(&mut rng);
        let (stories, told) = story::tell_all(&plan, &world, &mut rng);
        Self { plan, world, stories, told }
    }

    /// The plan that this life follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The labelled campaigns and look-alikes.
    pub fn stories(&self) -> &[Story] {
        &self.stories
    }

    /// The `_document_id` of every event of a story, by its index.
    pub fn document_ids(&self, story: usize) -> BTreeSet<String> {
        let of_story = self.told.iter().filter(|told| told.story == Some(story));
        of_story.map(|told| told.document_id.clone()).collect()
    }

    /// Slug of the enterprise.
    pub fn enterprise(&self) -> &'static str {
        world::ENTERPRISE
    }

    /// Numeric id of the enterprise.
    pub fn enterprise_id(&self) -> i64 {
        world::ENTERPRISE_ID
    }

    /// Login and numeric id of every organization.
    pub fn orgs(&self) -> impl Iterator<Item = (Arc<str>, i64)> + '_ {
        self.world.orgs.iter().map(|org| (org.name.clone(), org.id))
    }

    /// All events in the order of time, made one by one.
    pub fn events(&self) -> impl Iterator<Item = Generated> + '_ {
        let ordinary = self.plan.events.saturating_sub(self.told.len() as u64);
        Events {
            life: self,
            ordinary: Ordinary::new(&self.world, &self.plan, ordinary),
            upcoming: None,
            told: self.told.iter().peekable(),
        }
    }

    /// The lists that somebody who runs this enterprise would give a detection product: who and what is known to be
    /// fine. Names are those of Hubwarden's shipped rules.
    pub fn lists(&self) -> BTreeMap<String, Vec<String>> {
        let machines = bot::MACHINES.map(|actor| self.world.actors[actor].login.clone());
        let mut machine_users: Vec<String> = machines.collect();
        machine_users
            .extend([lookalikes::MIGRATION_RUNNER.to_owned(), lookalikes::CLEANUP_USER.to_owned()]);
        let lists: [(&str, Vec<String>); 7] = [
            ("machine_users", machine_users),
            (
                "migration_operators",
                vec![lookalikes::MIGRATION_OPERATOR.into(), lookalikes::MIGRATION_RUNNER.into()],
            ),
            ("company_domains", vec![world::MAIL_DOMAIN.into()]),
            (
                "approved_apps",
                ["renovate", "codecov", "mergify", "dependabot"].map(Into::into).into(),
            ),
            ("sensitive_repositories", self.sensitive_repositories()),
            ("runner_egress", vec![world::RUNNER_RANGE.into()]),
            ("own_hooks", vec![campaigns::MONITORING_HOOK.to_string()]),
        ];
        lists.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
    }

    fn sensitive_repositories(&self) -> Vec<String> {
        let sensitive = |name: &str| {
            ["/secrets-", "/payments-", "/identity-"].iter().any(|part| name.contains(part))
        };
        self.world
            .repos
            .iter()
            .filter(|repo| sensitive(&repo.name))
            .map(|repo| repo.name.clone())
            .collect()
    }
}

/// Ordinary life and stories, merged by time.
struct Events<'a> {
    life: &'a Life,
    ordinary: Ordinary<'a>,
    upcoming: Option<(i64, act::Written)>,
    told: Peekable<Iter<'a, Told>>,
}

impl Iterator for Events<'_> {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        let upcoming = self.upcoming.take().or_else(|| self.ordinary.next());
        let told_first = match (&upcoming, self.told.peek()) {
            (Some((at_ms, _)), Some(told)) => told.at_ms <= *at_ms,
            (upcoming, _) => upcoming.is_none(),
        };
        if told_first {
            self.upcoming = upcoming;
            let told = self.told.next()?;
            return Some(self.generated(told.at_ms, told.org, told.json.clone(), told.story));
        }
        let (at_ms, written) = upcoming?;
        Some(self.generated(at_ms, written.org, written.json, None))
    }
}

impl Events<'_> {
    fn generated(
        &self,
        at_ms: i64,
        org: Option<usize>,
        json: Vec<u8>,
        story: Option<usize>,
    ) -> Generated {
        let org = org.map(|org| &self.life.world.orgs[org].name);
        Generated {
            at_ms,
            enterprise_only: org.is_none(),
            org: org.cloned().unwrap_or_default(),
            json,
            story,
        }
    }
}
