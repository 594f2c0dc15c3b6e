//! Writes the members of an object as cells of a flat record.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use hubwarden_event::{CellKind, FlatBuilder, MAX_RECORD_BYTES, MAX_VALUE_BYTES, dictionary};

use crate::facts::{self, Facts};
use crate::json::{self, Form, Member};
use crate::{Counts, Rejected};

/// Objects and arrays inside each other beyond this are rejected.
pub(crate) const MAX_DEPTH: usize = 64;
/// Cells as sent end here, so that Hubwarden's own fields always find room.
const MAX_SENT_BYTES: usize = MAX_RECORD_BYTES - 16 * 1024;
/// A payload that may not fit is written with the fields that decide first.
const LARGE_PAYLOAD: usize = 64 * 1024;
/// What a cell costs in a record beside its text.
const CELL_BYTES: usize = 10;
/// The rank of what an export puts under `data`: anything that stands there by itself wins.
const FOLDED: u8 = 100;
/// Whatever the sender calls so is not Hubwarden's finding about the event.
const RESERVED: &str = "hw";

/// Buffers that outlive one record.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scratch {
    /// For each cell, how many keys lead to it.
    ranks: Vec<u8>,
    order: Order,
}

/// Finds ids of names by the order in which they came before: senders write fields in one order.
#[derive(Debug, Clone)]
struct Order {
    /// For each id, the one that came after it last; at the end, the one that came first.
    next: Vec<u16>,
    last: usize,
}

impl Default for Order {
    fn default() -> Self {
        Self { next: vec![0; dictionary::len() + 1], last: dictionary::len() }
    }
}

impl Order {
    /// Stands before the first name again.
    fn restart(&mut self) {
        self.last = dictionary::len();
    }

    /// As [`dictionary::id`].
    fn id(&mut self, name: &str) -> Option<u16> {
        let guess = self.next[self.last];
        let id = if dictionary::name(guess) == Some(name) { guess } else { dictionary::id(name)? };
        self.next[self.last] = id;
        self.last = usize::from(id);
        Some(id)
    }
}

/// One record on its way into cells.
pub(crate) struct Flatten<'s, 'de> {
    pub(crate) builder: &'s mut FlatBuilder,
    scratch: &'s mut Scratch,
    counts: &'s mut Counts,
    pub(crate) facts: Facts<'de>,
    /// Whether a field or the end of a value had no room.
    pub(crate) truncated: bool,
    dotted: bool,
    reserved: bool,
}

impl<'s, 'de> Flatten<'s, 'de> {
    pub(crate) fn new(
        builder: &'s mut FlatBuilder,
        scratch: &'s mut Scratch,
        counts: &'s mut Counts,
    ) -> Self {
        builder.clear();
        scratch.ranks.clear();
        Self {
            builder,
            scratch,
            counts,
            facts: Facts::default(),
            truncated: false,
            dotted: false,
            reserved: false,
        }
    }

    /// Writes a whole payload: every member under its name, and what an export puts under `data`
    /// also under its own name where nothing else stands there.
    pub(crate) fn event(
        &mut self,
        mut members: Vec<Member<'de>>,
        payload_length: usize,
    ) -> Result<(), Rejected> {
        self.settle("", &mut members);
        if self.reserved {
            let sent = members.len();
            members.retain(|member| !is_reserved(&member.key));
            self.counts.reserved_fields += (sent - members.len()) as u64;
        }
        if payload_length > LARGE_PAYLOAD {
            members.sort_by_key(|member| match facts::slot(member.id, &member.key) {
                Some(_) => member.id.unwrap_or(0),
                None => u16::MAX,
            });
        }
        let mut data = None;
        for member in &members {
            if member.id.is_none() {
                self.counts.unknown_fields.count(&member.key);
            }
            self.member(&member.key, member, 1, 1)?;
            if member.form == Form::Json && member.value.starts_with('{') && member.key == "data" {
                data = Some(member.value);
            }
        }
        if let Some(text) = data {
            self.fold(text, &members)?;
        }
        if self.dotted {
            self.drop_shadowed();
        }
        Ok(())
    }

