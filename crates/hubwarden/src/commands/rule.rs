use std::path::PathBuf;

use hubwarden_collector::Import;
use hubwarden_collector::files::{self, Input};
use hubwarden_console::web::now;
use hubwarden_detector::{Catalogue, Rulebook, read_rule_file, rule_paths};
use hubwarden_event::RawPosition;
use hubwarden_normalizer::Normalizer;
use hubwarden_rules::{Compiled, ProblemSeverity, RuleFile, RuleInfo, lint};
use hubwarden_service::nearest;
use serde::Serialize;

use super::configure;
use crate::Config;
use crate::args::{self, Format, Global};
use crate::casework::{CaseOutcome, run_outside_cases, run_shipped_cases};
use crate::failure::{Exit, Failure};
use crate::output::{Rows, print_one, say};

/// `hubwarden rule …`
pub(crate) fn run(global: &Global, command: args::Rule) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let book = Rulebook::read(&config.rules, &config.lists)?;
    match command {
        args::Rule::List => list(global, &book.compile()),
        args::Rule::Get(which) => get(global, &book, &which.name),
        args::Rule::Lint(options) => check(global, &book, &options.paths),
        args::Rule::Test(options) => test(global, &book, &options),
        args::Rule::Explain(options) => explain(&config, &book, &options),
    }
}

/// A rule as `rule list` shows it.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    level: &'static str,
    title: String,
    window: String,
    attack: Vec<String>,
    file: String,
    blind: Vec<String>,
    /// Shipped rules in whose place it stands.
    replaces: Vec<String>,
}

impl Listed {
    fn of(rule: &RuleInfo, compiled: &Compiled) -> Self {
        let blind = compiled.blind.iter().find(|blind| blind.rule == rule.hash);
        let replaced = compiled.replaced.iter().filter(|one| one.rule == rule.name);
        Self {
            name: rule.name.clone(),
            level: rule.level.as_str(),
            title: rule.title.clone(),
            window: rule.window.to_string(),
            attack: rule.attack.clone(),
            file: rule.file.clone(),
            blind: blind.map(|blind| blind.missing.clone()).unwrap_or_default(),
            replaces: replaced.map(|one| one.shipped.clone()).collect(),
        }
    }

    /// What there is to know before one relies on it.
    fn note(&self) -> String {
        let blind = self.blind.iter().map(|list| format!("blind without list {list}"));
        let replaces = self.replaces.iter().map(|name| format!("replaces the shipped rule {name}"));
        blind.chain(replaces).collect::<Vec<_>>().join("; ")
    }
}

fn list(global: &Global, compiled: &Compiled) -> Result<Exit, Failure> {
    let rules: Vec<Listed> =
        compiled.set.rules().iter().map(|rule| Listed::of(rule, compiled)).collect();
    let header = &["level", "rule", "needs", "attack", "note", "title"];
    let row = |rule: &Listed| {
        vec![
            rule.level.to_owned(),
            rule.name.clone(),
            rule.window.clone(),
            rule.attack.join(" "),
            rule.note(),
            rule.title.clone(),
        ]
    };
    Rows { header, values: &rules, row }.print(global.output)?;
    let refused =
        compiled.problems.iter().filter(|problem| problem.severity == ProblemSeverity::Error);
    for problem in refused {
        say(&problem.to_string());
    }
    Ok(Exit::Done)
}

fn find<'a>(compiled: &'a Compiled, name: &str) -> Result<&'a RuleInfo, Failure> {
    let rules = compiled.set.rules();
    let found = rules.iter().find(|rule| rule.name == name || rule.id.as_deref() == Some(name));
    found.ok_or_else(|| {
        let hint = match nearest(name, rules.iter().map(|rule| rule.name.as_str())) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => "; `hubwarden rule list` shows all".into(),
        };
        Failure::usage(format!("no rule is named `{name}`{hint}"))
    })
}

fn get(global: &Global, book: &Rulebook, name: &str) -> Result<Exit, Failure> {
    let compiled = book.compile();
    let rule = find(&compiled, name)?;
    let listed = Listed::of(rule, &compiled);
    let mut lines = vec![
        format!("{} ({})", rule.title, rule.name),
        format!("level      {}", rule.level),
        format!("needs      {}", listed.window),
        format!("group by   {}", rule.group_by.join(", ")),
        format!("ATT&CK     {}", rule.attack.join(" ")),
        format!("file       {}", rule.file),
        String::new(),
        rule.description.clone(),
        String::new(),
        "Known harmless causes:".into(),
    ];
    lines.extend(rule.false_positives.iter().map(|cause| format!("  {cause}")));
    lines.extend([String::new(), format!("First step: {}", rule.response)]);
    if !listed.blind.is_empty() {
        lines.push(format!("BLIND: set the lists {} in section [lists]", listed.blind.join(", ")));
    }
    let file = book.files.iter().find(|file| file.name == rule.file);
    if let Some(file) = file {
        lines.push(String::new());
        lines.extend(file.text.lines().map(Into::into));
    }
    print_one(global.output, &listed, &lines)?;
    Ok(Exit::Done)
}

