//! Hubwarden's own fields beside those of GitHub: `hw.…`.
//!
//! | field | values |
//! |---|---|
//! | `hw.actor.class` | `agent` (says GitHub, or the actor `Copilot`), `deploy_key`, `system` (no actor), `app` (`name[bot]`), `bot` (says GitHub), else `person`; the first that holds |
//! | `hw.token.kind` | `classic_pat fine_grained_pat oauth app_server app_user ssh_key deploy_key`; absent for browser sessions and kinds not known |
//! | `hw.net.label` | every label of the operator's networks that contain `actor_ip` |
//! | `hw.repo.name`, `.name_length`, `.name_entropy` | the repository's name without its owner, its characters, and Shannon's entropy in bits a character |
//! | `hw.target` | the most specific thing acted on: `repo/…`, else `user/…`, `team/…`, `org/…`, `business/…` |
//! | `hw.route` | route or path of an API request as GitHub's documentation spells it |
//! | `hw.action.category`, `hw.action.known` | the part before the dot; whether the action is published, or an older spelling |
//! | `hw.truncated` | `true` where a field or the end of a value had no room; absent otherwise |
//!
//! Only here `""`, `0` and null read as absent.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use hubwarden_catalog as catalog;
use hubwarden_event::{CellKind, FlatBuilder, dictionary};

use crate::facts::{Facts, Slot};
use crate::networks::Networks;
use crate::{Counts, route};

/// A longer value of an own field is cut here, so that all of them find room in a full record.
const MAX_OWN_BYTES: usize = 2 * 1024;

macro_rules! own_fields {
    ($($field:ident = $name:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy)]
        enum Own { $($field,)* }
        const OWN: &[&str] = &[$($name),*];
    };
}

own_fields! {
    ActorClass = "hw.actor.class",
    TokenKind = "hw.token.kind",
    NetLabel = "hw.net.label",
    RepoName = "hw.repo.name",
    RepoNameLength = "hw.repo.name_length",
    RepoNameEntropy = "hw.repo.name_entropy",
    Target = "hw.target",
    Route = "hw.route",
    ActionCategory = "hw.action.category",
    ActionKnown = "hw.action.known",
    Truncated = "hw.truncated",
}

static IDS: LazyLock<Vec<Option<u16>>> =
    LazyLock::new(|| OWN.iter().map(|name| dictionary::id(name)).collect());

fn push(builder: &mut FlatBuilder, own: Own, kind: CellKind, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_OWN_BYTES)];
    builder.push_known(IDS[own as usize], OWN[own as usize], kind, text);
}

/// Adds every own field that the facts allow.
pub(crate) fn enrich(
    builder: &mut FlatBuilder,
    facts: &Facts<'_>,
    action: &str,
    networks: &Networks,
    counts: &mut Counts,
) {
    let mut text = |own, text: &str| push(builder, own, CellKind::Text, text);
    text(Own::ActorClass, actor_class(facts));
    if let Some(kind) = token_kind(facts) {
        text(Own::TokenKind, kind);
    }
    if let Some(address) = facts.typed(Slot::ActorIp) {
        networks.labels(address).for_each(|label| text(Own::NetLabel, label));
    }
    if let Some(target) = target(facts) {
        text(Own::Target, &target);
    }
    if let Some(path) = facts.typed(Slot::Route).or_else(|| facts.typed(Slot::UrlPath)) {
        text(Own::Route, &route::fold(path));
    }
    let known = catalog::action(action);
    let category = known.map_or_else(
        || action.split_once('.').map_or(action, |(category, _)| category),
        |known| known.category,
    );
    text(Own::ActionCategory, category);
    let is_known = known.is_some() || catalog::legacy(action).is_some();
    if !is_known {
        counts.unknown_actions.count(action);
    }
    push(builder, Own::ActionKnown, CellKind::Bool, if is_known { "true" } else { "false" });
    repo_name(builder, facts);
}

/// Marks an event that lost something to the size limits.
pub(crate) fn mark_truncated(builder: &mut FlatBuilder) {
    push(builder, Own::Truncated, CellKind::Bool, "true");
}

