use std::sync::LazyLock;

use serde::Serialize;

use crate::table::{Index, list, nearest, rows};

/// One published audit action and where it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// GitHub's name, such as `repo.destroy`.
    pub name: &'static str,
    /// The part before the first dot.
    pub category: &'static str,
    /// Whether an organization's log on github.com shows it.
    pub org: bool,
    /// Whether an enterprise's log on github.com shows it.
    pub enterprise: bool,
    /// Whether GitHub Enterprise Server logs it.
    pub ghes: bool,
    /// Whether a person's own security log shows it.
    pub user: bool,
    /// The fields it may carry beyond those of every action and the common ones.
    pub fields: Vec<&'static str>,
}

/// A spelling of an action that is met in rules and older logs and is not published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Legacy {
    /// The spelling.
    pub name: &'static str,
    /// The published action that replaces it, if there is one.
    pub now: Option<&'static str>,
    /// Where the spelling comes from.
    pub note: &'static str,
}

static ACTIONS: LazyLock<Vec<Action>> = LazyLock::new(|| {
    let header = ["action", "category", "org", "enterprise", "ghes", "user", "fields"];
    rows(include_str!("../data/audit-actions.tsv"), header)
        .map(|[name, category, org, enterprise, ghes, user, fields]| Action {
            name,
            category,
            org: org == "yes",
            enterprise: enterprise == "yes",
            ghes: ghes == "yes",
            user: user == "yes",
            fields: list(fields),
        })
        .collect()
});

static BY_NAME: LazyLock<Index<&'static Action>> =
    LazyLock::new(|| ACTIONS.iter().map(|action| (action.name, action)).collect());

static CATEGORIES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut categories: Vec<_> = ACTIONS.iter().map(|action| action.category).collect();
    categories.sort_unstable();
    categories.dedup();
    categories
});

static LEGACY: LazyLock<Vec<Legacy>> = LazyLock::new(|| {
    rows(include_str!("../data/legacy-actions.tsv"), ["name", "catalogue_name", "note"])
        .map(|[name, now, note]| Legacy { name, now: (now != "-").then_some(now), note })
        .collect()
});

static LEGACY_BY_NAME: LazyLock<Index<&'static Legacy>> =
    LazyLock::new(|| LEGACY.iter().map(|legacy| (legacy.name, legacy)).collect());

/// All published actions, in the table's order.
pub fn actions() -> &'static [Action] {
    &ACTIONS
}

/// The published action of this name.
pub fn action(name: &str) -> Option<&'static Action> {
    BY_NAME.get(name).copied()
}

/// All categories of published actions, sorted.
pub fn categories() -> &'static [&'static str] {
    &CATEGORIES
}

/// Whether published actions of this category exist.
pub fn is_category(name: &str) -> bool {
    CATEGORIES.binary_search(&name).is_ok()
}

/// What is known of a spelling that is no longer, or never was, published.
pub fn legacy(name: &str) -> Option<&'static Legacy> {
    LEGACY_BY_NAME.get(name).copied()
}

/// All unpublished spellings that are known.
pub fn legacy_actions() -> &'static [Legacy] {
    &LEGACY
}

/// The published action that a misspelled name most likely means.
pub fn nearest_action(name: &str) -> Option<&'static str> {
    if let Some(now) = legacy(name).and_then(|legacy| legacy.now) {
        return Some(now);
    }
    nearest(name, ACTIONS.iter().map(|action| action.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_github_publishes() {
        assert_eq!(actions().len(), BY_NAME.len(), "no name stands twice");
        assert!(actions().len() > 1000);
        let request = action("api.request").unwrap();
        assert_eq!((request.org, request.enterprise, request.user), (false, true, false));
        assert!(request.fields.contains(&"url_path"));
        assert_eq!(action("repo.destroyed"), None);
        for action in actions() {
            let (category, verb) = action.name.split_once('.').unwrap();
            assert_eq!(category, action.category);
            assert!(!verb.is_empty());
        }
        assert!(is_category("git") && !is_category("gi"));
    }

    #[test]
    fn older_spellings_lead_to_published_actions() {
        for legacy in legacy_actions() {
            assert_eq!(action(legacy.name), None, "{} is published", legacy.name);
            assert!(legacy.now.is_none_or(|now| action(now).is_some()), "{legacy:?}");
        }
        assert_eq!(legacy("org.saml_disabled").unwrap().now, Some("org.disable_saml"));
        assert_eq!(legacy("staff.fake_login").unwrap().now, None);
    }

    #[test]
    fn suggests_what_was_meant() {
        for (name, meant) in [
            ("repo.destory", Some("repo.destroy")),
            ("org.saml_disabled", Some("org.disable_saml")),
            ("protected_branch.destroyed", Some("protected_branch.destroy")),
            ("zzz", None),
        ] {
            assert_eq!(nearest_action(name), meant, "{name}");
        }
    }
}
