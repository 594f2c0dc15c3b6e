use hubwarden_rules::{ActionStatus, FieldStatus, LogSource, Schema};

/// What GitHub's catalogue knows of the actions and fields that rules name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catalogue;

impl Schema for Catalogue {
    fn action(&self, name: &str) -> ActionStatus {
        if hubwarden_catalog::action(name).is_some() {
            return ActionStatus::Known;
        }
        if let Some(legacy) = hubwarden_catalog::legacy(name) {
            return ActionStatus::Legacy {
                now: legacy.now.unwrap_or("no published action").into(),
            };
        }
        ActionStatus::Unknown { nearest: hubwarden_catalog::nearest_action(name).map(Into::into) }
    }

    fn field(&self, name: &str, _actions: &[String]) -> FieldStatus {
        let known = |name: &str| hubwarden_event::dictionary::id(name).is_some();
        let below_known = name.split_once('.').is_some_and(|(object, _)| known(object));
        if known(name) || below_known {
            return FieldStatus::Known;
        }
        FieldStatus::Unknown { nearest: hubwarden_catalog::nearest_field(name).map(Into::into) }
    }

    fn has_source(&self, source: &LogSource) -> bool {
        source.sees("github", "audit")
    }
}
