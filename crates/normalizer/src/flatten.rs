//! Writes the members of an object as cells of a flat record.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use hubwarden_event::{CellKind, FlatBuilder, MAX_RECORD_BYTES, MAX_VALUE_BYTES, dictionary};

use crate::facts::{self, Facts};
use crate::json::{self, Member, Value};
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
}

/// A member that counts, with what its full name means.
struct Live<'de> {
    key: Cow<'de, str>,
    value: Value<'de>,
    id: Option<u16>,
}

impl<'s, 'de> Flatten<'s, 'de> {
    pub(crate) fn new(
        builder: &'s mut FlatBuilder,
        scratch: &'s mut Scratch,
        counts: &'s mut Counts,
    ) -> Self {
        builder.clear();
        scratch.ranks.clear();
        Self { builder, scratch, counts, facts: Facts::default(), truncated: false, dotted: false }
    }

    /// Writes a whole payload: every member under its name, and what an export puts under `data`
    /// also under its own name where nothing else stands there.
    pub(crate) fn event(
        &mut self,
        members: Vec<Member<'de>>,
        payload_length: usize,
    ) -> Result<(), Rejected> {
        let mut live = self.live("", members);
        live.retain(|member| {
            let reserved = is_reserved(&member.key);
            self.counts.reserved_fields += u64::from(reserved);
            !reserved
        });
        if payload_length > LARGE_PAYLOAD {
            live.sort_by_key(|member| match facts::slot(member.id, &member.key) {
                Some(_) => member.id.unwrap_or(0),
                None => u16::MAX,
            });
        }
        let mut data = None;
        for member in &live {
            if member.id.is_none() {
                self.counts.unknown_fields.count(&member.key);
            }
            self.member(&member.key, member.id, &member.value, 1, 1)?;
            if let Value::Json(text) = member.value
                && member.key == "data"
                && text.starts_with('{')
            {
                data = Some(text);
            }
        }
        if let Some(text) = data {
            self.fold(text, &live)?;
        }
        if self.dotted {
            self.drop_shadowed();
        }
        Ok(())
    }

    fn fold(&mut self, data: &'de str, beside: &[Live<'de>]) -> Result<(), Rejected> {
        let taken: HashSet<&str> = beside.iter().map(|member| &*member.key).collect();
        let repeats = self.counts.duplicate_keys;
        let members = self.live("", json::members(data)?);
        // The same members have been counted under `data.`.
        self.counts.duplicate_keys = repeats;
        for member in &members {
            if taken.contains(&*member.key) || is_reserved(&member.key) {
                continue;
            }
            self.member(&member.key, member.id, &member.value, 2, FOLDED)?;
        }
        Ok(())
    }

    /// Looks the full names up and leaves out every key that stands again later.
    fn live(&mut self, prefix: &str, members: Vec<Member<'de>>) -> Vec<Live<'de>> {
        /// The dictionary's ids that the bit set has room for; higher ones are told apart by name.
        const BITS: usize = 1024;
        let mut name = String::new();
        let mut seen = [0u64; BITS / 64];
        let (mut unnumbered, mut again) = (0, false);
        let mut live: Vec<Live<'de>> = Vec::with_capacity(members.len());
        for Member { key, value } in members {
            let id = if prefix.is_empty() {
                dictionary::id(&key)
            } else {
                name.clear();
                name.push_str(prefix);
                name.push_str(&key);
                dictionary::id(&name)
            };
            match id.map(usize::from) {
                Some(id) if id < BITS => {
                    let (word, bit) = (id / 64, 1 << (id % 64));
                    again |= seen[word] & bit != 0;
                    seen[word] |= bit;
                }
                _ => unnumbered += 1,
            }
            self.dotted |= match prefix.is_empty() {
                true => facts::is_dotted(id, &key),
                false => key.contains('.'),
            };
            live.push(Live { key, value, id });
        }
        if again || unnumbered > 1 {
            self.drop_repeated(&mut live);
        }
        live
    }

    fn drop_repeated(&mut self, live: &mut Vec<Live<'de>>) {
        let last: HashMap<&str, usize, foldhash::fast::RandomState> =
            live.iter().enumerate().map(|(place, member)| (&*member.key, place)).collect();
        if last.len() == live.len() {
            return;
        }
        let mut keep = vec![false; live.len()];
        last.into_values().for_each(|place| keep[place] = true);
        let before = live.len();
        let mut place = 0;
        live.retain(|_| {
            place += 1;
            keep[place - 1]
        });
        self.counts.duplicate_keys += (before - live.len()) as u64;
    }

    fn member(
        &mut self,
        name: &str,
        id: Option<u16>,
        value: &Value<'de>,
        depth: usize,
        rank: u8,
    ) -> Result<(), Rejected> {
        match value {
            Value::Json(text) => self.value(name, id, text, depth, rank),
            Value::Text(text) => {
                self.cell(name, id, CellKind::Text, text.clone(), rank);
                Ok(())
            }
        }
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
            Some(b'"') => (CellKind::Text, json::unescape(text)?),
            Some(b'{') => return self.object(name, id, text, depth + 1, rank),
            Some(b'[') => return self.array(name, id, text, depth + 1, rank),
            Some(b't' | b'f') => (CellKind::Bool, Cow::Borrowed(text)),
            Some(b'n') | None => (CellKind::Null, Cow::Borrowed("")),
            Some(_) => (CellKind::Number, Cow::Borrowed(text)),
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
        self.cell(name, id, CellKind::Object, Cow::Borrowed(""), rank);
        let members = json::members(text)?;
        if members.is_empty() {
            return Ok(());
        }
        let mut full = String::with_capacity(name.len() + 32);
        full.push_str(name);
        full.push('.');
        let prefix = full.len();
        for member in self.live(&full, members) {
            full.truncate(prefix);
            full.push_str(&member.key);
            self.member(&full, member.id, &member.value, depth, rank.saturating_add(1))?;
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
            self.cell(name, id, CellKind::EmptyArray, Cow::Borrowed(""), rank);
        }
        for element in elements {
            self.value(name, id, element.get(), depth, rank)?;
        }
        Ok(())
    }

    fn cell(&mut self, name: &str, id: Option<u16>, kind: CellKind, text: Cow<'de, str>, rank: u8) {
        if let Some(slot) = facts::slot(id, name) {
            self.facts.keep(slot, kind, &text);
        }
        let named = if id.is_some() { 0 } else { name.len() };
        let length = text.len().min(MAX_VALUE_BYTES) + named + CELL_BYTES;
        self.truncated |= text.len() > MAX_VALUE_BYTES;
        let fits = self.builder.record().encoded_len() + length <= MAX_SENT_BYTES;
        if fits && self.builder.push_known(id, name, kind, &text) {
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
