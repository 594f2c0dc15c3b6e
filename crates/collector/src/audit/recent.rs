use std::collections::{HashSet, VecDeque};

use hubwarden_event::EventId;

/// Remembers the newest ids that were published, so that an overlap is not published again.
///
/// What it forgot, or never knew after a restart, the normalizer drops as a repeat.
#[derive(Debug)]
pub(super) struct Recent {
    known: HashSet<EventId>,
    order: VecDeque<EventId>,
    capacity: usize,
}

impl Recent {
    pub(super) fn new(capacity: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), capacity }
    }

    /// Remembers an id; whether it was new.
    pub(super) fn insert(&mut self, id: EventId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_beyond_its_capacity() {
        let id = |number: u8| EventId::from_bytes([number; 16]);
        let mut recent = Recent::new(2);
        assert!(recent.insert(id(1)) && recent.insert(id(2)) && !recent.insert(id(1)));
        assert!(recent.insert(id(3)));
        assert!(recent.insert(id(1)) && !recent.insert(id(3)));
    }
}
