use bytes::Bytes;
use hubwarden_event::{EntityRef, Evidence, Finding, FindingId, Reason, RuleRef, RunId, Timestamp};

use crate::convert::{event_id, parse, position, shared};
use crate::{Error, v1};

impl From<Evidence> for v1::Evidence {
    fn from(evidence: Evidence) -> Self {
        Self {
            id: Bytes::copy_from_slice(evidence.id.as_bytes()),
            occurred_at_ms: evidence.occurred_at.as_millis(),
            action: evidence.action,
            position: Some(evidence.position.into()),
            record_json: serde_json::Value::Object(evidence.record).to_string(),
        }
    }
}

impl TryFrom<v1::Evidence> for Evidence {
    type Error = Error;

    fn try_from(evidence: v1::Evidence) -> Result<Self, Error> {
        Ok(Self {
            id: event_id(&evidence.id)?,
            occurred_at: Timestamp::from_millis(evidence.occurred_at_ms),
            action: evidence.action,
            position: position(evidence.position),
            record: serde_json::from_str(&evidence.record_json)?,
        })
    }
}

impl From<Finding> for v1::Finding {
    fn from(finding: Finding) -> Self {
        Self {
            id: finding.id.to_string(),
            revision: finding.revision,
            severity: finding.severity.as_str().into(),
            confidence: finding.confidence.as_str().into(),
            rule: Some(v1::RuleRef {
                id: finding.rule.id.unwrap_or_default(),
                name: finding.rule.name,
                title: finding.rule.title,
                hash: finding.rule.hash,
                attack: finding.rule.attack,
            }),
            connection: finding.connection.to_string(),
            run: finding.run.to_string(),
            first_seen_ms: finding.first_seen.as_millis(),
            last_seen_ms: finding.last_seen.as_millis(),
            count: finding.count,
            at_least: finding.at_least,
            sentence: finding.sentence,
            reason: finding.reason.into_iter().map(reason_to_wire).collect(),
            entities: finding.entities.into_iter().map(entity_to_wire).collect(),
            evidence: finding.evidence.into_iter().map(Into::into).collect(),
            response: finding.response,
        }
    }
}

impl TryFrom<v1::Finding> for Finding {
    type Error = Error;

    fn try_from(finding: v1::Finding) -> Result<Self, Error> {
        let rule = finding.rule.ok_or(Error::Missing("rule"))?;
        let evidence: Vec<Evidence> =
            finding.evidence.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self {
            id: FindingId::from_text(finding.id),
            revision: finding.revision,
            severity: parse("severity", &finding.severity)?,
            confidence: parse("confidence", &finding.confidence)?,
            rule: RuleRef {
                id: (!rule.id.is_empty()).then_some(rule.id),
                name: rule.name,
                title: rule.title,
                hash: rule.hash,
                attack: rule.attack,
            },
            connection: shared(&finding.connection).into(),
            run: RunId::new(shared(&finding.run)),
            first_seen: Timestamp::from_millis(finding.first_seen_ms),
            last_seen: Timestamp::from_millis(finding.last_seen_ms),
            count: finding.count,
            at_least: finding.at_least,
            sentence: finding.sentence,
            reason: finding.reason.into_iter().map(reason_from_wire).collect(),
            entities: finding.entities.into_iter().map(entity_from_wire).collect(),
            event_ids: evidence.iter().map(|one| one.id).collect(),
            evidence,
            response: finding.response,
        })
    }
}

fn reason_to_wire(reason: Reason) -> v1::Reason {
    let Reason { condition, field, value, threshold, usual } = reason;
    v1::Reason { condition, field, value, threshold, usual }
}

fn reason_from_wire(reason: v1::Reason) -> Reason {
    let v1::Reason { condition, field, value, threshold, usual } = reason;
    Reason { condition, field, value, threshold, usual }
}

fn entity_to_wire(entity: EntityRef) -> v1::EntityRef {
    let EntityRef { role, kind, id, name } = entity;
    v1::EntityRef { role, kind, id: id.unwrap_or_default(), name }
}

fn entity_from_wire(entity: v1::EntityRef) -> EntityRef {
    let v1::EntityRef { role, kind, id, name } = entity;
    EntityRef { role, kind, id: (!id.is_empty()).then_some(id), name }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use hubwarden_event::*;

    use crate::*;

    #[test]
    fn bodies_survive_the_wire() {
        let record = RawRecord {
            connection: "c".into(),
            feed: Feed::Import,
            run: RunId::new("import-1"),
            source_id: "s".into(),
            received_at: Timestamp::from_millis(5),
            content_type: ContentType::CsvRow,
            payload: Bytes::from_static(b"a,b\n1,2"),
            scrubs: vec!["q".into()],
            origin: Some(Origin { file: "f".into(), line: 3 }),
            damage: Some("cut".into()),
        };
        let end = RunEnd { connection: "c".into(), run: RunId::live() };
        for body in [RawBody::Record(record), RawBody::RunEnd(end.clone())] {
            assert_eq!(decode_raw(encode_raw(body.clone())).unwrap(), body);
        }
        let mut builder = FlatBuilder::default();
        builder.push("action", CellKind::Text, "git.clone");
        let matched = Match {
            event_id: EventId::from_bytes([7; 16]),
            occurred_at: Timestamp::from_millis(9),
            connection: "c".into(),
            run: RunId::live(),
            kind: Kind::Git,
            position: RawPosition { partition: 0, offset: 8 },
            group: GroupKey { names: Arc::from([Arc::from("actor")]), values: vec!["mona".into()] },
            hits: vec![Hit {
                rule: Hash([1; 32]),
                state: Hash([2; 32]),
                severity: Severity::High,
                value: Some("x".into()),
            }],
            record: builder.finish(),
        };
        for body in [MatchBody::Match(matched), MatchBody::RunEnd { end, source_partition: 3 }] {
            assert_eq!(decode_match(encode_match(body.clone())).unwrap(), body);
        }
    }

    #[test]
    fn a_message_of_a_later_release_is_named() {
        let error = decode_raw(Bytes::new()).unwrap_err();
        assert!(error.to_string().contains("later release"), "{error}");
    }
}
