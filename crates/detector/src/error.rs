use std::path::PathBuf;

/// Why the detector cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule folder or list file that cannot be read.
    #[error("cannot read {path}; correct `rules.dirs` or `lists` in the configuration")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The active rule set names rules that the bus no longer has.
    #[error(
        "the active rule set on the bus is incomplete; start with the rules folder to publish it again"
    )]
    IncompleteRuleSet,
    /// Nothing has published rules yet.
    #[error("no rule set has been published; a detector judges nothing without one")]
    NoRuleSet,
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] hubwarden_bus::Error),
    /// The state file refused.
    #[error(transparent)]
    State(#[from] crate::state::Error),
    /// A record of topic `rules` that cannot be read.
    #[error("a record of topic rules cannot be read")]
    Rules(#[from] hubwarden_proto::Error),
}
