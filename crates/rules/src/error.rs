/// What this crate cannot work with; flaws of rules are [`Problem`](crate::Problem)s instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of cases that cannot be read.
    #[error("line {line}: {message}")]
    Case {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}
