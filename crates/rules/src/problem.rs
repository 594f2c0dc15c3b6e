use std::fmt;

/// How bad a problem of a rule file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemSeverity {
    /// The rule is not loaded, or cannot work as written.
    Error,
    /// The rule is loaded, but probably does not do what its author meant.
    Warning,
    /// Worth knowing.
    Note,
}

impl ProblemSeverity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something to tell the author of a rule: where, in which rule, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named by the caller.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule's name, else its title, where the file says so.
    pub rule: Option<String>,
    /// How bad it is.
    pub severity: ProblemSeverity,
    /// What is wrong and, where it is not plain, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: ", self.file, self.line, self.severity.as_str())?;
        if let Some(rule) = &self.rule {
            write!(f, "rule {}: ", quoted(rule))?;
        }
        f.write_str(&self.message)
    }
}

/// What makes a document unusable, and the line where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// A flaw at a line; for `return flaw(…)` and `ok_or_else`.
pub(crate) fn flaw<T>(line: usize, message: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw { line, message: message.into() })
}

/// Gathers the flaws of parts that do not depend on each other.
#[derive(Debug, Default)]
pub(crate) struct Flaws(pub(crate) Vec<Flaw>);

impl Flaws {
    /// The value, or nothing when it has a flaw, which is kept.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.0.push(flaw)).ok()
    }

    /// As [`keep`](Self::keep), for a part that may have several.
    pub(crate) fn keep_all<T>(&mut self, result: Result<T, Vec<Flaw>>) -> Option<T> {
        result.map_err(|flaws| self.0.extend(flaws)).ok()
    }
}

/// Text from a file in backticks: cut, and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::from("`");
    for (position, letter) in text.chars().enumerate() {
        if position == LONGEST {
            out.push('…');
            break;
        }
        if letter.is_control() { out.extend(letter.escape_debug()) } else { out.push(letter) }
    }
    out.push('`');
    out
}

/// ` (did you mean …?)` when one of the words is near, else nothing.
pub(crate) fn suggestion<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let distances = words.into_iter().map(|other| (strsim::osa_distance(word, other), other));
    let near = 1 + word.len() / 4;
    match distances.filter(|(distance, _)| *distance <= near).min() {
        Some((_, other)) => format!(" (did you mean {}?)", quoted(other)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_text_from_files_safely_and_suggests_what_is_near() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "`a\\u{1b}[2Jb`");
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), 83);
        assert_eq!(suggestion("contians", ["contains", "all"]), " (did you mean `contains`?)");
        assert_eq!(suggestion("zzz", ["contains", "all"]), "");
    }
}
