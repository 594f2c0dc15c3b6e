//! One test of one field, compiled.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::net::IpAddr;

use aho_corasick::AhoCorasick;
use hubwarden_event::CellKind;
use jiff::tz::TimeZone;
use regex::Regex;

use crate::modifier::{Comparison, FieldRef, TimePart};
use crate::number::Number;
use crate::pattern::Glob;
use crate::problem::quoted;
use crate::text::fold;
use crate::view::View;

/// What a predicate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The cells of a field.
    Field(u32),
    /// Every scalar value that GitHub sent.
    Anywhere,
}

/// Words for people: the field and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) field: String,
    pub(crate) words: String,
}

/// One test of one field.
#[derive(Debug)]
pub(crate) struct Predicate {
    pub(crate) target: Target,
    pub(crate) test: Test,
    pub(crate) label: Label,
}

/// What is asked of a field's values; one value for which it holds is enough.
#[derive(Debug)]
pub(crate) enum Test {
    /// Missing or null.
    Null,
    Exists(bool),
    Text {
        cased: bool,
        texts: Texts,
    },
    /// Numbers of which one must be equal.
    Number(Vec<String>),
    /// A number on the right side of this one.
    Order(Comparison, String),
    Bool(bool),
    Regex(Regex),
    Cidr(Networks),
    Time(TimePart, i64),
    Field {
        other: u32,
        way: FieldRef,
        cased: bool,
    },
}

/// Texts of which one must be found, each in the same way.
#[derive(Debug)]
pub(crate) enum Texts {
    /// Any text at all.
    Any,
    Few(Box<[Box<str>]>),
    Set(HashSet<Box<str>, foldhash::fast::RandomState>),
    Prefix(Box<[Box<str>]>),
    Suffix(Box<[Box<str>]>),
    Inside(Box<[Box<str>]>),
    InsideMany(Box<AhoCorasick>),
    Glob(Box<[Glob]>),
}

impl Texts {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Few(texts) => texts.iter().any(|one| **one == *text),
            Self::Set(texts) => texts.contains(text),
            Self::Prefix(texts) => texts.iter().any(|one| text.starts_with(&**one)),
            Self::Suffix(texts) => texts.iter().any(|one| text.ends_with(&**one)),
            Self::Inside(texts) => texts.iter().any(|one| text.contains(&**one)),
            Self::InsideMany(automaton) => automaton.is_match(text),
            Self::Glob(globs) => globs.iter().any(|glob| glob.matches(text)),
        }
    }
}

/// What made a predicate hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    Cell(u32),
    /// That there is nothing.
    Absence,
}

impl Predicate {
    /// What makes the predicate hold for the event, if something does.
    pub(crate) fn witness(&self, view: &mut View<'_, '_>) -> Option<Witness> {
        match self.target {
            Target::Field(slot) => self.in_field(slot, view),
            Target::Anywhere => match &self.test {
                Test::Text { cased, texts } => {
                    view.find_anywhere(*cased, |text| texts.holds(text)).map(Witness::Cell)
                }
                Test::Regex(regex) => {
                    view.find_anywhere(true, |text| regex.is_match(text)).map(Witness::Cell)
                }
                _ => None,
            },
        }
    }

    fn in_field(&self, slot: u32, view: &mut View<'_, '_>) -> Option<Witness> {
        let cell = match &self.test {
            Test::Null => match view.first_cell(slot) {
                None => return Some(Witness::Absence),
                Some(_) => view.find_raw(slot, |kind, _| kind == CellKind::Null),
            },
            Test::Exists(wanted) => match (view.first_cell(slot), wanted) {
                (Some(cell), true) => Some(cell),
                (None, false) => return Some(Witness::Absence),
                _ => None,
            },
            Test::Text { cased: false, texts } => view.find_folded(slot, |text| texts.holds(text)),
            Test::Text { cased: true, texts } => {
                view.find_raw(slot, |kind, text| kind.is_scalar() && texts.holds(text))
            }
            Test::Number(numbers) => view.find_raw(slot, |kind, text| {
                let equal = |one: &String| ordered(kind, text, one) == Some(Ordering::Equal);
                numbers.iter().any(equal)
            }),
            Test::Order(comparison, bound) => view.find_raw(slot, |kind, text| {
                ordered(kind, text, bound).is_some_and(|order| allows(*comparison, order))
            }),
            Test::Bool(wanted) => {
                let word = if *wanted { "true" } else { "false" };
                let may_be = |kind| matches!(kind, CellKind::Bool | CellKind::Text);
                view.find_raw(slot, |kind, text| may_be(kind) && text.eq_ignore_ascii_case(word))
            }
            Test::Regex(regex) => {
                view.find_raw(slot, |kind, text| kind.is_scalar() && regex.is_match(text))
            }
            Test::Cidr(networks) => view.find_raw(slot, |kind, text| {
                kind == CellKind::Text
                    && text.parse().is_ok_and(|address| networks.contain(address))
            }),
            Test::Time(part, wanted) => view.find_raw(slot, |kind, text| {
                kind.is_scalar() && time_part(*part, text) == Some(*wanted)
            }),
            Test::Field { other, way, cased } => {
                let form = |text: &str| if *cased { text.to_owned() } else { fold(text) };
                view.find_raw(slot, |kind, text| {
                    let compared = |other: &str| compare_fields(*way, &form(text), &form(other));
                    let found = |kind: CellKind, other| kind.is_scalar() && compared(other);
                    kind.is_scalar() && view.find_raw(*other, found).is_some()
                })
            }
        };
        cell.map(Witness::Cell)
    }
}

