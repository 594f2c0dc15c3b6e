//! Everything people and apps do that is neither Git nor a workflow run: a table of actions with their fields.
//!
//! The table avoids what a person on duty would be woken for (owners added, protection removed, repositories made
//! public …): such acts belong to stories, and to the two alarms of [`super::alarms`].

mod fields;
mod table;

use super::act::Written;
use super::line::Line;
use super::rng::Rng;
use super::world::{ENTERPRISE, ENTERPRISE_ID, Repo, World};
pub(crate) use fields::fingerprint;
use fields::{new_repository, newcomer, number};
pub(crate) use table::*;

/// Who does such a thing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Somebody in a repository of the own team.
    Developer,
    /// The same, but seldom: at most four such acts in half an hour, so that no burst arises by chance.
    Careful,
    /// Somebody who administers the organization.
    Admin,
    /// A program, by its place in [`World::actors`].
    Program(usize),
}

/// What the event is about, so which of enterprise, organization and repository it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Repo,
    /// A repository that did not exist before.
    NewRepo,
    Org,
    /// An organization, but told only to the enterprise.
    OrgForEnterprise,
    Enterprise,
}

/// Whom `user` names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Actor,
    Member,
    Newcomer,
}

pub(crate) struct Kind {
    pub(crate) action: &'static str,
    operation: &'static str,
    pub(crate) who: Who,
    pub(crate) about: About,
    subject: Subject,
    fields: fn(&mut Line, &Scene<'_>, &Repo),
}

/// One act of ordinary life with everything that its fields are made of.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) at_ms: i64,
    pub(crate) actor: usize,
    pub(crate) repo: usize,
    pub(crate) place: usize,
    pub(crate) seed: u64,
}

impl Kind {
    const fn dev(
        action: &'static str,
        operation: &'static str,
        fields: fn(&mut Line, &Scene<'_>, &Repo),
    ) -> Self {
        Self {
            action,
            operation,
            who: Who::Developer,
            about: About::Repo,
            subject: Subject::Actor,
            fields,
        }
    }

    const fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    const fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    const fn on(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    const fn admin(
        action: &'static str,
        operation: &'static str,
        fields: fn(&mut Line, &Scene<'_>, &Repo),
    ) -> Self {
        Self::dev(action, operation, fields).by(Who::Admin).about(About::Org)
    }

    pub(crate) fn write(&self, scene: &Scene<'_>, id: &[u8; 22], rng: &mut Rng) -> Written {
        let (world, repo) = (scene.world, &scene.world.repos[scene.repo]);
        let actor = &world.actors[scene.actor];
        let mut line = Line::event(scene.at_ms, id, self.action);
        line.raw(&actor.web[scene.place]);
        match self.about {
            About::Repo => line.raw(&repo.web),
            About::NewRepo => new_repository(&mut line, scene, repo),
            About::Org | About::OrgForEnterprise => line.raw(&world.orgs[repo.org].web),
            About::Enterprise => {
                line.text("business", ENTERPRISE).int("business_id", ENTERPRISE_ID)
            }
        };
        line.int("created_at", scene.at_ms).text("operation_type", self.operation);
        line.null("request_access_security_header")
            .text("request_category", "other")
            .request_id(rng);
        match self.subject {
            Subject::Actor => line.text("user", &actor.login).int("user_id", actor.id),
            Subject::Member => {
                let member = &world.actors[world.member(&mut Rng::new(scene.seed))];
                line.text("user", &member.login).int("user_id", member.id)
            }
            Subject::Newcomer => {
                line.text("user", &newcomer(scene.seed)).int("user_id", 190_000_000 + number(scene))
            }
        };
        (self.fields)(&mut line, scene, repo);
        let org =
            matches!(self.about, About::Repo | About::NewRepo | About::Org).then_some(repo.org);
        Written { json: line.close(), org }
    }
}
