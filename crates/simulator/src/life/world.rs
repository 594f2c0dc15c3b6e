//! Who and what exists: organizations, repositories, people, bots and machine users, with the parts of their events
//! that never change written out beforehand.

use std::sync::Arc;

use super::line::Line;
use super::names::{BROWSERS, COUNTRIES, DOMAINS, FIRST, GIT_CLIENTS, KINDS, LAST};
use super::presence::{Class, Credential, Presence};
use super::rng::Rng;

/// Slug of the enterprise.
pub(crate) const ENTERPRISE: &str = "octo-corp";
pub(crate) const ENTERPRISE_ID: i64 = 20_117;
/// Mail domain of everybody who belongs to the enterprise.
pub(crate) const MAIL_DOMAIN: &str = "octo-corp.example";
/// Address range of the enterprise's own build machines.
pub(crate) const RUNNER_RANGE: &str = "198.51.100.128/26";

pub(crate) const PEOPLE: usize = 250;
const ADMINS: usize = 9;
const TEAMS: usize = 20;
const PEOPLE_FROM_ID: i64 = 61_000_000;

pub(crate) struct Org {
    pub(crate) name: Arc<str>,
    pub(crate) id: i64,
    /// Enterprise and organization.
    pub(crate) web: Vec<u8>,
}

pub(crate) struct Repo {
    pub(crate) org: usize,
    /// `owner/name`.
    pub(crate) name: String,
    pub(crate) id: i64,
    pub(crate) visibility: &'static str,
    /// Enterprise, organization and repository as web events name them.
    pub(crate) web: Vec<u8>,
    /// The same as Git events name them.
    pub(crate) git: Vec<u8>,
}

impl Repo {
    pub(crate) fn is_public(&self) -> bool {
        self.visibility == "public"
    }

    /// The name without its owner.
    pub(crate) fn short_name(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, name)| name)
    }
}

pub(crate) struct Actor {
    pub(crate) login: String,
    pub(crate) id: i64,
    pub(crate) team: usize,
    /// Hours by which the actor's clock is ahead of UTC.
    pub(crate) utc_offset: i64,
    /// Actor, address and identity in web events; people have two places to work at.
    pub(crate) web: [Vec<u8>; 2],
    /// The same in Git events, with transport and credential.
    pub(crate) git: [Vec<u8>; 2],
    /// The actor in events of automation, which disclose no address.
    pub(crate) unattended: Vec<u8>,
}

/// Everything that the log's events can be about.
pub(crate) struct World {
    pub(crate) orgs: Vec<Org>,
    pub(crate) repos: Vec<Repo>,
    /// People first (see [`PEOPLE`]), then bots and machine users.
    pub(crate) actors: Vec<Actor>,
}

/// Bots by their place after the people in [`World::actors`].
pub(crate) mod bot {
    use super::PEOPLE;

    pub(crate) const ACTIONS: usize = PEOPLE;
    pub(crate) const DEPENDABOT: usize = PEOPLE + 1;
    pub(crate) const RENOVATE: usize = PEOPLE + 2;
    pub(crate) const SCANNING: usize = PEOPLE + 6;
    pub(crate) const IDENTITY: usize = PEOPLE + 8;
    pub(crate) const COPILOT: usize = PEOPLE + 9;
    /// The programs that read and write repositories with tokens of their own.
    pub(crate) const MACHINES: std::ops::Range<usize> = PEOPLE + 10..PEOPLE + 15;
}

const BOTS: [&str; 10] = [
    "github-actions[bot]",
    "dependabot[bot]",
    "renovate[bot]",
    "octo-release[bot]",
    "mergify[bot]",
    "codecov[bot]",
    "github-advanced-security[bot]",
    "pre-commit-ci[bot]",
    "octo-identity[bot]",
    "Copilot",
];

/// Accounts of programs: what `machine_users` lists.
pub(crate) const MACHINES: [&str; 5] =
    ["octo-ci", "octo-deploy", "octo-mirror", "octo-gitops", "octo-indexer"];

