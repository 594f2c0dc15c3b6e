//! A server that was down for longer than GitHub keeps Git events says what nobody will ever see.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use hubwarden_bus::{Bus, Journal, Options, Positions, Record, Sink, topic};
use hubwarden_proto::{Message, v1};
use hubwarden_simulator::{Settings, Simulator, Token};
use hubwarden_testkit::{Home, Server, until};

const DAY_MS: i64 = 24 * 3_600_000;

/// A home whose server read everything up to a moment so many days ago.
async fn stopped(days: i64, url: &str) -> Home {
    let home = Home::new(&format!(
        "[[github]]\nname = 'octo'\nid = 'octo'\norg = 'octo-shop'\nbase_url = '{url}'\ntoken = {{ file = 'token' }}\n\
         poll = {{ backfill_days = 0, backfill_git_days = 0 }}\n"
    ));
    home.write("token", "ghp_test\n");
    std::fs::create_dir(home.data()).unwrap();
    let journal = Journal::open(home.data().join("journal"), Options::default()).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let feed = v1::FeedCursor {
        feed: "audit-rest".into(),
        scope: "org/octo-shop".into(),
        run: "live".into(),
        from_ms: now - 40 * DAY_MS,
        through_ms: now - days * DAY_MS,
        ..v1::FeedCursor::default()
    };
    let cursor = v1::Cursor { connection: "octo".into(), feeds: vec![feed] }.encode_to_vec();
    let record = Record::new(topic::CURSORS, "octo", cursor);
    journal.writer("test").commit(vec![record], &Positions::none()).await.unwrap();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_doctor_say_which_git_events_are_lost() {
    let tokens = vec![Token::new("ghp_test")];
    let simulator = Simulator::start(Settings { tokens, ..Settings::default() }).await.unwrap();
    let url = simulator.url().to_owned();
    for (days, lost) in [(3, false), (20, true)] {
        let home = stopped(days, &url).await;
        let says = |args: &[&str], code| {
            let ran = home.run(args).expect(code);
            ran.out.contains("Git events between") && ran.out.contains("are lost")
        };
        assert_eq!(says(&["status"], 0), lost, "{days} days, before the start");
        assert_eq!(says(&["doctor"], 0), lost, "{days} days, before the start");
        let server = Server::start(&home);
        let patience = Duration::from_secs(60);
        until("reading through", patience, || {
            let status = home.run(&["status", "-o", "json"]).expect(0).json();
            let through = status["sources"][0]["read_through"].as_str()?.to_owned();
            let records = home.run(&["status"]).expect(0).out;
            (records.contains(&through) && !records.contains("FAILING")).then_some(())
        });
        assert_eq!(says(&["status"], 0), lost, "{days} days, while it runs");
        assert_eq!(says(&["doctor"], 0), lost, "{days} days, while it runs");
        assert!(server.stop().success());
    }
}
