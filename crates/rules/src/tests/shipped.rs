//! The rules of the repository compile, each with its cases.

use std::path::Path;

use crate::{Lists, ProblemSeverity, RuleFile, RuleSet, parse_cases};

fn read(folder: &Path, ending: &str) -> Vec<RuleFile> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(ending) {
            files.push(RuleFile {
                name,
                text: std::fs::read_to_string(path).unwrap(),
                shipped: true,
            });
        }
    }
    files
}

#[test]
fn all_shipped_rules_compile_and_their_cases_can_be_read() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
    let (cases, mut files) =
        (read(&rules.join("github"), ".cases.yml"), read(&rules.join("github"), ".yml"));
    files.retain(|file| !file.name.ends_with(".cases.yml"));
    let lists = read(&rules.join("lists"), ".txt").into_iter().map(|file| {
        let lines = file
            .text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        (file.name.trim_end_matches(".txt").to_owned(), lines.map(str::to_owned).collect())
    });
    let lists: Lists = lists.collect();
    let compiled = RuleSet::compile(&files, &lists, None);
    let wrong = compiled.problems.iter().filter(|one| one.severity != ProblemSeverity::Note);
    assert_eq!(wrong.map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    assert!(compiled.set.rules().len() >= files.len() && !files.is_empty());
    for file in &cases {
        let found =
            parse_cases(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.name));
        assert!(!found.is_empty(), "{}", file.name);
    }
    assert_eq!(cases.len(), files.len(), "every rule has its cases");
}
