//! The pages of stages and dead letters, and who may put letters back.

use axum::http::{Method, StatusCode};
use hubwarden_bus::{Bus, Source, topic};
use hubwarden_console::letters::{LetterPageView, Retried};
use hubwarden_console::{LetterQuery, LetterStore, PipelineStatus};
use hubwarden_event::RawBody;
use hubwarden_service::{Role, TokenConfig, TokensConfig, hash_token};

use crate::{Answer, Console, NOW, TOKEN, samples};

/// A token of each role, named after it.
pub(crate) fn tokens() -> TokensConfig {
    let entry = |role: Role| {
        let expires = "2030-01-01T00:00:00Z".parse().unwrap();
        let sha256 = hash_token(&format!("hwt_{}", role.as_str()));
        (format!("the-{}", role.as_str()), TokenConfig { sha256, role, expires })
    };
    TokensConfig(Role::ALL.into_iter().map(entry).collect())
}

fn bearer(role: Role) -> String {
    format!("Bearer hwt_{}", role.as_str())
}

impl Console {
    async fn post(&self, path: &str, bearer: &str) -> Answer {
        self.ask(Method::POST, path, &[("authorization", bearer)]).await
    }

    /// The cookie of a new session of this role.
    async fn session(&self, role: Role) -> String {
        let answer = self.post("/api/v1/link", &bearer(role)).await;
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let answer = self.ask(Method::GET, body["link"].as_str().unwrap(), &[]).await;
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    async fn with(&self, session: &str, path: &str) -> String {
        self.ask(Method::GET, path, &[("cookie", session)]).await.body
    }

    async fn submit(&self, session: &str, path: &str, form: &str, site: &str) -> Answer {
        let headers = [
            ("cookie", session),
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", site),
        ];
        self.send(Method::POST, path, &headers, form).await
    }

    /// How many records stand on a topic.
    async fn written(&self, of: hubwarden_bus::Topic) -> u64 {
        let ends = self.bus.ends().await.unwrap();
        ends.iter().filter(|(topic, ..)| *topic == of).map(|(_, _, end)| end).sum()
    }
}

/// The value of a hidden field of a page.
fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1);
    field.expect(name).split('"').next().unwrap()
}

#[tokio::test]
async fn the_pipeline_shows_what_moves_and_what_stands() {
    let console = Console::over(Vec::new()).await;
    let page = console.get("/pipeline").await;
    assert_eq!(page.status, StatusCode::OK);
    for text in [
        "1 partition stands still</strong>",
        "correlate, partition 1",
        "owned by <code>correlate-0-5e2f</code>",
        "hubwarden-&lt;script&gt;alert(1)",
        "Table of these numbers",
        "62 letters</strong> on <code>raw.dead</code>",
        "2 letters</strong> on <code>events.dead</code>",
        "hubwarden top",
        "aria-current=\"page\"",
        "Operate",
    ] {
        assert!(page.body.contains(text), "{text}");
    }
    assert!(!page.body.contains("<script>alert"));
    let pipeline: PipelineStatus =
        serde_json::from_str(&console.get("/api/v1/pipeline").await.body).unwrap();
    let stage = &pipeline.stages[2];
    assert_eq!((stage.name.as_str(), stage.lag, stage.behind_s), ("correlate", 1200, Some(240)));
    assert_eq!(stage.standing().map(|one| one.partition).collect::<Vec<_>>(), [1]);
    assert_eq!(pipeline.stages[0].in_per_s, Some(120.0));
    assert_eq!(pipeline.stages[0].members.len(), 2);
    assert_eq!((pipeline.history.len(), pipeline.history[0].points.len()), (4, 60));
    assert!(pipeline.history[0].points.iter().any(|point| point.lag > 20_000));
    assert_eq!(pipeline.dead_letters.iter().map(|one| one.letters).collect::<Vec<_>>(), [2, 62]);

    let csv = console.get("/pipeline.csv").await.body;
    assert!(csv.contains("correlate,12.0,8.0,1200,240,1,3,1\n"), "{csv}");
    assert_eq!(console.get("/pipeline.ndjson").await.body.lines().count(), 4);
    let status = console.get("/api/v1/status").await.body;
    assert!(status.contains("stands_since"), "{status}");
}

