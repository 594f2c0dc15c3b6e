//! The few fields that decide about the whole event, kept aside while cells are written.

use std::borrow::Cow;
use std::sync::LazyLock;

use hubwarden_event::{CellKind, MAX_VALUE_BYTES, dictionary};

macro_rules! slots {
    ($($slot:ident = $name:literal),* $(,)?) => {
        /// A field that is kept aside.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Slot { $($slot,)* }

        const SLOTS: &[(Slot, &str)] = &[$((Slot::$slot, $name)),*];
        const COUNT: usize = SLOTS.len();
    };
}

slots! {
    Action = "action",
    Timestamp = "@timestamp",
    CreatedAt = "created_at",
    Actor = "actor",
    ActorIsBot = "actor_is_bot",
    ActorIsAgent = "actor_is_agent",
    ActorIp = "actor_ip",
    AccessType = "programmatic_access_type",
    Repo = "repo",
    Repository = "repository",
    User = "user",
    Team = "team",
    Org = "org",
    Business = "business",
    Route = "route",
    UrlPath = "url_path",
    // Spelled so by a re-exporter that cannot store `@`; not in the dictionary.
    AtSignTimestamp = "at_sign_timestamp",
}

/// The time's name where `@` could not be stored.
pub(crate) const AT_SIGN_TIMESTAMP: &str = "at_sign_timestamp";

/// What is known of a dictionary id before its value is looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    slot: Option<Slot>,
    dotted: bool,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let names = (0..dictionary::len()).map(|id| dictionary::name(id as u16).unwrap_or_default());
    names
        .map(|name| Known {
            slot: SLOTS.iter().find(|(_, known)| *known == name).map(|(slot, _)| *slot),
            dotted: name.contains('.'),
        })
        .collect()
});

/// The slot of a field, if it has one.
pub(crate) fn slot(id: Option<u16>, name: &str) -> Option<Slot> {
    match id {
        Some(id) => KNOWN.get(usize::from(id)).and_then(|known| known.slot),
        None => (name == AT_SIGN_TIMESTAMP).then_some(Slot::AtSignTimestamp),
    }
}

/// Whether a name has a dot in it.
pub(crate) fn is_dotted(id: Option<u16>, name: &str) -> bool {
    match id {
        Some(id) => KNOWN.get(usize::from(id)).is_some_and(|known| known.dotted),
        None => name.contains('.'),
    }
}

/// The first scalar value of a field, at most [`MAX_VALUE_BYTES`] of it.
#[derive(Debug, Clone)]
pub(crate) struct Fact<'de> {
    pub(crate) kind: CellKind,
    pub(crate) text: Cow<'de, str>,
}

/// The first scalar value of each field that has a slot.
#[derive(Debug, Default)]
pub(crate) struct Facts<'de> {
    first: [Option<Fact<'de>>; COUNT],
    /// A bit for each slot whose field came, whatever its value.
    came: u32,
}

impl<'de> Facts<'de> {
    /// Keeps the first scalar that comes for a slot.
    pub(crate) fn keep(&mut self, slot: Slot, kind: CellKind, mut text: Cow<'de, str>) {
        self.came |= 1 << slot as u32;
        let kept = &mut self.first[slot as usize];
        if kept.is_some() || !kind.is_scalar() {
            return;
        }
        let end = text.floor_char_boundary(MAX_VALUE_BYTES);
        match &mut text {
            Cow::Borrowed(text) => *text = &text[..end],
            Cow::Owned(text) => text.truncate(end),
        }
        *kept = Some(Fact { kind, text });
    }

    /// The value as sent; `""` and `0` are values.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Fact<'de>> {
        self.first[slot as usize].as_ref()
    }

    /// Whether the field came at all, as null, an object or an empty array too.
    pub(crate) fn came(&self, slot: Slot) -> bool {
        self.came & (1 << slot as u32) != 0
    }

    /// The value if it says something: `""`, `0` and null read as absent.
    pub(crate) fn typed(&self, slot: Slot) -> Option<&str> {
        let text = &*self.get(slot)?.text;
        (!text.is_empty() && text != "0").then_some(text)
    }

    /// Whether the value is true, also as the text `True`.
    pub(crate) fn is_true(&self, slot: Slot) -> bool {
        self.get(slot).is_some_and(|fact| fact.text.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_but_the_re_exporters_is_found_by_its_id() {
        for (place, (known, name)) in SLOTS.iter().enumerate() {
            assert_eq!(slot(dictionary::id(name), name), Some(*known), "{name}");
            assert_eq!(*known as usize, place);
        }
        assert_eq!(slot(dictionary::id("actor_id"), "actor_id"), None);
        assert!(is_dotted(dictionary::id("actor_location.city"), "actor_location.city"));
    }
}
