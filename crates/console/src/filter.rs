use hubwarden_event::{Severity, Timestamp};

use crate::{Error, FindingQuery, Order, PageToken, escape};

/// The filter of a list as it stands in an address: every part is text that may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Severities by name.
    pub severities: Vec<String>,
    /// A rule or concept.
    pub rule: String,
    /// An organization.
    pub org: String,
    /// A thing by `name` or `kind/name`.
    pub entity: String,
    /// Who did it.
    pub actor: String,
    /// Text to search for.
    pub text: String,
    /// Only findings with an event after this moment.
    pub since: String,
    /// Only findings whose last event precedes this moment.
    pub until: String,
    /// `newest`, else the worst come first.
    pub sort: String,
    /// How many findings a page holds.
    pub limit: String,
    /// Where the previous page ended.
    pub page: String,
}

impl Filter {
    /// Reads the pairs of an address; those that mean nothing are left out.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut filter = Self::default();
        for (key, value) in pairs {
            let value = value.trim().to_owned();
            let slot = match key.as_str() {
                "severity" => {
                    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                    filter.severities.extend(names.map(str::to_owned));
                    continue;
                }
                "rule" => &mut filter.rule,
                "org" => &mut filter.org,
                "entity" => &mut filter.entity,
                "actor" => &mut filter.actor,
                "text" => &mut filter.text,
                "since" => &mut filter.since,
                "until" => &mut filter.until,
                "sort" => &mut filter.sort,
                "limit" => &mut filter.limit,
                "page" => &mut filter.page,
                _ => continue,
            };
            *slot = value;
        }
        filter
    }

    /// The pairs that say the same in an address.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let severities = self.severities.iter().map(|name| ("severity", name));
        let rest = [
            ("rule", &self.rule),
            ("org", &self.org),
            ("entity", &self.entity),
            ("actor", &self.actor),
            ("text", &self.text),
            ("since", &self.since),
            ("until", &self.until),
            ("sort", &self.sort),
            ("limit", &self.limit),
            ("page", &self.page),
        ];
        let pairs = severities.chain(rest).filter(|(_, value)| !value.is_empty());
        pairs.map(|(key, value)| (key, value.clone())).collect()
    }

    /// Whether it lets only some findings pass.
    pub fn is_narrow(&self) -> bool {
        let first = Self { sort: String::new(), limit: String::new(), ..self.first_page() };
        first != Self::default()
    }

    /// The same filter from the first page on.
    pub fn first_page(&self) -> Self {
        Self { page: String::new(), ..self.clone() }
    }

    /// The question that it asks at this moment; `limit` where it names none.
    ///
    /// # Errors
    /// [`Error::BadQuery`] names the first part that cannot be understood.
    pub fn query(&self, now: Timestamp, limit: usize) -> Result<FindingQuery, Error> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let severity = |name: &String| {
            name.to_lowercase().parse::<Severity>().map_err(|_| Error::BadQuery {
                field: "severity",
                value: name.clone(),
                hint: "there are informational, low, medium, high and critical",
            })
        };
        let when =
            |field, text: &str| some(text).map(|text| parse_when(field, &text, now)).transpose();
        Ok(FindingQuery {
            severities: self.severities.iter().map(severity).collect::<Result<_, _>>()?,
            rule: some(&self.rule),
            since: when("start time", &self.since)?,
            until: when("end time", &self.until)?,
            org: some(&self.org),
            entity: some(&self.entity),
            actor: some(&self.actor),
            text: some(&self.text),
            order: match self.sort.as_str() {
                "" | "worst" => Order::Worst,
                "newest" => Order::Newest,
                other => {
                    return Err(Error::BadQuery {
                        field: "sort order",
                        value: other.into(),
                        hint: "there are worst and newest",
                    });
                }
            },
            limit: match self.limit.as_str() {
                "" => limit,
                text => text.parse().map_err(|_| Error::BadQuery {
                    field: "limit",
                    value: text.into(),
                    hint: "give the number of findings on a page, such as 50",
                })?,
            },
            page: some(&self.page).map(|text| text.parse::<PageToken>()).transpose()?,
        })
    }

    /// The command that lists the same, ready for a shell.
    pub fn command(&self) -> String {
        let mut command = String::from("hubwarden finding list");
        let severities = self.severities.join(",");
        for (flag, value) in [
            ("severity", &severities),
            ("rule", &self.rule),
            ("org", &self.org),
            ("entity", &self.entity),
            ("actor", &self.actor),
            ("text", &self.text),
            ("since", &self.since),
            ("until", &self.until),
            ("sort", &self.sort),
            ("limit", &self.limit),
        ] {
            if !value.is_empty() {
                command.push_str(&format!(" --{flag} {}", quoted(value)));
            }
        }
        command
    }
}

