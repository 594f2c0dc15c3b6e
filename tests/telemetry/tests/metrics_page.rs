//! The page of metrics is written from the catalogue.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use hubwarden_service::metrics::{Metric, Values, catalogue};
use hubwarden_telemetry_tests::workspace;

/// Services in the order of the page, by the second word of their metrics' names.
const SERVICES: [(&str, &str); 6] = [
    ("collector", "Collector"),
    ("normalizer", "Normalizer"),
    ("match", "Detector: match"),
    ("correlate", "Detector: correlate"),
    ("console", "Console"),
    ("service", "Every service"),
];

fn row(page: &mut String, metric: &Metric) {
    let labels = metric.labels.iter().map(|label| {
        let values = match label.values {
            Values::Fixed(values) => {
                values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" ")
            }
            Values::Configured(what) => what.to_owned(),
        };
        format!("`{}`: {values}", label.name)
    });
    let labels = labels.collect::<Vec<_>>().join("; ");
    let (name, kind, unit) = (metric.name, metric.kind.as_str(), metric.unit.as_str());
    writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {} |", metric.meaning).unwrap();
}

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Every metric, at `/metrics` of the health port (7476) and by OTLP under the same name.\n\
         Labels are from closed sets: never an actor, repository, address or token. Generated from the catalogue\n\
         (`crates/service/src/metrics/catalogue.rs`): \
         `UPDATE_EXPECT=1 cargo test -p hubwarden-telemetry-tests` writes this page.\n",
    );
    let mut written = 0;
    for (service, title) in SERVICES {
        write!(page, "\n## {title}\n\n").unwrap();
        page += "| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n";
        let prefix = format!("hubwarden_{service}_");
        for metric in catalogue::all().filter(|metric| metric.name.starts_with(&prefix)) {
            row(&mut page, metric);
            written += 1;
        }
    }
    assert_eq!(written, catalogue::all().count(), "every metric belongs to one of the services");
    page
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    let file = workspace().join("docs/metrics.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is old; run this test with UPDATE_EXPECT=1");
}