fn compare_fields(way: FieldRef, text: &str, other: &str) -> bool {
    match way {
        FieldRef::Equal => text == other,
        FieldRef::Contains => text.contains(other),
        FieldRef::StartsWith => text.starts_with(other),
        FieldRef::EndsWith => text.ends_with(other),
    }
}

/// How a cell that is a number, or a text that is one from end to end, stands to another number.
fn ordered(kind: CellKind, text: &str, other: &str) -> Option<Ordering> {
    if !matches!(kind, CellKind::Number | CellKind::Text) {
        return None;
    }
    Some(Number::parse(text)?.compare(&Number::parse(other)?))
}

fn allows(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        _ => false,
    }
}

/// From this number on an epoch time is one of milliseconds.
const FIRST_MILLIS: i64 = 100_000_000_000;

/// A part of a time in UTC, written in RFC 3339 or as seconds or milliseconds since 1970.
fn time_part(part: TimePart, text: &str) -> Option<i64> {
    let moment = match text.parse::<i64>() {
        Ok(number) if number.unsigned_abs() >= FIRST_MILLIS.unsigned_abs() => {
            jiff::Timestamp::from_millisecond(number).ok()?
        }
        Ok(number) => jiff::Timestamp::from_second(number).ok()?,
        Err(_) => text.parse().ok()?,
    };
    let time = TimeZone::UTC.to_datetime(moment);
    Some(match part {
        TimePart::Minute => time.minute().into(),
        TimePart::Hour => time.hour().into(),
        TimePart::Day => time.day().into(),
        TimePart::Week => time.date().iso_week_date().week().into(),
        TimePart::Month => time.month().into(),
        TimePart::Year => time.year().into(),
    })
}

/// Networks of addresses, merged and sorted; an IPv4-mapped IPv6 address counts as IPv4.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    four: Vec<(u128, u128)>,
    six: Vec<(u128, u128)>,
}

impl Networks {
    /// Reads networks and single addresses.
    ///
    /// # Errors
    /// Says which of them is none, or has bits set behind its prefix.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut networks = Self::default();
        for text in texts {
            let Some(net) = network(text) else {
                return Err(format!("{} is not a network", quoted(text)));
            };
            if net.addr() != net.network() {
                let right = net.trunc();
                let text = quoted(text);
                return Err(format!("{text} has host bits set (the network is {right})"));
            }
            let (first, last) = (net.network(), net.broadcast());
            match (first.to_canonical(), last.to_canonical()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    networks.four.push((first.to_bits().into(), last.to_bits().into()));
                }
                _ => networks.six.push((bits(first), bits(last))),
            }
        }
        networks.four = merged(networks.four);
        networks.six = merged(networks.six);
        Ok(networks)
    }

    fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let ranges = if address.is_ipv4() { &self.four } else { &self.six };
        let value = bits(address);
        let after = ranges.partition_point(|(first, _)| *first <= value);
        after.checked_sub(1).is_some_and(|at| value <= ranges[at].1)
    }
}

/// A network or a single address; the address is read as strictly as those of events.
fn network(text: &str) -> Option<ipnet::IpNet> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    match prefix {
        Some(prefix) => ipnet::IpNet::new(address, prefix.parse().ok()?).ok(),
        None => Some(address.into()),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_bits().into(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_times_apart() {
        use TimePart::{Day, Hour, Minute, Month, Week, Year};
        for (text, part, value) in [
            ("2025-03-10T12:57:43Z", Minute, Some(57)),
            ("2025-03-10T23:57:43-02:00", Hour, Some(1)),
            ("2025-03-10T23:57:43-02:00", Day, Some(11)),
            ("1741611463961", Month, Some(3)),
            ("1741611463", Year, Some(2025)),
            ("2024-12-30T00:00:00Z", Week, Some(1)), // ISO 8601: the first week of 2025
            ("2021-01-01T00:00:00Z", Week, Some(53)),
            ("yesterday", Hour, None),
            ("99999999999999999999", Hour, None),
            ("9223372036854775807", Hour, None),
        ] {
            assert_eq!(time_part(part, text), value, "{text} {part:?}");
        }
    }

    #[test]
    fn networks_contain_addresses_however_they_are_written() {
        let networks =
            Networks::parse(["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "1.2.3.4"]).unwrap();
        for (address, inside) in [
            ("10.255.255.255", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("1.2.3.4", true),
            ("1.2.3.5", false),
            ("2001:db8:1::", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), inside, "{address}");
        }
        let mapped = Networks::parse(["::ffff:10.0.0.0/104"]).unwrap();
        assert!(mapped.contain("10.1.2.3".parse().unwrap()));
        for text in ["10.0.0.1/8", "10.0.0.0/33", "010.0.0.0/8", "x", "10.1.2", "fe80::1%eth0"] {
            assert!(Networks::parse([text]).is_err(), "{text}");
        }
    }
}
