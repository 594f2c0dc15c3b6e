//! The page of the stages: how much moves, what waits, who reads, what stands still.

use axum::Json;
use axum::extract::State;
use axum::response::{Html, Response};
use hubwarden_event::Timestamp;
use maud::{Markup, html};

use super::json::JsonFailed;
use super::layout::{Place, page};
use super::{ConsoleState, Failed, chart, export, letters, parts};
use crate::letters::TopicView;
use crate::link::Link;
use crate::status::{PipelineStatus, StageHistory};
use crate::{Error, LINE, PartitionStatus, StageStatus, escape};

/// Every stage with its figures, and what could not be read.
pub(super) async fn show(State(state): State<ConsoleState>) -> Result<Html<String>, Failed> {
    let now = (state.clock)();
    let pipeline = ask(&state).await?;
    let reasons = state.letters.store().letter_counts(letters::REASONS).await?;
    let content = html! {
        h1 { "Pipeline" }
        (standing(&pipeline.stages, now))
        section aria-labelledby="flow" {
            h2 id="flow" {
                "Stage flow "
                span class="note" { "records a second over the last minute" }
            }
            (chart::flow(&pipeline.stages))
        }
        section aria-labelledby="stages" {
            h2 id="stages" { "Stages" }
            (stages(&pipeline.stages))
            p class="exports" {
                @if let Some(at) = pipeline.looked_at { "As of " (parts::age(at, now)) ". " }
                "Export "
                a href=(Link::PipelineCsv) { "CSV" } " "
                a href=(Link::PipelineNdjson) { "NDJSON" } " "
                a href=(Link::PipelineJson) { "JSON" }
            }
        }
        section aria-labelledby="lag" {
            h2 id="lag" { "Lag " span class="note" { "records that wait, last hour" } }
            (chart::lag(&pipeline.history))
        }
        section aria-labelledby="members" {
            h2 id="members" { "Replicas" }
            (members(&pipeline.stages))
        }
        section id="dead-letters" aria-labelledby="dead" {
            h2 id="dead" { "Dead letters" }
            (letters::summary(&pipeline.dead_letters, now))
            (letters::reasons(&reasons, now))
        }
        (parts::command("hubwarden top"))
    };
    Ok(page("Pipeline", Place::Pipeline, &content))
}

async fn ask(state: &ConsoleState) -> Result<PipelineStatus, Error> {
    let topics = state.letters.store().letter_topics().await?;
    let history = LINE.iter().zip(state.watch.history());
    Ok(PipelineStatus {
        looked_at: state.watch.looked_at(),
        stages: (state.status)().stages,
        history: history
            .map(|((name, _), points)| StageHistory { name: (*name).into(), points })
            .collect(),
        dead_letters: topics.iter().map(TopicView::from).collect(),
    })
}

pub(super) async fn json(
    State(state): State<ConsoleState>,
) -> Result<Json<PipelineStatus>, JsonFailed> {
    Ok(Json(ask(&state).await?))
}

pub(super) async fn csv(State(state): State<ConsoleState>) -> Result<Response, Failed> {
    let header =
        ["stage", "in_per_s", "out_per_s", "lag", "behind_s", "replicas", "partitions", "standing"];
    let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1}")).unwrap_or_default();
    let row = |stage: &StageStatus| {
        vec![
            stage.name.clone(),
            rate(stage.in_per_s),
            rate(stage.out_per_s),
            stage.lag.to_string(),
            stage.behind_s.map(|seconds| seconds.to_string()).unwrap_or_default(),
            stage.members.len().to_string(),
            stage.partitions.len().to_string(),
            numbers(stage.standing().map(|one| one.partition)),
        ]
    };
    let stages = (state.status)().stages;
    let body = export::csv_of(&header, stages.iter().map(row))?;
    Ok(export::file("text/csv; charset=utf-8", "pipeline.csv", body.into()))
}

pub(super) async fn ndjson(State(state): State<ConsoleState>) -> Result<Response, Failed> {
    let body = export::ndjson_of(&(state.status)().stages)?;
    Ok(export::file("application/x-ndjson", "pipeline.ndjson", body.into()))
}

