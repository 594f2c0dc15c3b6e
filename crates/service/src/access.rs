//! Who calls and what they may do: tokens for people and machines, certificates for services.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Invalid, Validate, tls};

/// Begins every token, so that a leaked one is recognised.
const TOKEN_PREFIX: &str = "hwt_";
/// A credential that is longer is none of ours.
const MAX_TOKEN_BYTES: usize = 512;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads findings and events.
    Viewer,
    /// Also decides about findings.
    Analyst,
    /// Also changes rules and sources.
    Engineer,
    /// Everything.
    Admin,
    /// Reads everything and changes nothing.
    Auditor,
    /// Brings records and nothing else.
    Ingest,
    /// Another service of this installation.
    Service,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Viewer,
        Self::Analyst,
        Self::Engineer,
        Self::Admin,
        Self::Auditor,
        Self::Ingest,
        Self::Service,
    ];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Ingest => "ingest",
            Self::Service => "service",
        }
    }
}

/// Who has been recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name or the certificate's.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// Section `[tokens]`: a name for each, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokensConfig(pub BTreeMap<String, TokenConfig>);

/// One token: `{ sha256 = "…", role = "viewer", expires = "2027-01-01T00:00:00Z" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// SHA-256 of the token, in hex: the token itself is nowhere.
    pub sha256: String,
    /// What it may do.
    pub role: Role,
    /// When it ends.
    pub expires: Timestamp,
}

impl Validate for TokensConfig {
    fn validate(&self) -> Result<(), Invalid> {
        for (name, token) in &self.0 {
            if from_hex(&token.sha256).is_none() {
                let reason = "must be the 64 hex digits of the token's SHA-256";
                return Err(Invalid::new(format!("tokens.{name}.sha256"), reason));
            }
            let same = |other: &TokenConfig| other.sha256.eq_ignore_ascii_case(&token.sha256);
            if self.0.values().filter(|other| same(other)).count() > 1 {
                let reason = "stands twice; every token has one name and one role";
                return Err(Invalid::new(format!("tokens.{name}.sha256"), reason));
            }
        }
        Ok(())
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A new token and the SHA-256 that stands for it in the configuration.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn new_token() -> Result<(SecretString, String), getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash_token(&token);
    Ok((token.into(), hash))
}

/// SHA-256 of a token, in hex.
///
/// Tokens are 32 random bytes, so that nothing slower is needed.
pub fn hash_token(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a credential is not accepted; a caller is told none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoCredential,
    UnknownToken,
    ExpiredToken,
    UnknownPeer,
}

impl Refusal {
    /// The word of the metric's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::UnknownToken => "unknown_token",
            Self::ExpiredToken => "expired_token",
            Self::UnknownPeer => "unknown_peer",
        }
    }
}

/// Recognises callers by what they show.
#[derive(Debug, Default)]
pub struct Access {
    tokens: Vec<([u8; 32], Timestamp, Caller)>,
    peers: BTreeMap<String, Role>,
}

impl Access {
    /// Recognises these tokens, and these names of certificates: DNS names or URIs.
    pub fn new(tokens: &TokensConfig, peers: &BTreeMap<String, Role>) -> Self {
        let tokens = tokens.0.iter().filter_map(|(name, token)| {
            let caller = Caller { name: name.clone(), role: token.role };
            Some((from_hex(&token.sha256)?, token.expires, caller))
        });
        Self { tokens: tokens.collect(), peers: peers.clone() }
    }

    /// Recognises a token at this moment.
    pub fn token(&self, token: &str, now: Timestamp) -> Option<Caller> {
        self.check(token, now).ok()
    }

    /// When the token of this name ends.
    pub fn ends(&self, name: &str) -> Option<Timestamp> {
        let found = self.tokens.iter().find(|(_, _, caller)| caller.name == name);
        found.map(|(_, ends, _)| *ends)
    }

    fn check(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::UnknownToken);
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // every entry is compared in constant time, and all of them: time tells nothing
        let mut found = None;
        for entry in &self.tokens {
            if bool::from(entry.0.ct_eq(&hash)) {
                found = Some(entry);
            }
        }
        match found {
            None => Err(Refusal::UnknownToken),
            Some((_, expires, _)) if now >= *expires => Err(Refusal::ExpiredToken),
            Some((_, _, caller)) => Ok(caller.clone()),
        }
    }

    /// A token that is shown decides; without one the certificate does.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        certificate: Option<&CertificateDer<'_>>,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        if let Some(header) = headers.get("authorization") {
            let parts = header.to_str().ok().and_then(|text| text.split_once(' '));
            return match parts {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    self.check(token, now)
                }
                _ => Err(Refusal::UnknownToken),
            };
        }
        let certificate = certificate.ok_or(Refusal::NoCredential)?;
        tls::names(certificate)
            .into_iter()
            .find_map(|name| Some(Caller { role: *self.peers.get(&name)?, name }))
            .ok_or(Refusal::UnknownPeer)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_known_by_its_hash_until_it_ends() {
        let (token, sha256) = new_token().unwrap();
        let entry = TokenConfig {
            sha256: sha256.clone(),
            role: Role::Analyst,
            expires: at("2027-01-01T00:00:00Z"),
        };
        let config = TokensConfig([("soc".to_owned(), entry)].into());
        config.validate().unwrap();
        let access = Access::new(&config, &BTreeMap::new());
        let token = token.expose_secret();
        let (before, end) = (at("2026-12-31T23:59:59Z"), at("2027-01-01T00:00:00Z"));
        let caller = Caller { name: "soc".into(), role: Role::Analyst };
        assert_eq!(access.check(token, before), Ok(caller));
        assert_eq!(access.check(token, end), Err(Refusal::ExpiredToken));
        for wrong in [
            "",
            "hwt_",
            &sha256,
            &token[..token.len() - 1],
            &format!("{token}x"),
            &"x".repeat(9_999),
        ] {
            assert_eq!(access.check(wrong, before), Err(Refusal::UnknownToken), "{wrong}");
        }
        assert!(token.starts_with(TOKEN_PREFIX) && token.len() == 47, "{}", token.len());
        assert!(!format!("{access:?}").contains(token));
    }

    #[test]
    fn a_hash_that_is_none_names_its_key() {
        for text in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            let entry = TokenConfig {
                sha256: text.into(),
                role: Role::Viewer,
                expires: at("2027-01-01T00:00:00Z"),
            };
            let config = TokensConfig([("ci".to_owned(), entry)].into());
            assert_eq!(config.validate().unwrap_err().key, "tokens.ci.sha256");
        }
    }

    #[test]
    fn a_token_that_stands_twice_is_refused() {
        let entry = TokenConfig {
            sha256: "ab".repeat(32),
            role: Role::Viewer,
            expires: at("2027-01-01T00:00:00Z"),
        };
        let other = TokenConfig { sha256: "AB".repeat(32), role: Role::Admin, ..entry.clone() };
        let config = TokensConfig([("a".to_owned(), entry), ("b".to_owned(), other)].into());
        assert!(config.validate().unwrap_err().reason.contains("stands twice"));
    }

    #[test]
    fn only_a_bearer_token_or_a_listed_certificate_is_a_credential() {
        let access = Access::default();
        let refused = |header: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("authorization", header.parse().unwrap());
            }
            access.caller(&headers, None, at("2026-01-01T00:00:00Z")).unwrap_err()
        };
        assert_eq!(refused(None), Refusal::NoCredential);
        for header in ["", "Bearer", "Basic eDp5", "bearer hwt_x"] {
            assert_eq!(refused(Some(header)), Refusal::UnknownToken, "{header}");
        }
    }

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }
}
