use std::io;

/// Why the collector could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened.
    #[error("cannot read {file}; check the name and its permissions")]
    File {
        /// The file's name as given.
        file: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
