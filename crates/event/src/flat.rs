use std::sync::Arc;

use crate::dictionary;

/// A longer value is cut here, at a character boundary, and marked.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// A record's values end here; further fields are dropped and the record is marked.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

const VERSION: u8 = 1;
const NAMED: u16 = u16::MAX;
const HEAD: usize = 4;
const CELL: usize = 10;
const CUT: u8 = 0x80;

/// What sort of value a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CellKind {
    /// A text, as decoded from JSON.
    Text = 0,
    /// A number, its digits as sent.
    Number = 1,
    /// `true` or `false`.
    Bool = 2,
    /// JSON null; no text.
    Null = 3,
    /// The field is an object, whose members are cells of their own; no text.
    Object = 4,
    /// The field is an array without elements; no text.
    EmptyArray = 5,
}

impl CellKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Text,
            1 => Self::Number,
            2 => Self::Bool,
            3 => Self::Null,
            4 => Self::Object,
            5 => Self::EmptyArray,
            _ => return None,
        })
    }

    /// Whether a scalar predicate can hold on such a cell: text, number or boolean.
    pub const fn is_scalar(self) -> bool {
        matches!(self, Self::Text | Self::Number | Self::Bool)
    }
}

/// A field with an id may carry its name all the same: that is how it is written while replicas are
/// about that do not know the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    field: u16,
    kind: CellKind,
    cut: bool,
    name_length: u16,
    end: u32,
}

impl Cell {
    /// The cell with its name and text, which stand in `whole`.
    #[inline]
    fn read<'a>(&self, whole: &'a str) -> CellRef<'a> {
        let (named, text) = whole.split_at(usize::from(self.name_length));
        let (field, name) = match self.field {
            NAMED => (None, named),
            id => (Some(id), dictionary::name(id).unwrap_or_default()),
        };
        CellRef { field, name, kind: self.kind, cut: self.cut, text }
    }
}

/// One value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRef<'a> {
    /// The dictionary's id of the field; absent for a field that only has a name.
    pub field: Option<u16>,
    /// The field's name: GitHub's own, dotted for members of objects, or one under `hw.`.
    pub name: &'a str,
    /// What sort of value it is.
    pub kind: CellKind,
    /// Whether the value was longer than [`MAX_VALUE_BYTES`].
    pub cut: bool,
    /// The value in text form; empty for null, objects and empty arrays.
    pub text: &'a str,
}

/// Every field of an event under its name, one cell a value, ready to be read without parsing.
///
/// An array is one cell an element (nested arrays flattened), an empty array one cell of its own
/// kind. An object is one [`CellKind::Object`] cell and cells under dotted names for its members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlatRecord {
    cells: Vec<Cell>,
    text: String,
    dropped: bool,
}

/// Bytes that are not a flat record of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlatError {
    /// The bytes end early or offsets do not fit.
    #[error("the flat record is damaged: {0}")]
    Damaged(&'static str),
    /// Written by a later layout.
    #[error("the flat record has layout version {0}, this release reads {VERSION}")]
    Version(u8),
    /// Written by a release with a longer dictionary.
    #[error("the flat record uses field id {id}, this release's dictionary ends at {known}")]
    UnknownField {
        /// The id that was met.
        id: u16,
        /// How many ids this release knows.
        known: usize,
    },
}