fn actor_class(facts: &Facts<'_>) -> &'static str {
    let actor = facts.typed(Slot::Actor);
    if facts.is_true(Slot::ActorIsAgent) || actor == Some("Copilot") {
        return "agent";
    }
    match actor {
        None => "system",
        Some("deploy_key") => "deploy_key",
        Some(name) if name.ends_with("[bot]") => "app",
        Some(_) if facts.is_true(Slot::ActorIsBot) => "bot",
        Some(_) => "person",
    }
}

/// Classifies by part of the text, for GitHub does not publish a closed set.
fn token_kind(facts: &Facts<'_>) -> Option<&'static str> {
    let sent = facts.typed(Slot::AccessType)?;
    let is_deploy_key = facts.typed(Slot::Actor) == Some("deploy_key");
    let sent = sent.to_ascii_lowercase();
    let has = |part: &str| sent.contains(part);
    Some(if has("fine-grained") || has("fine_grained") {
        "fine_grained_pat"
    } else if has("personal access token") || has("personal_access_token") {
        "classic_pat"
    } else if has("oauth") {
        "oauth"
    } else if has("server-to-server") || has("server_to_server") {
        "app_server"
    } else if has("user-to-server") || has("user_to_server") {
        "app_user"
    } else if has("public key") || has("public_key") || has("ssh key") {
        if is_deploy_key { "deploy_key" } else { "ssh_key" }
    } else if has("deploy key") || has("deploy_key") {
        "deploy_key"
    } else {
        return None;
    })
}

fn target(facts: &Facts<'_>) -> Option<String> {
    let kinds = [
        ("repo/", Slot::Repo),
        ("repo/", Slot::Repository),
        ("user/", Slot::User),
        ("team/", Slot::Team),
        ("org/", Slot::Org),
        ("business/", Slot::Business),
    ];
    let (kind, name) =
        kinds.iter().find_map(|(kind, slot)| facts.typed(*slot).map(|name| (kind, name)))?;
    let mut target = String::with_capacity(kind.len() + name.len());
    target.push_str(kind);
    target.push_str(name);
    Some(target)
}

fn repo_name(builder: &mut FlatBuilder, facts: &Facts<'_>) {
    let Some(repo) = facts.typed(Slot::Repo).or_else(|| facts.typed(Slot::Repository)) else {
        return;
    };
    let name = repo.rsplit_once('/').map_or(repo, |(_, name)| name);
    let (length, hundredths) = entropy(name);
    push(builder, Own::RepoName, CellKind::Text, name);
    let mut digits = String::with_capacity(8);
    let wrote = write!(digits, "{length}");
    push(builder, Own::RepoNameLength, CellKind::Number, &digits);
    digits.clear();
    let wrote = wrote.and_then(|()| write!(digits, "{}.{:02}", hundredths / 100, hundredths % 100));
    wrote.expect("writing to a string cannot fail");
    push(builder, Own::RepoNameEntropy, CellKind::Number, &digits);
}

/// Characters of a text, and hundredths of a bit of entropy per character.
fn entropy(text: &str) -> (usize, u64) {
    let bits = |count: usize, total: usize| {
        let share = count as f64 / total as f64;
        -share * share.log2()
    };
    let (total, entropy) = if text.is_ascii() {
        let mut counts = [0u16; 128];
        text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        // Each letter gives its share at its first place, so that rare letters cost nothing.
        let total = text.len();
        let mut sum = 0.0;
        for byte in text.bytes() {
            let count = std::mem::take(&mut counts[usize::from(byte)]);
            if count > 0 {
                sum += bits(usize::from(count), total);
            }
        }
        (total, sum)
    } else {
        let mut counts = HashMap::<char, usize>::new();
        text.chars().for_each(|letter| *counts.entry(letter).or_default() += 1);
        let total = text.chars().count();
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable(); // a sum of floats depends on its order
        (total, counts.into_iter().map(|count| bits(count, total)).sum())
    };
    (total, (entropy * 100.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn facts(values: &[(Slot, &'static str)]) -> Facts<'static> {
        let mut facts = Facts::default();
        for (slot, text) in values {
            facts.keep(*slot, CellKind::Text, Cow::Borrowed(text));
        }
        facts
    }

    #[test]
    fn every_own_field_is_in_the_dictionary() {
        for name in OWN {
            assert!(dictionary::id(name).is_some(), "{name}");
        }
    }

    #[test]
    fn tells_who_acted() {
        use Slot::{Actor, ActorIsAgent, ActorIsBot};
        for (values, class) in [
            (&[(Actor, "octocat")][..], "person"),
            (&[(Actor, "octocat"), (ActorIsBot, "False")], "person"),
            (&[(Actor, "ci-user"), (ActorIsBot, "True")], "bot"),
            (&[(Actor, "dependabot[bot]"), (ActorIsBot, "true")], "app"),
            (&[(Actor, "deploy_key")], "deploy_key"),
            (&[(Actor, "Copilot")], "agent"),
            (&[(Actor, "octocat"), (ActorIsAgent, "true")], "agent"),
            (&[(Actor, "")], "system"),
            (&[], "system"),
        ] {
            assert_eq!(actor_class(&facts(values)), class, "{values:?}");
        }
    }

    #[test]
    fn tells_which_credential_was_used() {
        for (sent, actor, kind) in [
            ("Personal access token (classic)", "a", Some("classic_pat")),
            ("Fine-grained personal access token", "a", Some("fine_grained_pat")),
            ("OAuth access token", "a", Some("oauth")),
            ("GitHub App server-to-server token", "x[bot]", Some("app_server")),
            ("GitHub App user-to-server token", "a", Some("app_user")),
            ("Public Key (User/Deploy)", "a", Some("ssh_key")),
            ("Public Key (User/Deploy)", "deploy_key", Some("deploy_key")),
            ("something new", "a", None),
            ("", "a", None),
        ] {
            let facts = facts(&[(Slot::AccessType, sent), (Slot::Actor, actor)]);
            assert_eq!(token_kind(&facts), kind, "{sent}");
        }
    }

    #[test]
    fn names_the_most_specific_target() {
        use Slot::{Business, Org, Repo, Repository, Team, User};
        let all = [(Repo, ""), (Repository, "a/b"), (User, "u"), (Team, "t"), (Org, "o")];
        for (values, name) in [
            (&all[..], Some("repo/a/b")),
            (&all[2..], Some("user/u")),
            (&all[3..], Some("team/t")),
            (&all[4..], Some("org/o")),
            (&[(User, "0"), (Business, "b")], Some("business/b")),
            (&[], None),
        ] {
            assert_eq!(target(&facts(values)).as_deref(), name, "{values:?}");
        }
    }

    #[test]
    fn measures_names() {
        for (name, measured) in [
            ("", (0, 0)),
            ("aaaa", (4, 0)),
            ("ab", (2, 100)),
            ("aab", (3, 92)),
            ("x7kq9zv2mw4tj8hn1r", (18, 417)),
            ("ééab", (4, 150)),
        ] {
            assert_eq!(entropy(name), measured, "{name}");
        }
    }
}
