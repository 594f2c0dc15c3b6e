//! The modifiers of a field, read and checked: `field|base64offset|contains`.

use crate::problem::{Flaw, flaw, quoted, suggestion};

const NAMES: [&str; 34] = [
    "contains",
    "startswith",
    "endswith",
    "all",
    "neq",
    "cased",
    "exists",
    "lt",
    "lte",
    "gt",
    "gte",
    "re",
    "i",
    "m",
    "s",
    "ignorecase",
    "multiline",
    "dotall",
    "cidr",
    "base64",
    "base64offset",
    "wide",
    "utf16le",
    "utf16be",
    "utf16",
    "windash",
    "fieldref",
    "expand",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
];

/// How a value and a field are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Contains,
    StartsWith,
    EndsWith,
    Regex {
        ignore_case: bool,
        multi_line: bool,
        dot_all: bool,
    },
    Cidr,
    Exists,
    /// Against another field, in one of the ways that texts compare.
    FieldRef(FieldRef),
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Time(TimePart),
}

/// How two fields are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldRef {
    Equal,
    Contains,
    StartsWith,
    EndsWith,
}

/// A number taken out of a time, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl TimePart {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// What is done to a value before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transform {
    Base64,
    Base64Offset,
    /// UTF-16 with little or big end first, with a byte order mark or without.
    Utf16 {
        big: bool,
        mark: bool,
    },
    Windash,
    Expand,
}

/// All modifiers of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modifiers {
    pub(crate) comparison: Comparison,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) all: bool,
    pub(crate) neq: bool,
    pub(crate) cased: bool,
}

impl Modifiers {
    /// Reads the modifiers behind a field's name, in their order.
    pub(crate) fn parse(names: &[&str], line: usize) -> Result<Self, Flaw> {
        let mut read = Reading { line, comparison: None, done: Self::none() };
        for (position, name) in names.iter().enumerate() {
            if names[..position].contains(name) {
                return flaw(line, format!("the modifier {} stands twice", quoted(name)));
            }
            read.one(name)?;
        }
        let mut done = read.done;
        done.comparison = read.comparison.unwrap_or(Comparison::Equal);
        done.check(line)?;
        Ok(done)
    }

    fn none() -> Self {
        let comparison = Comparison::Equal;
        Self { comparison, transforms: Vec::new(), all: false, neq: false, cased: false }
    }

    /// Whether the comparison is one of patterns.
    pub(crate) fn compares_patterns(&self) -> bool {
        use Comparison::{Contains, EndsWith, Equal, StartsWith};
        matches!(self.comparison, Equal | Contains | StartsWith | EndsWith)
    }

    fn check(&self, line: usize) -> Result<(), Flaw> {
        let encodes = |one: &Transform| !matches!(one, Transform::Expand);
        let cidr = self.comparison == Comparison::Cidr;
        if !self.compares_patterns() && !cidr && !self.transforms.is_empty() {
            return flaw(line, "value transformations cannot stand with this comparison");
        }
        if cidr && self.transforms.iter().any(encodes) {
            return flaw(line, "`cidr` takes networks: only `expand` can stand with it");
        }
        let field = matches!(self.comparison, Comparison::FieldRef(_));
        if self.cased && !self.compares_patterns() && !field {
            return flaw(line, "`cased` compares texts: it cannot stand with this comparison");
        }
        if self.all && self.comparison == Comparison::Exists {
            return flaw(line, "`exists` takes one value: `all` cannot stand with it");
        }
        Ok(())
    }
}

struct Reading {
    line: usize,
    comparison: Option<Comparison>,
    done: Modifiers,
}

