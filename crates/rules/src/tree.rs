//! A condition as a tree over predicates, and the one evaluator of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::predicate::{Predicate, Target, Test, Texts};
use crate::text::fold;
use crate::view::View;

/// A condition. No part of `All` holds always, no part of `Any` never.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
    /// A selection, shared by all who refer to it.
    Named(Arc<str>, Arc<Tree>),
    Test(Arc<Predicate>),
}

impl Tree {
    /// A tree that never holds.
    pub(crate) const fn never() -> Self {
        Self::Any(Vec::new())
    }

    /// All of these, without a node of its own for one.
    pub(crate) fn all(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 { parts.remove(0) } else { Self::All(parts) }
    }

    /// Any of these, without a node of its own for one.
    pub(crate) fn any(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 { parts.remove(0) } else { Self::Any(parts) }
    }

    /// Whether the condition holds for the event.
    pub(crate) fn holds(&self, view: &mut View<'_, '_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(view)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(view)),
            Self::Not(part) => !part.holds(view),
            Self::Named(_, part) => part.holds(view),
            Self::Test(predicate) => predicate.witness(view).is_some(),
        }
    }

    /// The folded values of a field of which one must be there for the condition to hold.
    ///
    /// Absent when the condition may hold whatever the field says. Too many is sound, too few is not.
    pub(crate) fn implied(&self, slot: u32) -> Option<BTreeSet<String>> {
        match self {
            Self::All(parts) => {
                let known = parts.iter().filter_map(|part| part.implied(slot));
                known.min_by_key(BTreeSet::len)
            }
            Self::Any(parts) => {
                let mut all = BTreeSet::new();
                for part in parts {
                    all.extend(part.implied(slot)?);
                }
                Some(all)
            }
            Self::Not(_) => None,
            Self::Named(_, part) => part.implied(slot),
            Self::Test(predicate) => match (&predicate.target, &predicate.test) {
                (Target::Field(field), Test::Text { texts, .. }) if *field == slot => match texts {
                    Texts::Few(texts) => Some(texts.iter().map(|text| fold(text)).collect()),
                    Texts::Set(texts) => Some(texts.iter().map(|text| fold(text)).collect()),
                    _ => None,
                },
                _ => None,
            },
        }
    }
}