impl FlatRecord {
    /// All cells, in the order they were written.
    pub fn cells(&self) -> impl Iterator<Item = CellRef<'_>> {
        let mut start = 0;
        self.cells.iter().map(move |cell| {
            let whole = self.text.get(start..cell.end as usize).unwrap_or_default();
            start = cell.end as usize;
            cell.read(whole)
        })
    }

    /// The fields of [`cells`](Self::cells) alone: the dictionary's id, or the name of a field without.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = Result<u16, &str>> {
        let mut start = 0;
        self.cells.iter().map(move |cell| {
            let begin = std::mem::replace(&mut start, cell.end as usize);
            match cell.field {
                NAMED => {
                    let end = begin + usize::from(cell.name_length);
                    Err(self.text.get(begin..end).unwrap_or_default())
                }
                id => Ok(id),
            }
        })
    }

    /// The cell at a position of [`cells`](Self::cells), without walking there.
    #[inline]
    pub fn cell(&self, position: usize) -> Option<CellRef<'_>> {
        let cell = self.cells.get(position)?;
        let start = match position.checked_sub(1) {
            Some(before) => self.cells[before].end as usize,
            None => 0,
        };
        Some(cell.read(self.text.get(start..cell.end as usize).unwrap_or_default()))
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cells of one field.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = CellRef<'a>> {
        let id = dictionary::id(name);
        self.cells().filter(move |cell| match id {
            Some(_) => cell.field == id,
            None => cell.name == name,
        })
    }

    /// The first scalar value of a field, in text form; `""` and `0` are values.
    pub fn first(&self, name: &str) -> Option<&str> {
        let id = dictionary::id(name);
        let mut cells = self.cells().filter(|cell| match id {
            Some(_) => cell.field == id,
            None => cell.name == name,
        });
        cells.find(|cell| cell.kind.is_scalar()).map(|cell| cell.text)
    }

    /// The first value of a field that says something: `""`, `0` and null read as absent.
    pub fn typed(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|text| !text.is_empty() && *text != "0")
    }

    /// Whether fields were dropped because the record reached [`MAX_RECORD_BYTES`].
    pub fn is_dropped(&self) -> bool {
        self.dropped
    }

    /// Bytes on the wire.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        HEAD + self.cells.len() * CELL + self.text.len()
    }

    /// Appends the wire form: version, flags, cell count, cells, then the text.
    ///
    /// A cell is field id (2 bytes), kind and cut mark (1), zero (1), name length (2) and end
    /// offset in the text (4), all little-endian. In place of the id stands 65535 where the name
    /// stands before the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend([VERSION, u8::from(self.dropped)]);
        out.extend((self.cells.len() as u16).to_le_bytes());
        for cell in &self.cells {
            let field = if cell.name_length > 0 { NAMED } else { cell.field };
            out.extend(field.to_le_bytes());
            out.extend([cell.kind as u8 | if cell.cut { CUT } else { 0 }, 0]);
            out.extend(cell.name_length.to_le_bytes());
            out.extend(cell.end.to_le_bytes());
        }
        out.extend(self.text.as_bytes());
    }

    /// The wire form as bytes of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads the wire form and checks all of it, so that later reads cannot fail.
    ///
    /// A field that came under its name is found by its id as well, if it has one by now.
    ///
    /// # Errors
    /// Damaged bytes, a later layout, or a field id that this release does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, FlatError> {
        let (&[version, flags, low, high], rest) =
            bytes.split_first_chunk().ok_or(FlatError::Damaged("too short"))?;
        if version != VERSION {
            return Err(FlatError::Version(version));
        }
        let count = usize::from(u16::from_le_bytes([low, high]));
        let (table, text) =
            rest.split_at_checked(count * CELL).ok_or(FlatError::Damaged("too few cells"))?;
        let text = std::str::from_utf8(text).map_err(|_| FlatError::Damaged("not UTF-8"))?;
        let known = dictionary::len();
        let mut cells = Vec::with_capacity(count);
        let mut start = 0;
        for cell in table.as_chunks::<CELL>().0 {
            let [f0, f1, kind, _, n0, n1, e0, e1, e2, e3] = *cell;
            let mut field = u16::from_le_bytes([f0, f1]);
            if field != NAMED && usize::from(field) >= known {
                return Err(FlatError::UnknownField { id: field, known });
            }
            let name_length = u16::from_le_bytes([n0, n1]);
            let end = u32::from_le_bytes([e0, e1, e2, e3]);
            let whole = text.get(start..end as usize).ok_or(FlatError::Damaged("offset"))?;
            let name = whole.get(..usize::from(name_length)).ok_or(FlatError::Damaged("name"))?;
            if field == NAMED {
                field = dictionary::id(name).unwrap_or(NAMED);
            } else if name_length > 0 {
                return Err(FlatError::Damaged("a name beside an id"));
            }
            let cut = kind & CUT != 0;
            let kind = CellKind::from_byte(kind & !CUT).ok_or(FlatError::Damaged("kind"))?;
            cells.push(Cell { field, kind, cut, name_length, end });
            start = end as usize;
        }
        if start != text.len() {
            return Err(FlatError::Damaged("bytes after the last cell"));
        }
        Ok(Self { cells, text: text.into(), dropped: flags & 1 != 0 })
    }

    /// The record as JSON: dotted names stay flat, several cells of one field become an array.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        use serde_json::Value;
        let mut map = serde_json::Map::new();
        for cell in self.cells() {
            let value = match cell.kind {
                CellKind::Text => Value::from(cell.text),
                CellKind::Number => number(cell.text),
                CellKind::Bool => Value::from(cell.text == "true"),
                CellKind::Null => Value::Null,
                CellKind::EmptyArray => Value::Array(Vec::new()),
                CellKind::Object => continue,
            };
            match map.get_mut(cell.name) {
                None => {
                    map.insert(cell.name.into(), value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        map
    }
}

/// A JSON number with its digits kept; a number that JSON cannot hold exactly stays a text.
fn number(text: &str) -> serde_json::Value {
    let parsed: Option<serde_json::Number> = serde_json::from_str(text).ok();
    match parsed {
        Some(number)
            if number.is_i64() || number.is_u64() || number.to_string() == shortest(text) =>
        {
            number.into()
        }
        _ => text.into(),
    }
}

/// A decimal number without the zeros at its end, as JSON writes it: `3.50` and `3.00` are `3.5` and `3.0`.
fn shortest(text: &str) -> &str {
    let Some(point) = text.find('.').filter(|_| !text.contains(['e', 'E'])) else { return text };
    let digits = text.trim_end_matches('0').len();
    &text[..digits.max(point + 2).min(text.len())]
}

/// Builds flat records, keeping its buffers from one to the next.
#[derive(Debug)]
pub struct FlatBuilder {
    record: FlatRecord,
    /// Ids below this are written.
    written: u16,
}

impl Default for FlatBuilder {
    fn default() -> Self {
        Self { record: FlatRecord::default(), written: dictionary::WRITTEN }
    }
}

impl FlatBuilder {
    /// Adds a value of a field, cutting it at [`MAX_VALUE_BYTES`].
    ///
    /// Returns false when the record is full: the field is then dropped and the record marked.
    pub fn push(&mut self, name: &str, kind: CellKind, text: &str) -> bool {
        self.push_known(dictionary::id(name), name, kind, text)
    }

    /// As [`push`](Self::push), for a caller that has looked the name up already.
    #[inline]
    pub fn push_known(&mut self, id: Option<u16>, name: &str, kind: CellKind, text: &str) -> bool {
        let kept = match text.len() {
            ..=MAX_VALUE_BYTES => text,
            _ => &text[..text.floor_char_boundary(MAX_VALUE_BYTES)],
        };
        let named = &name[..self.name_len(id, name)];
        let record = &mut self.record;
        let name_length = u16::try_from(named.len());
        let end = record.text.len() + named.len() + kept.len();
        let (Ok(name_length), true) =
            (name_length, end <= MAX_RECORD_BYTES && record.cells.len() < usize::from(u16::MAX))
        else {
            record.dropped = true;
            return false;
        };
        if !named.is_empty() {
            record.text.push_str(named);
        }
        record.text.push_str(kept);
        record.cells.push(Cell {
            field: id.unwrap_or(NAMED),
            kind,
            cut: kept.len() < text.len(),
            name_length,
            end: end as u32,
        });
        true
    }

    /// Bytes of its name that a field takes up in a record.
    #[inline]
    pub fn name_len(&self, id: Option<u16>, name: &str) -> usize {
        if id.is_some_and(|id| id < self.written) { 0 } else { name.len() }
    }

    /// What has been added so far.
    #[inline]
    pub fn record(&self) -> &FlatRecord {
        &self.record
    }

    /// Takes back the cells for which `drop` holds, which gets a cell's position and content.
    pub fn remove(&mut self, mut drop: impl FnMut(usize, CellRef<'_>) -> bool) {
        let old = std::mem::take(&mut self.record);
        self.record.dropped = old.dropped;
        for (position, cell) in old.cells().enumerate() {
            if !drop(position, cell) {
                let cut = cell.cut;
                self.push_known(cell.field, cell.name, cell.kind, cell.text);
                if let Some(last) = self.record.cells.last_mut() {
                    last.cut = cut;
                }
            }
        }
    }

    /// The finished record; the builder is empty again.
    pub fn finish(&mut self) -> Arc<FlatRecord> {
        let record = Arc::new(self.record.clone());
        self.clear();
        record
    }

    /// Forgets what has been added.
    pub fn clear(&mut self) {
        self.record.cells.clear();
        self.record.text.clear();
        self.record.dropped = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FlatRecord {
        let mut builder = FlatBuilder::default();
        builder.push("action", CellKind::Text, "repo.access");
        builder.push("actor_id", CellKind::Number, "9007199254740993");
        builder.push("not_in_the_dictionary", CellKind::Text, "é");
        builder.push("teams", CellKind::Text, "a");
        builder.push("teams", CellKind::Null, "");
        builder.push("user_id", CellKind::Number, "0");
        (*builder.finish()).clone()
    }

    #[test]
    fn a_number_is_a_number_however_many_zeros_end_it() {
        for (text, expected) in [
            ("3.25", serde_json::json!(3.25)),
            ("3.50", serde_json::json!(3.5)),
            ("1.00", serde_json::json!(1.0)),
            ("0.0", serde_json::json!(0.0)),
            ("-2.10", serde_json::json!(-2.1)),
            ("7", serde_json::json!(7)),
            ("100", serde_json::json!(100)),
            ("0.1234567890123456789", serde_json::json!("0.1234567890123456789")),
            ("92233720368547758080123", serde_json::json!("92233720368547758080123")),
            ("1e400", serde_json::json!("1e400")),
        ] {
            let mut builder = FlatBuilder::default();
            builder.push("hw.repo.name_entropy", CellKind::Number, text);
            assert_eq!(builder.finish().to_json()["hw.repo.name_entropy"], expected, "{text}");
        }
    }

    #[test]
    fn reads_by_name_what_was_written_by_name_or_id() {
        let record = sample();
        assert_eq!(record.first("action"), Some("repo.access"));
        assert_eq!(record.first("not_in_the_dictionary"), Some("é"));
        assert_eq!((record.first("user_id"), record.typed("user_id")), (Some("0"), None));
        assert_eq!(record.values("teams").count(), 2);
        for (position, cell) in record.cells().enumerate() {
            assert_eq!(record.cell(position), Some(cell));
        }
        let fields = record.cells().map(|cell| cell.field.ok_or(cell.name));
        assert!(record.fields().eq(fields));
        assert_eq!(record.cell(6), None);
        let json = serde_json::Value::Object(record.to_json()).to_string();
        assert!(
            json.contains("9007199254740993") && json.contains(r#""teams":["a",null]"#),
            "{json}"
        );
    }

    #[test]
    fn survives_the_wire() {
        let record = sample();
        assert_eq!(FlatRecord::decode(&record.to_bytes()), Ok(record.clone()));
        assert_eq!(record.to_bytes().len(), record.encoded_len());
    }

    #[test]
    fn refuses_damage_at_every_byte_without_panic() {
        let bytes = sample().to_bytes();
        for end in 0..bytes.len() {
            assert!(FlatRecord::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                if let Ok(record) = FlatRecord::decode(&flipped) {
                    assert_eq!(record.cells().count(), 6);
                }
            }
        }
    }

    /// What a release writes that writes ids up to `written`.
    fn written_by(written: u16) -> FlatRecord {
        let mut builder = FlatBuilder { written, ..FlatBuilder::default() };
        for cell in sample().cells() {
            builder.push_known(cell.field, cell.name, cell.kind, cell.text);
        }
        (*builder.finish()).clone()
    }

    #[test]
    fn a_field_is_the_same_by_name_and_by_id() {
        let known = sample();
        let of = |record: &FlatRecord| -> Vec<_> {
            record
                .cells()
                .map(|cell| (cell.field, cell.name.to_owned(), cell.text.to_owned()))
                .collect()
        };
        for written in [0, 5, dictionary::WRITTEN] {
            let record = written_by(written);
            assert_eq!(of(&record), of(&known), "{written}");
            assert!(record.fields().eq(known.fields()), "{written}");
            assert_eq!(record.first("actor_id"), Some("9007199254740993"));
            assert_eq!(record.values("teams").count(), 2);
            assert_eq!(record.to_json(), known.to_json());
            // passed on as it came: who reads it next may not know the ids
            let bytes = record.to_bytes();
            let read = FlatRecord::decode(&bytes).unwrap();
            assert_eq!((&read, read.to_bytes()), (&record, bytes), "{written}");
        }
    }

    #[test]
    fn ids_that_are_not_written_yet_are_in_no_record() {
        let action = dictionary::id("action").unwrap();
        let ids = |record: &FlatRecord| -> Vec<u16> {
            let bytes = record.to_bytes();
            let cells = bytes[HEAD..HEAD + CELL * record.len()].as_chunks::<CELL>().0;
            cells.iter().map(|cell| u16::from_le_bytes([cell[0], cell[1]])).collect()
        };
        assert_eq!(ids(&written_by(0)), [NAMED; 6]);
        let some = ids(&written_by(action + 1));
        assert_eq!((some[0], &some[3..]), (action, &[NAMED; 3][..]));
        assert!(ids(&sample()).iter().all(|id| *id < dictionary::WRITTEN || *id == NAMED));
        // also when a later release's record is cut and written again
        let mut builder = FlatBuilder { written: action, ..FlatBuilder::default() };
        builder.push_known(Some(action), "action", CellKind::Text, "x");
        builder.remove(|_, _| false);
        assert_eq!(ids(&builder.finish()), [NAMED]);
    }

    #[test]
    fn an_unknown_field_id_is_named_and_never_an_absent_field() {
        let mut builder = FlatBuilder::default();
        builder.push("action", CellKind::Text, "x");
        let mut bytes = builder.finish().to_bytes();
        bytes[4..6].copy_from_slice(&60_000u16.to_le_bytes());
        let error = FlatRecord::decode(&bytes).unwrap_err();
        assert_eq!(error, FlatError::UnknownField { id: 60_000, known: dictionary::len() });
    }

    #[test]
    fn cuts_values_and_marks_records() {
        let mut builder = FlatBuilder::default();
        assert!(builder.push("note", CellKind::Text, &"é".repeat(MAX_VALUE_BYTES)));
        for _ in 0..15 {
            builder.push("note", CellKind::Text, &"x".repeat(MAX_VALUE_BYTES));
        }
        assert!(!builder.push("actor", CellKind::Text, &"x".repeat(MAX_VALUE_BYTES)));
        let record = builder.finish();
        assert!(record.cells().next().unwrap().cut && record.is_dropped());
        assert!(record.text.len() <= MAX_RECORD_BYTES);
    }
}