impl Reading {
    fn one(&mut self, name: &str) -> Result<(), Flaw> {
        use Comparison::{
            Cidr, Contains, EndsWith, Exists, Greater, GreaterOrEqual, Less, LessOrEqual, Regex,
            StartsWith, Time,
        };
        match name {
            "all" => self.done.all = true,
            "neq" => self.done.neq = true,
            "cased" => self.done.cased = true,
            "contains" => self.compare(Contains)?,
            "startswith" => self.compare(StartsWith)?,
            "endswith" => self.compare(EndsWith)?,
            "re" => {
                self.compare(Regex { ignore_case: false, multi_line: false, dot_all: false })?;
            }
            "i" | "ignorecase" | "m" | "multiline" | "s" | "dotall" => self.flag(name)?,
            "cidr" => self.compare(Cidr)?,
            "exists" => self.compare(Exists)?,
            "fieldref" => self.compare(Comparison::FieldRef(FieldRef::Equal))?,
            "lt" => self.compare(Less)?,
            "lte" => self.compare(LessOrEqual)?,
            "gt" => self.compare(Greater)?,
            "gte" => self.compare(GreaterOrEqual)?,
            "minute" => self.compare(Time(TimePart::Minute))?,
            "hour" => self.compare(Time(TimePart::Hour))?,
            "day" => self.compare(Time(TimePart::Day))?,
            "week" => self.compare(Time(TimePart::Week))?,
            "month" => self.compare(Time(TimePart::Month))?,
            "year" => self.compare(Time(TimePart::Year))?,
            "base64" => self.transform(Transform::Base64, name)?,
            "base64offset" => self.transform(Transform::Base64Offset, name)?,
            "wide" | "utf16le" => {
                self.transform(Transform::Utf16 { big: false, mark: false }, name)?;
            }
            "utf16be" => self.transform(Transform::Utf16 { big: true, mark: false }, name)?,
            "utf16" => self.transform(Transform::Utf16 { big: false, mark: true }, name)?,
            "windash" => self.transform(Transform::Windash, name)?,
            "expand" => self.transform(Transform::Expand, name)?,
            _ => {
                let near = suggestion(name, NAMES);
                return flaw(self.line, format!("unknown modifier {}{near}", quoted(name)));
            }
        }
        Ok(())
    }

    /// Takes a comparison; only `fieldref` goes together with another one.
    fn compare(&mut self, next: Comparison) -> Result<(), Flaw> {
        use Comparison::{Contains, EndsWith, Equal, StartsWith};
        let way = |comparison| match comparison {
            Contains => Some(FieldRef::Contains),
            StartsWith => Some(FieldRef::StartsWith),
            EndsWith => Some(FieldRef::EndsWith),
            _ => None,
        };
        let equal = Comparison::FieldRef(FieldRef::Equal);
        self.comparison = Some(match (self.comparison.unwrap_or(Equal), next) {
            (Equal, next) => next,
            (text, field) | (field, text) if field == equal && way(text).is_some() => {
                Comparison::FieldRef(way(text).unwrap_or(FieldRef::Equal))
            }
            _ => return flaw(self.line, "an item can have only one comparison"),
        });
        Ok(())
    }

    fn flag(&mut self, name: &str) -> Result<(), Flaw> {
        let Some(Comparison::Regex { ignore_case, multi_line, dot_all }) = &mut self.comparison
        else {
            return flaw(self.line, format!("the modifier {} can only follow `re`", quoted(name)));
        };
        let flag = match name {
            "i" | "ignorecase" => ignore_case,
            "m" | "multiline" => multi_line,
            _ => dot_all,
        };
        *flag = true;
        Ok(())
    }

    /// Takes a transformation; those that encode must stand before the comparison.
    fn transform(&mut self, next: Transform, name: &str) -> Result<(), Flaw> {
        let encodes = !matches!(next, Transform::Expand | Transform::Windash);
        if encodes && self.comparison.is_some() {
            let name = quoted(name);
            return flaw(self.line, format!("{name} must stand before the comparison"));
        }
        self.done.transforms.push(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Modifiers, String> {
        let names: Vec<_> = text.split('|').collect();
        Modifiers::parse(&names, 1).map_err(|flaw| flaw.message)
    }

    #[test]
    fn rejects_what_contradicts_itself() {
        for (text, part) in [
            ("contians", "did you mean `contains`?"),
            ("startswith|endswith", "only one comparison"),
            ("contains|contains", "stands twice"),
            ("contains|base64", "must stand before the comparison"),
            ("i", "can only follow `re`"),
            ("i|re", "can only follow `re`"),
            ("windash|re", "cannot stand with this comparison"),
            ("re|cased", "compares texts"),
            ("gt|cased", "compares texts"),
            ("exists|all", "takes one value"),
            ("base64|cidr", "only `expand`"),
            ("gt|lt", "only one comparison"),
            ("fieldref|gt", "only one comparison"),
            ("fieldref|contains|startswith", "only one comparison"),
            ("hour|minute", "only one comparison"),
            ("", "unknown modifier"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn accepts_what_composes() {
        for text in [
            "contains|all|neq|cased",
            "wide|base64offset|contains",
            "contains|windash",
            "windash|base64offset|contains",
            "expand|endswith",
            "endswith|expand",
            "expand|cidr",
            "fieldref|startswith",
            "endswith|fieldref|neq",
            "re|i|m|s",
            "re|ignorecase",
            "gte|neq",
            "hour",
            "exists|neq",
        ] {
            parse(text).expect(text);
        }
    }
}