#[tokio::test]
async fn hostile_letters_are_text_on_every_page() {
    let console = Console::over(Vec::new()).await;
    for path in [
        "/dead-letters",
        "/dead-letters/raw.dead-1-100",
        "/dead-letters/events.dead-1-4",
        "/pipeline",
    ] {
        let page = console.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for danger in ["<script>alert", "\u{1b}", "\u{1}", "\u{202e}"] {
            assert!(!page.body.contains(danger), "{path} lets {danger:?} through");
        }
    }
    let list = console.get("/dead-letters").await.body;
    assert!(
        list.contains(r"&lt;script&gt;alert(1)&lt;/script&gt;\u{1b}[31mred app\u{202e}gpj.exe")
    );
    let csv = console.get("/dead-letters.csv").await.body;
    assert_eq!(csv::Reader::from_reader(csv.as_bytes()).records().count(), 64);
    assert!(!csv.contains('\u{1b}') && !csv.contains('\u{202e}'), "{csv}");
    let filter = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for key in ["topic", "reason", "page", "limit", "put", "lost"] {
        let page = console.get(&format!("/dead-letters?{key}={filter}")).await;
        assert!(!page.body.contains("<script>alert"), "{key}");
    }
}

#[tokio::test]
async fn letters_are_listed_by_reason_and_page() {
    let console = Console::over(Vec::new()).await;
    let reason = "field%20%60action%60%20is%20missing";
    let path = format!("/api/v1/dead-letters?topic=raw.dead&reason={reason}&limit=50");
    let first: LetterPageView = serde_json::from_str(&console.get(&path).await.body).unwrap();
    assert_eq!((first.total, first.letters.len()), (60, 50));
    assert_eq!(first.letters[0].id, "raw.dead-1-59", "the newest first");
    assert_eq!(first.letters[0].source, "raw-2-59");
    let next = format!("{path}&page={}", first.next_page.unwrap());
    let second: LetterPageView = serde_json::from_str(&console.get(&next).await.body).unwrap();
    assert_eq!((second.letters.len(), second.next_page), (10, None));
    let page = console.get(&format!("/dead-letters?topic=raw.dead&reason={reason}")).await.body;
    let command =
        "hubwarden dead-letter list --topic raw.dead --reason &#39;field `action` is missing&#39;";
    let unescaped = command.replace("&#39;", "'");
    assert!(page.contains(command) || page.contains(&unescaped));
    assert!(page.contains("Put back all that nobody has"));
    let ndjson = console.get(&format!("/dead-letters.ndjson?reason={reason}&limit=1")).await.body;
    assert_eq!(ndjson.lines().count(), 60, "an export is all of it");
    for (path, expected) in [
        ("/dead-letters?topic=raw", 400),
        ("/dead-letters/raw-1-1", 400),
        ("/dead-letters/raw.dead-1-999", 404),
        ("/api/v1/dead-letters/raw.dead-1-999", 404),
    ] {
        assert_eq!(console.get(path).await.status, expected, "{path}");
    }
    let whole = console.get("/api/v1/dead-letters/events.dead-1-4").await.body;
    assert!(whole.contains("record_base64"), "{whole}");
}

#[tokio::test]
async fn what_was_put_back_is_the_record_that_was_there() {
    let console = Console::over(Vec::new()).await;
    let engineer = bearer(Role::Engineer);
    for id in ["raw.dead-1-5", "events.dead-1-3"] {
        let answer = console.post(&format!("/api/v1/dead-letters/{id}/retry"), &engineer).await;
        assert_eq!(answer.status, StatusCode::OK, "{id}: {}", answer.body);
    }
    let raw = console.bus.read_at(topic::RAW, 2, 0).await.unwrap().unwrap();
    let payload = r#"{"_document_id":"5","actor":"octocat"}"#;
    let expected = samples::raw_record(payload.as_bytes().to_vec());
    assert_eq!(raw.key, expected.event_id().as_bytes()[..]);
    assert_eq!(hubwarden_proto::decode_raw(raw.body).unwrap(), RawBody::Record(expected));
    let event = console.bus.read_at(topic::EVENTS, 2, 0).await.unwrap().unwrap();
    assert_eq!(event.body, "\u{1}\u{2}event of another release");
    let page = console.get("/dead-letters/raw.dead-1-5").await.body;
    assert!(
        page.contains("by <strong>the-engineer</strong>") && page.contains("Put back once more")
    );

    // Who did not see that it was put back is told, and nothing is written.
    let again = "/api/v1/dead-letters/raw.dead-1-5/retry?seen=0";
    assert_eq!(console.post(again, &engineer).await.status, StatusCode::CONFLICT);
    let seen = "/api/v1/dead-letters/raw.dead-1-5/retry?seen=1";
    assert_eq!(console.written(topic::RAW).await, 1);
    assert_eq!(console.post(seen, &engineer).await.status, StatusCode::OK);
    assert_eq!(console.written(topic::RAW).await, 2);
}

