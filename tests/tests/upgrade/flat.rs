//! Flat records as other releases write them, byte by byte and without the code under test.

/// In place of a field id: the name stands before the value.
const NAMED: u16 = u16::MAX;
const HEAD: usize = 4;
const CELL: usize = 10;

/// One cell as it stands in the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The field's id, or its name.
    pub(crate) field: Result<u16, String>,
    /// The kind's number, with the bit that says that the value was cut.
    pub(crate) kind: u8,
    pub(crate) text: String,
}

impl Cell {
    pub(crate) fn new(field: Result<u16, &str>, kind: u8, text: &str) -> Self {
        Self { field: field.map_err(Into::into), kind, text: text.into() }
    }
}

/// The bytes of a record.
pub(crate) fn write(cells: &[Cell], flags: u8) -> Vec<u8> {
    let mut out = vec![1, flags];
    out.extend((cells.len() as u16).to_le_bytes());
    let mut text = String::new();
    for cell in cells {
        let name = cell.field.as_ref().err().map_or("", String::as_str);
        text += name;
        text += &cell.text;
        out.extend(cell.field.as_ref().map_or(NAMED, |id| *id).to_le_bytes());
        out.extend([cell.kind, 0]);
        out.extend((name.len() as u16).to_le_bytes());
        out.extend((text.len() as u32).to_le_bytes());
    }
    out.extend(text.as_bytes());
    out
}

/// The cells and flags of a record.
pub(crate) fn read(bytes: &[u8]) -> (Vec<Cell>, u8) {
    let count = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
    let (table, text) = bytes[HEAD..].split_at(count * CELL);
    let mut start = 0;
    let cells = table.chunks(CELL).map(|cell| {
        let two = |at: usize| u16::from_le_bytes([cell[at], cell[at + 1]]);
        let end = u32::from_le_bytes(cell[6..].try_into().unwrap()) as usize;
        let whole = std::str::from_utf8(&text[start..end]).unwrap();
        start = end;
        let (name, text) = whole.split_at(usize::from(two(4)));
        let field = if two(0) == NAMED { Err(name) } else { Ok(two(0)) };
        Cell::new(field, cell[2], text)
    });
    (cells.collect(), bytes[1])
}

/// The highest id in a record.
pub(crate) fn highest_id(bytes: &[u8]) -> Option<u16> {
    read(bytes).0.into_iter().filter_map(|cell| cell.field.ok()).max()
}

#[test]
fn reads_what_it_wrote() {
    let cells = [
        Cell::new(Ok(2), 0, "repo.access"),
        Cell::new(Err("é"), 0x81, "1"),
        Cell::new(Ok(548), 3, ""),
    ];
    let bytes = write(&cells, 1);
    assert_eq!(read(&bytes), (cells.to_vec(), 1));
    assert_eq!(highest_id(&bytes), Some(548));
}
