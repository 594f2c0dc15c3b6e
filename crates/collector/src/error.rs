use std::io;
use std::time::Duration;

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
    /// A configuration value that makes no sense.
    #[error(transparent)]
    Config(#[from] hubwarden_service::Invalid),
    /// The token is not where the configuration says.
    #[error("the token for GitHub is missing")]
    Secret(#[from] hubwarden_service::SecretError),
    /// 401.
    #[error(
        "GitHub refused the token: it is wrong, expired or revoked, so nothing is read; put a new one where `token` points, it is picked up without a restart"
    )]
    Unauthorized,
    /// 403 for want of a scope.
    #[error(
        "the token lacks a scope, so nothing is read: it has `{granted}`, GitHub wants one of `{accepted}`; make a token with read:audit_log"
    )]
    MissingScope {
        /// What the token may do.
        granted: String,
        /// Any one of these would do.
        accepted: String,
    },
    /// 403 because single sign-on was not granted.
    #[error(
        "the token is not authorized for the organization's single sign-on, so nothing is read; open {url} within an hour and authorize it"
    )]
    SingleSignOn {
        /// Where it can be granted.
        url: String,
    },
    /// 403 because of the address.
    #[error(
        "the IP allow list of the organization refuses this machine, so nothing is read; add its address to the list"
    )]
    IpAllowList,
    /// Another 403.
    #[error(
        "GitHub refuses access ({message}), so nothing is read; check that the token belongs to an owner and has read:audit_log"
    )]
    Forbidden {
        /// What GitHub said.
        message: String,
    },
    /// 404, which may mean several things.
    #[error(
        "GitHub knows no audit log of {scope} (404), so nothing is read; one of three things is wrong: the name, the plan (it must be GitHub Enterprise), or the permission (the token must belong to an owner)"
    )]
    NotFound {
        /// What was asked for, such as `org/octo`.
        scope: String,
    },
    /// 422.
    #[error(
        "GitHub did not accept the search phrase ({message}), so this pass brought nothing; report it as a bug of Hubwarden"
    )]
    Phrase {
        /// What GitHub said.
        message: String,
    },
    /// The primary or secondary limit is used up.
    #[error(
        "GitHub's {limit} rate limit is used up, reading goes on by itself; lower `poll.budget` if other tools share the token"
    )]
    RateLimited {
        /// Which of the two.
        limit: Limit,
        /// How long GitHub asks to wait, if it says so.
        wait: Option<Duration>,
    },
    /// 5xx and other answers that may go away.
    #[error("GitHub answered {status}, the page is asked for again later; see githubstatus.com")]
    Server {
        /// The status.
        status: u16,
        /// What `Retry-After` asks for.
        wait: Option<Duration>,
    },
    /// A status that GitHub does not use here.
    #[error("the server answered {status}, which GitHub never does here; check `base_url`")]
    Unexpected {
        /// The status.
        status: u16,
    },
    /// An answer that is not an array of events.
    #[error(
        "expected a list of events and got {what}, so the page is not used and asked for again later; check `base_url` and any proxy on the way"
    )]
    NotEvents {
        /// What it was instead.
        what: String,
    },
    /// An answer without an end.
    #[error(
        "an answer is larger than {limit} bytes, so the page is not used; lower `poll.per_page` or check any proxy on the way"
    )]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// A link that leads to another machine.
    #[error(
        "the server points to {link} on another host, which never gets the token, so the pass stops here; check `base_url` and any proxy on the way"
    )]
    OtherHost {
        /// The address.
        link: String,
    },
    /// A page that leads to one that was already read.
    #[error(
        "the server sends pages in a circle ({link} again), so the pass stops here and starts again later; check any proxy on the way"
    )]
    Loop {
        /// The address that came twice.
        link: String,
    },
    /// No answer, or a broken one.
    #[error("GitHub did not answer while {doing}; it is tried again later")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// An HTTP client cannot be made.
    #[error("the HTTP client cannot start")]
    Client(#[source] reqwest::Error),
    /// The bus refused.
    #[error("the bus did not take the records")]
    Bus(#[from] hubwarden_bus::Error),
    /// A record of the bus that cannot be read.
    #[error("the cursor on the bus cannot be read; it was written by a later release")]
    Cursor(#[from] prost::DecodeError),
    /// The server that records are pushed to refused.
    #[error(
        "the server did not take the records, what it had acknowledged before stays; check that it runs and import the file again, repeats are recognised"
    )]
    Ingest(#[source] Box<tonic::Status>),
    /// The server that records are pushed to is not there.
    #[error("cannot reach the server; start it with `hubwarden serve` or check the address")]
    Connect(#[from] tonic::transport::Error),
    /// No source is called so.
    #[error("there is no source `{id}`; {hint}")]
    NoSource {
        /// What was asked for.
        id: String,
        /// What was probably meant, or where to look.
        hint: String,
    },
    /// Several sources belong to what is called so.
    #[error("`{name}` stands for several sources; ask for one of {ids}")]
    SeveralSources {
        /// What was asked for.
        name: String,
        /// The sources.
        ids: String,
    },
    /// The task was stopped before its end.
    #[error("stopped before the end; what was read so far is stored")]
    Stopped,
}

impl Error {
    /// Whether the same call may succeed later without anybody doing something.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Server { .. }
            | Self::NotEvents { .. }
            | Self::TooLarge { .. }
            | Self::Loop { .. }
            | Self::Unavailable { .. } => true,
            Self::Bus(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// How long the other side asked to wait, if it did.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait, .. } | Self::Server { wait, .. } => *wait,
            _ => None,
        }
    }
}

/// The two kinds of limits that GitHub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests an hour.
    Primary,
    /// Load in a short time.
    Secondary,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}
