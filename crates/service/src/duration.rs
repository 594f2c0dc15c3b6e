//! Durations as the configuration has them: for `#[serde(with = "hubwarden_service::duration")]`.

use std::fmt;
use std::time::Duration;

use jiff::fmt::friendly::{Designator, SpanParser, SpanPrinter};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

const FORM: &str = "a text with numbers and units, such as \"60s\", \"15m\" or \"1h 30m\"";

/// Writes a duration with short units.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let printer = SpanPrinter::new().designator(Designator::Compact);
    serializer.collect_str(&printer.unsigned_duration_to_string(duration))
}

/// Reads a duration; what is none is told with the forms that are right.
///
/// # Errors
/// Anything but a text of numbers and units.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Text)
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        let parsed = SpanParser::new().parse_unsigned_duration(text);
        parsed.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        #[serde(with = "super")]
        wait: Duration,
    }

    #[test]
    fn reads_what_it_writes_and_says_which_forms_are_right() {
        for (text, seconds) in [("60s", 60), ("15m", 900), ("1h 30m", 5400), ("0s", 0)] {
            let sample: Sample = toml::from_str(&format!("wait = '{text}'")).unwrap();
            assert_eq!(sample, Sample { wait: Duration::from_secs(seconds) });
            let written = toml::to_string(&sample).unwrap();
            assert_eq!(toml::from_str::<Sample>(&written).unwrap(), sample, "{written}");
        }
        for value in
            ["60", "'60'", "''", "'soon'", "'-5s'", "'1 month'", "true", "['1s']", "{ s = 1 }"]
        {
            let error =
                toml::from_str::<Sample>(&format!("wait = {value}")).unwrap_err().to_string();
            assert!(error.contains(FORM), "{value}: {error}");
        }
    }
}
