//! How a simulated GitHub is set up.

use std::net::SocketAddr;
use std::time::Duration;

use super::Clock;

/// A token that the simulator knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What the client sends.
    pub value: String,
    /// Login that it belongs to.
    pub login: String,
    /// Classic scopes.
    pub scopes: Vec<String>,
    /// Whether it is authorised for organizations behind single sign-on.
    pub sso_authorized: bool,
    /// Text of the expiry header, such as `2027-10-12 09:00:00 UTC`.
    pub expires: Option<String>,
}

impl Token {
    /// An authorised token with the scopes that reading both logs needs.
    pub fn new(value: &str) -> Self {
        Self {
            value: value.to_owned(),
            login: "octo-auditor".to_owned(),
            scopes: ["read:audit_log", "read:org"].map(str::to_owned).to_vec(),
            sso_authorized: true,
            expires: None,
        }
    }
}

/// Everything that a test or an operator may choose about the simulator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Slug and numeric id of the enterprise.
    pub enterprise: (String, i64),
    /// Login and numeric id of every organization.
    pub orgs: Vec<(String, i64)>,
    /// Tokens that are accepted.
    pub tokens: Vec<Token>,
    /// The time.
    pub clock: Clock,
    /// Audit-log requests an hour and token.
    pub rate_limit: u64,
    /// Status of an exceeded limit: 403 or 429.
    pub rate_limit_status: u16,
    /// Largest page.
    pub page_limit: usize,
    /// Wrong tokens after which every call is refused for ten minutes.
    pub bad_token_limit: u64,
    /// GHES mode with its version, such as `3.19.0`: other paths, pages instead of cursors, no rate limit.
    pub ghes: Option<String>,
    /// Events in a thousand that appear only `late_by` after they happened.
    pub late_per_mille: u64,
    /// How late those are.
    pub late_by: Duration,
    /// Events in a thousand that an answer contains twice.
    pub twice_per_mille: u64,
    /// Events in a thousand that get an odd value (see [`crate::odd`]).
    pub odd_per_mille: u64,
}

impl Default for Settings {
    /// Enterprise and organizations of [`crate::Life`], one token `ghp_simulator`, GitHub's limits, the real time.
    fn default() -> Self {
        let life =
            crate::Life::new(crate::Plan { events: 0, stories: false, ..crate::Plan::default() });
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            enterprise: (life.enterprise().to_owned(), life.enterprise_id()),
            orgs: life.orgs().map(|(name, id)| (name.to_string(), id)).collect(),
            tokens: vec![Token::new("ghp_simulator")],
            clock: Clock::real(),
            rate_limit: 1750,
            rate_limit_status: 403,
            page_limit: 100,
            bad_token_limit: 10,
            ghes: None,
            late_per_mille: 0,
            late_by: Duration::from_secs(40 * 60),
            twice_per_mille: 0,
            odd_per_mille: 0,
        }
    }
}

/// Something that goes wrong with one audit request, or with all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error status with GitHub's error body.
    Status(u16),
    /// The right answer, but late.
    Slow(Duration),
    /// A web page with status 200, as a proxy gives.
    Html,
    /// A JSON array of so many bytes, most of them one text.
    Huge(u64),
    /// The `next` link leads back to the same page.
    LoopPages,
    /// The `next` link leads to this host.
    OtherHost(String),
    /// A whole answer whose JSON ends in the middle.
    Truncated,
    /// The connection breaks in the middle of the body.
    Aborted,
    /// A secondary limit, with or without `retry-after` in seconds.
    SecondaryLimit {
        /// 403 or 429.
        status: u16,
        /// What the header says.
        retry_after: Option<u64>,
    },
    /// The primary limit, whatever has been used.
    RateLimited,
    /// Single sign-on is required for the token.
    SsoRequired,
    /// An empty page without a link.
    Empty,
}
