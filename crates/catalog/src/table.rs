//! Tab-separated tables that are compiled in.

use std::collections::HashMap;

/// From a row's name to the row.
pub(crate) type Index<T> = HashMap<&'static str, T, foldhash::fast::RandomState>;

/// The rows of a table below its header, cut into exactly `N` cells.
pub(crate) fn rows<const N: usize>(
    text: &'static str,
    header: [&'static str; N],
) -> impl Iterator<Item = [&'static str; N]> {
    let mut lines = text.lines().map(cells::<N>);
    assert_eq!(lines.next(), Some(header), "the header of a compiled-in table");
    lines
}

fn cells<const N: usize>(line: &'static str) -> [&'static str; N] {
    let mut cells = line.split('\t');
    let row = std::array::from_fn(|_| {
        cells.next().expect("each row of a compiled-in table has all cells")
    });
    assert!(cells.next().is_none(), "a row of a compiled-in table has too many cells: {line}");
    row
}

/// The parts of a cell that holds a list; `-` is an empty one.
pub(crate) fn list(cell: &'static str) -> Vec<&'static str> {
    cell.split(',').map(str::trim).filter(|part| !matches!(*part, "" | "-")).collect()
}

/// The known name that is most like `name`, if one is near enough to be what was meant.
pub(crate) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    /// Below this share of equal letters a suggestion only confuses.
    const NEAR: f64 = 0.7;
    known
        .map(|one| (strsim::normalized_damerau_levenshtein(name, one), one))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|(a, first), (b, second)| a.total_cmp(b).then(second.cmp(first)))
        .map(|(_, one)| one)
}
