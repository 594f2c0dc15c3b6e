//! Reads a row of GitHub's CSV export, which comes with its header line.

use std::borrow::Cow;

use csv::StringRecord;

use crate::Rejected;
use crate::json::{Form, Member};

/// The header and the one row below it.
pub(crate) fn read(text: &str) -> Result<[StringRecord; 2], Rejected> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut next = || {
        let record = reader.records().next().transpose();
        record.map_err(|error| Rejected::new(format!("broken CSV: {error}")))
    };
    let (Some(header), Some(row)) = (next()?, next()?) else {
        return Err(Rejected::new("the CSV has no row below its header"));
    };
    if next()?.is_some() {
        return Err(Rejected::new("the CSV has more than one row below its header"));
    }
    if header.len() != row.len() {
        let (cells, names) = (row.len(), header.len());
        return Err(Rejected::new(format!("the row has {cells} cells, its header {names}")));
    }
    Ok([header, row])
}

/// Each cell under its column's name; an empty cell is an empty text.
pub(crate) fn members([header, row]: &[StringRecord; 2]) -> Vec<Member<'_>> {
    let cell =
        |(name, value)| Member { key: Cow::Borrowed(name), value, form: Form::Plain, id: None };
    header.iter().zip(row).map(cell).collect()
}
