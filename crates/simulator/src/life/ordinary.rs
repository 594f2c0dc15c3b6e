//! Ordinary life: people, bots and build machines at work, minute by minute.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Plan;
use super::act::{Act, Stage, What, Written};
use super::rhythm::{HOUR, MINUTE, Quota, at_work, everybody_at_work};
use super::rng::Rng;
use super::web::{self, About, Kind, Who};
use super::world::{PEOPLE, World, bot};

/// Acts of ordinary life in the order of time, exactly as many as asked for.
pub(crate) struct Ordinary<'a> {
    world: &'a World,
    rng: Rng,
    plan: &'a Plan,
    quota: Quota,
    minute: i64,
    events: u64,
    planned: u64,
    waiting: BinaryHeap<Reverse<Act>>,
    caution: Caution,
    /// When a repository was last created, since two by one person within an hour look like a worm.
    repo_created_ms: i64,
}

impl<'a> Ordinary<'a> {
    pub(crate) fn new(world: &'a World, plan: &'a Plan, events: u64) -> Self {
        Self {
            world,
            rng: Rng::new(plan.seed ^ 0x0D1A_417E),
            plan,
            quota: Quota::new(plan.start_ms, plan.days, events),
            minute: 0,
            events,
            planned: 0,
            waiting: BinaryHeap::new(),
            caution: Caution::default(),
            repo_created_ms: i64::MIN / 2,
        }
    }

    /// The next act, written out, with its time.
    pub(crate) fn next(&mut self) -> Option<(i64, Written)> {
        loop {
            let now = self.plan.start_ms + self.minute * MINUTE;
            if let Some(Reverse(act)) = self.waiting.peek()
                && (act.at_ms < now || self.minute == self.quota.minutes())
            {
                let act = *act;
                self.waiting.pop();
                return Some((act.at_ms, act.write(self.world, &mut self.rng)));
            }
            if self.minute == self.quota.minutes() {
                return None;
            }
            let due = self.quota.due_after(self.minute);
            while self.planned < due {
                let at_ms = now + self.rng.below(MINUTE as u64) as i64;
                self.begin_something(at_ms);
            }
            self.minute += 1;
        }
    }

    /// Queues an act; what comes after the period's end happens in its last millisecond, what is too much not at all.
    fn plan(&mut self, at_ms: i64, what: What) {
        if self.planned < self.events {
            let at_ms = at_ms.min(self.plan.end_ms() - 1);
            self.waiting.push(Reverse(Act { at_ms, number: self.planned, what }));
            self.planned += 1;
        }
    }

    fn begin_something(&mut self, at_ms: i64) {
        // The more people are awake, the more of what happens is theirs; machines do the rest.
        let people = 14 * everybody_at_work(at_ms);
        match self.rng.below(100 + people) {
            0..68 => self.machine_reads(at_ms),
            68..89 => {
                let repo = self.world.any_repo(&mut self.rng);
                let actor = self.teammate(repo);
                self.workflow_run(at_ms, actor, repo);
            }
            89..100 => self.bot_pull_request(at_ms),
            _ if self.rng.percent(56) => self.single(at_ms),
            _ => self.work(at_ms),
        }
    }

    /// A machine user, or a program with its token, reads a few repositories.
    fn machine_reads(&mut self, at_ms: i64) {
        let actor = bot::MACHINES.start + self.rng.index(bot::MACHINES.len());
        let mut at_ms = at_ms;
        for _ in 0..self.rng.between(2, 8) {
            let repo = self.world.any_repo(&mut self.rng);
            let action = match self.rng.below(100) {
                0..4 if self.caution.allows(actor, at_ms) => "git.clone",
                4..9 => "git.push",
                _ => "git.fetch",
            };
            self.plan(at_ms, What::Git { action, actor, repo, place: 0 });
            at_ms += self.rng.between(300, 9_000) as i64;
        }
    }

    fn workflow_run(&mut self, at_ms: i64, actor: usize, repo: usize) {
        let seed = self.rng.next();
        let started_ms = at_ms;
        self.plan(at_ms, What::Run { stage: Stage::Created, actor, repo, seed, started_ms });
        let mut at_ms = at_ms + self.rng.between(1_500, 9_000) as i64;
        for job in 0..self.rng.between(1, 4) {
            self.plan(at_ms, What::Run { stage: Stage::Job(job), actor, repo, seed, started_ms });
            for checkout in 0..1 + u64::from(self.rng.percent(20)) {
                let at_ms = at_ms + self.rng.between(4_000, 30_000) as i64;
                self.plan(
                    at_ms,
                    What::Checkout { repo, seed: seed ^ (1 + job + 16 * checkout) << 56 },
                );
            }
            at_ms += self.rng.between(1_000, 90_000) as i64;
        }
        let at_ms = at_ms + self.rng.between(45_000, 900_000) as i64;
        self.plan(at_ms, What::Run { stage: Stage::Completed, actor, repo, seed, started_ms });
    }

    fn bot_pull_request(&mut self, at_ms: i64) {
        let actor = if self.rng.percent(60) { bot::DEPENDABOT } else { bot::RENOVATE };
        let (repo, seed) = (self.world.any_repo(&mut self.rng), self.rng.next());
        self.plan(at_ms, What::Git { action: "git.push", actor, repo, place: 0 });
        self.web(at_ms + 2_000, &web::PULL_REQUEST_CREATE, actor, repo, 0, seed);
        self.workflow_run(at_ms + 5_000, actor, repo);
        if self.rng.percent(25) && self.caution.allows(actor, at_ms) {
            let superseded = self.rng.next();
            self.web(at_ms + 3_000, &web::PULL_REQUEST_CLOSE, actor, repo, 0, superseded);
        }
    }

