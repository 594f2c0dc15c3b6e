//! What looks like an attack and is none: each a script of which nothing may be found.

use super::act::pull_request_fields;
use super::names::{BROWSERS, GIT_CLIENTS};
use super::presence::{Class, Credential};
use super::rhythm::{HOUR, MINUTE};
use super::story::StoryKind::Lookalike;
use super::story::{Cast, Place, Script, Teller, about};
use super::web::fingerprint;
use super::world::repo;

/// Who runs migrations, and the account of the program that copies for them.
pub(crate) const MIGRATION_OPERATOR: &str = "migration-operator";
pub(crate) const MIGRATION_RUNNER: &str = "octo-migration";
/// The account of the program that deletes what nobody needs any more.
pub(crate) const CLEANUP_USER: &str = "octo-cleanup";

pub(crate) static SCRIPTS: [Script; 6] = [
    Script {
        name: "team-joins-and-clones",
        kind: Lookalike,
        title: "Six people join and clone the repositories of their new team",
        expects: &[],
        begins: (180, 8),
        hours: 8,
        tell: team_joins,
    },
    Script {
        name: "bot-clean-up",
        kind: Lookalike,
        title: "Bots delete archived sandboxes and close stale pull requests",
        expects: &[],
        begins: (340, 6),
        hours: 9,
        tell: bot_clean_up,
    },
    Script {
        name: "people-leave",
        kind: Lookalike,
        title: "Access of five people who left is taken away in one go",
        expects: &[],
        begins: (450, 13),
        hours: 1,
        tell: people_leave,
    },
    Script {
        name: "planned-migration",
        kind: Lookalike,
        title: "A listed operator migrates repositories; a listed program clones them",
        expects: &[],
        begins: (780, 9),
        hours: 4,
        tell: planned_migration,
    },
    Script {
        name: "new-laptop",
        kind: Lookalike,
        title: "Somebody sets up a new computer and clones five repositories",
        expects: &[],
        begins: (860, 9),
        hours: 1,
        tell: new_laptop,
    },
    Script {
        name: "release-day",
        kind: Lookalike,
        title: "A release: many merges, tags and packages within a few hours",
        expects: &[],
        begins: (900, 12),
        hours: 4,
        tell: release_day,
    },
];

impl Teller<'_> {
    fn cast(&mut self, login: &str, id: i64, class: Class) -> Cast {
        let host = 10 + self.rng.below(200);
        Cast {
            login: login.to_owned(),
            id,
            class,
            address: (class != Class::Bot).then(|| format!("198.18.254.{host}")),
            country: "DE",
            browser: BROWSERS[0],
            git: GIT_CLIENTS[0],
            credential: Credential::classic(&mut self.rng),
        }
    }

    /// One of the people of ordinary life.
    fn colleague(&mut self, actor: usize) -> Cast {
        let actor = &self.world.actors[actor];
        self.cast(&actor.login, actor.id, Class::Person)
    }
}

fn team_joins(teller: &mut Teller<'_>) {
    let world = teller.world;
    let admin = teller.colleague(0);
    let start = teller.start_ms;
    let team = "octo-shop/subscriptions";
    teller.web(start, &admin, Place::Org(0), "team.create", "create", |line| {
        line.text("team", team).text("team_type", "organization");
    });
    let repos: Vec<usize> = world.closed_repos(0).skip(80).take(8).collect();
    for (place, login) in
        ["ida-lind", "omar-aziz", "noa-katz", "yuki-mori", "luis-vega", "eva-horn"]
            .iter()
            .enumerate()
    {
        let newcomer = teller.cast(login, 203_400_100 + 17 * place as i64, Class::Person);
        let invited = start + (3 + place as i64) * MINUTE;
        teller.web(invited, &admin, Place::Org(0), "org.add_member", "modify", |line| {
            about(line, login, newcomer.id);
            line.int("invitation_id", 51_700_000 + place as i64).text("permission", "read");
        });
        teller.web(invited + 20_000, &admin, Place::Org(0), "team.add_member", "modify", |line| {
            about(line, login, newcomer.id);
            line.text("team", team).text("team_type", "organization");
        });
        let mut at_ms = start + teller.rng.between(20 * MINUTE as u64, 80 * MINUTE as u64) as i64;
        teller.web(at_ms, &newcomer, Place::Org(0), "public_key.create", "create", |line| {
            fingerprint(line, newcomer.id as u64);
            line.flag("read_only", false).text("title", "work laptop");
        });
        for &repo in repos.iter().skip(place % 3).take(4 + place % 2) {
            at_ms += teller.rng.between(9 * MINUTE as u64, 55 * MINUTE as u64) as i64;
            teller.git(at_ms, &newcomer, &world.repos[repo], "git.clone");
        }
    }
}

