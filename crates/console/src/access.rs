use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hubwarden_event::{Hash, Timestamp};
use hubwarden_service::{Access as Tokens, Caller, Role, TokensConfig};
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

/// Decides who may ask: browsers by a one-time link and a session, programs by a token.
///
/// The API token may do everything; others have the role of the section `[tokens]`. A session has the
/// role of whoever made its link. Links and sessions are kept as hashes and in memory only, so that
/// they end with the process.
pub struct Access {
    api_token: String,
    api_hash: Hash,
    tokens: Tokens,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: VecDeque<Known>,
    sessions: VecDeque<Known>,
}

/// A link or a session.
struct Known {
    hash: Hash,
    made: Timestamp,
    caller: Caller,
}

/// Whoever has the API token, or a link that was made with it.
fn operator() -> Caller {
    Caller { name: "operator".into(), role: Role::Admin }
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
        Self { api_token, api_hash, tokens: Tokens::default(), state: Mutex::default() }
    }

    /// The same, which also takes the tokens of a section `[tokens]`, each with its role.
    pub fn and_tokens(mut self, tokens: &TokensConfig) -> Self {
        self.tokens = Tokens::new(tokens, &Default::default());
        self
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
        self.new_link_of(operator(), now)
    }

    /// The same, for a session that may do what this caller may.
    ///
    /// # Errors
    /// As [`Access::new_link`].
    pub fn new_link_of(&self, caller: Caller, now: Timestamp) -> Result<String, Error> {
        let token = random()?;
        let mut state = self.lock(now);
        if state.links.len() >= LINKS {
            state.links.pop_front();
        }
        state.links.push_back(Known { hash: Hash::of(token.as_bytes()), made: now, caller });
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
        let place = state.links.iter().position(|link| link.hash == hash);
        let Some(link) = place.and_then(|place| state.links.remove(place)) else {
            return Ok(None);
        };
        if state.sessions.len() >= SESSIONS {
            state.sessions.pop_front();
        }
        let hash = Hash::of(session.as_bytes());
        state.sessions.push_back(Known { hash, made: now, caller: link.caller });
        Ok(Some(session))
    }

    /// Whose session this is, if neither it nor the token behind it has ended.
    pub fn session(&self, session: &str, now: Timestamp) -> Option<Caller> {
        let hash = Hash::of(session.as_bytes());
        let state = self.lock(now);
        let known = state.sessions.iter().find(|known| known.hash == hash)?;
        let ends = self.tokens.ends(&known.caller.name);
        let holds = ends.is_none_or(|ends| now.as_millis() < ends.as_millisecond());
        holds.then(|| known.caller.clone())
    }

    /// What a form must carry to be taken from this session: no other page can know it.
    pub fn form_token(session: &str) -> String {
        Hash::of(format!("hubwarden form {session}").as_bytes()).to_string()
    }

    /// Whose token an `authorization` header carries.
    pub fn bearer(&self, authorization: &str, now: Timestamp) -> Option<Caller> {
        if self.is_bearer(authorization) {
            return Some(operator());
        }
        let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        self.tokens.token(bearer(authorization)?, now)
    }

    /// Whether an `authorization` header carries the API token.
    pub fn is_bearer(&self, authorization: &str) -> bool {
        // Hashes are compared, so the time taken says nothing about the token.
        bearer(authorization).is_some_and(|token| Hash::of(token.as_bytes()) == self.api_hash)
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
        state.links.retain(|link| now.millis_since(link.made) < LINK_MS);
        state.sessions.retain(|session| now.millis_since(session.made) < SESSION_MS);
        state
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access { .. }")
    }
}

/// The token of a header `Bearer …`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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
        assert_eq!(access.session(&session, NOW), Some(operator()));
        assert_eq!(access.sign_in(&link, NOW).unwrap(), None, "used");
        assert_eq!(access.sign_in("", NOW).unwrap(), None, "unknown");
        assert!(access.session(&link, NOW).is_none() && access.session("", NOW).is_none());
    }

    #[test]
    fn links_and_sessions_end() {
        let access = Access::new().unwrap();
        let link = access.new_link(NOW).unwrap();
        assert_eq!(access.sign_in(&link, NOW.plus_millis(LINK_MS)).unwrap(), None);
        let link = access.new_link(NOW).unwrap();
        let session = access.sign_in(&link, NOW).unwrap().unwrap();
        assert!(access.session(&session, NOW.plus_millis(SESSION_MS - 1)).is_some());
        assert!(access.session(&session, NOW.plus_millis(SESSION_MS)).is_none());
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
        assert!(access.session(&first, NOW).is_none(), "the oldest ends");
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

    #[test]
    fn a_token_has_its_role_until_it_ends_and_so_have_its_sessions() {
        let (token, sha256) = hubwarden_service::new_token().unwrap();
        let entry = hubwarden_service::TokenConfig {
            sha256,
            role: Role::Viewer,
            expires: jiff::Timestamp::from_millisecond(NOW.as_millis() + 1).unwrap(),
        };
        let tokens = TokensConfig([("soc".to_owned(), entry)].into());
        let access = Access::with_api_token("secret".into()).and_tokens(&tokens);
        let header = format!("Bearer {}", secrecy::ExposeSecret::expose_secret(&token));
        let soc = Caller { name: "soc".into(), role: Role::Viewer };
        assert_eq!(access.bearer(&header, NOW), Some(soc.clone()));
        assert_eq!(access.bearer(&header, NOW.plus_millis(1)), None);
        assert_eq!(access.bearer("Bearer secret", NOW), Some(operator()));
        assert!(!access.is_bearer(&header), "gRPC beside the pages has the one token");
        let link = access.new_link_of(soc.clone(), NOW).unwrap();
        let session = access.sign_in(&link, NOW).unwrap().unwrap();
        assert_eq!(access.session(&session, NOW), Some(soc));
        assert_eq!(access.session(&session, NOW.plus_millis(1)), None);
    }

    #[test]
    fn a_form_token_is_of_one_session_and_does_not_tell_it() {
        let (a, b) = (Access::form_token("a"), Access::form_token("b"));
        assert!(a != b && a == Access::form_token("a") && a.len() == 64);
        assert_ne!(a, Hash::of(b"a").to_string(), "not what the session is known by");
    }
}
