//! Serves the console over sample findings, for looking at and for the browser test.
//!
//! Prints `URL` and `LINK` on two lines, then serves until it is ended.
#![allow(missing_docs, unreachable_pub)]

use std::sync::Arc;

use hubwarden_bus::{Memory, Positions};
use hubwarden_console::web::{ConsoleState, grpc, now, router};
use hubwarden_console::{
    Access, FindingStore, Findings, Intake, Keep, LetterStore, Letters, SqliteStore, Status,
};

#[path = "../tests/samples/mod.rs"]
mod samples;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::connect(folder.path().join("findings.db")).await?;
    let mut findings = samples::many(130, now());
    let hostile = samples::HOSTILE.iter().enumerate();
    findings.extend(hostile.map(|(place, name)| {
        samples::about(name, 1000 + place, now().plus_millis(-(place as i64 + 3) * 3_600_000))
    }));
    store.take_in(Intake { findings, ..Intake::default() }).await?;

    let keep = Keep { since: now().plus_millis(-86_400_000), most: 1000 };
    store.take_letters(samples::letters(now()), Positions::none(), keep).await?;
    let (store, watch) = (Arc::new(store), samples::watch(now()));
    let looks = watch.clone();

    let access = Arc::new(Access::new()?);
    let state = ConsoleState {
        findings: Findings::new(store.clone(), Arc::new(samples::raw)),
        status: Arc::new(move || Status { stages: looks.stages(), ..samples::status(now()) }),
        watch,
        letters: Letters::new(store, Memory::with_partitions(3)),
        access: access.clone(),
        public_hosts: Arc::new([]),
        clock: now,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("URL {url}");
    println!("LINK {url}/login?token={}", access.new_link(now())?);
    axum::serve(listener, router(state.clone()).merge(grpc(&state))).await?;
    Ok(())
}
