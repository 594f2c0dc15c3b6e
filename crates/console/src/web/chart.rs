//! Charts: SVG for the eye, and a table with the same numbers.

use hubwarden_event::{Severity, Timestamp};
use maud::{Markup, html};

use super::parts;
use crate::link::Link;
use crate::{DayCount, Filter, SeverityCounts};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Height of the drawing; its width is ten units a day.
const HEIGHT: u64 = 120;

/// Findings of each day by severity, for `days` days up to and with today.
pub(super) fn per_day(counts: &[DayCount], days: u16, now: Timestamp) -> Markup {
    let today = now.floor_to(DAY_MS);
    let series: Vec<DayCount> = (0..i64::from(days))
        .rev()
        .map(|back| {
            let day = today.plus_millis(-back * DAY_MS);
            let known = counts.iter().find(|count| count.day == day);
            DayCount { day, counts: known.map(|known| known.counts).unwrap_or_default() }
        })
        .collect();
    let most = series.iter().map(|day| day.counts.total()).max().unwrap_or(0);
    let all: u64 = series.iter().map(|day| day.counts.total()).sum();
    let summary = format!(
        "{} in {days} days, at most {} on one day.",
        parts::counted(all, "finding", "findings"),
        parts::number(most)
    );
    html! {
        figure class="chart" {
            figcaption {
                span { (summary) }
                ul class="legend" {
                    @for severity in parts::worst_first() {
                        li class={ "sev-" (severity) } { (parts::shape(severity)) (severity) }
                    }
                }
            }
            div class="plot" {
                span class="top-label" aria-hidden="true" { (parts::number(most)) }
                svg viewBox={ "0 0 " (u32::from(days) * 10) " " (HEIGHT) } preserveAspectRatio="none"
                    role="img" aria-label={ "Findings per day by severity. " (summary) " The table below has the numbers." } {
                    @for (place, day) in series.iter().enumerate() { (bar(place, day, most)) }
                }
            }
            p class="axis" aria-hidden="true" {
                @if let (Some(first), Some(last)) = (series.first(), series.last()) {
                    span { (parts::day(first.day)) }
                    span { (parts::day(last.day)) }
                }
            }
            details {
                summary { "Table of these numbers" }
                (table(&series))
            }
        }
    }
}

/// One day's bar, the worst at the bottom where it is compared best.
fn bar(place: usize, day: &DayCount, most: u64) -> Markup {
    let mut bottom = HEIGHT;
    let mut parts = Vec::new();
    for severity in parts::worst_first() {
        let count = day.counts.of(severity);
        if count > 0 {
            // Something that happened stays visible beside something frequent.
            let height = (count.saturating_mul(HEIGHT) / most.max(1)).max(2).min(bottom);
            bottom -= height;
            parts.push((severity, bottom, height));
        }
    }
    html! {
        g {
            title { (parts::day(day.day)) ": " (words(&day.counts)) }
            rect class="slot" x=(place * 10) y="0" width="10" height=(HEIGHT) {}
            @for (severity, top, height) in parts {
                rect class={ "bar sev-" (severity) } x=(place * 10 + 1) y=(top) width="8" height=(height) {}
            }
        }
    }
}

fn words(counts: &SeverityCounts) -> String {
    let levels = parts::worst_first().filter(|severity| counts.of(*severity) > 0);
    let words: Vec<String> =
        levels.map(|severity| format!("{} {severity}", counts.of(severity))).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn table(series: &[DayCount]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Numbers of each day" {
            table class="numbers" {
                thead {
                    tr {
                        th scope="col" { "Day (UTC)" }
                        @for severity in parts::worst_first() { th scope="col" class="n" { (severity) } }
                        th scope="col" class="n" { "all" }
                    }
                }
                tbody {
                    @for day in series.iter().rev() {
                        tr {
                            th scope="row" { (day_link(day)) }
                            @for severity in parts::worst_first() {
                                td class="n" { (parts::number(day.counts.of(severity))) }
                            }
                            td class="n" { (parts::number(day.counts.total())) }
                        }
                    }
                }
            }
        }
    }
}

fn day_link(day: &DayCount) -> Markup {
    let text = parts::day(day.day);
    if day.counts.total() == 0 {
        return html! { (text) };
    }
    // A finding of that day may have had events since, so the list is open to the end.
    let filter = Filter { since: text.clone(), ..Filter::default() };
    html! { a href=(Link::Findings(&filter)) { (text) } }
}

/// A share of the most as a bar; the number stands beside it.
pub(super) fn share(value: u64, most: u64, severity: Severity) -> Markup {
    let width = (value.saturating_mul(100) / most.max(1)).clamp(1, 100);
    html! {
        svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect class={ "bar sev-" (severity) } width=(width) height="6" {}
        }
    }
}

/// When the events of a finding happened, from the first to the last.
pub(super) fn lane(moments: &[Timestamp]) -> Markup {
    let (Some(first), Some(last)) = (moments.iter().min(), moments.iter().max()) else {
        return html! {};
    };
    let span = last.millis_since(*first);
    if span <= 0 {
        return html! {};
    }
    let place = |moment: &Timestamp| {
        // 0..=span by 980 over span: within 0..=980.
        10 + i128::from(moment.millis_since(*first)) * 980 / i128::from(span)
    };
    html! {
        svg class="lane" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img"
            aria-label={ (moments.len()) " events over " (parts::length(span)) "; the list below has their times." } {
            line x1="0" x2="1000" y1="10" y2="10" {}
            @for moment in moments { rect x=(place(moment) - 2) y="2" width="4" height="16" {} }
        }
    }
}
