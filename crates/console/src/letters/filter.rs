//! Which dead letters: as it stands in an address, and as the store is asked.

use hubwarden_event::Timestamp;

use crate::Error;
use crate::filter::quoted;
use crate::store::letters::{LetterAt, LetterQuery, by_short_name, short_name};

/// The most letters that one page holds.
pub const MAX_LETTER_PAGE: usize = 500;

/// What a page or a command asks for, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// `raw.dead` or `events.dead`; empty means both.
    pub topic: String,
    /// The whole reason.
    pub reason: String,
    /// Any text: only letters that nobody has put back.
    pub waiting: String,
    /// At most so many.
    pub limit: String,
    /// Where the previous page ended.
    pub page: String,
}

impl LetterFilter {
    /// What the pairs of an address ask for; what it does not know is passed over.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut filter = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "topic" => filter.topic = value.trim().to_owned(),
                // As it is: it is compared as a whole.
                "reason" => filter.reason = value,
                "waiting" => filter.waiting = value.trim().to_owned(),
                "limit" => filter.limit = value.trim().to_owned(),
                "page" => filter.page = value.trim().to_owned(),
                _ => {}
            }
        }
        filter
    }

    /// The pairs that say the same in an address.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("topic", &self.topic),
            ("reason", &self.reason),
            ("waiting", &self.waiting),
            ("limit", &self.limit),
            ("page", &self.page),
        ];
        let pairs = all.into_iter().filter(|(_, value)| !value.is_empty());
        pairs.map(|(key, value)| (key, value.clone())).collect()
    }

    /// The letters of one reason.
    pub fn of(topic: hubwarden_bus::Topic, reason: &str) -> Self {
        Self { topic: short_name(topic).into(), reason: reason.into(), ..Self::default() }
    }

    /// The same filter from the first page on.
    pub fn first_page(&self) -> Self {
        Self { page: String::new(), ..self.clone() }
    }

    /// Whether it lets only some letters pass.
    pub fn is_narrow(&self) -> bool {
        Self { limit: String::new(), ..self.first_page() } != Self::default()
    }

    /// What the store is asked.
    ///
    /// # Errors
    /// [`Error::BadQuery`] with the part that cannot be understood.
    pub fn query(&self, limit: usize) -> Result<LetterQuery, Error> {
        let bad = |field, value: &str, hint| Error::BadQuery { field, value: value.into(), hint };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let topic = some(&self.topic).map(|name| {
            let hint = "there are raw.dead and events.dead";
            by_short_name(&name).ok_or_else(|| bad("topic", &name, hint))
        });
        let limit = match self.limit.as_str() {
            "" => Ok(limit),
            text => text.parse::<usize>().map_err(|_| bad("limit", text, "write a number")),
        };
        let page = some(&self.page).map(|text| {
            let hint =
                "take it from the previous page as it is, or leave it out to start at the first";
            read_page(&text).ok_or_else(|| bad("page", &text, hint))
        });
        Ok(LetterQuery {
            topic: topic.transpose()?,
            reason: some(&self.reason),
            waiting: !self.waiting.is_empty(),
            limit: limit?.clamp(1, MAX_LETTER_PAGE),
            page: page.transpose()?,
        })
    }

    /// The command that lists the same.
    pub fn command(&self) -> String {
        let mut command = String::from("hubwarden dead-letter list");
        for (flag, value) in
            [("topic", &self.topic), ("reason", &self.reason), ("limit", &self.limit)]
        {
            if !value.is_empty() {
                command.push_str(&format!(" --{flag} {}", quoted(value)));
            }
        }
        if !self.waiting.is_empty() {
            command.push_str(" --waiting");
        }
        command
    }
}

/// The place where a page ended, as text.
pub fn page_text((appended_at, at): (Timestamp, LetterAt)) -> String {
    format!("{}.{at}", appended_at.as_millis())
}

fn read_page(text: &str) -> Option<(Timestamp, LetterAt)> {
    let (millis, at) = text.split_once('.')?;
    Some((Timestamp::from_millis(millis.parse().ok()?), at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_the_store_is_asked() {
        let pairs = [
            ("topic", "raw.dead"),
            ("reason", " a `b` & c "),
            ("waiting", "1"),
            ("limit", "9999"),
            ("page", "17.events.dead-2-5"),
            ("else", "x"),
        ];
        let filter = LetterFilter::from_pairs(pairs.map(|(key, value)| (key.into(), value.into())));
        let again = filter.pairs().into_iter().map(|(key, value)| (key.to_owned(), value));
        assert_eq!(LetterFilter::from_pairs(again), filter);
        let query = filter.query(50).unwrap();
        assert_eq!((query.reason.as_deref(), query.limit), (Some(" a `b` & c "), MAX_LETTER_PAGE));
        assert_eq!(page_text(query.page.unwrap()), filter.page);
        assert_eq!(
            filter.command(),
            "hubwarden dead-letter list --topic raw.dead --reason ' a `b` & c ' --limit 9999 --waiting"
        );
        for (key, value) in [("topic", "raw"), ("limit", "many"), ("page", "x")] {
            let filter = LetterFilter::from_pairs([(key.to_owned(), value.to_owned())]);
            let error = filter.query(50).unwrap_err();
            assert!(error.to_string().contains(&format!("`{value}` is not a {key}")), "{error}");
        }
    }
}
