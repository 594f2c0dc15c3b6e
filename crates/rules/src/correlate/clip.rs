use std::sync::Arc;

use hubwarden_event::{CellKind, CellRef, FlatBuilder, FlatRecord};

/// Evidence holds at most so much JSON of an event.
pub(super) const MAX_EVIDENCE_BYTES: usize = 8 * 1024;
/// The field that marks evidence of which a part was left out.
pub const CUT_MARK: &str = "hw.evidence.cut";

/// A value of a record that is too long as a whole keeps at most so much of its text.
const MAX_VALUE: usize = 512;
/// A field of such a record keeps at most so many values.
const MAX_CELLS: usize = 16;

/// The record as evidence keeps it: whole when its JSON fits, else cut and marked by [`CUT_MARK`].
///
/// Fields that have a dictionary id or are Hubwarden's own come first, so that no flood of other
/// fields displaces actor and action.
pub(super) fn clip(record: &Arc<FlatRecord>) -> Arc<FlatRecord> {
    let bound: usize = record.cells().map(|cell| json_bound(cell.name, cell.text)).sum();
    if bound < MAX_EVIDENCE_BYTES || fits(record) {
        return Arc::clone(record);
    }
    let mut builder = FlatBuilder::default();
    builder.push(CUT_MARK, CellKind::Bool, "true");
    let mut left = MAX_EVIDENCE_BYTES - json_bound(CUT_MARK, "true") - 2;
    let known = |cell: &CellRef<'_>| cell.field.is_some() || cell.name.starts_with("hw.");
    for own in [true, false] {
        let mut last = ("", 0);
        for cell in record.cells().filter(|cell| known(cell) == own && cell.name != CUT_MARK) {
            let text = &cell.text[..cell.text.floor_char_boundary(MAX_VALUE)];
            let kind = if text.len() < cell.text.len() { CellKind::Text } else { cell.kind };
            last = if last.0 == cell.name { (cell.name, last.1 + 1) } else { (cell.name, 1) };
            let size = json_bound(cell.name, text);
            if last.1 <= MAX_CELLS && size <= left {
                builder.push_known(cell.field, cell.name, kind, text);
                left -= size;
            }
        }
    }
    builder.finish()
}

fn fits(record: &FlatRecord) -> bool {
    let json = serde_json::to_vec(&record.to_json());
    json.is_ok_and(|json| json.len() <= MAX_EVIDENCE_BYTES)
}

/// At least the bytes that one cell adds to the JSON form: quotes, colon, comma, brackets, escapes.
fn json_bound(name: &str, text: &str) -> usize {
    escaped(name) + escaped(text) + 8
}

fn escaped(text: &str) -> usize {
    let more = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 1,
        0..=0x1f => 5,
        _ => 0,
    });
    text.len() + more.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cells: &[(&str, String)]) -> Arc<FlatRecord> {
        let mut builder = FlatBuilder::default();
        for (name, text) in cells {
            builder.push(name, CellKind::Text, text);
        }
        builder.finish()
    }

    fn json_len(record: &FlatRecord) -> usize {
        serde_json::to_vec(&record.to_json()).unwrap().len()
    }

    #[test]
    fn keeps_a_usual_record_as_it_is() {
        let whole = record(&[("action", "repo.destroy".into()), ("x", "y".repeat(7000))]);
        assert!(Arc::ptr_eq(&clip(&whole), &whole));
    }

    #[test]
    fn cuts_to_the_limit_and_keeps_what_names_the_event() {
        for junk in ["x", "\u{1}", "\"", "é"] {
            let mut cells: Vec<_> =
                (0..3000).map(|n| (format!("junk{n}"), junk.repeat(20))).collect();
            cells.push(("teams".into(), junk.repeat(9000)));
            cells.extend((0..3000).map(|_| ("topic".into(), junk.into())));
            cells.push(("action".into(), "repo.destroy".into()));
            let cells: Vec<_> = cells.iter().map(|(name, text)| (&**name, text.clone())).collect();
            let cut = clip(&record(&cells));
            assert!(json_len(&cut) <= MAX_EVIDENCE_BYTES, "{}", json_len(&cut));
            assert_eq!(cut.first("action"), Some("repo.destroy"));
            assert_eq!(cut.first(CUT_MARK), Some("true"));
        }
    }

    #[test]
    fn a_cut_record_is_not_cut_again() {
        let cells: Vec<_> = (0..900).map(|n| (format!("junk{n}"), "\u{1}".repeat(90))).collect();
        let cells: Vec<_> = cells.iter().map(|(name, text)| (&**name, text.clone())).collect();
        let cut = clip(&record(&cells));
        assert!(Arc::ptr_eq(&clip(&cut), &cut));
    }
}
