//! The acting side of an event: an account, an address, a program, a credential.

use super::line::{Line, hashed_token};
use super::rng::Rng;
use super::world::MAIL_DOMAIN;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Person,
    /// A GitHub App: `name[bot]`.
    Bot,
    /// An ordinary account that a program uses.
    Machine,
}

/// How an actor reaches a Git repository.
#[derive(Clone)]
pub(crate) struct Credential {
    kind: &'static str,
    pub(crate) hash: String,
    id: i64,
    scopes: &'static str,
}

impl Credential {
    pub(crate) fn classic(rng: &mut Rng) -> Self {
        Self::of(rng, "Personal access token (classic)", "read:org,repo,workflow")
    }

    pub(super) fn of(rng: &mut Rng, kind: &'static str, scopes: &'static str) -> Self {
        let hash = hashed_token(rng).iter().copied().map(char::from).collect();
        let id = if kind.starts_with("Public Key") {
            0
        } else {
            2_000_000_000 + rng.below(900_000_000) as i64
        };
        Self { kind, hash, id, scopes }
    }

    pub(super) fn of_a_person(rng: &mut Rng) -> Self {
        match rng.below(20) {
            0..8 => Self::of(rng, "Public Key (User/Deploy)", ""),
            8..12 => Self::of(rng, "OAuth access token", "gist,repo,workflow"),
            12..16 => Self::classic(rng),
            _ => Self::of(rng, "Fine-grained personal access token", ""),
        }
    }

    /// The token's fields as events carry them.
    pub(crate) fn write(&self, line: &mut Line) {
        line.text("hashed_token", &self.hash).text("programmatic_access_type", self.kind);
        line.int("token_id", self.id).text("token_scopes", self.scopes);
    }

    fn write_with_transport(&self, line: &mut Line) {
        self.write(line);
        let (number, name) = if self.id == 0 { (2, "ssh") } else { (1, "http") };
        line.int("transport_protocol", number).text("transport_protocol_name", name);
    }
}

/// An account, an address and what it uses there: everything about the acting side of an event.
pub(crate) struct Presence<'a> {
    pub(crate) login: &'a str,
    pub(crate) id: i64,
    pub(crate) class: Class,
    /// Absent for bots, whose addresses GitHub does not disclose.
    pub(crate) address: Option<&'a str>,
    pub(crate) country: &'a str,
    pub(crate) user_agent: &'a str,
}

impl Presence<'_> {
    pub(crate) fn write_web(&self, line: &mut Line) {
        self.write_who(line, true);
        line.text("user_agent", self.user_agent);
    }

    pub(crate) fn write_git(&self, line: &mut Line, credential: &Credential) {
        self.write_who(line, false);
        line.text("user_agent", self.user_agent);
        credential.write_with_transport(line);
    }

    pub(super) fn unattended(&self) -> Vec<u8> {
        let mut line = Line::fragment();
        Presence { address: None, ..*self }.write_who(&mut line, true);
        line.into_fragment()
    }

    pub(super) fn write_who(&self, line: &mut Line, web: bool) {
        line.text("actor", self.login).int("actor_id", self.id);
        if let Some(address) = self.address {
            line.text("actor_ip", address);
        }
        if web {
            line.flag("actor_is_bot", self.class == Class::Bot);
        }
        line.raw(b",\"actor_location\":{");
        if self.address.is_some() {
            line.raw(b"\"country_code\":\"").raw(self.country.as_bytes()).raw(b"\"");
        }
        line.raw(b"}");
        if self.class == Class::Bot {
            line.text("external_identity_nameid", "").text("external_identity_username", "");
        } else {
            line.text("external_identity_nameid", &format!("{}@{MAIL_DOMAIN}", self.login));
            line.text("external_identity_username", self.login);
        }
    }
}
