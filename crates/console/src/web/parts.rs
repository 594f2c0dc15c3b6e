//! Small pieces that several pages show alike.

use hubwarden_event::{EntityRef, Finding, Severity, Timestamp};
use maud::{Markup, html};

use crate::link::Link;
use crate::{Filter, escape};

/// Text of strangers on one line.
pub(super) fn shown(text: &str) -> Markup {
    html! { (escape::terminal(text)) }
}

/// A severity by shape, word and colour.
pub(super) fn pill(severity: Severity) -> Markup {
    html! { span class={ "pill sev-" (severity) } { (shape(severity)) (severity) } }
}

/// The shape of a severity, for those who do not tell the colours apart.
pub(super) fn shape(severity: Severity) -> Markup {
    let path = match severity {
        Severity::Critical => "M3.5 0h5L12 3.5v5L8.5 12h-5L0 8.5v-5z",
        Severity::High => "M6 .8 12 11.5H0z",
        Severity::Medium => "M6 0l6 6-6 6-6-6z",
        Severity::Low => "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1z",
        Severity::Informational => {
            "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1zm0 2a3 3 0 1 1 0 6 3 3 0 0 1 0-6z"
        }
    };
    html! {
        svg class="shape" viewBox="0 0 12 12" width="10" height="10" aria-hidden="true" {
            path d=(path) {}
        }
    }
}

/// The severities as people expect them: the worst first.
pub(super) fn worst_first() -> impl Iterator<Item = Severity> {
    Severity::ALL.into_iter().rev()
}

/// A moment in UTC, to the second.
pub(super) fn time(moment: Timestamp) -> Markup {
    let full = moment.to_string();
    let text = full.get(..19).unwrap_or(&full).replacen('T', " ", 1);
    html! { time datetime=(full) title=(full) { (text) } }
}

/// A day in UTC.
pub(super) fn day(moment: Timestamp) -> String {
    let full = moment.to_string();
    full.get(..10).unwrap_or(&full).to_owned()
}

/// How long ago a moment was; the moment itself where it lies ahead.
pub(super) fn age(moment: Timestamp, now: Timestamp) -> Markup {
    let millis = now.millis_since(moment);
    if millis < 0 {
        return time(moment);
    }
    let full = moment.to_string();
    html! { time datetime=(full) title=(full) { (length(millis)) " ago" } }
}

/// A length of time in the largest unit that fits.
pub(super) fn length(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number with thin groups, as in `1 234 567`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun.
pub(super) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// The number of events, saying so where it is only a lower bound.
pub(super) fn events(finding: &Finding) -> String {
    let least = if finding.at_least { "at least " } else { "" };
    format!("{least}{}", counted(finding.count, "event", "events"))
}

/// A thing, with a link to the other findings about it.
pub(super) fn entity(entity: &EntityRef) -> Markup {
    let filter = Filter { entity: format!("{}/{}", entity.kind, entity.name), ..Filter::default() };
    html! {
        a class="entity" href=(Link::Findings(&filter)) {
            span class="kind" { (shown(&entity.kind)) } " " span class="name" { (shown(&entity.name)) }
        }
    }
}

/// Findings as a list to walk through by keyboard.
pub(super) fn findings(findings: &[Finding], now: Timestamp) -> Markup {
    html! {
        ol class="findings" {
            @for finding in findings {
                li class={ "finding edge-" (finding.severity) } data-row {
                    div class="level" { (pill(finding.severity)) }
                    div class="what" {
                        a class="sentence" data-open href=(Link::Finding(&finding.id)) {
                            (shown(&finding.sentence))
                        }
                        p class="meta" {
                            span { (shown(&finding.rule.title)) }
                            span { (events(finding)) }
                            @if finding.run.is_drill() { span class="tag" { "drill" } }
                            span class="id" { (shown(finding.id.short())) }
                        }
                    }
                    div class="when" {
                        span class="age" { (age(finding.last_seen, now)) }
                        span class="moment" { (time(finding.last_seen)) }
                    }
                }
            }
        }
    }
}

/// The command that shows the same, to be copied.
pub(super) fn command(command: &str) -> Markup {
    html! {
        div class="command" {
            span class="prompt" aria-hidden="true" { "$" }
            code { (command) }
            button type="button" class="quiet" data-copy=(command) hidden { "Copy" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_are_short() {
        for (millis, text) in [
            (999, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(length(millis), text);
        }
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(999), "999");
        assert_eq!(counted(1, "event", "events"), "1 event");
    }
}
