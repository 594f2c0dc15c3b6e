//! Charts: SVG for the eye, and a table with the same numbers.

use hubwarden_event::{Severity, Timestamp};
use maud::{Markup, html};

use super::{parts, pipeline};
use crate::link::Link;
use crate::{DayCount, Filter, SeverityCounts, StageHistory, StagePoint, StageStatus};

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

/// How much comes into each stage and goes out of it; the table of the stages has the numbers.
pub(super) fn flow(stages: &[StageStatus]) -> Markup {
    let rates = stages.iter().flat_map(|stage| [stage.in_per_s, stage.out_per_s]).flatten();
    // A share of the most in percent, at least 1 of what is not nothing.
    let most = rates.fold(0.0, f64::max);
    let height = |rate: Option<f64>| match rate {
        Some(rate) if rate > 0.0 => (rate / most * 100.0).clamp(1.0, 100.0).round() as u32,
        _ => 0,
    };
    html! {
        figure class="chart" {
            figcaption {
                span { "At most " (pipeline::rate(Some(most))) " records a second." }
                ul class="legend" {
                    li { span class="key flow-in" aria-hidden="true" {} "comes in" }
                    li { span class="key flow-out" aria-hidden="true" {} "goes out" }
                }
            }
            ol class="flow" {
                @for stage in stages {
                    li {
                        svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true" {
                            @let (came, left) = (height(stage.in_per_s), height(stage.out_per_s));
                            rect class="flow-in" x="20" width="28" y=(100 - came) height=(came) {}
                            rect class="flow-out" x="52" width="28" y=(100 - left) height=(left) {}
                        }
                        strong { (parts::shown(&stage.name)) }
                        span { (pipeline::rate(stage.in_per_s)) " in, " (pipeline::rate(stage.out_per_s)) " out" }
                    }
                }
            }
        }
    }
}

/// How many records waited for each stage over the last hour.
pub(super) fn lag(history: &[StageHistory]) -> Markup {
    let points = || history.iter().flat_map(|stage| &stage.points);
    let most = points().map(|point| point.lag).max().unwrap_or(0);
    let (first, last) = (points().map(|one| one.at).min(), points().map(|one| one.at).max());
    let (Some(first), Some(last)) = (first, last) else {
        return html! { p class="empty" { "The chart begins two minutes after the start of this console." } };
    };
    let span = last.millis_since(first).max(1);
    let line = |stage: &StageHistory| {
        let place = |point: &StagePoint| {
            // Both within the drawing: the times between first and last, the lag at most the most.
            let x = i128::from(point.at.millis_since(first)) * 600 / i128::from(span);
            let y = HEIGHT - point.lag.saturating_mul(HEIGHT - 4) / most.max(1) - 2;
            format!("{x},{y}")
        };
        stage.points.iter().map(place).collect::<Vec<_>>().join(" ")
    };
    let summary = format!("At most {} waiting.", parts::counted(most, "record", "records"));
    html! {
        figure class="chart" {
            figcaption {
                span { (summary) }
                ul class="legend" {
                    @for (number, stage) in history.iter().enumerate() {
                        li {
                            svg class="key-line" viewBox="0 0 24 6" width="24" height="6" aria-hidden="true" {
                                line class={ "line-" (number) } x1="0" x2="24" y1="3" y2="3" {}
                            }
                            (parts::shown(&stage.name))
                        }
                    }
                }
            }
            div class="plot" {
                span class="top-label" aria-hidden="true" { (parts::number(most)) }
                svg viewBox={ "0 0 600 " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label={ "Records that waited for each stage. " (summary) " The table below has the numbers." } {
                    @for (number, stage) in history.iter().enumerate() {
                        polyline class={ "line-" (number) } points=(line(stage)) {}
                    }
                }
            }
            p class="axis" aria-hidden="true" {
                span { (parts::time(first)) }
                span { (parts::time(last)) }
            }
            details {
                summary { "Table of these numbers" }
                (lag_table(history))
            }
        }
    }
}

fn lag_table(history: &[StageHistory]) -> Markup {
    let mut times: Vec<Timestamp> =
        history.iter().flat_map(|stage| &stage.points).map(|point| point.at).collect();
    times.sort_unstable();
    times.dedup();
    let at = |stage: &StageHistory, time: Timestamp| {
        stage.points.iter().find(|point| point.at == time).map(|point| parts::number(point.lag))
    };
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Lag of each minute" {
            table class="numbers" {
                thead {
                    tr {
                        th scope="col" { "Time (UTC)" }
                        @for stage in history { th scope="col" class="n" { (parts::shown(&stage.name)) } }
                    }
                }
                tbody {
                    @for time in times.iter().rev() {
                        tr {
                            th scope="row" { (parts::time(*time)) }
                            @for stage in history { td class="n" { (at(stage, *time).unwrap_or_default()) } }
                        }
                    }
                }
            }
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
