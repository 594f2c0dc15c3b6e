//! Sigma's text patterns: `*`, `?`, their escapes, and matching against one value.

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Characters that stand for themselves.
    Text(String),
    /// `?`: exactly one character.
    One,
    /// `*`: any run of characters, none included.
    Many,
    /// `%name%` under `expand`: any value of a list.
    List(String),
}

/// A pattern as its author wrote it, escapes resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pattern {
    pub(crate) parts: Vec<Part>,
}

impl Pattern {
    /// Reads wildcards and escapes, left to right.
    pub(crate) fn parse(text: &str) -> Self {
        Self::read(text, false)
    }

    /// As [`parse`](Self::parse), and `%name%` as a list's placeholder, `\%` as a percent sign.
    pub(crate) fn parse_with_lists(text: &str) -> Self {
        Self::read(text, true)
    }

    fn read(text: &str, lists: bool) -> Self {
        let mut pattern = Self::default();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            match letter {
                '*' => pattern.push(Part::Many),
                '?' => pattern.push(Part::One),
                '\\' => match rest.chars().next() {
                    Some(escaped @ ('*' | '?' | '\\')) => {
                        pattern.push_char(escaped);
                        rest = &rest[1..];
                    }
                    Some('%') if lists => {
                        pattern.push_char('%');
                        rest = &rest[1..];
                    }
                    _ => pattern.push_char('\\'),
                },
                '%' if lists => match rest.split_once('%') {
                    Some((name, after)) if is_list_name(name) => {
                        pattern.push(Part::List(name.into()));
                        rest = after;
                    }
                    _ => pattern.push_char('%'),
                },
                other => pattern.push_char(other),
            }
        }
        pattern
    }

    /// A pattern of characters that all stand for themselves.
    pub(crate) fn literal(text: &str) -> Self {
        let mut pattern = Self::default();
        text.chars().for_each(|letter| pattern.push_char(letter));
        pattern
    }

    /// Adds a part; two runs of anything are one.
    pub(crate) fn push(&mut self, part: Part) {
        match (self.parts.last_mut(), part) {
            (Some(Part::Many), Part::Many) => {}
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, Part::Text(text)) if text.is_empty() => {}
            (_, part) => self.parts.push(part),
        }
    }

    fn push_char(&mut self, letter: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(letter),
            _ => self.parts.push(Part::Text(letter.into())),
        }
    }

    /// The pattern with anything allowed before and/or after it.
    pub(crate) fn open(self, before: bool, after: bool) -> Self {
        let mut pattern = Self::default();
        if before {
            pattern.push(Part::Many);
        }
        self.parts.into_iter().for_each(|part| pattern.push(part));
        if after {
            pattern.push(Part::Many);
        }
        pattern
    }

    /// The text, if no part is a wildcard or a list.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The pattern with every character changed.
    pub(crate) fn map_text(self, change: impl Fn(&str) -> String) -> Self {
        let parts = self.parts.into_iter().map(|part| match part {
            Part::Text(text) => Part::Text(change(&text)),
            other => other,
        });
        Self { parts: parts.collect() }
    }
}

fn is_list_name(name: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(allowed)
}

/// A run of a pattern between two `*`.
#[derive(Debug, Clone, Default)]
struct Segment {
    /// Texts with exactly one character between each and the next.
    texts: Vec<Box<str>>,
}

impl Segment {
    /// Where the segment ends if it stands at `at`.
    fn end_at(&self, text: &str, at: usize) -> Option<usize> {
        let mut rest = text.get(at..)?;
        for (position, part) in self.texts.iter().enumerate() {
            if position > 0 {
                rest = &rest[rest.chars().next()?.len_utf8()..];
            }
            rest = rest.strip_prefix(&**part)?;
        }
        Some(text.len() - rest.len())
    }

    /// Where the first segment at or after `from` ends.
    fn find(&self, text: &str, from: usize) -> Option<usize> {
        let first = self.texts.first().map_or("", |first| first);
        if self.texts.len() <= 1 {
            return text.get(from..)?.find(first).map(|at| from + at + first.len());
        }
        let starts = text.get(from..)?.char_indices().map(|(at, _)| from + at);
        starts.chain([text.len()]).find_map(|at| self.end_at(text, at))
    }

    /// Where the segment must begin to end with the text.
    fn last_start(&self, text: &str) -> Option<usize> {
        let gaps = self.texts.len().saturating_sub(1);
        let length = self.texts.iter().map(|part| part.chars().count()).sum::<usize>() + gaps;
        match length.checked_sub(1) {
            None => Some(text.len()),
            Some(back) => text.char_indices().rev().nth(back).map(|(at, _)| at),
        }
    }
}

/// A pattern with wildcards, ready to be matched in time linear in the value for each segment.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    segments: Vec<Segment>,
}

impl Glob {
    /// Compiles a pattern whose lists have been filled in.
    pub(crate) fn new(pattern: &Pattern) -> Self {
        let mut segments = vec![Segment { texts: vec!["".into()] }];
        for part in &pattern.parts {
            let last = segments.last_mut().expect("there is always a segment");
            match part {
                Part::Many => segments.push(Segment { texts: vec!["".into()] }),
                Part::One => last.texts.push("".into()),
                Part::Text(text) | Part::List(text) => {
                    let before = last.texts.pop().unwrap_or_default();
                    last.texts.push(format!("{before}{text}").into());
                }
            }
        }
        Self { segments }
    }

    /// Whether the whole text is what the pattern describes.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let [first, rest @ ..] = self.segments.as_slice() else { return text.is_empty() };
        let Some(mut at) = first.end_at(text, 0) else { return false };
        let [middle @ .., last] = rest else { return at == text.len() };
        for segment in middle {
            match segment.find(text, at) {
                Some(end) => at = end,
                None => return false,
            }
        }
        let start = last.last_start(text).filter(|start| *start >= at);
        start.is_some_and(|start| last.end_at(text, start) == Some(text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_escapes_left_to_right() {
        for (text, matching, other) in [
            (r"C:\a", r"C:\a", r"C:\\a"),
            (r"C:\\a", r"C:\a", r"C:\\a"),
            (r"a\\*b", r"a\xxb", "a*b"),
            (r"a\\\*b", r"a\*b", r"a\xb"),
            (r"\\\\", r"\\", r"\"),
            (r"a\", r"a\", "a"),
            (r"a\?b", "a?b", "axb"),
            (r"\%x", r"\%x", "%x"),
            ("100%_", "100%_", "100ab"),
        ] {
            let glob = Glob::new(&Pattern::parse(text));
            assert!(glob.matches(matching) && !glob.matches(other), "{text}");
        }
    }

    #[test]
    fn reads_lists_only_where_asked() {
        let parts = |text| Pattern::parse_with_lists(text).parts;
        assert_eq!(parts("%a%"), [Part::List("a".into())]);
        assert_eq!(parts("x%a-b%y").len(), 3);
        assert_eq!(parts(r"\%a%"), [Part::Text("%a%".into())]);
        assert_eq!(parts("100% of 5%"), [Part::Text("100% of 5%".into())]);
        assert_eq!(Pattern::parse("%a%").parts, [Part::Text("%a%".into())]);
    }

    /// The obvious way, exponential on bad luck.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| slow(rest, &text[at..])),
            ['?', rest @ ..] => !text.is_empty() && slow(rest, &text[1..]),
            [letter, rest @ ..] => text.first() == Some(letter) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_way(pattern in "[aé*?]{0,8}", text in "[aéb\n]{0,10}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::new(&Pattern::parse(&pattern)).matches(&text), slow(&p, &t));
        }
    }
}
