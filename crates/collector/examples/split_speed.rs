//! Measures how fast files are cut into records and named: `cargo run --release --example split_speed`.

use std::io::Write;
use std::time::Instant;

use hubwarden_collector::files::{Input, open};
use hubwarden_collector::source_id;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let plan = hubwarden_simulator::Plan { events: 300_000, ..Default::default() };
    let life = hubwarden_simulator::Life::new(plan);
    for (name, start, between, end) in
        [("ndjson", "", "\n", "\n"), ("array", "[", ",", "]"), ("concatenated", "", "", "")]
    {
        let path = folder.path().join(name);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        file.write_all(start.as_bytes())?;
        for (number, event) in life.events().enumerate() {
            file.write_all(if number > 0 { between.as_bytes() } else { b"" })?;
            file.write_all(&event.json)?;
        }
        file.write_all(end.as_bytes())?;
        drop(file);
        for named in [false, true] {
            let begun = Instant::now();
            let mut reader = open(&Input::Path(path.clone()))?;
            let (mut records, mut length) = (0u64, 0usize);
            while let Some(chunk) = reader.next_chunk() {
                for item in &chunk.items {
                    records += 1;
                    if named {
                        let payload = &chunk.bytes[item.range.clone()];
                        length += source_id(item.content_type, payload).as_str().len();
                    }
                }
            }
            let seconds = begun.elapsed().as_secs_f64();
            let bytes = reader.consumed().bytes() as f64;
            println!(
                "{name:12} named {named:5}: {records} records, {:.2} GB/s, {:.2} M records/s ({length})",
                bytes / seconds / 1e9,
                records as f64 / seconds / 1e6
            );
        }
    }
    Ok(())
}
