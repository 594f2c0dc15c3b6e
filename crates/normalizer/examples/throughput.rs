//! Prints the time that one event takes on one thread, for generated events of about 1 KB.
//!
//! The time on the processor is what counts on a machine that does other work too (Linux only).
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hubwarden_event::{ContentType, Feed, RawPosition, RawRecord, RunId, Timestamp};
use hubwarden_normalizer::{Networks, Normalizer};

fn payload(number: u64) -> String {
    let (time, id) = (1_741_611_463_961 + number, number * 7919);
    if number.is_multiple_of(2) {
        return format!(
            r#"{{"@timestamp":{time},"_document_id":"Nm4E{id:018}","action":"git.clone","actor":"user-{0}","actor_id":{id},"actor_ip":"192.0.2.{1}","actor_location":{{"country_code":"US"}},"business":"acme-inc","business_id":11,"external_id":"","external_identity_nameid":"user-{0}@acme.example","external_identity_username":"","hashed_token":"kTA8HWSeg2rNxFZdyljGxJMlVYrFypjTOu/1bnNfyFc=","org":"acme","org_id":11111,"programmatic_access_type":"Public Key (User/Deploy)","repo":"acme/service-{0}","repository":"acme/service-{0}","repository_id":383067938,"repository_public":false,"request_access_security_header":null,"request_id":"F64B:30BF47:168A5D:1CF3EA:681A7474","token_id":0,"token_scopes":"repo,read:org,workflow","transport_protocol":2,"transport_protocol_name":"ssh","user":"","user_agent":"git/2.41.5 (some longer text that a client adds to its name, as they do)","user_id":0}}"#,
            number % 400,
            number % 250,
        );
    }
    format!(
        r#"{{"@timestamp":{time},"_document_id":"Nm4E{id:018}","action":"workflows.completed_workflow_run","actor":"github-actions[bot]","actor_id":{id},"actor_is_bot":true,"actor_location":{{"country_code":"US"}},"business":"acme-inc","business_id":11,"completed_at":"2025-03-10T12:57:43.000Z","conclusion":"success","created_at":{time},"event":"pull_request","head_branch":"feature/{id}","head_sha":"66dddddddddddddddddddddddddddddddddddddd","name":"build and test","operation_type":"modify","org":"acme","org_id":11111,"programmatic_access_type":"GitHub App server-to-server token","public_repo":false,"repo":"acme/service-{0}","repo_id":383067938,"request_access_security_header":null,"request_category":"other","run_attempt":1,"run_number":{number},"started_at":"2025-03-10T12:50:43.000Z","topic":"github.v1.WorkflowRun","trigger_id":1,"user_agent":"GitHubActionsRunner-linux-x64","workflow_id":44444444,"workflow_run_id":{id}}}"#,
        number % 400,
    )
}

/// Nanoseconds that this thread has been on a processor.
fn on_processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}

fn main() {
    /// Half a batch: what a stage has just read is in the cache.
    const RECORDS: u64 = 1_000;
    const ROUNDS: u64 = 200;
    const EVENTS: u64 = RECORDS * ROUNDS;
    let records: Vec<RawRecord> = (0..RECORDS)
        .map(|number| RawRecord {
            connection: "c".into(),
            feed: Feed::Import,
            run: RunId::live(),
            source_id: format!("Nm4E{number:018}").as_str().into(),
            received_at: Timestamp::from_millis(1_800_000_000_000),
            content_type: ContentType::Json,
            payload: Bytes::from(payload(number)),
            scrubs: vec![],
            origin: None,
            damage: None,
        })
        .collect();
    let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
    let office = ["192.0.2.0/25".to_owned(), "2001:db8::/32".to_owned()];
    let networks = Networks::parse([("office", office.as_slice())]).unwrap();
    let mut normalizer = Normalizer::new(Arc::new(networks));
    let (mut best, mut best_on_processor) = (f64::INFINITY, u64::MAX);
    for _ in 0..7 {
        let (start, on_processor_before) = (Instant::now(), on_processor());
        for (offset, record) in (0..EVENTS).zip(records.iter().cycle()) {
            let event = normalizer.normalize(record, RawPosition { partition: 0, offset });
            std::hint::black_box(event).unwrap();
        }
        best = best.min(start.elapsed().as_secs_f64());
        best_on_processor = best_on_processor.min(on_processor() - on_processor_before);
    }
    println!(
        "{:.2} µs an event of {} bytes ({:.2} µs on the processor), best of 7",
        best * 1e6 / EVENTS as f64,
        bytes / records.len(),
        best_on_processor as f64 / 1e3 / EVENTS as f64,
    );
}
