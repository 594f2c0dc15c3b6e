//! An event as predicates read it: every field of the rule set is an index.

use std::collections::HashMap;

use hubwarden_event::{CellKind, FlatRecord, dictionary};

use crate::text::{fold_char, is_folded};

const NONE: u32 = u32::MAX;

/// The fields that a rule set reads, each with the number of its slot.
#[derive(Debug)]
pub(crate) struct Fields {
    by_id: Vec<u32>,
    by_name: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    count: u32,
}

impl Default for Fields {
    fn default() -> Self {
        let by_id = vec![NONE; dictionary::len()];
        Self { by_id, by_name: HashMap::default(), count: 0 }
    }
}

impl Fields {
    /// The slot of a field, made on first use.
    pub(crate) fn slot(&mut self, name: &str) -> u32 {
        let next = self.count;
        let slot = match dictionary::id(name) {
            Some(id) => {
                let slot = &mut self.by_id[usize::from(id)];
                if *slot == NONE {
                    *slot = next;
                }
                *slot
            }
            None => *self.by_name.entry(name.into()).or_insert(next),
        };
        self.count += u32::from(slot == next);
        slot
    }

    fn find(&self, field: Result<u16, &str>) -> u32 {
        match field {
            Ok(id) => self.by_id[usize::from(id)],
            Err(_) if self.by_name.is_empty() => NONE,
            Err(name) => self.by_name.get(name).copied().unwrap_or(NONE),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fold {
    Unknown,
    Same,
    At(usize, usize),
}

#[derive(Debug, Clone, Copy)]
struct Link {
    cell: u32,
    next: u32,
}

/// Buffers that an engine keeps from one event to the next, one for each thread.
#[derive(Debug, Default)]
pub struct Scratch {
    first: Vec<u32>,
    last: Vec<u32>,
    touched: Vec<u32>,
    links: Vec<Link>,
    folds: Vec<Fold>,
    folded: String,
    pub(crate) candidates: Vec<u32>,
    pub(crate) ungrouped: u64,
}

impl Scratch {
    /// How often a rule held for an event that lacks one of its correlation's group-by fields.
    pub fn ungrouped(&self) -> u64 {
        self.ungrouped
    }
}

/// One event, with its fields found.
pub(crate) struct View<'a, 's> {
    record: &'a FlatRecord,
    scratch: &'s mut Scratch,
}

impl<'a, 's> View<'a, 's> {
    /// Finds every field of the set in the record, once.
    pub(crate) fn new(record: &'a FlatRecord, fields: &Fields, scratch: &'s mut Scratch) -> Self {
        if scratch.first.len() == fields.count as usize {
            for slot in scratch.touched.drain(..) {
                scratch.first[slot as usize] = NONE;
            }
        } else {
            scratch.first.clear();
            scratch.first.resize(fields.count as usize, NONE);
            scratch.last.clear();
            scratch.last.resize(fields.count as usize, NONE);
            scratch.touched.clear();
        }
        scratch.links.clear();
        scratch.folds.clear();
        scratch.folds.resize(record.len(), Fold::Unknown);
        scratch.folded.clear();
        for (cell, field) in (0..).zip(record.fields()) {
            let slot = fields.find(field);
            if slot == NONE {
                continue;
            }
            let link = scratch.links.len() as u32;
            scratch.links.push(Link { cell, next: NONE });
            let slot_index = slot as usize;
            if scratch.first[slot_index] == NONE {
                scratch.first[slot_index] = link;
                scratch.touched.push(slot);
            } else {
                let last = scratch.last[slot_index] as usize;
                scratch.links[last].next = link;
            }
            scratch.last[slot_index] = link;
        }
        Self { record, scratch }
    }

    /// The first cell of a field, if it has one, and how to go on from it.
    fn walk(&self, link: u32) -> Option<(u32, u32)> {
        let link = self.scratch.links.get(link as usize)?;
        Some((link.cell, link.next))
    }

    /// The first cell of a field, of whatever kind.
    pub(crate) fn first_cell(&self, slot: u32) -> Option<u32> {
        self.walk(self.scratch.first[slot as usize]).map(|(cell, _)| cell)
    }

    /// The first cell of a field for which `test` holds, given its kind and its text as sent.
    pub(crate) fn find_raw(
        &self,
        slot: u32,
        mut test: impl FnMut(CellKind, &'a str) -> bool,
    ) -> Option<u32> {
        let mut link = self.scratch.first[slot as usize];
        while let Some((cell, next)) = self.walk(link) {
            let found = self.record.cell(cell as usize)?;
            if test(found.kind, found.text) {
                return Some(cell);
            }
            link = next;
        }
        None
    }

    /// The first scalar cell of a field for which `test` holds, given its folded text.
    pub(crate) fn find_folded(
        &mut self,
        slot: u32,
        mut test: impl FnMut(&str) -> bool,
    ) -> Option<u32> {
        let mut link = self.scratch.first[slot as usize];
        while let Some((cell, next)) = self.walk(link) {
            let found = self.record.cell(cell as usize)?;
            if found.kind.is_scalar() && test(self.folded(cell, found.text)) {
                return Some(cell);
            }
            link = next;
        }
        None
    }

    /// The first scalar cell outside `hw.` for which `test` holds: what keywords search.
    pub(crate) fn find_anywhere(
        &mut self,
        cased: bool,
        test: impl Fn(&str) -> bool,
    ) -> Option<u32> {
        for cell in 0..self.scratch.folds.len() as u32 {
            let found = self.record.cell(cell as usize)?;
            if !found.kind.is_scalar() || found.name.starts_with("hw.") {
                continue;
            }
            let text = if cased { found.text } else { self.folded(cell, found.text) };
            if test(text) {
                return Some(cell);
            }
        }
        None
    }

    /// The text of the first scalar cell of a field.
    pub(crate) fn first_text(&self, slot: u32) -> Option<&'a str> {
        let mut text = None;
        self.find_raw(slot, |kind, found| {
            text = kind.is_scalar().then_some(found);
            text.is_some()
        });
        text
    }

    /// The name and text of a cell.
    pub(crate) fn cell(&self, cell: u32) -> Option<(&'a str, &'a str)> {
        self.record.cell(cell as usize).map(|cell| (cell.name, cell.text))
    }

    /// A cell's text folded, computed once an event.
    fn folded<'t>(&'t mut self, cell: u32, text: &'t str) -> &'t str {
        let fold = &mut self.scratch.folds[cell as usize];
        if let Fold::Unknown = fold {
            *fold = if is_folded(text) {
                Fold::Same
            } else {
                let start = self.scratch.folded.len();
                self.scratch.folded.extend(text.chars().map(fold_char));
                Fold::At(start, self.scratch.folded.len())
            };
        }
        match *fold {
            Fold::At(start, end) => &self.scratch.folded[start..end],
            Fold::Unknown | Fold::Same => text,
        }
    }
}
