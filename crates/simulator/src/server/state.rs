//! What all requests share: settings, events, limits, faults and counters.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::settings::{Fault, Settings, Token};
use super::store::{Lateness, Store};

/// How long a rate limit's window is.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// How long all calls are refused after too many wrong tokens.
const LOCKED_OUT_MS: i64 = 600_000;

/// Requests to GitHub's common limit without a token, an hour.
const ANONYMOUS_LIMIT: u64 = 60;
/// Requests to GitHub's common limit with a token, an hour.
const CORE_LIMIT: u64 = 5000;

/// Requests that count together against one limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    /// Everything without a limit of its own.
    Core,
    /// The audit log.
    AuditLog,
}

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) url: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    rates: HashMap<(Bucket, String), Rate>,
    bad_tokens: VecDeque<i64>,
    audit_requests: u64,
    scripted: BTreeMap<u64, Fault>,
    lasting: Option<Fault>,
    pub(crate) counters: BTreeMap<(String, u16), u64>,
}

/// One token's hour.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) reset_ms: i64,
}

impl Rate {
    pub(crate) fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// When the window ends, in seconds since 1970.
    pub(crate) fn reset_s(&self) -> i64 {
        self.reset_ms.div_euclid(1000)
    }
}

impl State {
    pub(crate) fn new(settings: Settings, url: String) -> Self {
        Self { settings, url, inner: Mutex::default() }
    }

    /// Base of all REST paths, without a slash at its end.
    pub(crate) fn base(&self) -> String {
        let prefix = if self.settings.ghes.is_some() { "/api/v3" } else { "" };
        format!("{}{prefix}", self.url)
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves counters at worst one behind: better to go on than to fail every later test.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.settings.clock.now_ms()
    }

    pub(crate) fn lateness(&self) -> Lateness {
        Lateness { per_mille: self.settings.late_per_mille, by: self.settings.late_by }
    }

    pub(crate) fn token(&self, value: &str) -> Option<&Token> {
        self.settings.tokens.iter().find(|token| token.value == value)
    }

    /// Whether too many wrong tokens came lately.
    pub(crate) fn is_locked_out(&self) -> bool {
        let since = self.now_ms() - LOCKED_OUT_MS;
        let mut inner = self.inner();
        inner.bad_tokens.retain(|at_ms| *at_ms > since);
        inner.bad_tokens.len() as u64 >= self.settings.bad_token_limit
    }

    pub(crate) fn note_bad_token(&self) {
        let now_ms = self.now_ms();
        let mut inner = self.inner();
        inner.bad_tokens.push_back(now_ms);
        if inner.bad_tokens.len() as u64 > self.settings.bad_token_limit {
            inner.bad_tokens.pop_front();
        }
    }

    /// The token's hour in a bucket, after taking `requests` from it; what is beyond the limit is not counted.
    ///
    /// Those without a token share one hour, as those from one address do.
    pub(crate) fn rate(&self, bucket: Bucket, token: &str, requests: u64) -> (Rate, bool) {
        let limit = match bucket {
            Bucket::AuditLog => self.settings.rate_limit,
            Bucket::Core if token.is_empty() => ANONYMOUS_LIMIT,
            Bucket::Core => CORE_LIMIT,
        };
        let now_ms = self.now_ms();
        let mut inner = self.inner();
        let fresh = Rate { limit, used: 0, reset_ms: now_ms + HOUR_MS };
        let rate = inner.rates.entry((bucket, token.to_owned())).or_insert(fresh);
        if rate.reset_ms <= now_ms {
            *rate = fresh;
        }
        let allowed = rate.remaining() >= requests;
        if allowed {
            rate.used += requests;
        }
        (*rate, allowed)
    }

    /// The fault for the audit request that has just come in.
    pub(crate) fn next_fault(&self) -> Option<Fault> {
        let mut inner = self.inner();
        inner.audit_requests += 1;
        let number = inner.audit_requests;
        inner.scripted.remove(&number).or_else(|| inner.lasting.clone())
    }
}

impl Inner {
    pub(crate) fn script(&mut self, number: u64, fault: Fault) {
        self.scripted.insert(number, fault);
    }

    pub(crate) fn script_next(&mut self, fault: Fault) {
        let after_scripted = self.scripted.keys().next_back().map_or(0, |number| number + 1);
        self.scripted.insert(after_scripted.max(self.audit_requests + 1), fault);
    }

    pub(crate) fn last(&mut self, fault: Option<Fault>) {
        self.lasting = fault;
    }

    pub(crate) fn audit_requests(&self) -> u64 {
        self.audit_requests
    }
}
