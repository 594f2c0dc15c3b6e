use std::sync::Arc;

use hubwarden_collector::Import;
use hubwarden_collector::files::{self, Input};
use hubwarden_console::web::now;
use hubwarden_normalizer::{Normalizer, Steps};

use super::configure;
use crate::args::{self, Format, Global};
use crate::failure::{Exit, Failure};
use crate::output::print_one;

/// `hubwarden event …`
pub(crate) fn run(global: &Global, command: &args::Event) -> Result<Exit, Failure> {
    let args::Event::Normalize(options) = command;
    let config = configure(global)?;
    let input = Input::from_argument(&options.file);
    let normalizer = Normalizer::new(Arc::new(config.networks()));
    let import = Import::new("normalize".into(), std::slice::from_ref(&input), now());
    let mut reader = files::open(&input)?;
    while let Some(chunk) = reader.next_chunk() {
        for item in &chunk.items {
            let steps = normalizer.normalize_steps(&import.record(&chunk, item));
            let format = if global.output == Format::Json { Format::Ndjson } else { global.output };
            print_one(format, &steps, &lines(item.line, &steps))?;
        }
    }
    Ok(Exit::Done)
}

fn lines(line: u64, steps: &Steps) -> Vec<String> {
    let mut lines = vec![
        format!("line {line}: {} bytes of {}", steps.bytes, steps.content_type),
        format!("  wrapping  {}", steps.wrapping),
    ];
    if let Some(time) = &steps.time {
        let suspect = if time.suspect { ", suspect: later than it was received" } else { "" };
        lines.push(format!(
            "  time      {} from {} = {} ({}){suspect}",
            time.occurred_at, time.field, time.sent, time.written_as
        ));
    }
    if let Some(event) = &steps.event {
        lines.push(format!(
            "  event     {} of kind {}, source id {}",
            event.id, event.kind, event.source_id
        ));
    }
    for (title, cells) in [("field", &steps.fields), ("enriched", &steps.enriched)] {
        lines.extend(
            cells
                .iter()
                .map(|cell| format!("  {title:<9} {} = {} ({})", cell.name, cell.value, cell.kind)),
        );
    }
    lines.extend(steps.warnings.iter().map(|warning| format!("  warning   {warning}")));
    lines.extend(steps.rejected.iter().map(|reason| format!("  rejected  {reason}")));
    lines
}
