//! What makes two rules the same, for their words and for their state.

use std::collections::BTreeSet;

use hubwarden_event::{Hash, hash_parts};

use crate::compile::{alias_of, source_of};
use crate::document::Body;
use crate::draft::{Draft, Drafts};
use crate::{Lists, Window};

/// Parts of a hash, each with its length.
#[derive(Default)]
struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn add(&mut self, part: impl AsRef<[u8]>) {
        self.0.push(part.as_ref().to_vec());
    }

    fn hash(&self) -> Hash {
        Hash(hash_parts(self.0.iter().map(Vec::as_slice)))
    }
}

/// Hash of the documents that decide a finding and its words, and of the lists they use.
///
/// Comments, layout and the order of keys do not count.
pub(crate) fn content_hash(drafts: &Drafts, position: usize, lists: &Lists) -> Hash {
    let draft = &drafts.all[position];
    let mut parts = Parts::default();
    parts.add("content 1");
    parts.add(&draft.name);
    let mut used = BTreeSet::new();
    for at in [&position].into_iter().chain(&draft.bases) {
        let one = &drafts.all[*at];
        for at in [at].into_iter().chain(&one.filters) {
            let mut canonical = Vec::new();
            drafts.all[*at].node.canonical(&mut canonical);
            parts.add(canonical);
        }
        used.extend(one.used_lists.iter().chain(&one.needs));
    }
    for name in used {
        parts.add(name);
        match lists.get(name) {
            None => parts.add("absent"),
            Some(values) => {
                parts.add(values.len().to_string());
                values.iter().for_each(|value| parts.add(value));
            }
        }
    }
    parts.hash()
}

/// Hash of what decides match, group, window and fold of a rule, and of which rule it is.
///
/// Prose, tags, levels, severities and the contents of lists do not count, so state survives them.
pub(crate) fn state_hash(
    drafts: &Drafts,
    position: usize,
    group: &[String],
    window: &Window,
    fold_ms: i64,
) -> Hash {
    let draft = &drafts.all[position];
    let mut parts = Parts::default();
    parts.add("state 1");
    parts.add(draft.document.id.as_ref().unwrap_or(&draft.name));
    parts.add(fold_ms.to_be_bytes());
    parts.add(group.len().to_string());
    group.iter().for_each(|name| parts.add(name));
    match window {
        Window::Single => parts.add("single"),
        Window::Events { at_least, span_ms } => {
            parts.add("events");
            parts.add(at_least.to_be_bytes());
            parts.add(span_ms.to_be_bytes());
        }
        Window::Values { fields, at_least, span_ms } => {
            parts.add("values");
            parts.add(at_least.to_be_bytes());
            parts.add(span_ms.to_be_bytes());
            fields.iter().for_each(|field| parts.add(field));
        }
    }
    match &draft.document.body {
        Body::Correlation(correlation) => {
            for base in draft.bases.iter().map(|at| &drafts.all[*at]) {
                add_match(drafts, base, &mut parts);
                for name in group {
                    let field = alias_of(correlation, name, base).unwrap_or(name);
                    parts.add(field);
                }
            }
        }
        Body::Detection { .. } | Body::Filter(_) => add_match(drafts, draft, &mut parts),
    }
    parts.hash()
}

/// Adds what decides whether an event matches.
fn add_match(drafts: &Drafts, draft: &Draft, parts: &mut Parts) {
    let filters = draft.filters.iter().map(|at| &drafts.all[*at]);
    for one in [draft].into_iter().chain(filters) {
        if let Some(source) = source_of(one) {
            for name in [&source.category, &source.product, &source.service] {
                parts.add(name.as_deref().unwrap_or(""));
            }
        }
        if let Some(detection) = &one.detection {
            parts.add(&detection.canonical);
        }
    }
}