fn check(global: &Global, book: &Rulebook, paths: &[PathBuf]) -> Result<Exit, Failure> {
    let files = if paths.is_empty() { book.files.clone() } else { read(paths)? };
    let mut problems = lint(&beside(&files, book), &book.lists, Some(&Catalogue));
    problems.retain(|problem| files.iter().any(|file| file.name == problem.file));
    #[derive(Serialize)]
    struct Row {
        severity: &'static str,
        file: String,
        line: usize,
        rule: Option<String>,
        message: String,
    }
    let rows: Vec<Row> = problems
        .iter()
        .map(|problem| Row {
            severity: problem.severity.as_str(),
            file: problem.file.clone(),
            line: problem.line,
            rule: problem.rule.clone(),
            message: problem.message.clone(),
        })
        .collect();
    let header = &["severity", "where", "rule", "message"];
    let row = |row: &Row| {
        let place = format!("{}:{}", row.file, row.line);
        vec![
            row.severity.to_owned(),
            place,
            row.rule.clone().unwrap_or_default(),
            row.message.clone(),
        ]
    };
    Rows { header, values: &rows, row }.print(global.output)?;
    let errors =
        problems.iter().filter(|problem| problem.severity == ProblemSeverity::Error).count();
    say(&format!("{} files, {} problems, {errors} errors", files.len(), problems.len()));
    Ok(if errors > 0 { Exit::Gate } else { Exit::Done })
}

/// These files and the book's others: a rule may count what another file finds, or replace it.
fn beside(files: &[RuleFile], book: &Rulebook) -> Vec<RuleFile> {
    let real = |file: &RuleFile| std::fs::canonicalize(&file.name).ok();
    let given: Vec<_> = files.iter().map(real).collect();
    let is_given = |file: &RuleFile| {
        let found = if file.shipped { None } else { real(file) };
        files.contains(file) || found.is_some() && given.contains(&found)
    };
    let others = book.files.iter().filter(|file| !is_given(file));
    files.iter().chain(others).cloned().collect()
}

fn read(paths: &[PathBuf]) -> Result<Vec<RuleFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let paths = if path.is_dir() { rule_paths(path)? } else { vec![path.clone()] };
        for path in paths {
            files.push(read_rule_file(&path)?);
        }
    }
    Ok(files)
}

fn test(global: &Global, book: &Rulebook, options: &args::Test) -> Result<Exit, Failure> {
    let outcomes = match &options.cases {
        None => run_shipped_cases(book, options.name.as_deref())?,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", path.display()))
            })?;
            run_outside_cases(book, &text)?
        }
    };
    let header = &["result", "rule", "case", "expected", "actual"];
    let row = |outcome: &CaseOutcome| {
        vec![
            outcome.result.to_owned(),
            outcome.rule.clone(),
            outcome.name.clone(),
            outcome.expected.clone(),
            outcome.actual.clone(),
        ]
    };
    Rows { header, values: &outcomes, row }.print(global.output)?;
    let count = |result| outcomes.iter().filter(|outcome| outcome.result == result).count();
    let (passed, failed, no_rule) = (count("passed"), count("failed"), count("no rule"));
    say(&format!("{passed} passed, {failed} failed, {no_rule} without a rule"));
    Ok(if failed > 0 { Exit::Gate } else { Exit::Done })
}

fn explain(config: &Config, book: &Rulebook, options: &args::ExplainRule) -> Result<Exit, Failure> {
    let compiled = book.compile();
    let rule = find(&compiled, &options.name)?;
    let input = Input::from_argument(&options.file);
    let import = Import::new("explain".into(), std::slice::from_ref(&input), now());
    let mut normalizer = Normalizer::new(std::sync::Arc::new(config.networks()));
    let mut counter = compiled.set.counter(rule);
    let mut reader = files::open(&input)?;
    while let Some(chunk) = reader.next_chunk() {
        for item in &chunk.items {
            match normalizer.normalize(&import.record(&chunk, item), RawPosition::default()) {
                Ok(event) => {
                    counter.iter_mut().for_each(|counter| counter.add(&event));
                    let action = event.record.first("action").unwrap_or_default();
                    let mut lines =
                        vec![format!("line {}: {action} at {}", item.line, event.occurred_at)];
                    let trace = compiled.set.explain(rule, &event.record).to_string();
                    lines.extend(trace.lines().map(Into::into));
                    print_one(Format::Table, &(), &lines)?;
                }
                Err(reason) => {
                    print_one(Format::Table, &(), &[format!("line {}: {reason}", item.line)])?
                }
            }
        }
    }
    if let Some(counter) = counter {
        let count = counter.finish().to_string();
        print_one(Format::Table, &(), &count.lines().map(Into::into).collect::<Vec<_>>())?;
    }
    Ok(Exit::Done)
}
