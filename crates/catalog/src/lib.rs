//! GitHub's published audit actions and fields as data, and the concepts that Hubwarden detects.
//!
//! The list is what GitHub publishes, not a promise: unknown actions and fields are met in real
//! logs and must pass. The tables are parsed once, on first use.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod actions;
mod detections;
mod fields;
mod table;

pub use actions::{
    Action, Legacy, action, actions, categories, is_category, legacy, legacy_actions,
    nearest_action,
};
pub use detections::{Detection, detection, detections};
pub use fields::{
    Field, FieldKind, FieldSet, field, field_names, fields, fields_of, nearest_field,
};
