use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use hubwarden_console::escape;
use serde::Serialize;

use crate::Failure;
use crate::args::Format;

/// Rows for people and spreadsheets, beside the values they were made of.
pub(crate) struct Rows<'a, T> {
    /// Names of the columns.
    pub(crate) header: &'static [&'static str],
    /// What is shown.
    pub(crate) values: &'a [T],
    /// A value as a row.
    pub(crate) row: fn(&T) -> Vec<String>,
}

impl<T: Serialize> Rows<'_, T> {
    /// Prints them in the wanted form on standard output.
    pub(crate) fn print(&self, format: Format) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = match format {
            Format::Json => write_line(&mut out, &serde_json::to_string_pretty(self.values)?),
            Format::Ndjson => {
                let lines = self.values.iter().map(serde_json::to_string);
                lines
                    .collect::<Result<Vec<_>, _>>()?
                    .iter()
                    .try_for_each(|line| write_line(&mut out, line))
            }
            Format::Csv => self.write_csv(&mut out),
            Format::Table => self.write_table(&mut out),
        };
        finish(written)
    }

    fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(self.header)?;
        for value in self.values {
            writer.write_record(
                (self.row)(value).iter().map(|cell| escape::csv(cell).into_owned()),
            )?;
        }
        writer.flush()
    }

    fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        self.lines().iter().try_for_each(|line| write_line(out, line))
    }

    /// The lines of a table for people, escape codes taken out.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if !io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(self.header.iter().map(|name| name.to_uppercase()));
        for value in self.values {
            table.add_row((self.row)(value).iter().map(|cell| escape::terminal(cell).into_owned()));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

fn write_line(out: &mut impl Write, line: &str) -> io::Result<()> {
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")
}

/// Prints one value: JSON for programs, lines for people.
pub(crate) fn print_one(
    format: Format,
    value: &impl Serialize,
    lines: &[String],
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = match format {
        Format::Json => write_line(&mut out, &serde_json::to_string_pretty(value)?),
        Format::Ndjson => write_line(&mut out, &serde_json::to_string(value)?),
        Format::Table | Format::Csv => {
            lines.iter().try_for_each(|line| write_line(&mut out, &escape::terminal(line)))
        }
    };
    finish(written)
}

/// Shows these lines in the place of what the terminal shows.
pub(crate) fn redraw(lines: &[String]) -> Result<(), Failure> {
    let shown: Vec<_> = lines.iter().map(|line| escape::terminal(line)).collect();
    let mut out = io::stdout().lock();
    // To the first place, then each line up to its end, then what is left below.
    let text = format!("\x1b[H{}\x1b[J", shown.join("\x1b[K\n") + "\x1b[K\n");
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints one line of data as it is.
pub(crate) fn print_text(line: &str) -> Result<(), Failure> {
    finish(write_line(&mut io::stdout().lock(), line))
}

/// Says something to people on standard error, escape codes taken out; one that is closed hears nothing.
pub(crate) fn say(text: &str) {
    drop(write_line(&mut io::stderr().lock(), &escape::terminal(text)));
}

/// A reader that went away, as `head` does, is no failure.
fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