/// Numbers in one line, such as `1 4 7`.
fn numbers(all: impl Iterator<Item = u32>) -> String {
    all.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

/// What stands still although there is something to read.
fn standing(stages: &[StageStatus], now: Timestamp) -> Markup {
    let all: Vec<(&StageStatus, &PartitionStatus)> =
        stages.iter().flat_map(|stage| stage.standing().map(move |one| (stage, one))).collect();
    html! {
        @if stages.is_empty() {
            p class="empty" role="status" { "The bus has not been looked at yet. Load the page again in a moment." }
        } @else if all.is_empty() {
            p class="total" role="status" { "Every partition that has something to read moves." }
        } @else {
            div class="error" role="status" {
                p {
                    strong { (parts::counted(all.len() as u64, "partition stands", "partitions stand")) " still" }
                    " although there is something to read."
                }
                ul class="plain" {
                    @for (stage, one) in &all {
                        li {
                            (stage.name) ", partition " (one.partition) ": "
                            (parts::counted(one.lag, "record waits", "records wait"))
                            @if let Some(since) = one.stands_since { ", nothing consumed since " (parts::age(since, now)) }
                            @match &one.owner {
                                Some(owner) => { ", owned by " code { (parts::shown(owner)) } }
                                None => ", owned by nobody",
                            }
                        }
                    }
                }
            }
        }
    }
}

fn stages(stages: &[StageStatus]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Figures of each stage" {
            table class="numbers" {
                thead {
                    tr {
                        th scope="col" { "Stage" }
                        th scope="col" class="n" { "In a second" }
                        th scope="col" class="n" { "Out a second" }
                        th scope="col" class="n" { "Waiting" }
                        th scope="col" class="n" { "Behind" }
                        th scope="col" class="n" { "Replicas" }
                        th scope="col" class="n" { "Partitions" }
                        th scope="col" class="n" { "Standing" }
                    }
                }
                tbody {
                    @for stage in stages {
                        tr {
                            th scope="row" { (parts::shown(&stage.name)) }
                            td class="n" { (rate(stage.in_per_s)) }
                            td class="n" { (rate(stage.out_per_s)) }
                            td class="n" { (parts::number(stage.lag)) }
                            td class="n" { (behind(stage)) }
                            td class="n" { (stage.members.len()) }
                            td class="n" { (stage.partitions.len()) }
                            td class="n" { (stage.standing().count()) }
                        }
                    }
                }
            }
        }
    }
}

/// A rate with one digit behind the point while it is small.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "–".into(),
        // Not negative, and far below what a whole number holds.
        Some(rate) if rate >= 100.0 => parts::number(rate.round() as u64),
        Some(rate) => format!("{rate:.1}"),
    }
}

fn behind(stage: &StageStatus) -> String {
    let millis = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    stage.behind_s.map_or("–".into(), |seconds| parts::length(millis(seconds)))
}

fn members(stages: &[StageStatus]) -> Markup {
    let none = stages.iter().all(|stage| stage.members.is_empty());
    html! {
        @if none {
            p class="empty" {
                "No replica is known: none reads, or this console may not ask the cluster for its groups."
            }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-label="Replicas of each stage" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Stage" }
                            th scope="col" { "Replica" }
                            th scope="col" { "Where" }
                            th scope="col" { "Partitions" }
                        }
                    }
                    tbody {
                        @for stage in stages {
                            @for member in &stage.members {
                                tr {
                                    td { (parts::shown(&stage.name)) }
                                    td class="id" { (parts::shown(&member.name)) }
                                    td { @if member.host.is_empty() { "this process" } @else { (parts::shown(&member.host)) } }
                                    td {
                                        @if member.partitions.is_empty() { span class="note" { "none" } }
                                        @else { (escape::terminal(&numbers(member.partitions.iter().copied()))) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        for (value, text) in [
            (None, "–"),
            (Some(0.0), "0.0"),
            (Some(99.94), "99.9"),
            (Some(12_345.6), "12\u{202f}346"),
        ] {
            assert_eq!(rate(value), text);
        }
    }
}