    /// Somebody works on a repository for a while.
    fn work(&mut self, at_ms: i64) {
        let Some(actor) = self.somebody_awake(at_ms) else {
            return self.machine_reads(at_ms);
        };
        let place = usize::from(self.rng.percent(35));
        let repo = self.world.repo_of(actor, &mut self.rng);
        let mut at_ms = at_ms;
        if self.rng.percent(12) {
            let seed = self.rng.next();
            self.web(at_ms, &web::SSO_RESPONSE, actor, repo, place, seed);
            at_ms += self.rng.between(2_000, 40_000) as i64;
        }
        let fresh = self.rng.percent(6) && self.caution.allows(actor, at_ms);
        for step in 0..self.rng.between(1, 4) {
            let action = if fresh && step == 0 { "git.clone" } else { "git.fetch" };
            self.plan(at_ms, What::Git { action, actor, repo, place });
            at_ms += self.rng.between(30_000, 600_000) as i64;
        }
        if self.rng.percent(60) {
            self.plan(at_ms, What::Git { action: "git.push", actor, repo, place });
            let seed = self.rng.next();
            if self.rng.percent(50) {
                self.web(at_ms + 20_000, &web::PULL_REQUEST_CREATE, actor, repo, place, seed);
                self.web(at_ms + 25_000, &web::REVIEW_REQUEST, actor, repo, place, seed);
            }
            if self.rng.percent(70) {
                self.workflow_run(at_ms + 4_000, actor, repo);
            }
            let reviewer = self.teammate(repo);
            if self.rng.percent(45) {
                let later = at_ms + self.rng.between(5 * MINUTE as u64, 3 * HOUR as u64) as i64;
                self.web(later, &web::REVIEW_SUBMIT, reviewer, repo, 0, seed);
                if self.rng.percent(70) {
                    self.web(
                        later + 4 * MINUTE,
                        &web::PULL_REQUEST_MERGE,
                        actor,
                        repo,
                        place,
                        seed,
                    );
                }
            }
        }
    }

    fn single(&mut self, at_ms: i64) {
        let total: u64 = web::SINGLES.iter().map(|(weight, _)| weight).sum();
        let mut left = self.rng.below(total);
        for (weight, kind) in &web::SINGLES {
            if left < *weight {
                return self.single_of(at_ms, kind);
            }
            left -= weight;
        }
    }

    fn single_of(&mut self, at_ms: i64, kind: &'static Kind) {
        let seed = self.rng.next();
        let any = self.world.any_repo(&mut self.rng);
        let (actor, repo) = match kind.who {
            Who::Program(actor) => (Some(actor), any),
            Who::Admin => (Some(self.world.admin(&mut self.rng)), any),
            Who::Developer | Who::Careful => match self.somebody_awake(at_ms) {
                Some(actor) => (Some(actor), self.world.repo_of(actor, &mut self.rng)),
                None => (None, any),
            },
        };
        let actor =
            actor.filter(|&actor| kind.who != Who::Careful || self.caution.allows(actor, at_ms));
        let is_creation = kind.about == About::NewRepo;
        match actor {
            Some(_) if is_creation && at_ms - self.repo_created_ms.min(at_ms) < 2 * HOUR => {
                self.machine_reads(at_ms)
            }
            Some(actor) => {
                if is_creation {
                    self.repo_created_ms = at_ms;
                }
                let place = usize::from(self.rng.percent(35));
                self.web(at_ms, kind, actor, repo, place, seed);
            }
            None => self.machine_reads(at_ms),
        }
    }

    fn web(
        &mut self,
        at_ms: i64,
        kind: &'static Kind,
        actor: usize,
        repo: usize,
        place: usize,
        seed: u64,
    ) {
        self.plan(at_ms, What::Web { kind, actor, repo, place, seed });
    }

    /// A person for whom it is a time to work.
    fn somebody_awake(&mut self, at_ms: i64) -> Option<usize> {
        (0..4).find_map(|_| {
            let actor = self.rng.index(PEOPLE);
            (self.rng.below(10) < at_work(at_ms, self.world.actors[actor].utc_offset))
                .then_some(actor)
        })
    }

    /// A person of the team that owns the repository.
    fn teammate(&mut self, repo: usize) -> usize {
        let team = repo / 20;
        let size = PEOPLE / 20;
        team + 20 * self.rng.index(size)
    }
}

/// Remembers the last four delicate acts of everybody, so that ordinary life never makes a burst of them.
///
/// Four an hour stay below every threshold that a product may reasonably have.
#[derive(Default)]
struct Caution(HashMap<usize, [i64; 4]>);

impl Caution {
    fn allows(&mut self, actor: usize, at_ms: i64) -> bool {
        // Acts are planned a few minutes ahead and so a little out of order: distance counts both ways.
        let last = self.0.entry(actor).or_insert([i64::MIN / 2; 4]);
        match last.iter_mut().find(|last| (at_ms - **last).abs() > HOUR) {
            Some(slot) => {
                *slot = at_ms;
                true
            }
            None => false,
        }
    }
}
