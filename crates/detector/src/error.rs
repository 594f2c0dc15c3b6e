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
    /// This release does not make of the published files what their publisher made of them.
    #[error(
        "the active rule set compiles to {here} here and to {published} where it was published; run the same release everywhere, or publish the rules again"
    )]
    OtherRuleSet {
        /// Hash of the set as it was published.
        published: String,
        /// Hash of what this release makes of it.
        here: String,
    },
    /// Nothing has published rules yet.
    #[error("no rule set has been published; a detector judges nothing without one")]
    NoRuleSet,
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] hubwarden_bus::Error),
    /// The state file refused.
    #[error(transparent)]
    State(#[from] crate::state::Error),
    /// A snapshot could not be stored or used.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::Error),
    /// More than one partition, and nowhere to keep snapshots.
    #[error(
        "`matches` has {partitions} partitions and there is no place for snapshots, so a lost node would lose its state; set `state.snapshots`"
    )]
    NoSnapshots {
        /// Partitions of `matches`.
        partitions: u32,
    },
    /// A partition that has been judged before, and whose state is nowhere.
    #[error(
        "the state of partition {partition} of `matches` is lost: there is neither a file in {dir} nor a snapshot, but the partition was judged up to {position}; start once with --rebuild (judge again everything that is kept) or --accept-loss (go on, patterns under way are missed)"
    )]
    StateLost {
        /// The partition.
        partition: u32,
        /// Where its file should be.
        dir: PathBuf,
        /// The position that had been reached.
        position: u64,
    },
    /// Another process works on the state of this partition.
    #[error("{file} is in use by another process; stop that one, or give each its own `state.dir`")]
    InUse {
        /// The state file.
        file: PathBuf,
    },
    /// The folder of the state files cannot be used.
    #[error("cannot use {path}; check `state.dir` and its permissions")]
    Dir {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Without it nobody knows whether a partition has had a state.
    #[error("the bus does not tell where correlate stands: {0}; it is asked again")]
    Committed(String),
    /// The process ends.
    #[error("stopped before the rules could be read")]
    Stopped,
    /// A record of topic `rules` that cannot be read.
    #[error("a record of topic rules cannot be read")]
    Rules(#[from] hubwarden_proto::Error),
}

impl Error {
    /// Whether it says why there are no rules now, so that waiting may mend it.
    pub(crate) fn is_of_rules(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_retryable(),
            Self::IncompleteRuleSet | Self::OtherRuleSet { .. } | Self::NoRuleSet => true,
            Self::Rules(_) => true,
            _ => false,
        }
    }
}
