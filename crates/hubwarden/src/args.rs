use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hubwarden_event::Severity;

/// Finds who abuses a GitHub Enterprise: reads its audit log, judges it by Sigma rules, shows findings.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Configuration file [default: hubwarden.toml in this folder, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder with journal, state and findings
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How to print data; talk goes to standard error
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
    /// Comma-separated, with a header; cells that a spreadsheet would run are quoted.
    Csv,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Thirty days of a synthetic enterprise through the whole durable pipeline, offline
    Demo(Demo),
    /// Write a commented configuration and the data folder
    Init(Init),
    /// Read GitHub, judge, and serve pages and API until stopped
    Serve,
    /// Judge files and print findings; nothing is kept
    ///
    /// Exit code 0: done; single records that cannot be read are named and counted. 1: a file is missing, cut short,
    /// damaged or binary; what could be read of all files is judged all the same. 3: the gate of --fail-on is not met.
    Scan(Scan),
    /// Take files into the data folder or the running server, for good
    Import(Import),
    /// Whether everything is read and judged
    Status(Status),
    /// The stages as they work: records a second, lag, replicas, what stands still
    ///
    /// On a terminal it is shown again every 2 seconds until Ctrl-C; elsewhere once.
    Top(Top),
    /// Dead letters: what could not be read, and putting it back
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// Check configuration, data folder, credentials, limits and rules, with what each means for detection
    Doctor,
    /// Findings: what a person on duty reads
    #[command(subcommand)]
    Finding(Finding),
    /// Events: how records become what rules read
    #[command(subcommand)]
    Event(Event),
    /// Sources: what is read of GitHub, and how that goes
    #[command(subcommand)]
    Source(Source),
    /// Rules: what is looked for
    #[command(subcommand)]
    Rule(Rule),
    /// The configuration in force
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Whom a command asks.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Ask this service, such as https://HOST:7475, with the token and certificates of section [remote]
    /// [default: the server that runs on the data folder, else this command itself]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// End after the report instead of serving the pages
    #[arg(long)]
    pub no_serve: bool,
    /// How many events
    #[arg(long, default_value_t = 1_000_000)]
    pub events: u64,
    /// How many days
    #[arg(long, default_value_t = 30)]
    pub days: u32,
    /// The same seed gives the same enterprise
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Address to serve on
    #[arg(long, default_value = "127.0.0.1:7474")]
    pub listen: std::net::SocketAddr,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Overwrite an existing configuration
    #[arg(long)]
    pub force: bool,
}

/// Options of `scan`.
#[derive(Debug, Args)]
pub struct Scan {
    /// Files, plain or gzip or zstd; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Exit with 3 when a finding has at least this severity, or when anything could not be judged: a file that is
    /// missing, cut short, damaged or binary, or a rejected record
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Show only findings of at least this severity
    #[arg(long, value_name = "SEVERITY")]
    pub min_severity: Option<Severity>,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Files, plain or gzip or zstd; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Connection that the records belong to [default: the only one configured, else `import`]
    #[arg(long, value_name = "NAME")]
    pub connection: Option<String>,
    /// Whom to give them to.
    #[command(flatten)]
    pub remote: Remote,
}

/// Which console is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct Console {
    /// Ask the console with these pages, such as https://hubwarden.example.com, with the token and
    /// certificates of section [remote] [default: the server that runs on the data folder]
    #[arg(long = "server", value_name = "URL")]
    pub url: Option<String>,
}

impl Console {
    /// Asked like any service.
    pub fn remote(&self) -> Remote {
        Remote { server: self.url.clone() }
    }
}

/// Options of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Which console.
    #[command(flatten)]
    pub console: Console,
    /// Show it once
    #[arg(long, conflicts_with = "watch")]
    pub once: bool,
    /// Go on where the output is no terminal, too
    #[arg(short, long)]
    pub watch: bool,
}

/// Commands on dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// List dead letters, the newest first
    List(LetterList),
    /// Put one record back on the topic it came from, or all of one reason that nobody has put back
    Retry(LetterRetry),
}