#[tokio::test]
async fn what_is_not_whole_offers_no_button_and_is_refused() {
    let console = Console::over(Vec::new()).await;
    for (id, why) in
        [("raw.dead-1-101", "cut to its first 64 KiB"), ("events.dead-1-4", "not a dead letter")]
    {
        let page = console.get(&format!("/dead-letters/{id}")).await.body;
        assert!(page.contains("It cannot be put back") && page.contains(why), "{id}");
        assert!(!page.contains("<form method=\"post\""), "{id}");
        let path = format!("/api/v1/dead-letters/{id}/retry");
        let answer = console.post(&path, &format!("Bearer {TOKEN}")).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{id}");
        assert!(answer.body.contains(why), "{}", answer.body);
    }
    assert_eq!(console.written(topic::RAW).await + console.written(topic::EVENTS).await, 0);
}

#[tokio::test]
async fn all_of_a_reason_go_back_once() {
    let console = Console::over(Vec::new()).await;
    let admin = bearer(Role::Admin);
    let path =
        "/api/v1/dead-letters/retry?topic=raw.dead&reason=field%20%60action%60%20is%20missing";
    console.post("/api/v1/dead-letters/raw.dead-1-7/retry", &admin).await;
    let retried: Retried = serde_json::from_str(&console.post(path, &admin).await.body).unwrap();
    assert_eq!(retried, Retried { put: 59, lost: 0, others: 0, more: false });
    assert_eq!(console.written(topic::RAW).await, 60);
    let again: Retried = serde_json::from_str(&console.post(path, &admin).await.body).unwrap();
    assert_eq!(again, Retried::default(), "nobody does it twice by that");
    let cut = "/api/v1/dead-letters/retry?topic=raw.dead&reason=not%20a%20JSON%20object%20but%20an%20array";
    let cut: Retried = serde_json::from_str(&console.post(cut, &admin).await.body).unwrap();
    assert_eq!(cut, Retried { lost: 1, ..Retried::default() });
    let all = console.post("/api/v1/dead-letters/retry?topic=raw.dead", &admin).await;
    assert_eq!(all.status, StatusCode::BAD_REQUEST, "never all at once without a reason");
    let waiting = LetterQuery { waiting: true, limit: 500, ..LetterQuery::default() };
    assert_eq!(console.store.letters(waiting).await.unwrap().total, 4);
}

#[tokio::test]
async fn only_engineers_and_admins_put_back() {
    for role in Role::ALL {
        let console = Console::over(Vec::new()).await;
        let may = matches!(role, Role::Engineer | Role::Admin);
        let expected = if may { StatusCode::OK } else { StatusCode::FORBIDDEN };
        for path in [
            "/api/v1/dead-letters/raw.dead-1-5/retry",
            "/api/v1/dead-letters/retry?topic=raw.dead&reason=field%20%60action%60%20is%20missing",
        ] {
            let answer = console.post(path, &bearer(role)).await;
            assert_eq!(answer.status, expected, "{role:?} {path}");
        }
        assert_eq!(console.written(topic::RAW).await > 0, may, "{role:?}");
        let reads =
            console.ask(Method::GET, "/pipeline", &[("authorization", &bearer(role))]).await;
        let expected = if role == Role::Ingest { StatusCode::FORBIDDEN } else { StatusCode::OK };
        assert_eq!(reads.status, expected, "{role:?}");
        if role == Role::Ingest {
            continue;
        }
        let session = console.session(role).await;
        let page = console.with(&session, "/dead-letters/raw.dead-1-6").await;
        assert_eq!(page.contains("<form method=\"post\""), may, "{role:?}");
        assert_eq!(page.contains(&format!("Your role is {}", role.as_str())), !may, "{role:?}");
    }
}

