use std::collections::BTreeMap;

use hubwarden_event::Finding;

use super::correlator::Correlator;
use super::state::{Changes, Item, Put, Scope, StateKey};
use super::words;

/// What goes out of memory.
impl Correlator {
    /// The findings that are new or changed since the last call, each once, by id.
    ///
    /// For a shell that keeps no state; one with a store calls [`take_changes`](Self::take_changes).
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.batch += 1;
        let mut findings = Vec::new();
        for (id, (connection, known)) in std::mem::take(&mut self.published) {
            let slot = self.connections.get(&connection).and_then(|here| here.findings.get(&id));
            if let Some(folded) = slot.and_then(|slot| slot.folded.as_ref()) {
                findings.push(words::finding(&id, &connection, &known, folded));
            }
        }
        for here in self.connections.values_mut() {
            self.bytes = self.bytes.saturating_sub(here.free());
        }
        findings
    }

    /// Everything that has changed since the last call: a store writes it in one transaction.
    ///
    /// State counts as stored from here on: a shell whose transaction fails starts anew from what
    /// its store has.
    pub fn take_changes(&mut self) -> Changes {
        let findings = self.take_findings();
        let mut put = Vec::new();
        for (connection, here) in &mut self.connections {
            if std::mem::take(&mut here.dirty) {
                put.push(put_time(Scope::Findings(connection.clone()), here.encode()));
            }
            for (run, windows) in &mut here.runs {
                if std::mem::take(&mut windows.dirty) {
                    let scope = Scope::Run(connection.clone(), run.clone());
                    put.push(put_time(scope, windows.encode()));
                }
            }
        }
        for (connection, run, hash, index) in std::mem::take(&mut self.changed_segments) {
            let here = self.connections.get_mut(&connection);
            let group = here.and_then(|here| here.runs.get_mut(&run)?.groups.get_mut(&hash));
            let Some(segment) = group.and_then(|group| group.get_mut(index)) else { continue };
            if segment.dirty {
                let (replace, parts) = segment.take_parts();
                let (scope, item) = (Scope::Run(connection, run), Item::Segment(hash, index));
                let key = StateKey { scope, item };
                put.push(Put { key, expires_at: segment.expires_at, replace, parts });
            }
        }
        for (connection, id) in std::mem::take(&mut self.changed_findings) {
            let here = self.connections.get_mut(&connection);
            let Some(slot) = here.and_then(|here| here.findings.get_mut(&id)) else { continue };
            slot.listed = false;
            if let Some(folded) = slot.folded.as_mut().filter(|folded| folded.is_dirty()) {
                let (replace, parts) = folded.take_parts();
                let (scope, item) = (Scope::Findings(connection), Item::Finding(id));
                let key = StateKey { scope, item };
                put.push(Put { key, expires_at: slot.expires_at, replace, parts });
            }
        }
        Changes {
            dropped: std::mem::take(&mut self.dropped).into_iter().collect(),
            put,
            freed: std::mem::take(&mut self.freed).into_iter().collect(),
            findings,
        }
    }

    /// Forgets state that the store has, least recently used first, until memory is well below.
    ///
    /// Does nothing while memory is at most `max_bytes`. To be called when what
    /// [`take_changes`](Self::take_changes) gave has been stored.
    pub fn forget_clean(&mut self, max_bytes: usize) {
        if self.bytes <= max_bytes {
            return;
        }
        let mut clean: BTreeMap<u64, usize> = BTreeMap::new(); // bytes by the batch that last used them
        for here in self.connections.values() {
            for slot in here.findings.values().filter(|slot| !slot.is_dirty()) {
                *clean.entry(slot.used).or_default() += slot.size();
            }
            let groups = here.runs.values().flat_map(|run| run.groups.values());
            for segment in groups.flat_map(|group| group.segments()).filter(|one| !one.dirty) {
                *clean.entry(segment.used).or_default() += segment.size();
            }
        }
        let mut excess = self.bytes.saturating_sub(max_bytes / 4 * 3);
        let enough = clean.iter().find(|(_, bytes)| {
            excess = excess.saturating_sub(**bytes);
            excess == 0
        });
        let Some(used) = enough.or(clean.last_key_value()).map(|(used, _)| *used) else { return };
        for here in self.connections.values_mut() {
            let mut bytes = here.forget(used);
            bytes += here.runs.values_mut().map(|run| run.forget(used)).sum::<usize>();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

fn put_time(scope: Scope, bytes: Vec<u8>) -> Put {
    let key = StateKey { scope, item: Item::Time };
    Put { key, expires_at: i64::MAX, replace: true, parts: vec![(0, bytes)] }
}
