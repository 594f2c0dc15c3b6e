//! The rules, cases and lists that are part of this release.

use hubwarden_rules::{Lists, RuleFile};
use include_dir::{Dir, include_dir};

static RULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../rules");

const CASES: &str = ".cases.yml";

/// The rule files that are part of this release, by name.
pub fn rule_files() -> Vec<RuleFile> {
    files("github", ".yml").filter(|file| !file.name.ends_with(CASES)).collect()
}

/// The cases of the shipped rules: each file's name is that of its rule file.
pub fn case_files() -> Vec<RuleFile> {
    let cases = files("github", CASES);
    cases.map(|file| RuleFile { name: file.name.replace(CASES, ".yml"), ..file }).collect()
}

/// The shipped lists; most hold no values until the configuration gives them some.
pub fn lists() -> Lists {
    let named = |file: RuleFile| {
        let name = file.name.trim_start_matches("lists/").trim_end_matches(".txt").to_owned();
        (name, list_values(&file.text))
    };
    files("lists", ".txt").map(named).collect()
}

/// The concepts without a rule: name, why, and the part of Hubwarden that brings it.
pub fn without_rule() -> Vec<(&'static str, &'static str, &'static str)> {
    let text =
        RULES.get_file("coverage.tsv").and_then(|file| file.contents_utf8()).unwrap_or_default();
    let row = |line: &'static str| {
        let mut columns = line.split('\t');
        Some((columns.next()?, columns.next()?, columns.next()?))
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// The values of a list file: one a line, without comments and blanks.
pub(crate) fn list_values(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Into::into).collect()
}

fn files(folder: &str, ending: &'static str) -> impl Iterator<Item = RuleFile> {
    let folder = RULES.get_dir(folder).into_iter();
    let mut files: Vec<RuleFile> = folder
        .flat_map(|folder| folder.files())
        .filter_map(|file| {
            let name = file.path().to_str()?.to_owned();
            Some(RuleFile { name, text: file.contents_utf8()?.into(), shipped: true })
        })
        .filter(|file| file.name.ends_with(ending))
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.into_iter()
}
