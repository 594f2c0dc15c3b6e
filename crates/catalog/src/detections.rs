use std::sync::LazyLock;

use serde::Serialize;

use crate::table::{list, rows};

/// One concept that Hubwarden sets out to detect; a rule of that name makes its findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// The concept, such as `sso-disabled`.
    pub id: &'static str,
    /// What a finding of it is called.
    pub title: &'static str,
    /// What happens when it is detected, in one sentence.
    pub detects: &'static str,
    /// ATT&CK techniques in the numbering up to version 18.
    pub attack: Vec<&'static str>,
    /// ATT&CK techniques in the numbering from version 19.
    pub attack_v19: Vec<&'static str>,
    /// `critical`, `high`, `medium`, `low` or `info`.
    pub severity: &'static str,
    /// What it takes to decide it, such as `single-event` or `threshold`.
    pub kind: &'static str,
}

static DETECTIONS: LazyLock<Vec<Detection>> = LazyLock::new(|| {
    let header = ["id", "title", "detects", "attack", "attack_v19", "severity", "kind"];
    rows(include_str!("../data/detections.tsv"), header)
        .map(|[id, title, detects, attack, attack_v19, severity, kind]| Detection {
            id,
            title,
            detects,
            attack: list(attack),
            attack_v19: list(attack_v19),
            severity,
            kind,
        })
        .collect()
});

/// All concepts, in the table's order.
pub fn detections() -> &'static [Detection] {
    &DETECTIONS
}

/// The concept of this name.
pub fn detection(id: &str) -> Option<&'static Detection> {
    DETECTIONS.iter().find(|detection| detection.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_concept_has_a_name_of_its_own_and_a_known_severity() {
        let mut ids: Vec<_> = detections().iter().map(|detection| detection.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), detections().len());
        assert!(ids.len() > 200);
        for one in detections() {
            assert!(["critical", "high", "medium", "low", "info"].contains(&one.severity));
            assert!(
                one.attack.iter().chain(&one.attack_v19).all(|id| id.starts_with("T1")),
                "{one:?}"
            );
        }
        let sso = detection("sso-disabled").unwrap();
        assert_eq!((sso.severity, sso.kind), ("critical", "single-event"));
        assert_eq!(sso.attack_v19, ["T1556", "T1685"]);
    }
}
