//! Every metric of Hubwarden, declared once: the code, the dashboards, the alert rules and
//! `docs/metrics.md` are all checked against this list.

use super::metric::{Kind, Label, Metric, Unit, Values};

const TOPICS: &[&str] = &[
    "raw",
    "events",
    "matches",
    "findings",
    "raw.dead",
    "events.dead",
    "ledger",
    "entities",
    "cursors",
    "rules",
];
const TOPIC: Label = Label { name: "topic", values: Values::Fixed(TOPICS) };
const PARTITION: Label =
    Label { name: "partition", values: Values::Configured("partitions of the topic") };
const STEP: Label = Label { name: "step", values: Values::Fixed(&["read", "work", "commit"]) };
const RESULT: Label =
    Label { name: "result", values: Values::Fixed(&["committed", "aborted", "fenced"]) };
const REASON: Label = Label {
    name: "reason",
    values: Values::Fixed(&[
        "bus",
        "store",
        "github",
        "rate_limit",
        "network",
        "reassigned",
        "full",
        "snapshot",
    ]),
};
const SEVERITY: Label = Label {
    name: "severity",
    values: Values::Fixed(&["informational", "low", "medium", "high", "critical"]),
};
const FEED: Label = Label {
    name: "feed",
    values: Values::Fixed(&[
        "audit-rest",
        "audit-stream",
        "webhook",
        "inventory",
        "copilot",
        "import",
    ]),
};
const CONNECTION: Label =
    Label { name: "connection", values: Values::Configured("connections of the configuration") };
const RULE: Label = Label { name: "rule", values: Values::Configured("rules of the active set") };

/// Declares statics with the list of them.
macro_rules! metrics {
    ($($name:ident: $kind:ident $text:expr, $unit:ident, [$($label:expr),*], $meaning:expr;)*) => {
        $(
            #[doc = $meaning]
            pub static $name: Metric = Metric {
                name: $text,
                unit: Unit::$unit,
                kind: Kind::$kind,
                labels: &[$($label),*],
                meaning: $meaning,
            };
        )*
        /// All of this module.
        pub(super) static ALL: &[&Metric] = &[$(&$name),*];
    };
}

/// What every stage has that takes batches from the bus.
macro_rules! input {
    ($service:literal, $module:ident) => {
        /// Metrics of what the stage takes from the bus.
        pub mod $module {
            use super::*;
            metrics! {
                RECORDS_IN: Counter concat!("hubwarden_", $service, "_records_in_total"), Records, [TOPIC],
                    "Records taken from the bus and committed as consumed.";
                BYTES_IN: Counter concat!("hubwarden_", $service, "_bytes_in_total"), Bytes, [],
                    "Bytes of those records: key, headers and body.";
                BATCH_SIZE: Histogram concat!("hubwarden_", $service, "_batch_size_records"), Records, [],
                    "Records in a batch.";
                QUEUE_AGE: Gauge concat!("hubwarden_", $service, "_queue_age_seconds"), Seconds, [],
                    "How long the oldest record of the latest batch had waited on the bus.";
                INFLIGHT: Gauge concat!("hubwarden_", $service, "_inflight_bytes"), Bytes, [],
                    "Bytes of the batch that is being worked on.";
                LAG: Gauge concat!("hubwarden_", $service, "_consumer_lag_records"), Records, [TOPIC, PARTITION],
                    "Records on the partition that the stage has not consumed yet.";
                TIME_LAG: Gauge concat!("hubwarden_", $service, "_event_time_lag_seconds"), Seconds, [PARTITION],
                    "Age of the latest consumed event, by its own time.";
            }
        }
    };
}

/// What every stage has that commits records to the bus.
macro_rules! output {
    ($service:literal, $module:ident) => {
        /// Metrics of what the stage commits to the bus.
        pub mod $module {
            use super::*;
            metrics! {
                RECORDS_OUT: Counter concat!("hubwarden_", $service, "_records_out_total"), Records, [TOPIC],
                    "Records committed to the bus.";
                BYTES_OUT: Counter concat!("hubwarden_", $service, "_bytes_out_total"), Bytes, [],
                    "Bytes of those records: key, headers and body.";
                TRANSACTIONS: Counter concat!("hubwarden_", $service, "_transactions_total"), Count, [RESULT],
                    "Commits by how they ended: aborted ones are repeated, a fenced one ends the process.";
            }
        }
    };
}

/// What every stage has.
macro_rules! common {
    ($service:literal, $module:ident) => {
        /// Metrics of how the stage runs.
        pub mod $module {
            use super::*;
            metrics! {
                DURATION: Histogram concat!("hubwarden_", $service, "_stage_duration_seconds"), Seconds, [STEP],
                    "Time that a cycle spends reading (waiting for input included), working and committing.";
                RETRIES: Counter concat!("hubwarden_", $service, "_retries_total"), Count, [REASON],
                    "Tries after the first, by what failed.";
                REBALANCES: Counter concat!("hubwarden_", $service, "_rebalances_total"), Count, [],
                    "Times that the set of owned partitions changed.";
            }
        }
    };
}

common!("collector", collector_common);
output!("collector", collector_output);
common!("normalizer", normalizer_common);
input!("normalizer", normalizer_input);
output!("normalizer", normalizer_output);
common!("match", match_common);
input!("match", match_input);
output!("match", match_output);
common!("correlate", correlate_common);
input!("correlate", correlate_input);
output!("correlate", correlate_output);
common!("console", console_common);
input!("console", console_input);