/// One word for a shell, whatever it holds.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ",._/:@%+-".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') {
        return text.into();
    }
    format!("'{}'", escape::terminal(text).replace('\'', r"'\''"))
}

/// The moment that a person wrote: RFC 3339, a date, or how long ago (`90m`, `24h`, `7d`, `2w`).
///
/// # Errors
/// [`Error::BadQuery`] that names `field`.
pub fn parse_when(field: &'static str, text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let ago = || {
        let unit = text.chars().last()?;
        let number = text.strip_suffix(unit)?;
        let number: i64 = number.parse::<u32>().ok()?.into();
        let millis = match unit {
            's' => 1000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            'w' => 604_800_000,
            _ => return None,
        };
        Some(now.plus_millis(-(number * millis)))
    };
    let date = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        let start = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        Some(Timestamp::from_millis(start.as_millisecond()))
    };
    text.parse().ok().or_else(ago).or_else(date).ok_or_else(|| Error::BadQuery {
        field,
        value: text.into(),
        hint: "write 24h, 7d, 2025-03-10 or 2025-03-10T12:00:00Z",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_741_611_463_961);

    #[test]
    fn moments_as_people_write_them() {
        for (text, expected) in [
            ("24h", "2025-03-09T12:57:43.961Z"),
            ("90m", "2025-03-10T11:27:43.961Z"),
            ("1w", "2025-03-03T12:57:43.961Z"),
            ("2025-03-01", "2025-03-01T00:00:00.000Z"),
            ("2025-03-01T10:00:00+01:00", "2025-03-01T09:00:00.000Z"),
        ] {
            assert_eq!(parse_when("start", text, NOW).unwrap().to_string(), expected, "{text}");
        }
        for text in ["yesterday", "h", "-1h", "99999999999d", "24é", "1741611463", ""] {
            let error = parse_when("start", text, NOW).unwrap_err().to_string();
            assert!(error.contains("is not a start; write 24h"), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_and_its_filter_are_one() {
        let pairs = [("severity", "high,critical"), ("text", " a b "), ("x", "y"), ("since", "7d")];
        let filter = Filter::from_pairs(pairs.map(|(key, value)| (key.into(), value.into())));
        let again = filter.pairs().into_iter().map(|(key, value)| (key.to_owned(), value));
        assert_eq!(Filter::from_pairs(again), filter);
        let query = filter.query(NOW, 50).unwrap();
        assert_eq!(query.severities, [Severity::High, Severity::Critical]);
        assert_eq!((query.text.as_deref(), query.limit), (Some("a b"), 50));
        assert!(filter.is_narrow() && !Filter::default().is_narrow());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (key, value, message) in [
            (
                "severity",
                "hihg",
                "`hihg` is not a severity; there are informational, low, medium, high and critical",
            ),
            (
                "limit",
                "many",
                "`many` is not a limit; give the number of findings on a page, such as 50",
            ),
            ("sort", "best", "`best` is not a sort order; there are worst and newest"),
            (
                "page",
                "7",
                "`7` is not a page; take it from the previous page as it is, or leave it out to start at the first",
            ),
        ] {
            let filter = Filter::from_pairs([(key.to_owned(), value.to_owned())]);
            assert_eq!(filter.query(NOW, 50).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_command_is_one_word_a_value() {
        let filter = Filter {
            severities: vec!["high".into(), "critical".into()],
            text: "$(reboot) 'x'\x1b".into(),
            org: "-rf".into(),
            since: "24h".into(),
            ..Filter::default()
        };
        assert_eq!(
            filter.command(),
            r"hubwarden finding list --severity high,critical --org '-rf' --text '$(reboot) '\''x'\''\u{1b}' --since 24h"
        );
    }
}
