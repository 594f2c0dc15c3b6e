//! Reads the many spellings of an event's time.

use hubwarden_event::Timestamp;
use jiff::civil::DateTime;

/// Numbers from here on below [`MILLIS_FROM`] are seconds (March 1973 and later).
const SECONDS_FROM: i64 = 100_000_000;
/// Numbers from here on are milliseconds (March 1973 and later).
const MILLIS_FROM: i64 = 100_000_000_000;
/// 0001-01-01 and 9999-12-31: times beyond are nobody's.
const RANGE: std::ops::Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// How a time was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// Milliseconds since 1970.
    Milliseconds,
    /// Seconds since 1970.
    Seconds,
    /// A date and time in words of a calendar.
    Calendar,
}

impl TimeForm {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Calendar => "calendar",
        }
    }
}

/// The moment that a number or text means, if it is a time between the years 1 and 9999.
///
/// A number in [10^8, 10^11) is seconds, any other milliseconds: so the first 27 hours of 1970 are
/// accepted in milliseconds, and all of 1970 as a calendar time.
pub(crate) fn parse(text: &str) -> Option<(Timestamp, TimeForm)> {
    let text = text.trim();
    let (millis, form) = match text.parse::<i64>() {
        Ok(number) => number_of(number, number.checked_mul(1_000)),
        Err(_) if looks_like_a_number(text) => {
            let number: f64 = text.parse().ok()?;
            let whole = number.is_finite().then_some(number.round() as i64)?;
            number_of(whole, Some((number * 1_000.0).round() as i64))
        }
        Err(_) => (calendar(text)?.as_millisecond(), TimeForm::Calendar),
    };
    RANGE.contains(&millis).then_some((Timestamp::from_millis(millis), form))
}

fn number_of(number: i64, times_1000: Option<i64>) -> (i64, TimeForm) {
    match times_1000 {
        Some(millis) if (SECONDS_FROM..MILLIS_FROM).contains(&number) => {
            (millis, TimeForm::Seconds)
        }
        _ => (number, TimeForm::Milliseconds),
    }
}

fn looks_like_a_number(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && text.bytes().filter(|byte| *byte == b'-').count() < 2
}

/// RFC 3339, the same with a blank for the `T`, `… UTC`, `… -0800`; UTC where no offset stands.
fn calendar(text: &str) -> Option<jiff::Timestamp> {
    /// No spelling of a time is longer.
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let local = text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")).unwrap_or(text);
    if let Ok(local) = local.trim_end().parse::<DateTime>() {
        return jiff::tz::Offset::UTC.to_timestamp(local).ok();
    }
    ["%Y-%m-%d %H:%M:%S%.f %z", "%Y-%m-%d %H:%M:%S%.f %:z"]
        .iter()
        .find_map(|form| jiff::Timestamp::strptime(form, text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_that_github_and_re_exporters_write() {
        use TimeForm::{Calendar, Milliseconds, Seconds};
        for (text, millis, form) in [
            ("1741611463961", 1_741_611_463_961, Milliseconds),
            ("1741611463", 1_741_611_463_000, Seconds),
            ("1741611463.961", 1_741_611_463_961, Seconds),
            ("1.741611463961E+12", 1_741_611_463_961, Milliseconds),
            ("0", 0, Milliseconds),
            ("99999999", 99_999_999, Milliseconds),
            ("100000000", 100_000_000_000, Seconds),
            ("99999999999", 99_999_999_999_000, Seconds),
            ("100000000000", 100_000_000_000, Milliseconds),
            ("-1", -1, Milliseconds),
            ("1970-06-01T00:00:00Z", 13_046_400_000, Calendar),
            ("2100-01-01T00:00:00Z", 4_102_444_800_000, Calendar),
            ("2023-01-31T18:58:27.638+01:00", 1_675_187_907_638, Calendar),
            ("2023-01-31 18:58:27.638", 1_675_191_507_638, Calendar),
            ("2024-03-13 22:36:27.788000000", 1_710_369_387_788, Calendar),
            ("2023-01-31T18:58:27", 1_675_191_507_000, Calendar),
            ("2023-01-31 18:58:27 UTC", 1_675_191_507_000, Calendar),
            ("2023-01-31 18:58:27 -0800", 1_675_220_307_000, Calendar),
            ("2023-01-31 18:58:27.5 +05:30", 1_675_171_707_500, Calendar),
            ("2023-01-31", 1_675_123_200_000, Calendar),
        ] {
            assert_eq!(parse(text), Some((Timestamp::from_millis(millis), form)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "yesterday",
            "9223372036854775807",
            "-9223372036854775808",
            "1e400",
            "-",
            "e",
            ".",
            "253402300800000",
            "2023-13-01T00:00:00Z",
            "NaN",
            "12:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
