//! The demo as anybody starts it.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::figure::{Bound, Figure, Outcome};
use crate::process;

/// Runs `demo --no-serve -o json` and holds what it prints against the promises.
pub(crate) fn measure() -> Outcome<Vec<Figure>> {
    let output = Command::new(process::program()?)
        .args(["demo", "--no-serve", "--output", "json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the demo ended with {}", output.status).into());
    }
    figures(&serde_json::from_slice(&output.stdout)?)
}

fn figures(report: &Value) -> Outcome<Vec<Figure>> {
    let number = |key: &str| report[key].as_f64().ok_or(format!("the demo does not say `{key}`"));
    let events = number("events")?;
    let most = |name, measured, value, limit| Figure {
        name,
        measured,
        beside: String::new(),
        value,
        bound: Bound::AtMost(limit),
    };
    let (campaigns, missed) = counted(&report["campaigns"])?;
    let (lookalikes, loud) = counted(&report["lookalikes"])?;
    let (first, all) = (number("first_finding_seconds")?, number("seconds")?);
    let others = number("other_high_findings")?;
    Ok(vec![
        most("demo, seconds to the first finding", format!("{first} s"), first, 10.0),
        most("demo, seconds to the last", format!("{all} s for {events} events"), all, 20.0),
        most("demo, other findings, high or critical", format!("{others}"), others, 3.0),
        most(
            "demo, stories judged wrongly",
            format!(
                "{campaigns} campaigns, {missed} missed; {lookalikes} look-alikes, {loud} loud"
            ),
            (missed + loud) as f64,
            0.0,
        ),
    ])
}

/// How many stories there are, and how many of them went wrong.
fn counted(stories: &Value) -> Outcome<(usize, usize)> {
    let stories = stories.as_object().ok_or("the demo does not name its stories")?;
    let wrong = stories.values().filter(|fine| **fine != Value::Bool(true)).count();
    Ok((stories.len(), wrong))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn holds_the_report_against_the_promises() {
        let report = |first: f64, missed: bool| {
            serde_json::json!({
                "events": 10, "seconds": 19.5, "first_finding_seconds": first,
                "other_high_findings": 3,
                "campaigns": {"theft": true, "stream cut": !missed}, "lookalikes": {"clones": true},
            })
        };
        assert!(figures(&report(9.9, false)).unwrap().iter().all(Figure::holds));
        let broken = figures(&report(10.5, true)).unwrap();
        assert_eq!(broken.iter().filter(|figure| !figure.holds()).count(), 2);
        assert!(figures(&serde_json::json!({})).is_err());
        assert!(figures(&report(f64::NAN, false)).is_err(), "no finding at all");
    }
}
