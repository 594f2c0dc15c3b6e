use std::path::PathBuf;

use hubwarden_collector::Import;
use hubwarden_collector::files::{self, Input};
use hubwarden_console::web::now;
use hubwarden_detector::{Catalogue, LoadedRules, Rulebook, read_rule_file, rule_paths};
use hubwarden_event::{RawPosition, RulesStatus};
use hubwarden_normalizer::Normalizer;
use hubwarden_proto::v1;
use hubwarden_rules::{ProblemSeverity, RuleFile, lint};
use serde::Serialize;
use tonic::Code;

use super::configure;
use super::serve::tell_refused;
use crate::Config;
use crate::args::{self, Format, Global};
use crate::casework::{CaseOutcome, run_outside_cases, run_shipped_cases};
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::output::{Rows, print_one, say};

/// `hubwarden rule …`
pub(crate) async fn run(global: &Global, command: args::Rule) -> Result<Exit, Failure> {
    let config = configure(global)?;
    match command {
        args::Rule::List(remote) => list(global, &Shelf::open(&remote, &config).await?).await,
        args::Rule::Get(which) => {
            get(global, &Shelf::open(&which.remote, &config).await?, &which.name).await
        }
        args::Rule::Lint(options) => check(global, &book(&config)?, &options.paths),
        args::Rule::Test(options) => test(global, &book(&config)?, &options),
        args::Rule::Explain(options) => explain(&config, book(&config)?, &options),
    }
}

fn book(config: &Config) -> Result<Rulebook, Failure> {
    Ok(Rulebook::read(&config.rules, &config.lists)?)
}

/// Where rules are asked for: who judges by them, or the folders of the configuration.
enum Shelf {
    Server(Client),
    Here(LoadedRules),
}

impl Shelf {
    async fn open(remote: &args::Remote, config: &Config) -> Result<Self, Failure> {
        Ok(match Client::of(remote, config).await? {
            Some(client) => Self::Server(client),
            None => Self::Here(LoadedRules::of(book(config)?)),
        })
    }

    async fn list(&self) -> Result<Vec<v1::Rule>, Failure> {
        let client = match self {
            Self::Here(rules) => return Ok(rules.rules()),
            Self::Server(client) => client,
        };
        let mut rules = Vec::new();
        let mut request = v1::ListRulesRequest { limit: PAGE, ..Default::default() };
        loop {
            let list = async || client.rules().list_rules(request.clone()).await;
            let page = client::ask("RuleService/ListRules", list).await?;
            rules.extend(page.rules);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(rules);
            }
        }
    }

    async fn status(&self) -> Result<RulesStatus, Failure> {
        let client = match self {
            Self::Here(rules) => return Ok(rules.status()),
            Self::Server(client) => client,
        };
        let get = async || client.rules().get_rule_set(v1::GetRuleSetRequest {}).await;
        let set = client::ask("RuleService/GetRuleSet", get).await?;
        let judging = set.stages.into_iter().find(|stage| !stage.hash.is_empty());
        Ok(judging.map(RulesStatus::from).unwrap_or_default())
    }

    async fn get(&self, name: &str) -> Result<v1::Rule, Failure> {
        let client = match self {
            Self::Here(rules) => return Ok(rules.rule(rules.find(name)?)),
            Self::Server(client) => client,
        };
        let request = v1::GetRuleRequest { name: name.into() };
        let get = async || client.rules().get_rule(request.clone()).await;
        match client::ask("RuleService/GetRule", get).await {
            Ok(answer) => Ok(answer.rule.unwrap_or_default()),
            // a wrong name is wrong usage, whoever says so
            Err(status) if status.code() == Code::NotFound => Err(Failure::usage(status.message())),
            Err(status) => Err(status.into()),
        }
    }
}

/// Rules asked for at once.
const PAGE: u32 = 500;

/// A rule as `rule list` shows it.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    level: String,
    title: String,
    window: String,
    attack: Vec<String>,
    file: String,
    hash: String,
    blind: Vec<String>,
    /// Shipped rules in whose place it stands.
    replaces: Vec<String>,
}

impl Listed {
    /// What there is to know before one relies on it.
    fn note(&self) -> String {
        let blind = self.blind.iter().map(|list| format!("blind without list {list}"));
        let replaces = self.replaces.iter().map(|name| format!("replaces the shipped rule {name}"));
        blind.chain(replaces).collect::<Vec<_>>().join("; ")
    }
}

impl From<v1::Rule> for Listed {
    fn from(rule: v1::Rule) -> Self {
        Self {
            name: rule.name,
            level: rule.level,
            title: rule.title,
            window: rule.window,
            attack: rule.attack,
            file: rule.file,
            hash: rule.hash,
            blind: rule.blind,
            replaces: rule.replaces,
        }
    }
}

async fn list(global: &Global, shelf: &Shelf) -> Result<Exit, Failure> {
    let rules: Vec<Listed> = shelf.list().await?.into_iter().map(Into::into).collect();
    let header = &["level", "rule", "needs", "attack", "note", "title"];
    let row = |rule: &Listed| {
        vec![
            rule.level.clone(),
            rule.name.clone(),
            rule.window.clone(),
            rule.attack.join(" "),
            rule.note(),
            rule.title.clone(),
        ]
    };
    Rows { header, values: &rules, row }.print(global.output)?;
    tell_refused(&shelf.status().await?);
    Ok(Exit::Done)
}

async fn get(global: &Global, shelf: &Shelf, name: &str) -> Result<Exit, Failure> {
    let rule = shelf.get(name).await?;
    let mut lines = vec![
        format!("{} ({})", rule.title, rule.name),
        format!("level      {}", rule.level),
        format!("needs      {}", rule.window),
        format!("group by   {}", rule.group_by.join(", ")),
        format!("ATT&CK     {}", rule.attack.join(" ")),
        format!("file       {}", rule.file),
        format!("hash       {}", rule.hash),
        String::new(),
        rule.description.clone(),
        String::new(),
        "Known harmless causes:".into(),
    ];
    lines.extend(rule.false_positives.iter().map(|cause| format!("  {cause}")));
    lines.extend([String::new(), format!("First step: {}", rule.response)]);
    if !rule.blind.is_empty() {
        lines.push(format!("BLIND: set the lists {} in section [lists]", rule.blind.join(", ")));
    }
    if !rule.text.is_empty() {
        lines.push(String::new());
        lines.extend(rule.text.lines().map(Into::into));
    }
    print_one(global.output, &Listed::from(rule), &lines)?;
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

fn explain(config: &Config, book: Rulebook, options: &args::ExplainRule) -> Result<Exit, Failure> {
    let rules = LoadedRules::of(book);
    let rule = rules.find(&options.name)?;
    let input = Input::from_argument(&options.file);
    let import = Import::new("explain".into(), std::slice::from_ref(&input), now());
    let mut normalizer = Normalizer::new(std::sync::Arc::new(config.networks()));
    let mut counter = rules.set.counter(rule);
    let mut reader = files::open(&input)?;
    while let Some(chunk) = reader.next_chunk() {
        for item in &chunk.items {
            match normalizer.normalize(&import.record(&chunk, item), RawPosition::default()) {
                Ok(event) => {
                    counter.iter_mut().for_each(|counter| counter.add(&event));
                    let action = event.record.first("action").unwrap_or_default();
                    let mut lines =
                        vec![format!("line {}: {action} at {}", item.line, event.occurred_at)];
                    let trace = rules.set.explain(rule, &event.record).to_string();
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
