use std::io::Write;
use std::path::Path;

use hubwarden_event::ContentType::{self, CsvRow, Json, SyslogLine, Unknown};

use super::*;

/// Payload, line, content type and damage of every record.
type Row = (String, u64, ContentType, Option<String>);

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn rows_of(path: &Path) -> Vec<Row> {
    let mut reader = open(&Input::Path(path.into())).unwrap();
    let mut rows = Vec::new();
    while let Some(chunk) = reader.next_chunk() {
        for item in &chunk.items {
            let text = String::from_utf8_lossy(&chunk.payload(item)).into_owned();
            rows.push((text, item.line, item.content_type, item.damage.clone()));
        }
    }
    assert!(reader.next_chunk().is_none(), "an ended file stays ended");
    rows
}

fn rows(bytes: &[u8]) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    rows_of(&write(&folder, bytes))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn whole(rows: &[(&str, u64, ContentType)]) -> Vec<Row> {
    rows.iter().map(|(text, line, kind)| ((*text).to_owned(), *line, *kind, None)).collect()
}

#[test]
fn every_form_gives_its_records_byte_for_byte_in_every_compression() {
    let header = "action,actor,note";
    let row = |text: &str| format!("{header}\n{text}");
    let (row1, row2) = (row("a,octo,\"two\nlines, \"\"q\"\"\""), row("b,cat,"));
    let pretty = "{\n    \"a\": \"}\",\n    \"b\": [ 1 ]\n  }";
    type Case<'a> = (&'a str, String, Vec<(&'a str, u64, ContentType)>);
    let cases: &[Case<'_>] = &[
        (
            "array",
            r#"[{"a":1},{"b":"],["} , {"c":{}}]"#.into(),
            vec![(r#"{"a":1}"#, 1, Json), (r#"{"b":"],["}"#, 1, Json), (r#"{"c":{}}"#, 1, Json)],
        ),
        (
            "pretty array",
            format!("[\n  {pretty},\n  {{}}\n]\n"),
            vec![(pretty, 2, Json), ("{}", 6, Json)],
        ),
        ("pretty objects", format!("{pretty}\n{pretty}"), vec![(pretty, 1, Json), (pretty, 5, Json)]),
        (
            "ndjson",
            "{\"a\":1}\r\n\n{ \"a\": 2 }\n{\"a\":\"é\"}".into(),
            vec![("{\"a\":1}", 1, Json), ("{ \"a\": 2 }", 3, Json), ("{\"a\":\"é\"}", 4, Json)],
        ),
        (
            "envelopes",
            r#"{"event":{"a":1}}{"event":{"a":2}} {"event":{}}"#.into(),
            vec![
                (r#"{"event":{"a":1}}"#, 1, Json),
                (r#"{"event":{"a":2}}"#, 1, Json),
                (r#"{"event":{}}"#, 1, Json),
            ],
        ),
        (
            "a late line of several",
            "{\"a\":1}\n{\"a\":\"}{\"}{\"b\":2}\n[{\"c\":3},{\"d\":4}]\n".into(),
            vec![
                (r#"{"a":1}"#, 1, Json),
                (r#"{"a":"}{"}"#, 2, Json),
                (r#"{"b":2}"#, 2, Json),
                (r#"{"c":3}"#, 3, Json),
                (r#"{"d":4}"#, 3, Json),
            ],
        ),
        (
            "csv",
            format!("\u{feff}{header}\r\na,octo,\"two\nlines, \"\"q\"\"\"\r\nb,cat,\r\n"),
            vec![(&row1, 2, CsvRow), (&row2, 4, CsvRow)],
        ),
        (
            "syslog",
            "<134>Nov 1 10:00:00 ghe github_audit[1]: {\"a\":1}\n<13>Nov 1 ghe cron[2]: ran\nNov 1 ghe github_audit[1]: {\"a\":2}\n".into(),
            vec![
                ("<134>Nov 1 10:00:00 ghe github_audit[1]: {\"a\":1}", 1, SyslogLine),
                ("Nov 1 ghe github_audit[1]: {\"a\":2}", 3, SyslogLine),
            ],
        ),
        ("empty", String::new(), vec![]),
        ("empty array", "[]\n".into(), vec![]),
    ];
    for (name, text, expected) in cases {
        let bytes = text.as_bytes();
        let half = bytes.len() / 2;
        let members = [gzip(&bytes[..half]), gzip(&bytes[half..])].concat();
        let frames = zstd::encode_all(bytes, 1).unwrap();
        for (form, packed) in [("plain", bytes.to_vec()), ("gzip", members), ("zstd", frames)] {
            assert_eq!(rows(&packed), whole(expected), "{name}, {form}");
        }
    }
}

#[test]
fn standard_input_and_other_names_are_told_apart() {
    assert_eq!(Input::from_argument("-"), Input::Stdin);
    assert_eq!(&*Input::Stdin.name(), "-");
    assert_eq!(Input::from_argument("a.json"), Input::Path("a.json".into()));
}

#[test]
fn records_pass_chunk_borders_whole_and_with_their_line() {
    let line =
        |number: usize| format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(number % 3000));
    let lines: Vec<String> = (0..3000).map(line).collect();
    let ndjson: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let array = format!("[\n{}\n]", lines.join(",\n"));
    let csv_rows: Vec<String> = lines.iter().map(|line| line.replace(['"', ','], "")).collect();
    let csv = format!(
        "action,b\n{}",
        csv_rows.iter().map(|row| format!("{row},1\n")).collect::<String>()
    );
    assert!(ndjson.len() > 4 << 20);
    for (text, offset, prefix, suffix) in
        [(&ndjson, 1, "", ""), (&array, 2, "", ""), (&csv, 2, "action,b\n", ",1")]
    {
        let found = rows(text.as_bytes());
        assert_eq!(found.len(), lines.len());
        for (number, (payload, at, _, damage)) in found.iter().enumerate() {
            let line = if suffix.is_empty() { &lines[number] } else { &csv_rows[number] };
            assert_eq!(*payload, format!("{prefix}{line}{suffix}"));
            assert_eq!((*at, damage), ((number + offset) as u64, &None));
        }
    }
}

#[test]
fn a_truncated_gzip_gives_what_was_readable_and_then_says_so() {
    let line =
        |n: u64| format!("{{\"n\":{n},\"noise\":\"{:x}\"}}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let text: String = (0..20_000).map(|number| line(number) + "\n").collect();
    let packed = gzip(text.as_bytes());
    let found = rows(&packed[..packed.len() / 2]);
    let (last, before) = found.split_last().unwrap();
    assert!(before.len() > 5_000 && before.len() < 15_000, "{}", before.len());
    for (number, row) in before.iter().enumerate() {
        assert_eq!(*row, (line(number as u64), number as u64 + 1, Json, None));
    }
    assert!(last.3.as_ref().unwrap().contains("gzip data ends too early"), "{last:?}");
    let zst = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let last = rows(&zst[..zst.len() / 2]).pop().unwrap();
    assert!(last.3.as_ref().unwrap().contains("zstd data ends too early"), "{last:?}");
    // cut inside the trailer: all records are there, and the damage is still named
    let found = rows(&packed[..packed.len() - 3]);
    assert_eq!(found.len(), 20_001);
    assert!(found[20_000].3.is_some() && found[19_999].3.is_none());
}

#[test]
fn damage_is_named_and_the_rest_goes_on() {
    let cut = "the file ends inside this value; it was probably cut off";
    let unclosed = "a text in this value is not closed before the line ends";
    let open_array = "the array is never closed; the file was probably cut off";
    let quote = "a quote in this row is never closed; correct the row";
    for (text, expected) in [
        ("[{\"a\":1},{\"b\":", vec![(r#"{"a":1}"#, Json, None), ("{\"b\":", Json, Some(cut))]),
        ("[{\"a\":1},", vec![(r#"{"a":1}"#, Json, None), ("", Unknown, Some(open_array))]),
        (
            "[{\"a\":\"x},\n{\"b\":2}]",
            vec![("{\"a\":\"x},", Json, Some(unclosed)), ("{\"b\":2}", Json, None)],
        ),
        (
            "[{\"a\":1},nonsense,{\"b\":2}]",
            vec![
                ("{\"a\":1}", Json, None),
                ("nonsense", Unknown, Some(NOT_A_RECORD)),
                ("{\"b\":2}", Json, None),
            ],
        ),
        (
            "{\"a\":1}\nnonsense\n{\"b\":\n{\"c\":3}\n",
            vec![
                ("{\"a\":1}", Json, None),
                ("nonsense", Unknown, Some(NOT_A_RECORD)),
                ("{\"b\":", Json, None), // the normalizer says what is wrong inside a line
                ("{\"c\":3}", Json, None),
            ],
        ),
        (
            "action,b\n\"x,1\ny,2\n",
            vec![("action,b\n\"x,1", CsvRow, Some(quote)), ("action,b\ny,2", CsvRow, None)],
        ),
    ] {
        let found = rows(text.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|(payload, _, kind, damage)| (payload.as_str(), *kind, damage.as_deref()))
            .collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn invalid_utf8_passes_on_for_the_normalizer_to_judge() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, b"{\"a\":\"\xff\"}\n{\"a\":2}\n");
    let chunk = open(&Input::Path(path)).unwrap().next_chunk().unwrap();
    assert_eq!(chunk.payload(&chunk.items[0]), b"{\"a\":\"\xff\"}".as_slice());
    assert_eq!(chunk.items.len(), 2);
}

#[test]
fn a_binary_file_is_one_damaged_record() {
    let mut bytes = b"\x7fELF\x02\x01\0\0".to_vec();
    bytes.extend((0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8));
    let found = rows(&bytes);
    let [(payload, 1, Unknown, Some(damage))] = found.as_slice() else { panic!("{}", found.len()) };
    assert!(!payload.is_empty());
    assert!(damage.contains("binary") && damage.contains("3000008 bytes"), "{damage}");
    assert!(damage.contains(&Hash::of(&bytes).to_string()));
    let damage = rows(b"PK\x03\x04zip").pop().unwrap().3.unwrap();
    assert!(damage.contains("zip archive; unpack it first"), "{damage}");
}

/// 200 MB, made while it is read, so that neither disk nor memory holds it.
#[test]
fn a_line_of_200_mb_keeps_64_kib_and_its_measure() {
    let folder = tempfile::tempdir().unwrap();
    let long = 200_000_000;
    for (name, before, after) in
        [("lines", "{\"n\":1}\n", "\n{\"n\":2}\n"), ("array", "[{\"n\":1},\n", ",{\"n\":2}]")]
    {
        let path = folder.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(format!("{before}{{\"pad\":\"").as_bytes()).unwrap();
        let block = vec![b'x'; 1_000_000];
        (0..long / block.len()).for_each(|_| encoder.write_all(&block).unwrap());
        encoder.write_all(format!("\"}}{after}").as_bytes()).unwrap();
        encoder.finish().unwrap();
        let mut reader = open(&Input::Path(path)).unwrap();
        let (mut items, mut largest) = (Vec::new(), 0);
        while let Some(chunk) = reader.next_chunk() {
            largest = largest.max(chunk.bytes.len());
            items.extend(chunk.items);
        }
        let [first, middle, last] = items.as_slice() else { panic!("{} items", items.len()) };
        assert!(first.damage.is_none() && last.damage.is_none());
        assert_eq!(
            (first.line, middle.line, last.line),
            (1, 2, if name == "lines" { 3 } else { 2 })
        );
        assert_eq!(middle.range.len(), KEPT);
        assert_eq!(middle.whole.unwrap().length, long as u64 + 10);
        assert!(middle.damage.as_ref().unwrap().contains("200000010 bytes"), "{middle:?}");
        assert!(largest < 2 << 20, "memory follows the file: {largest}");
    }
}

#[test]
fn says_how_much_of_the_file_has_been_read() {
    let folder = tempfile::tempdir().unwrap();
    let packed = gzip(&b"{\"a\":1}\n".repeat(500_000));
    let mut reader = open(&Input::Path(write(&folder, &packed))).unwrap();
    let consumed = reader.consumed();
    assert_eq!(reader.size(), Some(packed.len() as u64));
    reader.next_chunk().unwrap();
    while reader.next_chunk().is_some() {}
    assert_eq!(consumed.bytes(), packed.len() as u64);
}

#[test]
fn a_missing_file_or_a_folder_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("missing.json"), folder.path().to_path_buf()] {
        let error = open(&Input::Path(path.clone())).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

/// What is broken costs no more time than what is sound: each byte is looked at a few times.
#[test]
fn many_broken_values_are_read_in_linear_time() {
    let text = format!("{{\n\"a\":1}}\n{}", "{\"a\":\"x\n".repeat(1_000_000));
    let begun = std::time::Instant::now();
    let found = rows(text.as_bytes());
    assert_eq!(found.len(), 1_000_001);
    assert!(found[1..].iter().all(|row| row.0 == "{\"a\":\"x" && row.3.is_some()));
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
