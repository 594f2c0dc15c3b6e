use std::collections::BTreeSet;

use hubwarden_event::MatchBody;

use super::codec::StateError;
use super::connection::{Connection, Slot};
use super::correlator::Correlator;
use super::folded::Folded;
use super::keys::{event_time, finding_id, group_base, group_hash, whose};
use super::known::Resolved;
use super::run::{GroupHash, Run};
use super::segment::Segment;
use super::state::{Item, Scope, StateKey, Stored};

/// What comes into memory.
impl Correlator {
    /// State that these records need and that is not in memory; load it and ask again until empty.
    ///
    /// Asking first is not necessary: it saves [`apply`](Self::apply) most of its `Missing`.
    pub fn missing<'a>(&self, bodies: impl IntoIterator<Item = &'a MatchBody>) -> Vec<StateKey> {
        let keys: BTreeSet<_> = bodies.into_iter().flat_map(|body| self.needs(body)).collect();
        keys.into_iter().collect()
    }

    pub(super) fn needs(&self, body: &MatchBody) -> Vec<StateKey> {
        let (connection, run) = whose(body);
        let of_findings = Scope::Findings(connection.clone());
        let of_run = Scope::Run(connection.clone(), run.clone());
        let Some(here) = self.connections.get(connection) else {
            let scopes = [of_findings, of_run];
            return scopes.map(|scope| StateKey { scope, item: Item::Time }).into();
        };
        let Some(windows) = here.runs.get(run) else {
            let key = StateKey { scope: of_run, item: Item::Time };
            return if self.dropped.contains(&key.scope) { Vec::new() } else { vec![key] };
        };
        let MatchBody::Match(matched) = body else { return Vec::new() };
        let (time, base) = (event_time(matched), group_base(&matched.group));
        let mut keys = Vec::new();
        for hit in &matched.hits {
            let Resolved::Rule(known) = self.book.resolve(hit) else { continue };
            let Some(rule) = known.threshold else {
                if !here.resident {
                    let id = finding_id(matched, known, known.bucket(time));
                    if !here.findings.contains_key(&id) {
                        let item = Item::Finding(id);
                        keys.push(StateKey { scope: of_findings.clone(), item });
                    }
                }
                continue;
            };
            if windows.resident {
                continue;
            }
            let (hash, index) = (group_hash(base, known), rule.segment(time));
            let group = windows.groups.get(&hash);
            for index in index - 1..=index + 1 {
                if group.and_then(|group| group.get(index)).is_none() {
                    let item = Item::Segment(hash, index);
                    keys.push(StateKey { scope: of_run.clone(), item });
                }
            }
        }
        keys
    }

    /// Takes up what the store has under a key; `None` when it has nothing.
    ///
    /// State that is in memory stays as it is.
    ///
    /// # Errors
    /// The bytes are damaged or from another release.
    pub fn load(&mut self, key: &StateKey, stored: Option<&Stored>) -> Result<(), StateError> {
        let lateness = self.options.lateness_ms;
        let first_part = stored.and_then(|stored| stored.parts.first());
        let (Scope::Findings(connection) | Scope::Run(connection, _)) = &key.scope;
        if let (Scope::Findings(_), Item::Time) = (&key.scope, &key.item) {
            if !self.connections.contains_key(connection) {
                let loaded = first_part.map_or(Ok(Connection::new()), |b| Connection::decode(b))?;
                self.connections.insert(connection.clone(), loaded);
            }
            return Ok(());
        }
        let Some(here) = self.connections.get_mut(connection) else { return Ok(()) };
        match (&key.scope, &key.item) {
            (Scope::Run(_, run), Item::Time) if !here.runs.contains_key(run) => {
                let loaded = first_part
                    .map_or_else(|| Ok(Run::new(lateness)), |b| Run::decode(lateness, b))?;
                here.runs.insert(run.clone(), loaded);
            }
            (Scope::Run(_, run), Item::Segment(hash, index)) => {
                let Some(run) = here.runs.get_mut(run) else { return Ok(()) };
                let (before, after) = load_segment(run, *hash, *index, stored, self.batch)?;
                self.bytes = (self.bytes + after).saturating_sub(before);
            }
            (Scope::Findings(_), Item::Finding(id)) if !here.findings.contains_key(id) => {
                let stored = stored.filter(|one| here.clock.freed() < Some(one.expires_at));
                let folded = stored.map(|one| Folded::decode(&one.parts)).transpose()?;
                let expires_at = stored.map_or_else(|| here.expiry(), |one| one.expires_at);
                let slot = Slot { folded, expires_at, used: self.batch, listed: false };
                self.bytes += slot.size();
                here.add(id.clone(), slot);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Puts a segment into memory; returns the size of its group before and after.
fn load_segment(
    run: &mut Run,
    hash: GroupHash,
    index: i64,
    stored: Option<&Stored>,
    batch: u64,
) -> Result<(usize, usize), StateError> {
    let stored = stored.filter(|one| run.clock.freed() < Some(one.expires_at));
    let mut segment = match stored {
        Some(one) => Segment::decode(index, one.expires_at, &one.parts)?,
        None => Segment::empty(index, run.clock.expiry(i64::MIN)), // kept to know that it is absent
    };
    segment.used = batch;
    let expires_at = segment.expires_at;
    let group = run.groups.entry(hash).or_default();
    let before = group.size();
    group.add(segment);
    let after = group.size();
    run.queue(expires_at, hash, index);
    Ok((before, after))
}
