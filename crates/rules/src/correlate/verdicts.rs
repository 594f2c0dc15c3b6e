use std::collections::BTreeMap;
use std::sync::Arc;

use hubwarden_event::{ConnectionId, FindingId, Match};

use super::connection::{Connection, Slot};
use super::folded::Folded;
use super::keys::finding_id;
use super::known::Known;
use super::state::{Item, Scope, StateKey};

/// Where a verdict goes: the findings of a connection, and the lists of what changes.
pub(super) struct Verdicts<'a> {
    pub(super) here: &'a mut Connection,
    pub(super) published: &'a mut BTreeMap<FindingId, (ConnectionId, Arc<Known>)>,
    pub(super) listed: &'a mut Vec<(ConnectionId, FindingId)>,
    pub(super) missing: &'a mut Vec<StateKey>,
    pub(super) bytes: &'a mut usize,
    pub(super) batch: u64,
}

impl Verdicts<'_> {
    /// Lets `fold` change the finding of a bucket, or notes that it is not in memory.
    pub(super) fn fold(
        &mut self,
        matched: &Match,
        known: &Arc<Known>,
        bucket: i64,
        fold: impl FnOnce(&mut Folded) -> bool,
    ) {
        let id = finding_id(matched, known, bucket);
        let expires_at = self.here.expiry();
        if !self.here.findings.contains_key(&id) {
            if !self.here.resident {
                let scope = Scope::Findings(matched.connection.clone());
                self.missing.push(StateKey { scope, item: Item::Finding(id) });
                return;
            }
            let slot = Slot { expires_at, ..Slot::default() };
            *self.bytes += slot.size();
            self.here.add(id.clone(), slot);
        }
        let Some(slot) = self.here.findings.get_mut(&id) else { return };
        let before = slot.size();
        slot.used = self.batch;
        let folded = slot.folded.get_or_insert_with(|| Folded::new(matched.run.clone()));
        let changed = fold(folded);
        *self.bytes = (*self.bytes + slot.size()).saturating_sub(before);
        if slot.is_dirty() {
            slot.expires_at = slot.expires_at.max(expires_at);
            if !std::mem::replace(&mut slot.listed, true) {
                self.listed.push((matched.connection.clone(), id.clone()));
            }
        }
        if changed {
            self.published.insert(id, (matched.connection.clone(), Arc::clone(known)));
        }
    }
}
