use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hubwarden_event::{Hash, Timestamp};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::Error;

/// A link that nobody used is dropped after so long.
const LINK_MS: i64 = 60 * 60 * 1000;
/// A session ends after so long.
const SESSION_MS: i64 = 12 * 60 * 60 * 1000;
/// Links that wait to be used.
const LINKS: usize = 16;
/// Sessions at the same time; beyond, the oldest ends.
const SESSIONS: usize = 64;

/// Decides who may ask: browsers by a one-time link and a session, programs by one token.
///
/// Links and sessions are kept as hashes and in memory only, so that they end with the process.
pub struct Access {
    api_token: String,
    api_hash: Hash,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: VecDeque<(Hash, Timestamp)>,
    sessions: VecDeque<(Hash, Timestamp)>,
}

impl Access {
    /// Access with a new random API token.
    ///
    /// # Errors
    /// [`Error::Random`] when the operating system gives no random bytes.
    pub fn new() -> Result<Self, Error> {
        Ok(Self::with_api_token(random()?))
    }

    /// Access with an API token that was made before, such as one read from a file.
    pub fn with_api_token(api_token: String) -> Self {
        let api_hash = Hash::of(api_token.as_bytes());
        Self { api_token, api_hash, state: Mutex::default() }
    }

    /// The token for programs on this machine, sent as `authorization: Bearer …`.
    pub fn api_token(&self) -> &str {
        &self.api_token
    }

    /// The token of a new link, `/login?token=…`: it signs in one browser, once, within an hour.
    ///
    /// # Errors
    /// [`Error::Random`] when the operating system gives no random bytes.
    pub fn new_link(&self, now: Timestamp) -> Result<String, Error> {
        let token = random()?;
        let mut state = self.lock(now);
        if state.links.len() >= LINKS {
            state.links.pop_front();
        }
        state.links.push_back((Hash::of(token.as_bytes()), now));
        Ok(token)
    }

    /// Trades the token of a link for a session; nothing if it is unknown, old or used.
    ///
    /// # Errors
    /// [`Error::Random`] when the operating system gives no random bytes.
    pub fn sign_in(&self, token: &str, now: Timestamp) -> Result<Option<String>, Error> {
        let hash = Hash::of(token.as_bytes());
        let session = random()?;
        let mut state = self.lock(now);
        let Some(place) = state.links.iter().position(|(link, _)| *link == hash) else {
            return Ok(None);
        };
        state.links.remove(place);
        if state.sessions.len() >= SESSIONS {
            state.sessions.pop_front();
        }
        state.sessions.push_back((Hash::of(session.as_bytes()), now));
        Ok(Some(session))
    }

    /// Whether this is a session that has not ended.
    pub fn is_session(&self, session: &str, now: Timestamp) -> bool {
        let hash = Hash::of(session.as_bytes());
        self.lock(now).sessions.iter().any(|(known, _)| *known == hash)
    }

    /// Whether an `authorization` header carries the API token.
    pub fn is_bearer(&self, authorization: &str) -> bool {
        let token = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        // Hashes are compared, so the time taken says nothing about the token.
        token.is_some_and(|(_, token)| Hash::of(token.trim().as_bytes()) == self.api_hash)
    }

    /// Refuses a gRPC call without the API token.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, with what to do.
    pub fn check_call(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
        if header.is_some_and(|header| self.is_bearer(header)) {
            return Ok(());
        }
        Err(Status::unauthenticated(
            "this server wants its token; run the command as the user who started it, with the same data folder",
        ))
    }

    /// The same as a tonic interceptor.
    ///
    /// # Errors
    /// As [`Access::check_call`].
    pub fn intercept(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check_call(request.metadata())?;
        Ok(request)
    }

    /// The state without what has expired.
    fn lock(&self, now: Timestamp) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can leave the state half changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.links.retain(|(_, made)| now.millis_since(*made) < LINK_MS);
        state.sessions.retain(|(_, made)| now.millis_since(*made) < SESSION_MS);
        state
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access { .. }")
    }
}

/// 256 random bits in hexadecimal.
fn random() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Hash(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn a_link_signs_in_once() {
        let access = Access::new().unwrap();
        let link = access.new_link(NOW).unwrap();
        let session = access.sign_in(&link, NOW).unwrap().unwrap();
        assert!(access.is_session(&session, NOW));
        assert_eq!(access.sign_in(&link, NOW).unwrap(), None, "used");
        assert_eq!(access.sign_in("", NOW).unwrap(), None, "unknown");
        assert!(!access.is_session(&link, NOW) && !access.is_session("", NOW));
    }

    #[test]
    fn links_and_sessions_end() {
        let access = Access::new().unwrap();
        let link = access.new_link(NOW).unwrap();
        assert_eq!(access.sign_in(&link, NOW.plus_millis(LINK_MS)).unwrap(), None);
        let link = access.new_link(NOW).unwrap();
        let session = access.sign_in(&link, NOW).unwrap().unwrap();
        assert!(access.is_session(&session, NOW.plus_millis(SESSION_MS - 1)));
        assert!(!access.is_session(&session, NOW.plus_millis(SESSION_MS)));
    }

    #[test]
    fn links_and_sessions_are_bounded() {
        let access = Access::new().unwrap();
        let links: Vec<_> = (0..=LINKS).map(|_| access.new_link(NOW).unwrap()).collect();
        assert_eq!(access.sign_in(&links[0], NOW).unwrap(), None, "pushed out");
        let first = access.sign_in(&links[1], NOW).unwrap().unwrap();
        for _ in 0..SESSIONS {
            let link = access.new_link(NOW).unwrap();
            access.sign_in(&link, NOW).unwrap().unwrap();
        }
        assert!(!access.is_session(&first, NOW), "the oldest ends");
    }

    #[test]
    fn only_the_token_is_the_token() {
        let access = Access::with_api_token("secret".into());
        for (header, right) in [
            ("Bearer secret", true),
            ("bearer secret", true),
            ("Bearer secre", false),
            ("Bearer ", false),
            ("Basic secret", false),
            ("secret", false),
        ] {
            assert_eq!(access.is_bearer(header), right, "{header}");
        }
        assert!(!format!("{access:?}").contains("secret"));
    }
}