    fn fold(&mut self, data: &'de str, beside: &[Member<'de>]) -> Result<(), Rejected> {
        let taken: HashSet<&str> = beside.iter().map(|member| &*member.key).collect();
        let repeats = self.counts.duplicate_keys;
        let mut members = json::members(data)?;
        self.settle("", &mut members);
        // The same members have been counted under `data.`.
        self.counts.duplicate_keys = repeats;
        for member in &members {
            if taken.contains(&*member.key) || is_reserved(&member.key) {
                continue;
            }
            self.member(&member.key, member, 2, FOLDED)?;
        }
        Ok(())
    }

    /// Looks the full names up and leaves out every key that stands again later.
    fn settle(&mut self, prefix: &str, members: &mut Vec<Member<'de>>) {
        /// The dictionary's ids that the bit set has room for; higher ones are told apart by name.
        const BITS: usize = 1024;
        let mut name = String::new();
        self.scratch.order.restart();
        let mut seen = [0u64; BITS / 64];
        let (mut unnumbered, mut again) = (0, false);
        for member in members.iter_mut() {
            if prefix.is_empty() {
                member.id = self.scratch.order.id(&member.key);
                self.dotted |= facts::is_dotted(member.id, &member.key);
                self.reserved |= is_reserved(&member.key);
            } else {
                name.clear();
                name.push_str(prefix);
                name.push_str(&member.key);
                member.id = dictionary::id(&name);
                self.dotted |= member.key.contains('.');
            }
            match member.id.map(usize::from) {
                Some(id) if id < BITS => {
                    let (word, bit) = (id / 64, 1 << (id % 64));
                    again |= seen[word] & bit != 0;
                    seen[word] |= bit;
                }
                _ => unnumbered += 1,
            }
        }
        if again || unnumbered > 1 {
            self.drop_repeated(members);
        }
    }

    fn drop_repeated(&mut self, members: &mut Vec<Member<'de>>) {
        let last: HashMap<&str, usize, foldhash::fast::RandomState> =
            members.iter().enumerate().map(|(place, member)| (&*member.key, place)).collect();
        let repeated = members.len() - last.len();
        if repeated == 0 {
            return;
        }
        let mut keep = vec![false; members.len()];
        last.into_values().for_each(|place| keep[place] = true);
        let mut keep = keep.into_iter();
        members.retain(|_| keep.next().unwrap_or(true));
        self.counts.duplicate_keys += repeated as u64;
    }

    fn member(
        &mut self,
        name: &str,
        member: &Member<'de>,
        depth: usize,
        rank: u8,
    ) -> Result<(), Rejected> {
        let text = match member.form {
            Form::Json => return self.value(name, member.id, member.value, depth, rank),
            Form::Quoted => member.value.get(1..member.value.len() - 1).unwrap_or_default(),
            Form::Plain => member.value,
        };
        self.cell(name, member.id, CellKind::Text, text, rank);
        Ok(())
    }

    fn value(
        &mut self,
        name: &str,
        id: Option<u16>,
        text: &'de str,
        depth: usize,
        rank: u8,
    ) -> Result<(), Rejected> {
        let (kind, text) = match text.as_bytes().first() {
            Some(b'"') => match json::unescape(text)? {
                Cow::Borrowed(text) => (CellKind::Text, text),
                Cow::Owned(text) => {
                    self.write(name, id, CellKind::Text, &text, rank);
                    if let Some(slot) = facts::slot(id, name) {
                        self.facts.keep(slot, CellKind::Text, Cow::Owned(text));
                    }
                    return Ok(());
                }
            },
            Some(b'{') => return self.object(name, id, text, depth + 1, rank),
            Some(b'[') => return self.array(name, id, text, depth + 1, rank),
            Some(b't' | b'f') => (CellKind::Bool, text),
            Some(b'n') | None => (CellKind::Null, ""),
            Some(_) => (CellKind::Number, text),
        };
        self.cell(name, id, kind, text, rank);
        Ok(())
    }

    fn object(
        &mut self,
        name: &str,
        id: Option<u16>,
        text: &'de str,
        depth: usize,
        rank: u8,
    ) -> Result<(), Rejected> {
        check_depth(depth)?;
        self.cell(name, id, CellKind::Object, "", rank);
        let mut members = json::members(text)?;
        if members.is_empty() {
            return Ok(());
        }
        let mut full = String::with_capacity(name.len() + 32);
        full.push_str(name);
        full.push('.');
        let prefix = full.len();
        self.settle(&full, &mut members);
        for member in &members {
            full.truncate(prefix);
            full.push_str(&member.key);
            self.member(&full, member, depth, rank.saturating_add(1))?;
        }
        Ok(())
    }

    fn array(
        &mut self,
        name: &str,
        id: Option<u16>,
        text: &'de str,
        depth: usize,
        rank: u8,
    ) -> Result<(), Rejected> {
        check_depth(depth)?;
        let elements = json::elements(text)?;
        if elements.is_empty() {
            self.cell(name, id, CellKind::EmptyArray, "", rank);
        }
        for element in elements {
            self.value(name, id, element.get(), depth, rank)?;
        }
        Ok(())
    }

    fn cell(&mut self, name: &str, id: Option<u16>, kind: CellKind, text: &'de str, rank: u8) {
        if let Some(slot) = facts::slot(id, name) {
            self.facts.keep(slot, kind, Cow::Borrowed(text));
        }
        self.write(name, id, kind, text, rank);
    }

    fn write(&mut self, name: &str, id: Option<u16>, kind: CellKind, text: &str, rank: u8) {
        let named = self.builder.name_len(id, name);
        let length = text.len().min(MAX_VALUE_BYTES) + named + CELL_BYTES;
        self.truncated |= text.len() > MAX_VALUE_BYTES;
        let fits = self.builder.record().encoded_len() + length <= MAX_SENT_BYTES;
        if fits && self.builder.push_known(id, name, kind, text) {
            self.scratch.ranks.push(rank);
        } else {
            self.truncated = true;
        }
    }

    /// Where one name is reached by a flat dotted key and through objects, the flat key's cells stay.
    fn drop_shadowed(&mut self) {
        let ranks = &self.scratch.ranks;
        let record = self.builder.record();
        let mut lowest: HashMap<&str, u8, foldhash::fast::RandomState> = HashMap::default();
        for (cell, rank) in record.cells().zip(ranks) {
            let low = lowest.entry(cell.name).or_insert(*rank);
            *low = (*low).min(*rank);
        }
        let shadowed: Vec<bool> =
            record.cells().zip(ranks).map(|(cell, rank)| lowest[cell.name] < *rank).collect();
        let count = shadowed.iter().filter(|shadowed| **shadowed).count();
        if count > 0 {
            self.builder.remove(|place, _| shadowed[place]);
            self.counts.shadowed_values += count as u64;
        }
    }
}

/// Whether a top-level key would be taken for one of Hubwarden's own fields.
fn is_reserved(key: &str) -> bool {
    key.strip_prefix(RESERVED).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn check_depth(depth: usize) -> Result<(), Rejected> {
    if depth > MAX_DEPTH {
        return Err(Rejected::new("nested deeper than 64 levels"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_fields_decides_nothing() {
        let mut order = Order::default();
        let names = ["action", "actor", "nobody's", "org", "action", "actor", "action", "org"];
        for _ in 0..3 {
            order.restart();
            for name in names.iter().chain(names.iter().rev()) {
                assert_eq!(order.id(name), dictionary::id(name), "{name}");
            }
        }
    }
}
