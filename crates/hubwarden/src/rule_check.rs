//! What is wrong with the rules and lists that a configuration names, for every command that tells it.

use hubwarden_collector::audit::Level;
use hubwarden_detector::{ListSource, Rulebook};
use hubwarden_rules::ProblemSeverity;
use serde::Serialize;

use crate::Config;
use crate::commands::rules_status;
use crate::failure::with_causes;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CheckLine {
    /// How it stands.
    pub(crate) level: Level,
    /// The thing.
    pub(crate) what: String,
    /// What was found, and what to do about it.
    pub(crate) found: String,
}

impl CheckLine {
    /// A line of a report.
    pub(crate) fn new(level: Level, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level, what: what.into(), found: found.into() }
    }

    /// The level as people read it.
    pub(crate) fn word(&self) -> &'static str {
        match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        }
    }
}

/// Reads and compiles what `[rules]` and `[lists]` name, and says how each part stands.
pub(crate) fn check_rules(config: &Config) -> Vec<CheckLine> {
    let book = match Rulebook::read(&config.rules, &config.lists) {
        Ok(book) => book,
        Err(error) => {
            let found = format!("{}; correct [rules] dirs or [lists]", with_causes(&error));
            return vec![CheckLine::new(Level::Fail, "rules", found)];
        }
    };
    let status = rules_status(&book);
    let mut lines = vec![CheckLine::new(Level::Ok, "rules", format!("{} loaded", status.loaded))];
    for refused in &status.refused {
        let mut found = format!("not loaded: {}", refused.reason);
        if let Some(list) = cause(config, &book, &refused.name) {
            found.push_str(&format!(", from the list lists.{list}"));
        }
        let what = format!("rule file {}", refused.name);
        lines.push(CheckLine::new(Level::Fail, what, found));
    }
    for replaced in book.compile().replaced {
        let found = format!("replaces the shipped rule {}", replaced.shipped);
        let what = format!("rule {} of {}:{}", replaced.rule, replaced.file, replaced.line);
        lines.push(CheckLine::new(Level::Ok, what, found));
    }
    for blind in status.blind {
        let found = format!("cannot fire without {}: set it in section [lists]", blind.reason);
        lines.push(CheckLine::new(Level::Warn, format!("rule {}", blind.name), found));
    }
    lines.extend(config.lists.iter().flat_map(|(name, source)| check_list(&book, name, source)));
    lines
}

/// The configured list without which the document at this place would load.
fn cause<'c>(config: &'c Config, book: &Rulebook, place: &str) -> Option<&'c str> {
    let loads_without = |name: &&String| {
        let mut other = book.clone();
        other.lists.insert(*name, Vec::new());
        let problems = other.compile().problems;
        !problems.iter().any(|problem| {
            problem.severity == ProblemSeverity::Error
                && format!("{}:{}", problem.file, problem.line) == place
        })
    };
    config.lists.keys().find(loads_without).map(String::as_str)
}

/// What the values of one configured list are, apart from what rules make of them.
fn check_list(book: &Rulebook, name: &str, source: &ListSource) -> Vec<CheckLine> {
    let what = format!("lists.{name}");
    let values = book.lists.get(name).unwrap_or_default();
    let mut lines = Vec::new();
    if values.iter().any(|value| value.trim().is_empty()) {
        let found =
            "holds an empty value, which stands for every event without the field; take it out";
        lines.push(CheckLine::new(Level::Fail, &what, found));
    } else if let Some(value) = values.iter().find(|value| value.trim() != value.as_str()) {
        let found = format!("`{value}` begins or ends with a blank, which GitHub's names never do");
        lines.push(CheckLine::new(Level::Warn, &what, found));
    }
    if let (true, ListSource::File { file }) = (values.is_empty(), source) {
        let found = format!("{} holds no value: write one a line", file.display());
        lines.push(CheckLine::new(Level::Warn, &what, found));
    }
    if !is_used(book, name) {
        let found = "no rule uses a list of this name, so it changes nothing; `hubwarden rule get` shows a rule's lists";
        lines.push(CheckLine::new(Level::Warn, &what, found));
    }
    lines
}

/// Whether a rule names the list, as `%name%` or `list:name`.
fn is_used(book: &Rulebook, name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    book.files
        .iter()
        .any(|file| file.text.split(|letter| !is_part(letter)).any(|word| word == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lists: &str) -> Vec<String> {
        let config: Config = toml::from_str(lists).unwrap();
        let lines = check_rules(&config).into_iter();
        let own = lines.filter(|line| line.what.starts_with("lists.") || line.level == Level::Fail);
        own.map(|line| format!("{} {}: {}", line.word(), line.what, line.found)).collect()
    }

    #[test]
    fn says_what_is_wrong_with_lists() {
        let none: [&str; 0] = [];
        for (lists, expected) in [
            ("", &none[..]),
            ("[lists]\nmachine_users = ['octo-ci']\nown_hooks = []\n", &[]),
            (
                "[lists]\nmachine_users = ['a']\nrunner_egress = ['10.0.0.0/8', 'nonsense']\n",
                &["`nonsense` is not a network, from the list lists.runner_egress"],
            ),
            (
                "[lists]\nmachine_users = ['']\n",
                &["FAIL lists.machine_users: holds an empty value"],
            ),
            ("[lists]\nmachine_users = [' a']\n", &["warn lists.machine_users: ` a` begins or"]),
            ("[lists]\nmachine_user = ['a']\n", &["warn lists.machine_user: no rule uses a list"]),
            ("[lists]\nown_hooks = { file = '/nonexistent' }\n", &["FAIL rules: ", "/nonexistent"]),
            ("[rules]\ndirs = ['/nonexistent']\n", &["FAIL rules: ", "/nonexistent"]),
        ] {
            let found = found(lists).join("\n");
            assert_eq!(found.is_empty(), expected.is_empty(), "{lists}{found}");
            for part in expected {
                assert!(found.contains(part), "{lists}{found}");
            }
        }
    }
}