impl World {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let orgs =
            ["octo-shop", "octo-data", "octo-platform"].iter().enumerate().map(|(index, name)| {
                let id = 80_307_827 + 1_913 * index as i64;
                let mut web = Line::fragment();
                web.text("business", ENTERPRISE)
                    .int("business_id", ENTERPRISE_ID)
                    .text("org", name)
                    .int("org_id", id);
                Org { name: Arc::from(*name), id, web: web.into_fragment() }
            });
        let orgs: Vec<Org> = orgs.collect();
        let mut repos = Vec::with_capacity(DOMAINS.len() * KINDS.len());
        for (place, domain) in DOMAINS.iter().enumerate() {
            for kind in KINDS {
                // Twenty-four subjects are the shop's, ten are about data, six about the platform.
                let org = usize::from(place >= 24) + usize::from(place >= 34);
                let visibility = match rng.below(100) {
                    0..7 => "public",
                    7..35 => "internal",
                    _ => "private",
                };
                let id = 383_000_000 + 1_009 * repos.len() as i64 + rng.below(1_000) as i64;
                repos.push(repo(&orgs, org, &format!("{domain}-{kind}"), id, visibility));
            }
        }
        let mut world = Self { orgs, repos, actors: Vec::with_capacity(PEOPLE + 16) };
        for index in 0..PEOPLE {
            world.actors.push(person(rng, index));
        }
        for (index, login) in BOTS.iter().enumerate() {
            world.actors.push(program(rng, login, 41_898_282 + 7_919 * index as i64, Class::Bot));
        }
        for (index, login) in MACHINES.iter().enumerate() {
            world.actors.push(program(rng, login, 72_500_100 + 311 * index as i64, Class::Machine));
        }
        world
    }

    /// Somebody who administers organizations.
    pub(crate) fn admin(&self, rng: &mut Rng) -> usize {
        rng.index(ADMINS)
    }

    /// Somebody who does not administer anything.
    pub(crate) fn member(&self, rng: &mut Rng) -> usize {
        ADMINS + rng.index(PEOPLE - ADMINS)
    }

    /// A repository of the actor's team, mostly one of the few that the team really works on.
    pub(crate) fn repo_of(&self, actor: usize, rng: &mut Rng) -> usize {
        let each = self.repos.len() / TEAMS;
        let favoured = rng.below(each as u64) * rng.below(each as u64) / each as u64;
        self.actors[actor].team * each + favoured as usize
    }

    /// Any repository.
    pub(crate) fn any_repo(&self, rng: &mut Rng) -> usize {
        rng.index(self.repos.len())
    }

    /// Repositories of one organization that outsiders must not see.
    pub(crate) fn closed_repos(&self, org: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.repos.len())
            .filter(move |&repo| self.repos[repo].org == org && !self.repos[repo].is_public())
    }
}

/// A repository with the parts of its events written out.
pub(crate) fn repo(
    orgs: &[Org],
    org: usize,
    short_name: &str,
    id: i64,
    visibility: &'static str,
) -> Repo {
    let name = format!("{}/{short_name}", orgs[org].name);
    let mut web = Line::fragment();
    web.raw(&orgs[org].web)
        .text("repo", &name)
        .int("repo_id", id)
        .flag("public_repo", visibility == "public");
    let mut git = Line::fragment();
    git.raw(&orgs[org].web).text("repo", &name).int("repo_id", id).text("repository", &name);
    git.int("repository_id", id).flag("repository_public", visibility == "public");
    Repo { org, name, id, visibility, web: web.into_fragment(), git: git.into_fragment() }
}

fn person(rng: &mut Rng, index: usize) -> Actor {
    // 7 has no factor in common with 32, so the pairs repeat only after all combinations.
    let login = format!(
        "{}-{}",
        FIRST[index * 7 % FIRST.len()],
        LAST[(index + index / LAST.len()) % LAST.len()]
    );
    let team = index % TEAMS;
    let (country, utc_offset) = COUNTRIES[(team + usize::from(rng.percent(30))) % COUNTRIES.len()];
    let id = PEOPLE_FROM_ID + 4_211 * index as i64;
    let office = format!("198.51.100.{}", 10 + team);
    let home = if rng.percent(20) {
        format!("2001:db8:{:x}:{:x}::{:x}", 0x1000 + index, rng.below(65_536), rng.below(65_536))
    } else {
        format!("198.18.{}.{}", index, 1 + rng.below(254))
    };
    let browser = *rng.pick(&BROWSERS);
    let git_client = *rng.pick(&GIT_CLIENTS);
    let credential = Credential::of_a_person(rng);
    let at = |address: &str, user_agent: &str, git: bool| {
        let address = Some(address);
        let presence =
            Presence { login: &login, id, class: Class::Person, address, country, user_agent };
        let mut line = Line::fragment();
        if git {
            presence.write_git(&mut line, &credential)
        } else {
            presence.write_web(&mut line)
        }
        line.into_fragment()
    };
    let web = [at(&office, browser, false), at(&home, browser, false)];
    let git = [at(&office, git_client, true), at(&home, git_client, true)];
    let unattended = Presence {
        login: &login,
        id,
        class: Class::Person,
        address: None,
        country,
        user_agent: "",
    }
    .unattended();
    Actor { login, id, team, utc_offset, web, git, unattended }
}

fn program(rng: &mut Rng, login: &str, id: i64, class: Class) -> Actor {
    let address = format!("198.51.100.{}", 130 + rng.below(60));
    let address = (class == Class::Machine).then_some(address.as_str());
    let credential = match class {
        Class::Bot => Credential::of(rng, "GitHub App server-to-server token", ""),
        _ => Credential::classic(rng),
    };
    let presence = |user_agent| Presence { login, id, class, address, country: "US", user_agent };
    let mut web = Line::fragment();
    presence("octo-automation/4.2 (+https://automation.octo-corp.example)").write_web(&mut web);
    credential.write(&mut web);
    let mut git = Line::fragment();
    if login == BOTS[0] {
        // Every job has a token of its own, so the token's fields are written per event.
        presence("git/2.51.2").write_who(&mut git, false);
        git.text("user_agent", "git/2.51.2")
            .int("transport_protocol", 1)
            .text("transport_protocol_name", "http");
    } else {
        presence("git/2.47.3").write_git(&mut git, &credential);
    }
    let (web, git, unattended) =
        (web.into_fragment(), git.into_fragment(), presence("").unattended());
    let (web, git) = ([web.clone(), web], [git.clone(), git]);
    Actor { login: login.to_owned(), id, team: 0, utc_offset: 0, web, git, unattended }
}