#[tokio::test]
async fn a_form_is_taken_only_from_a_page_of_the_session() {
    let console = Console::over(Vec::new()).await;
    let session = console.session(Role::Engineer).await;
    let page = console.with(&session, "/dead-letters/raw.dead-1-5").await;
    let path = "/dead-letters/raw.dead-1-5/retry";
    let good = format!("form={}&seen={}", hidden(&page, "form"), hidden(&page, "seen"));
    let other = console.session(Role::Engineer).await;
    let foreign = console.with(&other, "/dead-letters/raw.dead-1-5").await;
    let foreign = format!("form={}&seen=0", hidden(&foreign, "form"));
    for (form, site, expected) in [
        ("seen=0", "same-origin", StatusCode::FORBIDDEN),
        ("form=&seen=0", "same-origin", StatusCode::FORBIDDEN),
        (&foreign, "same-origin", StatusCode::FORBIDDEN),
        (&good, "cross-site", StatusCode::UNAUTHORIZED),
        (&good, "same-site", StatusCode::UNAUTHORIZED),
    ] {
        let answer = console.submit(&session, path, form, site).await;
        assert_eq!(answer.status, expected, "{form} {site}");
    }
    // What asks for a token takes no form, however good it is.
    for path in ["/api/v1/dead-letters/raw.dead-1-5/retry", "/api/v1/link"] {
        let answer = console.submit(&session, path, &good, "same-origin").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(console.written(topic::RAW).await, 0);
    let answer = console.submit(&session, path, &good, "same-origin").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let seen = console.with(&session, answer.header("location")).await;
    assert!(seen.contains("1 record stands on its topic again"), "{seen}");
    assert_eq!(console.written(topic::RAW).await, 1);
    let twice = console.submit(&session, path, &good, "same-origin").await;
    assert_eq!(twice.status, StatusCode::CONFLICT, "the page of before does not know of it");

    let all = "/dead-letters?topic=raw.dead&reason=field%20%60action%60%20is%20missing";
    let page = console.with(&session, all).await;
    let form = format!(
        "form={}&topic=raw.dead&reason={}",
        hidden(&page, "form"),
        "field+%60action%60+is+missing"
    );
    let answer = console.submit(&session, "/dead-letters/retry", &form, "same-origin").await;
    let told = console.with(&session, answer.header("location")).await;
    assert!(told.contains("59 records stand on its topic again"), "{told}");
    assert_eq!(console.written(topic::RAW).await, 60);
}

#[tokio::test]
async fn a_bus_that_refuses_leaves_the_letter_as_it_was() {
    use hubwarden_console::{Letters, SqliteStore};
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(SqliteStore::open(&folder.path().join("f.db")).unwrap());
    let keep = hubwarden_console::Keep { since: NOW.plus_millis(-86_400_000), most: 1000 };
    let none = hubwarden_bus::Positions::none();
    store.take_letters(samples::letters(NOW), none, keep).await.unwrap();
    // A journal that is open for reading only takes nothing.
    let journal = folder.path().join("journal");
    drop(hubwarden_bus::Journal::open(&journal, Default::default()).unwrap());
    let bus = hubwarden_bus::Journal::open_read_only(&journal).unwrap();
    let letters = Letters::new(store.clone(), bus);
    let at = "raw.dead-1-5".parse().unwrap();
    let refused = letters.retry(at, 0, "x", NOW).await.unwrap_err();
    assert!(matches!(refused, hubwarden_console::Error::NotPut(_)), "{refused:?}");
    assert_eq!(store.letter(at).await.unwrap().unwrap().retry, None);
}

/// The stage that keeps letters, over a bus with letters and what is none.
#[tokio::test]
async fn letters_on_the_bus_come_into_the_store_once() {
    use hubwarden_bus::{Memory, Positions, Record, Sink};
    use hubwarden_console::letters;
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(
        hubwarden_console::SqliteStore::open(&folder.path().join("f.db")).unwrap(),
    );
    let bus = Memory::with_partitions(3);
    let of = [topic::RAW_DEAD, topic::EVENTS_DEAD];
    let mut outputs: Vec<Record> = samples::letters(NOW)
        .into_iter()
        .map(|letter| Record::new(letter.at.topic, letter.at.position.to_string(), letter.body))
        .collect();
    outputs.push(Record::new(topic::RAW_DEAD, "", "\u{0}\u{ff}foreign"));
    let all = outputs.len() as u64;
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    for _ in 0..2 {
        let stop = tokio_util::sync::CancellationToken::new();
        let reader = bus.keeping_reader(letters::STAGE, &of).unwrap();
        assert_eq!(reader.assignment().len(), 6);
        let (kept, token) = (store.clone(), stop.clone());
        let running = tokio::spawn(async move { letters::run(reader, &*kept, token).await });
        let ends = bus.ends().await.unwrap();
        let is_there = |at: &Positions| {
            let dead = ends.iter().filter(|(topic, _, end)| of.contains(topic) && *end > 0);
            dead.into_iter().all(|(topic, partition, end)| at.get(topic, partition) == Some(end))
        };
        // The bus hears of it after the store has it.
        while !is_there(&bus.stage_position(letters::STAGE).await.unwrap()) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        running.await.unwrap().unwrap();
        let page =
            store.letters(LetterQuery { limit: 500, ..LetterQuery::default() }).await.unwrap();
        assert_eq!(page.total, all);
    }
    let foreign = LetterQuery { limit: 5, topic: Some(topic::RAW_DEAD), ..LetterQuery::default() };
    let page = store.letters(foreign).await.unwrap();
    assert!(page.letters.iter().all(|letter| !letter.reason.contains('\0')));
}
