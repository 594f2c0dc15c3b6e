//! Every address that a page links to: built from typed parts, so that no text becomes an address.

use std::fmt;

use hubwarden_event::FindingId;

use crate::letters::LetterFilter;
use crate::{Filter, LetterAt};

/// Somewhere a page may link to.
#[derive(Debug, Clone)]
pub enum Link<'a> {
    /// The overview.
    Overview,
    /// Findings that pass a filter.
    Findings(&'a Filter),
    /// The same as a CSV file.
    FindingsCsv(&'a Filter),
    /// The same as JSON, one finding a line.
    FindingsNdjson(&'a Filter),
    /// The same from the JSON API.
    FindingsJson(&'a Filter),
    /// One finding.
    Finding(&'a FindingId),
    /// The same as JSON.
    FindingJson(&'a FindingId),
    /// Its events as JSON.
    TimelineJson(&'a FindingId),
    /// The stages and how far they are.
    Pipeline,
    /// The stages as a CSV file.
    PipelineCsv,
    /// The same as JSON, one stage a line.
    PipelineNdjson,
    /// The same, with the history, from the JSON API.
    PipelineJson,
    /// Dead letters that pass a filter.
    Letters(&'a LetterFilter),
    /// The same as a CSV file.
    LettersCsv(&'a LetterFilter),
    /// The same as JSON, one letter a line.
    LettersNdjson(&'a LetterFilter),
    /// The same from the JSON API.
    LettersJson(&'a LetterFilter),
    /// Where a form puts all letters of a reason back.
    RetryLetters,
    /// Where a program puts the letters that pass a filter back.
    RetryLettersJson(&'a LetterFilter),
    /// One dead letter.
    Letter(LetterAt),
    /// The same as JSON.
    LetterJson(LetterAt),
    /// Where a form puts its record back.
    RetryLetter(LetterAt),
    /// A technique on MITRE's pages.
    Technique(Technique<'a>),
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overview => f.write_str("/"),
            Self::Findings(filter) => write!(f, "/findings{}", Query(&filter.pairs())),
            Self::FindingsCsv(filter) => write!(f, "/findings.csv{}", Query(&filter.pairs())),
            Self::FindingsNdjson(filter) => write!(f, "/findings.ndjson{}", Query(&filter.pairs())),
            Self::FindingsJson(filter) => write!(f, "/api/v1/findings{}", Query(&filter.pairs())),
            Self::Pipeline => f.write_str("/pipeline"),
            Self::PipelineCsv => f.write_str("/pipeline.csv"),
            Self::PipelineNdjson => f.write_str("/pipeline.ndjson"),
            Self::PipelineJson => f.write_str("/api/v1/pipeline"),
            Self::Letters(filter) => write!(f, "/dead-letters{}", Query(&filter.pairs())),
            Self::LettersCsv(filter) => write!(f, "/dead-letters.csv{}", Query(&filter.pairs())),
            Self::LettersNdjson(filter) => {
                write!(f, "/dead-letters.ndjson{}", Query(&filter.pairs()))
            }
            Self::LettersJson(filter) => {
                write!(f, "/api/v1/dead-letters{}", Query(&filter.pairs()))
            }
            Self::RetryLettersJson(filter) => {
                write!(f, "/api/v1/dead-letters/retry{}", Query(&filter.pairs()))
            }
            Self::RetryLetters => f.write_str("/dead-letters/retry"),
            Self::Letter(at) => write!(f, "/dead-letters/{at}"),
            Self::LetterJson(at) => write!(f, "/api/v1/dead-letters/{at}"),
            Self::RetryLetter(at) => write!(f, "/dead-letters/{at}/retry"),
            Self::Finding(id) => write!(f, "/findings/{}", Encoded(id.as_str())),
            Self::FindingJson(id) => write!(f, "/api/v1/findings/{}", Encoded(id.as_str())),
            Self::TimelineJson(id) => {
                write!(f, "/api/v1/findings/{}/timeline", Encoded(id.as_str()))
            }
            Self::Technique(Technique { number, part: None }) => {
                write!(f, "https://attack.mitre.org/techniques/T{number}/")
            }
            Self::Technique(Technique { number, part: Some(part) }) => {
                write!(f, "https://attack.mitre.org/techniques/T{number}/{part}/")
            }
        }
    }
}

/// An ATT&CK technique, such as `T1562.001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Technique<'a> {
    number: &'a str,
    part: Option<&'a str>,
}

impl<'a> Technique<'a> {
    /// The technique that this text names, if it is shaped like one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let rest = text.strip_prefix('T')?;
        let (number, part) = match rest.split_once('.') {
            Some((number, part)) => (number, Some(part)),
            None => (rest, None),
        };
        let valid = digits(number, 4) && part.is_none_or(|part| digits(part, 3));
        valid.then_some(Self { number, part })
    }
}

struct Query<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, value)) in self.0.iter().enumerate() {
            let sign = if place == 0 { '?' } else { '&' };
            write!(f, "{sign}{key}={}", Encoded(value))?;
        }
        Ok(())
    }
}

/// Text as a part of a path or of a query: all but unreserved characters are encoded.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_a_part_of_the_address() {
        let id = FindingId::from_text("../x?a=b#c\"><script>");
        assert_eq!(
            Link::Finding(&id).to_string(),
            "/findings/..%2Fx%3Fa%3Db%23c%22%3E%3Cscript%3E"
        );
        let filter = Filter { org: "a&severity=low é".into(), ..Filter::default() };
        assert_eq!(
            Link::Findings(&filter).to_string(),
            "/findings?org=a%26severity%3Dlow%20%C3%A9"
        );
    }

    #[test]
    fn only_techniques_are_linked() {
        let link = |text| Technique::parse(text).map(|one| Link::Technique(one).to_string());
        let base = "https://attack.mitre.org/techniques";
        assert_eq!(link("T1562.001"), Some(format!("{base}/T1562/001/")));
        assert_eq!(link("T1098"), Some(format!("{base}/T1098/")));
        for text in ["javascript:alert(1)", "T1/../..", "T1098.", "T1098.00x", "1098", "T１０９８"]
        {
            assert_eq!(link(text), None, "{text}");
        }
    }
}