/// Metrics of the collector beyond what every stage has.
pub mod collector {
    use super::*;
    metrics! {
        RECORDS_IN: Counter "hubwarden_collector_records_in_total", Records, [FEED],
            "Records received from GitHub or read from files, before they are committed.";
        BYTES_IN: Counter "hubwarden_collector_bytes_in_total", Bytes, [FEED],
            "Bytes of those records as received.";
        LAST_EVENT_AGE: Gauge "hubwarden_collector_source_last_event_age_seconds", Seconds, [CONNECTION, FEED],
            "Age of the latest event that a source has brought, by its own time.";
        READ_THROUGH_AGE: Gauge "hubwarden_collector_source_read_through_age_seconds", Seconds, [CONNECTION, FEED],
            "Age of the moment up to which a polled source has been read completely.";
        RATE_LIMIT: Gauge "hubwarden_collector_source_rate_limit_remaining", Count, [CONNECTION],
            "Requests that GitHub still allows in the present window.";
    }
}

/// Metrics of the normalizer beyond what every stage has.
pub mod normalizer {
    use super::*;
    metrics! {
        REJECTED: Counter "hubwarden_normalizer_records_rejected_total", Records, [],
            "Records that could not be read and became dead letters.";
        DUPLICATE: Counter "hubwarden_normalizer_records_duplicate_total", Records, [],
            "Records dropped because the same run had brought their event before.";
    }
}

/// Metrics of the match stage beyond what every stage has.
pub mod matching {
    use super::*;
    metrics! {
        REJECTED: Counter "hubwarden_match_records_rejected_total", Records, [],
            "Events that could not be read and became dead letters.";
        EVALUATION: Histogram "hubwarden_match_rule_eval_duration_seconds", Seconds, [],
            "Time that all rules together take for one batch.";
        RULE_ERRORS: Counter "hubwarden_match_rule_errors_total", Count, [RULE],
            "Evaluations that a rule could not finish.";
        RULES: Gauge "hubwarden_match_rules_loaded", Count, [],
            "Rules of the set that judges now.";
    }
}

/// Metrics of the correlate stage beyond what every stage has.
pub mod correlate {
    use super::*;
    metrics! {
        REJECTED: Counter "hubwarden_correlate_records_rejected_total", Records, [],
            "Matches and marks that could not be read and were left out.";
        STATE_KEYS: Gauge "hubwarden_correlate_state_keys", Count, [PARTITION],
            "Group keys with open windows.";
        STATE_COMMIT: Histogram "hubwarden_correlate_state_commit_duration_seconds", Seconds, [],
            "Time to write state, outbox and position of a batch.";
        SNAPSHOT_AGE: Gauge "hubwarden_correlate_snapshot_age_seconds", Seconds, [PARTITION],
            "Age of the newest snapshot of a partition's state.";
        OUTBOX: Gauge "hubwarden_correlate_outbox_depth_records", Records, [PARTITION],
            "Findings that are decided and not yet committed to the bus.";
        FINDINGS: Counter "hubwarden_correlate_findings_total", Count, [SEVERITY],
            "Findings published, their revisions included.";
    }
}

/// Metrics of the console beyond what every stage has.
pub mod console {
    use super::*;
    metrics! {
        STORED: Counter "hubwarden_console_findings_stored_total", Count, [SEVERITY],
            "Findings joined into the store, their revisions included.";
        STORE_DURATION: Histogram "hubwarden_console_store_duration_seconds", Seconds, [],
            "Time to write one batch of findings into the store.";
    }
}

/// Metrics that every service has.
pub mod service {
    use super::*;
    metrics! {
        BUILD: Gauge "hubwarden_service_build_info", Count,
            [Label { name: "version", values: Values::Configured("the release that runs") }],
            "Always 1; the label tells the release.";
        STARTED: Gauge "hubwarden_service_start_time_seconds", Timestamp, [],
            "When the process started, as Unix time.";
        READY: Gauge "hubwarden_service_condition_ready", Count,
            [Label { name: "condition", values: Values::Configured("conditions of the service's readiness") }],
            "1 where the condition holds, 0 where it does not.";
        ALIVE: Gauge "hubwarden_service_loop_alive", Count,
            [Label { name: "loop", values: Values::Configured("loops of the service") }],
            "1 while the loop turns, 0 when it works longer than its limit.";
        CERTIFICATE: Gauge "hubwarden_service_certificate_not_after_seconds", Timestamp,
            [Label { name: "use", values: Values::Fixed(&["server", "client", "ca"]) }],
            "When the certificate in use ends, as Unix time.";
        GRPC: Counter "hubwarden_service_grpc_requests_total", Count,
            [Label { name: "result", values: Values::Fixed(&["ok", "refused", "client_error", "server_error"]) }],
            "gRPC calls answered, health checks not counted.";
        GRPC_DURATION: Histogram "hubwarden_service_grpc_duration_seconds", Seconds, [],
            "Time until a gRPC call's answer begins.";
        REFUSED: Counter "hubwarden_service_refused_total", Count,
            [Label { name: "reason", values: Values::Fixed(&["no_credential", "unknown_token", "expired_token", "unknown_peer", "role", "unknown_method"]) }],
            "Calls refused, by reason.";
    }
}

/// Every metric, by service.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [
        collector_common::ALL,
        collector_output::ALL,
        collector::ALL,
        normalizer_common::ALL,
        normalizer_input::ALL,
        normalizer_output::ALL,
        normalizer::ALL,
        match_common::ALL,
        match_input::ALL,
        match_output::ALL,
        matching::ALL,
        correlate_common::ALL,
        correlate_input::ALL,
        correlate_output::ALL,
        correlate::ALL,
        console_common::ALL,
        console_input::ALL,
        console::ALL,
        service::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}
