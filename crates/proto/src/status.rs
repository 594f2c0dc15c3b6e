use hubwarden_event::{Backfill, BlindRule, RulesStatus, SourceHealth, SourceStatus, Timestamp};

use crate::convert::parse;
use crate::{Error, v1};

impl From<Backfill> for v1::Backfill {
    fn from(backfill: Backfill) -> Self {
        Self {
            from_ms: backfill.from.as_millis(),
            until_ms: backfill.until.as_millis(),
            through_ms: backfill.through.as_millis(),
            done: backfill.done,
        }
    }
}

impl From<v1::Backfill> for Backfill {
    fn from(backfill: v1::Backfill) -> Self {
        Self {
            from: Timestamp::from_millis(backfill.from_ms),
            until: Timestamp::from_millis(backfill.until_ms),
            through: Timestamp::from_millis(backfill.through_ms),
            done: backfill.done,
        }
    }
}

impl v1::Source {
    /// The message of a source whose health is this at the moment.
    pub fn of(source: SourceStatus, health: SourceHealth) -> Self {
        let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_millis);
        Self {
            id: source.id,
            connection: source.connection,
            feed: source.feed,
            scope: source.scope,
            reader: source.reader.as_str().into(),
            health: health.as_str().into(),
            records: source.records,
            last_event_ms: millis(source.last_event),
            read_through_ms: millis(source.read_through),
            interval_ms: source.interval_ms,
            errors: source.errors,
            last_error: source.last_error.unwrap_or_default(),
            lost: source.lost.unwrap_or_default(),
            paused: source.paused,
            finished: source.finished,
            backfill: source.backfill.map(Into::into),
            requests_left: source.requests_left,
        }
    }
}

impl TryFrom<v1::Source> for SourceStatus {
    type Error = Error;

    fn try_from(source: v1::Source) -> Result<Self, Error> {
        let time = |millis: i64| (millis != 0).then(|| Timestamp::from_millis(millis));
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            reader: parse("reader", &source.reader)?,
            id: source.id,
            connection: source.connection,
            feed: source.feed,
            scope: source.scope,
            records: source.records,
            last_event: time(source.last_event_ms),
            read_through: time(source.read_through_ms),
            interval_ms: source.interval_ms,
            errors: source.errors,
            last_error: some(source.last_error),
            lost: some(source.lost),
            paused: source.paused,
            finished: source.finished,
            backfill: source.backfill.map(Into::into),
            requests_left: source.requests_left,
        })
    }
}

fn flaw(rule: BlindRule) -> v1::RuleFlaw {
    v1::RuleFlaw { name: rule.name, reason: rule.reason }
}

fn blind(flaw: v1::RuleFlaw) -> BlindRule {
    BlindRule { name: flaw.name, reason: flaw.reason }
}

impl From<RulesStatus> for v1::JudgingSet {
    fn from(rules: RulesStatus) -> Self {
        Self {
            loaded: rules.loaded as u64,
            blind: rules.blind.into_iter().map(flaw).collect(),
            refused: rules.refused.into_iter().map(flaw).collect(),
            ..Self::default()
        }
    }
}

impl From<v1::JudgingSet> for RulesStatus {
    fn from(set: v1::JudgingSet) -> Self {
        Self {
            loaded: usize::try_from(set.loaded).unwrap_or(usize::MAX),
            blind: set.blind.into_iter().map(blind).collect(),
            refused: set.refused.into_iter().map(blind).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hubwarden_event::Reader;

    use super::*;

    #[test]
    fn a_source_is_read_as_it_was_told() {
        let at = Timestamp::from_millis;
        let known = SourceStatus {
            id: "c/audit-rest".into(),
            connection: "octo".into(),
            feed: "audit-rest".into(),
            scope: "org/octo".into(),
            records: 7,
            last_event: Some(at(3)),
            read_through: Some(at(4)),
            interval_ms: 60_000,
            errors: 2,
            last_error: Some("refused".into()),
            lost: Some("an hour".into()),
            paused: true,
            finished: true,
            backfill: Some(Backfill { from: at(1), until: at(9), through: at(5), done: true }),
            requests_left: Some(0),
            reader: Reader::Elsewhere,
        };
        for source in [known, SourceStatus::default()] {
            let wire = v1::Source::of(source.clone(), SourceHealth::Stale);
            assert_eq!(wire.health, "stale");
            assert_eq!(SourceStatus::try_from(wire).unwrap(), source);
        }
        let later = v1::Source { reader: "somebody".into(), ..v1::Source::default() };
        let error = SourceStatus::try_from(later).unwrap_err();
        assert!(error.to_string().contains("`somebody`"), "{error}");
    }

    #[test]
    fn what_there_is_to_say_about_rules_is_read_as_it_was_told() {
        let flaw = |name: &str| BlindRule { name: name.into(), reason: "why".into() };
        let rules = RulesStatus { loaded: 3, blind: vec![flaw("a")], refused: vec![flaw("b:1")] };
        assert_eq!(RulesStatus::from(v1::JudgingSet::from(rules.clone())), rules);
    }
}