/// Options of `dead-letter list`.
#[derive(Debug, Args)]
pub struct LetterList {
    /// Which console.
    #[command(flatten)]
    pub console: Console,
    /// raw.dead or events.dead
    #[arg(long)]
    pub topic: Option<String>,
    /// The whole reason
    #[arg(long)]
    pub reason: Option<String>,
    /// Only those that nobody has put back
    #[arg(long)]
    pub waiting: bool,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// Options of `dead-letter retry`.
#[derive(Debug, Args)]
pub struct LetterRetry {
    /// Which console.
    #[command(flatten)]
    pub console: Console,
    /// The letter, such as raw.dead-3-17
    #[arg(required_unless_present = "reason", conflicts_with_all = ["reason", "topic"])]
    pub id: Option<String>,
    /// Put it back although that was done before
    #[arg(long, requires = "id")]
    pub again: bool,
    /// All of this topic and --reason: raw.dead or events.dead
    #[arg(long, requires = "reason")]
    pub topic: Option<String>,
    /// All of --topic and this whole reason, at most a thousand at once
    #[arg(long, requires = "topic")]
    pub reason: Option<String>,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Which console.
    #[command(flatten)]
    pub console: Console,
    /// Print a new one-time link to the pages
    #[arg(long)]
    pub link: bool,
}

/// Which findings.
#[derive(Debug, Args)]
pub struct FindingFilter {
    /// Severities, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SEVERITY")]
    pub severity: Vec<Severity>,
    /// Rule or concept
    #[arg(long)]
    pub rule: Option<String>,
    /// Organization
    #[arg(long)]
    pub org: Option<String>,
    /// Anything by name or `kind/name`, such as user/octocat
    #[arg(long)]
    pub entity: Option<String>,
    /// Who did it, by name
    #[arg(long)]
    pub actor: Option<String>,
    /// Text in sentence, rule, id or names
    #[arg(long)]
    pub text: Option<String>,
    /// Not older than this: 24h, 7d, or an RFC 3339 time
    #[arg(long)]
    pub since: Option<String>,
    /// Older than this
    #[arg(long)]
    pub until: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// What comes first: worst or newest
    #[arg(long, default_value = "worst")]
    pub sort: String,
    /// Whom to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// Commands on findings.
#[derive(Debug, Subcommand)]
pub enum Finding {
    /// List findings, the worst and newest first
    List(FindingFilter),
    /// Show one finding with everything
    Get(FindingId),
    /// Why it fired: conditions, values, thresholds
    Explain(FindingId),
    /// Its events in time order, with the record as GitHub sent it
    Timeline(FindingId),
}

/// Names a finding.
#[derive(Debug, Args)]
pub struct FindingId {
    /// The id, or a beginning that only one finding has
    pub id: String,
    /// Whom to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// Commands on events.
#[derive(Debug, Subcommand)]
pub enum Event {
    /// Show every step from the record to the event, for each record of a file
    Normalize(Normalize),
}

/// Options of `event normalize`.
#[derive(Debug, Args)]
pub struct Normalize {
    /// File, or `-`
    pub file: PathBuf,
}

/// Commands on sources.
#[derive(Debug, Subcommand)]
pub enum Source {
    /// List the sources of all connections, whoever reads them
    List(Remote),
    /// Show one source with everything
    Get(SourceId),
}

/// Names a source.
#[derive(Debug, Args)]
pub struct SourceId {
    /// The id, such as octo-corp/audit-rest, or the id or name of its connection
    pub id: String,
    /// Whom to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// Commands on rules.
#[derive(Debug, Subcommand)]
pub enum Rule {
    /// List the rules that are loaded, with what each is blind for
    List(Remote),
    /// Show one rule
    Get(RuleName),
    /// Check rule files: names, fields, actions, modifiers
    Lint(Lint),
    /// Run cases: those of the shipped rules, or a file of outside cases
    Test(Test),
    /// Show for each event of a file which parts of a rule's condition hold
    Explain(ExplainRule),
}

/// Names a rule.
#[derive(Debug, Args)]
pub struct RuleName {
    /// The rule's name or id
    pub name: String,
    /// Whom to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// Options of `rule lint`.
#[derive(Debug, Args)]
pub struct Lint {
    /// Rule files or folders [default: the rules of the configuration]
    pub paths: Vec<PathBuf>,
}

/// Options of `rule test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Only this rule or concept
    pub name: Option<String>,
    /// Outside cases: NDJSON of {concept|concepts, name, event|events, expect, config?}
    #[arg(long, value_name = "FILE")]
    pub cases: Option<PathBuf>,
}

/// Options of `rule explain`.
#[derive(Debug, Args)]
pub struct ExplainRule {
    /// The rule's name or id
    pub name: String,
    /// File with events, or `-`
    pub file: PathBuf,
}

/// Commands on the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the values in force
    Show(ShowConfig),
    /// Check it, with the rules and lists it names, and say what is wrong; 2 when it cannot be used
    Validate,
}

/// Options of `config show`.
#[derive(Debug, Args)]
pub struct ShowConfig {
    /// Name the layer that set each value
    #[arg(long)]
    pub origin: bool,
}
