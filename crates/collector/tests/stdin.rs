//! Standard input is read like a file.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use hubwarden_collector::files::{Input, open};

/// Not a test of its own: the child process of the one below, which has something to read.
#[test]
#[ignore = "reads what `standard_input_is_found_out_like_a_file` writes"]
fn child_prints_the_records_of_its_standard_input() {
    let mut reader = open(&Input::from_argument("-")).unwrap();
    while let Some(chunk) = reader.next_chunk() {
        for item in &chunk.items {
            let text = String::from_utf8(chunk.payload(item).to_vec()).unwrap();
            println!("\n<{}:{} {text}>", chunk.file, item.line);
        }
    }
}

#[test]
fn standard_input_is_found_out_like_a_file() {
    let text = b"[\n  {\"a\":1},\n  {\"b\":2}\n]";
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    let gzip = encoder.finish().unwrap();
    for input in [text.to_vec(), gzip, zstd::encode_all(text.as_slice(), 1).unwrap()] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_prints_the_records_of_its_standard_input"])
            .args(["--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("<-:2 {\"a\":1}>\n\n<-:3 {\"b\":2}>"), "{printed}");
    }
}