fn bot_clean_up(teller: &mut Teller<'_>) {
    let world = teller.world;
    let cleaner = teller.cast(CLEANUP_USER, 72_500_900, Class::Machine);
    let start = teller.start_ms;
    for sandbox in 0..9 {
        let at_ms = start + sandbox * 50 * MINUTE;
        let repo = repo(
            &world.orgs,
            2,
            &format!("sandbox-{}", 2024 + sandbox),
            401_000_000 + sandbox,
            "private",
        );
        teller.web(at_ms, &cleaner, Place::Repo(&repo), "repo.destroy", "remove", |line| {
            line.text("request_method", "delete").text("visibility", "private");
        });
    }
    let stale = teller.cast("stale[bot]", 26_384_082, Class::Bot);
    let mut at_ms = start + HOUR;
    for _ in 0..60 {
        let repo = &world.repos[world.any_repo(&mut teller.rng)];
        let seed = teller.rng.next();
        teller.web(at_ms, &stale, Place::Repo(repo), "pull_request.close", "modify", |line| {
            pull_request_fields(line, repo, seed);
        });
        // Slower than ten in eight minutes, which no bot that respects GitHub's limits exceeds.
        at_ms += teller.rng.between(60_000, 80_000) as i64;
    }
}

fn people_leave(teller: &mut Teller<'_>) {
    let admin = teller.colleague(6);
    let mut at_ms = teller.start_ms;
    for (place, login) in
        ["jo-hardy", "sam-okoye", "lea-blum", "ivan-petrov", "mia-rossi"].iter().enumerate()
    {
        let id = 61_900_000 + place as i64;
        for (action, operation) in
            [("team.remove_member", "modify"), ("org.remove_member", "remove")]
        {
            teller.web(at_ms, &admin, Place::Org(place % 3), action, operation, |line| {
                about(line, login, id);
                if action == "team.remove_member" {
                    line.text("team", "octo-shop/checkout").text("team_type", "organization");
                }
            });
            at_ms += teller.rng.between(30_000, 150_000) as i64;
        }
    }
}

fn planned_migration(teller: &mut Teller<'_>) {
    let world = teller.world;
    let operator = teller.cast(MIGRATION_OPERATOR, 72_400_010, Class::Person);
    let runner = teller.cast(MIGRATION_RUNNER, 72_500_950, Class::Machine);
    let mut at_ms = teller.start_ms;
    let repos: Vec<usize> = world.closed_repos(1).skip(30).take(42).collect();
    for part in repos.chunks(14) {
        teller.web(at_ms, &operator, Place::Org(1), "migration.create", "create", |line| {
            about(line, &operator.login, operator.id);
        });
        for &repo in part {
            at_ms += teller.rng.between(20_000, 90_000) as i64;
            teller.git(at_ms, &runner, &world.repos[repo], "git.clone");
        }
        at_ms += teller.rng.between(10 * MINUTE as u64, 20 * MINUTE as u64) as i64;
        teller.web(at_ms, &operator, Place::Org(1), "migration.download", "access", |line| {
            about(line, &operator.login, operator.id);
        });
        at_ms += 5 * MINUTE;
    }
}

fn new_laptop(teller: &mut Teller<'_>) {
    let world = teller.world;
    let developer = teller.cast("tess-arnold", 61_870_331, Class::Person);
    let mut at_ms = teller.start_ms;
    teller.web(at_ms, &developer, Place::Org(0), "public_key.create", "create", |line| {
        fingerprint(line, 4_711);
        line.flag("read_only", false).text("title", "new laptop");
    });
    for repo in world.closed_repos(0).skip(40).take(5) {
        at_ms += teller.rng.between(3 * MINUTE as u64, 6 * MINUTE as u64) as i64;
        teller.git(at_ms, &developer, &world.repos[repo], "git.clone");
    }
}

fn release_day(teller: &mut Teller<'_>) {
    let world = teller.world;
    let manager = teller.colleague(24);
    let bot = teller.cast("octo-release[bot]", 41_920_110, Class::Bot);
    let mut at_ms = teller.start_ms;
    for round in 0..36 {
        let repo = &world.repos[world.closed_repos(0).nth(3 * round).unwrap_or(0)];
        let seed = teller.rng.next();
        teller.web(at_ms, &manager, Place::Repo(repo), "pull_request.merge", "modify", |line| {
            pull_request_fields(line, repo, seed);
        });
        teller.git(at_ms + 40_000, &bot, repo, "git.push");
        teller.git(at_ms + 45_000, &bot, repo, "git.push");
        teller.web(
            at_ms + 90_000,
            &bot,
            Place::Repo(repo),
            "packages.package_version_published",
            "create",
            |line| {
                line.text("ecosystem", "container")
                    .flag("is_republished", false)
                    .text("package", repo.short_name());
                line.text("version", &format!("4.{round}.0"));
            },
        );
        at_ms += teller.rng.between(2 * MINUTE as u64, 6 * MINUTE as u64) as i64;
    }
}
