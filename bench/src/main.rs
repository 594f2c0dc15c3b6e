//! Measures what Hubwarden promises about speed and memory, prints a table and fails below a floor.
//!
//! `cargo run --release -p hubwarden-bench`; `--help` names the options. Every figure is a ratio to
//! something measured in the same run, or a limit of its own. What was measured stands in
//! `docs/performance.md`.

mod cluster;
mod correlate;
mod demo;
mod figure;
mod journal;
mod memory;
mod process;
mod scan;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use crate::figure::{Figure, Outcome};

/// Measures speed and memory; ends with 1 when a figure misses its bound.
#[derive(Debug, Parser)]
struct Options {
    /// Measure only this; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Name>,
    /// Import 5 GB instead of a tenth of that
    #[arg(long)]
    full: bool,
    /// Events of the scan
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Size of the import in MiB [default: 512, with --full 5120]
    #[arg(long, value_name = "MIB")]
    import_mib: Option<u64>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Events from page cache to findings, beside parsing alone
    Scan,
    /// Durable commits, beside plain writes
    Journal,
    /// Cost per event with a journal 10 times as large
    JournalSize,
    /// Cost per event with 10 times as many open windows
    Windows,
    /// The demo's times and what it found
    Demo,
    /// Memory of an idle server
    Serve,
    /// Memory while a large file is imported
    Import,
    /// Normalizer and match on Kafka, beside librdkafka's own loop without work
    Stages,
    /// Four services on Kafka and PostgreSQL: idle memory, and time from event to finding
    Cluster,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["figure", "measured", "beside", "ratio", "bound", ""]);
    let mut missed = 0;
    for name in Name::value_variants() {
        if !options.only.is_empty() && !options.only.contains(name) {
            continue;
        }
        match measure(*name, &options) {
            Ok(figures) => {
                for figure in figures {
                    missed += u32::from(!figure.holds());
                    table.add_row(figure.row());
                }
            }
            Err(error) => {
                eprintln!("{name:?} could not be measured: {error}");
                missed += 1;
            }
        }
    }
    println!("{table}");
    if missed > 0 {
        eprintln!("{missed} figures miss their bounds");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(name: Name, options: &Options) -> Outcome<Vec<Figure>> {
    eprintln!("measuring {name:?} …");
    Ok(match name {
        Name::Scan => vec![scan::measure(options.events)?],
        Name::Journal => vec![journal::commits()?],
        Name::JournalSize => vec![journal::size()?],
        Name::Windows => vec![correlate::windows()?],
        Name::Demo => demo::measure()?,
        Name::Serve => vec![memory::serve()?],
        Name::Import => {
            let mib = options.import_mib.unwrap_or(if options.full { 5 << 10 } else { 512 });
            vec![memory::import(mib)?]
        }
        Name::Stages => cluster::stages::measure()?,
        Name::Cluster => cluster::services::measure()?,
    })
}
