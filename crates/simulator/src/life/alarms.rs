//! The two acts of ordinary life that a person on duty would look at: real logs are never quite silent.

use super::Plan;
use super::campaigns::overridden;
use super::names::{BROWSERS, GIT_CLIENTS};
use super::presence::{Class, Credential};
use super::rhythm::DAY;
use super::story::{Cast, Place, Teller};
use super::world::bot;

/// How many findings of high severity ordinary life gives cause for.
#[cfg(test)]
pub(crate) const COUNT: usize = 2;

pub(crate) fn ring(teller: &mut Teller<'_>, plan: &Plan) {
    let at =
        |thousandths: i64| plan.start_ms + i64::from(plan.days.max(1)) * DAY / 1000 * thousandths;
    let world = teller.world;
    let actor = |index: usize, class, teller: &mut Teller<'_>| Cast {
        login: world.actors[index].login.clone(),
        id: world.actors[index].id,
        class,
        address: (class == Class::Person).then(|| "198.51.100.14".to_owned()),
        country: "GB",
        browser: BROWSERS[1],
        git: GIT_CLIENTS[0],
        credential: Credential::classic(&mut teller.rng),
    };
    let scanner = actor(bot::SCANNING, Class::Bot, teller);
    let repo = &world.repos[42];
    teller.web(
        at(270),
        &scanner,
        Place::Repo(repo),
        "secret_scanning_alert.create",
        "create",
        |line| {
            line.flag("multi_repo", false).int("number", 7).flag("publicly_leaked", false);
            line.text("secret_type", "slack_api_token")
                .text("secret_type_display_name", "Slack API Token");
        },
    );
    let admin = actor(0, Class::Person, teller);
    let (repo, seed) = (&world.repos[205], teller.rng.next());
    teller.web(
        at(640),
        &admin,
        Place::Repo(repo),
        "protected_branch.policy_override",
        "modify",
        |line| {
            let message = "Required status check \\\"ci/build\\\" is expected.";
            overridden(line, seed, "refs/heads/main", "required_status_checks", message);
        },
    );
}
