//! `hubwarden-simulator`: a simulated GitHub to connect to, or a file of its events.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};
use hubwarden_simulator::{Format, Life, Plan, Settings, Simulator, Token, export};

/// Plays a GitHub Enterprise: serves its audit log, or writes it into a file.
#[derive(Parser)]
#[command(name = "hubwarden-simulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    life: LifeArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Write events into a file instead of serving them.
    Generate(GenerateArgs),
}

#[derive(Args)]
struct LifeArgs {
    /// The same seed gives the same enterprise and events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Length in days.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// How many events there are.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Leave out campaigns and look-alikes.
    #[arg(long)]
    no_stories: bool,
    /// Last moment of the events, in milliseconds since 1970 [default: now when serving].
    #[arg(long)]
    end_ms: Option<i64>,
}

#[derive(Args)]
struct ServeArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Token that clients must send.
    #[arg(long, default_value = "ghp_simulator")]
    token: String,
    /// Scopes of the token, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "read:audit_log,read:org")]
    scopes: Vec<String>,
    /// Audit-log requests an hour.
    #[arg(long, default_value_t = 1750)]
    rate_limit: u64,
    /// Largest page.
    #[arg(long, default_value_t = 100)]
    page_limit: usize,
    /// Play GitHub Enterprise Server of this version.
    #[arg(long)]
    ghes: Option<String>,
    /// Share of events, in a thousand, that appear only 40 minutes after they happened.
    #[arg(long, default_value_t = 0)]
    late: u64,
    /// Share of events, in a thousand, that answers contain twice.
    #[arg(long, default_value_t = 0)]
    twice: u64,
    /// Share of events, in a thousand, that have an odd value.
    #[arg(long, default_value_t = 0)]
    odd: u64,
    /// Keep producing events in real time, so many an hour.
    #[arg(long, value_name = "EVENTS_PER_HOUR")]
    follow: Option<u64>,
}

#[derive(Args)]
struct GenerateArgs {
    #[command(flatten)]
    life: LifeArgs,
    /// Form of the file.
    #[arg(long, value_enum, default_value_t = FileFormat::Ndjson)]
    format: FileFormat,
    /// File to write; `-` is standard output.
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum FileFormat {
    Ndjson,
    Array,
    Csv,
    UiJson,
    Syslog,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Ndjson => Self::Ndjson,
            FileFormat::Array => Self::Array,
            FileFormat::Csv => Self::Csv,
            FileFormat::UiJson => Self::UiJson,
            FileFormat::Syslog => Self::Syslog,
        }
    }
}

impl LifeArgs {
    fn plan(&self) -> Plan {
        let Self { seed, days, events, no_stories, end_ms } = *self;
        let plan = Plan { seed, days, events, stories: !no_stories, ..Plan::default() };
        match end_ms {
            Some(end_ms) => plan.ending_at(end_ms),
            None => plan,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Some(Command::Generate(generate)) => write_file(generate),
        None => serve(&cli.life, cli.serve).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("hubwarden-simulator: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn write_file(generate: &GenerateArgs) -> Result<(), Box<dyn Error>> {
    let life = Life::new(generate.life.plan());
    let out: Box<dyn Write> = if generate.output == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(&generate.output)?)
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let count = export::write(&life, generate.format.into(), &mut out)?;
    out.flush()?;
    eprintln!("{count} events written");
    Ok(())
}

async fn serve(args: &LifeArgs, serve: ServeArgs) -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start(Settings {
        listen: serve.listen,
        tokens: vec![Token { scopes: serve.scopes, ..Token::new(&serve.token) }],
        rate_limit: serve.rate_limit,
        page_limit: serve.page_limit.max(1),
        ghes: serve.ghes,
        late_per_mille: serve.late,
        twice_per_mille: serve.twice,
        odd_per_mille: serve.odd,
        ..Settings::default()
    })
    .await?;
    let now_ms = now_ms();
    let plan = args.plan().ending_at(args.end_ms.unwrap_or(now_ms));
    simulator.add(Life::new(plan).events())?;
    if let Some(an_hour) = serve.follow {
        // What lies ahead is in the log already and becomes visible as the time comes: a day at once.
        let ahead = Plan {
            seed: args.seed ^ 1,
            days: 1,
            events: an_hour.saturating_mul(24),
            stories: false,
            start_ms: now_ms,
        };
        simulator.add(Life::new(ahead).events())?;
    }
    println!("{}", simulator.url());
    io::stdout().flush()?;
    match serve.follow {
        Some(an_hour) => keep_producing(&simulator, args.seed, now_ms, an_hour).await?,
        None => tokio::signal::ctrl_c().await?,
    }
    simulator.stop().await;
    Ok(())
}

/// Adds the next day of life whenever one has passed, until interrupted.
async fn keep_producing(
    simulator: &Simulator,
    seed: u64,
    start_ms: i64,
    an_hour: u64,
) -> Result<(), Box<dyn Error>> {
    let day = Duration::from_secs(86_400);
    let mut days = 0_i64;
    loop {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            () = tokio::time::sleep(day) => {
                days += 1;
                let start_ms = start_ms + days * 86_400_000;
                let seed = seed ^ (days as u64 + 1);
                let plan = Plan { seed, days: 1, events: an_hour.saturating_mul(24), stories: false, start_ms };
                simulator.add(Life::new(plan).events())?;
            }
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
