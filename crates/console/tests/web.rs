//! What the pages let out, to whom, and what they never let through.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "web/pipeline.rs"]
mod pipeline;
mod samples;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use hubwarden_bus::{Memory, Positions};
use hubwarden_console::web::{ConsoleState, grpc, router};
use hubwarden_console::{
    Access, FindingStore, Findings, Intake, Keep, LetterStore, Letters, SqliteStore, Status,
};
use hubwarden_event::{Finding, Severity, Timestamp};
use hubwarden_proto::v1;
use hubwarden_proto::v1::finding_service_client::FindingServiceClient;
use tower::ServiceExt;

const NOW: Timestamp = Timestamp::from_millis(1_741_611_463_961);
const TOKEN: &str = "the-api-token";

/// A console over some findings, asked without a network.
struct Console {
    app: Router,
    access: Arc<Access>,
    bus: Memory,
    store: Arc<SqliteStore>,
    _folder: tempfile::TempDir,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Console {
    async fn over(findings: Vec<Finding>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("findings.db")).unwrap();
        store.take_in(Intake { findings, ..Intake::default() }).await.unwrap();
        let keep = Keep { since: NOW.plus_millis(-86_400_000), most: 1000 };
        store.take_letters(samples::letters(NOW), Positions::none(), keep).await.unwrap();
        let (store, bus, watch) =
            (Arc::new(store), Memory::with_partitions(3), samples::watch(NOW));
        let access = Access::with_api_token(TOKEN.into()).and_tokens(&pipeline::tokens());
        let access = Arc::new(access);
        let looks = watch.clone();
        let state = ConsoleState {
            findings: Findings::new(store.clone(), Arc::new(samples::raw)),
            status: Arc::new(move || Status { stages: looks.stages(), ..samples::status(NOW) }),
            watch,
            letters: Letters::new(store.clone(), bus.clone()),
            access: access.clone(),
            public_hosts: Arc::new(["hubwarden.octo-corp.example".to_owned()]),
            clock: || NOW,
        };
        let app = router(state.clone()).merge(grpc(&state));
        Self { app, access, bus, store, _folder: folder }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, path, headers, "").await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:7474");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 64 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.into()).unwrap(),
        }
    }

    /// Asks as the command line does.
    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[("authorization", &format!("Bearer {TOKEN}"))]).await
    }
}

fn hostile() -> Vec<Finding> {
    let names = samples::HOSTILE.iter().enumerate();
    names.map(|(place, name)| samples::about(name, place, NOW)).collect()
}

const ROUTES: [&str; 24] = [
    "/",
    "/findings",
    "/findings.csv",
    "/findings.ndjson",
    "/findings/F-X",
    "/api/v1/findings",
    "/api/v1/findings/F-X",
    "/api/v1/findings/F-X/timeline",
    "/api/v1/status",
    "/pipeline",
    "/pipeline.csv",
    "/pipeline.ndjson",
    "/dead-letters",
    "/dead-letters.csv",
    "/dead-letters.ndjson",
    "/dead-letters/raw.dead-1-5",
    "/dead-letters/raw.dead-9-9",
    "/api/v1/pipeline",
    "/api/v1/dead-letters",
    "/api/v1/dead-letters/raw.dead-1-5",
    "/healthz",
    "/login?token=x",
    "/static/none.css",
    "/nothing/here",
];

#[tokio::test]
async fn every_answer_carries_the_policy() {
    let console = Console::over(samples::many(5, NOW)).await;
    for path in ROUTES {
        let outside = console.ask(Method::GET, path, &[]).await;
        let foreign = console.ask(Method::GET, path, &[("host", "evil.example")]).await;
        for answer in [console.get(path).await, outside, foreign] {
            let policy = answer.header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'; "),
                "{path}: {policy}"
            );
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn nothing_is_shown_without_a_session() {
    let console = Console::over(samples::many(5, NOW)).await;
    for path in ROUTES {
        let answer = console.ask(Method::GET, path, &[]).await;
        let expected = match path {
            "/healthz" => StatusCode::OK,
            "/static/none.css" => StatusCode::NOT_FOUND,
            _ => StatusCode::UNAUTHORIZED,
        };
        assert_eq!(answer.status, expected, "{path}");
        assert!(!answer.body.contains("octo"), "{path}");
        if expected == StatusCode::UNAUTHORIZED {
            assert!(answer.body.contains("hubwarden status --link"), "{path} says what to do");
        }
        for wrong in ["Bearer wrong", "Bearer ", "the-api-token"] {
            let answer = console.ask(Method::GET, path, &[("authorization", wrong)]).await;
            assert_eq!(answer.status, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn a_link_opens_one_session() {
    let console = Console::over(samples::many(5, NOW)).await;
    let link = format!("/login?token={}", console.access.new_link(NOW).unwrap());
    let looked = console.ask(Method::HEAD, &link, &[]).await;
    assert_eq!(looked.status, StatusCode::METHOD_NOT_ALLOWED, "looking does not use it up");
    let answer = console.ask(Method::GET, &link, &[]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("hubwarden_session_7474="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");

    let again = console.ask(Method::GET, &link, &[]).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED, "used twice");
    assert_eq!(again.header("set-cookie"), "");

    let session = cookie.split(';').next().unwrap();
    let headers = [("cookie", session)];
    assert_eq!(console.ask(Method::GET, "/", &headers).await.status, StatusCode::OK);
    let other = format!("other=1; {session}");
    let answer = console.ask(Method::GET, "/", &[("cookie", &other)]).await;
    assert_eq!(answer.status, StatusCode::OK, "among other cookies");
    let answer = console.ask(Method::GET, "/", &[("cookie", "hubwarden_session_7474=x")]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    // A page of another origin could have the browser send this.
    let answer = console.ask(Method::POST, "/api/v1/link", &headers).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "a session cannot make links");
}

#[tokio::test]
async fn over_a_public_name_the_cookie_is_secure() {
    let console = Console::over(Vec::new()).await;
    let link = format!("/login?token={}", console.access.new_link(NOW).unwrap());
    let host = [("host", "hubwarden.octo-corp.example")];
    let answer = console.ask(Method::GET, &link, &host).await;
    assert!(answer.header("set-cookie").ends_with("SameSite=Strict; Secure"));
}

#[tokio::test]
async fn the_token_makes_new_links() {
    let console = Console::over(Vec::new()).await;
    let bearer = format!("Bearer {TOKEN}");
    let answer = console.ask(Method::POST, "/api/v1/link", &[("authorization", &bearer)]).await;
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let answer = console.ask(Method::GET, body["link"].as_str().unwrap(), &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn only_known_host_names_are_answered() {
    let console = Console::over(Vec::new()).await;
    let bearer = format!("Bearer {TOKEN}");
    for (host, expected) in [
        ("127.0.0.1:7474", 200),
        ("localhost:7474", 200),
        ("[::1]:7474", 200),
        ("HUBWARDEN.octo-corp.example", 200),
        ("hubwarden.octo-corp.example:8443", 200),
        ("evil.example", 421),
        ("evil.example:7474", 421),
        ("127.0.0.1.evil.example:7474", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ] {
        let headers = [("host", host), ("authorization", bearer.as_str())];
        assert_eq!(console.ask(Method::GET, "/", &headers).await.status, expected, "{host}");
    }
    let twice = [("host", "127.0.0.1"), ("host", "evil.example")];
    assert_eq!(console.ask(Method::GET, "/", &twice).await.status, 421);
    let probe = console.ask(Method::GET, "/healthz", &[("host", "10.1.2.3:7474")]).await;
    assert_eq!((probe.status, probe.body.as_str()), (StatusCode::OK, "ok\n"));
}

#[tokio::test]
async fn hostile_names_are_text_on_every_page() {
    let findings = hostile();
    let console = Console::over(findings.clone()).await;
    let mut paths = vec!["/".to_owned(), "/findings".to_owned()];
    paths.extend(findings.iter().map(|finding| format!("/findings/{}", finding.id)));
    for path in paths {
        let page = console.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for danger in ["<script>alert", "<img src=x", "\u{1b}", "\u{7}", "\u{202e}", "javascript:"]
        {
            assert!(!page.body.contains(danger), "{path} lets {danger:?} through");
        }
        assert!(page.body.contains("made "), "{path} shows the sentence");
    }
    let list = console.get("/findings").await.body;
    for shown in ["&lt;script&gt;alert(1)", r"\u{1b}[31mred", r"app\u{202e}gpj.exe", "=cmd|"] {
        assert!(list.contains(shown), "{shown} is shown as text");
    }
}

#[tokio::test]
async fn hostile_filters_are_text_too() {
    let console = Console::over(samples::many(5, NOW)).await;
    let filter = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for key in
        ["text", "org", "rule", "entity", "actor", "since", "until", "severity", "sort", "page"]
    {
        let page = console.get(&format!("/findings?{key}={filter}")).await;
        assert!(!page.body.contains("<script>alert"), "{key}");
        assert!(page.body.contains("&lt;script&gt;"), "{key} is given back");
    }
    let page = console.get("/findings/%3Cscript%3Ealert(1)").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(!page.body.contains("<script>alert"));
}

#[tokio::test]
async fn exports_are_whole_and_harmless() {
    let mut findings = samples::many(700, NOW);
    findings.extend(hostile());
    let console = Console::over(findings.clone()).await;

    let csv = console.get("/findings.csv?limit=3&page=high.5.F-X").await;
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"findings.csv\"");
    let mut reader = csv::Reader::from_reader(csv.body.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 705, "more than one page of the store, whatever the page shown");
    for cell in rows.iter().flat_map(|row| row.iter()) {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
        assert!(!cell.chars().any(|c| c.is_control() || c == '\u{202e}'), "{cell:?}");
    }

    let ndjson = console.get("/findings.ndjson").await;
    let lines: Vec<Finding> =
        ndjson.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 705);
    assert!(findings.iter().all(|finding| lines.contains(finding)), "as they were");

    let some = console.get("/findings.ndjson?severity=critical").await;
    let critical = findings.iter().filter(|one| one.severity == Severity::Critical).count();
    assert_eq!(some.body.lines().count(), critical);
    assert_eq!(console.get("/findings.csv?since=yesterday").await.status, 400);
}

#[tokio::test]
async fn a_formula_in_a_cell_gets_a_quote() {
    let mut finding = samples::about("octo/app", 1, NOW);
    finding.sentence = samples::HOSTILE[0].into();
    let console = Console::over(vec![finding]).await;
    let csv = console.get("/findings.csv").await.body;
    assert!(csv.contains("'=cmd|' /C calc'!A0"), "{csv}");
}

#[tokio::test]
async fn the_json_api_answers_as_the_pages_do() {
    let findings = samples::many(30, NOW);
    let console = Console::over(findings.clone()).await;
    let json = |answer: Answer| serde_json::from_str::<serde_json::Value>(&answer.body).unwrap();
    let first = json(console.get("/api/v1/findings?limit=20&sort=newest").await);
    assert_eq!(
        (first["total"].as_u64(), first["findings"].as_array().unwrap().len()),
        (Some(30), 20)
    );
    let next = first["next_page"].as_str().unwrap();
    let path = format!("/api/v1/findings?limit=20&sort=newest&page={next}");
    let second = json(console.get(&path).await);
    assert_eq!(second["findings"].as_array().unwrap().len(), 10);
    assert_eq!(second["next_page"], serde_json::Value::Null);

    let finding = &findings[9];
    let short = finding.id.short();
    let one = console.get(&format!("/api/v1/findings/{short}")).await.body;
    assert_eq!(&serde_json::from_str::<Finding>(&one).unwrap(), finding, "by its short id");
    let timeline = json(console.get(&format!("/api/v1/findings/{short}/timeline")).await);
    let entries = timeline["entries"].as_array().unwrap();
    assert_eq!(entries.len(), finding.evidence.len());
    assert!(entries[0]["raw"].as_str().unwrap().starts_with('{'), "as GitHub sent it");
    assert!(entries.iter().any(|one| one.get("raw").is_none()), "what is not kept is left out");

    let status = json(console.get("/api/v1/status").await);
    assert_eq!(status["rules"]["loaded"], 69);
    for (path, expected) in [
        ("/api/v1/findings/F-NONE", 404),
        ("/api/v1/findings/F-", 404),
        ("/api/v1/findings?limit=many", 400),
        ("/api/v1/nothing", 404),
    ] {
        let answer = console.get(path).await;
        assert_eq!(answer.status, expected, "{path}");
        assert!(json(answer)["error"].is_string(), "{path}");
    }
}

#[tokio::test]
async fn the_overview_answers_its_two_questions() {
    let page = Console::over(samples::many(130, NOW)).await.get("/").await.body;
    for text in [
        "Is something wrong?",
        "Am I blind?",
        "1 of 3 sources cannot be relied on, 1 rule cannot fire.",
        "GitHub refused the token (401)",
        "needs list company_domains",
        "hubwarden status",
        "Table of these numbers",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let empty = Console::over(Vec::new()).await.get("/").await;
    assert_eq!(empty.status, StatusCode::OK);
    assert!(empty.body.contains("No finding is critical or high."));
    assert!(empty.body.contains("No findings yet."));
}

#[tokio::test]
async fn a_finding_is_understood_on_one_page() {
    let findings = samples::many(30, NOW);
    let finding = &findings[9];
    let page =
        Console::over(findings.clone()).await.get(&format!("/findings/{}", finding.id)).await;
    for text in [
        finding.sentence.as_str(),
        "distinct repositories within 1 h",
        "more than 20",
        "medium confidence",
        "34 events",
        "the first 20 of 34 events",
        "Ask the owner of the account",
        "https://attack.mitre.org/techniques/T1213/003/",
        "As GitHub sent it",
        "no longer kept",
        &format!("hubwarden finding explain {}", finding.id.short()),
        &format!("/api/v1/findings/{}", finding.id),
    ] {
        assert!(page.body.contains(text), "{text}");
    }
}

#[tokio::test]
async fn the_list_shows_its_command_and_mends_mistakes() {
    let console = Console::over(samples::many(80, NOW)).await;
    let page =
        console.get("/findings?severity=high&severity=critical&org=octo-corp&since=30d").await;
    let command = "hubwarden finding list --severity high,critical --org octo-corp --since 30d";
    assert!(page.body.contains(command));
    assert!(
        page.body.contains("/findings.csv?severity=high&amp;severity=critical&amp;org=octo-corp")
    );
    let page = console.get("/findings?severity=worst&org=octo-corp").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.body.contains("`worst` is not a severity"));
    assert!(page.body.contains("value=\"octo-corp\""), "the rest of the form stays");
    let first = console.get("/findings").await.body;
    let next = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let second = console.get(&next.replace("&amp;", "&")).await.body;
    assert!(second.contains("80 findings") && second.contains("30 on this page"));
}

#[tokio::test]
async fn files_are_served_under_the_name_of_their_content() {
    let console = Console::over(Vec::new()).await;
    let page = console.get("/").await.body;
    let mut found = 0;
    for part in page.split('"').filter(|part| part.starts_with("/static/")) {
        let answer = console.ask(Method::GET, part, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{part}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        found += 1;
    }
    assert!(found >= 3);
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"));
    assert!(!page.contains("https://") && !page.contains("src=\"//"), "nothing foreign is loaded");
}

fn with_token<T>(request: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    let bearer = format!("Bearer {TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test]
async fn grpc_answers_whoever_has_the_token() {
    let findings = samples::many(30, NOW);
    let console = Console::over(findings.clone()).await;
    let client = FindingServiceClient::with_origin(
        console.app.clone(),
        "http://127.0.0.1:7474".parse().unwrap(),
    );
    let list = v1::ListFindingsRequest {
        severities: vec!["low".into(), "high".into()],
        limit: 5,
        ..v1::ListFindingsRequest::default()
    };
    let refused = client.clone().list_findings(list.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let page = client.clone().list_findings(with_token(list)).await.unwrap().into_inner();
    let expected =
        findings.iter().filter(|one| matches!(one.severity, Severity::Low | Severity::High));
    assert_eq!((page.findings.len(), page.total), (5, expected.count() as u64));
    assert!(!page.next_page_token.is_empty());

    let finding = &findings[9];
    let id = finding.id.short().to_owned();
    let get = with_token(v1::GetFindingRequest { id: id.clone() });
    let got = client.clone().get_finding(get).await.unwrap().into_inner().finding.unwrap();
    assert_eq!(&Finding::try_from(got).unwrap(), finding);
    let timeline = with_token(v1::FindingTimelineRequest { id });
    let entries = client.clone().finding_timeline(timeline).await.unwrap().into_inner().entries;
    assert_eq!(entries.len(), 20);
    assert!(!entries[0].raw.is_empty());
    let get = with_token(v1::GetFindingRequest { id: "F-NONE".into() });
    assert_eq!(client.clone().get_finding(get).await.unwrap_err().code(), tonic::Code::NotFound);
    let list = v1::ListFindingsRequest {
        severities: vec!["hihg".into()],
        ..v1::ListFindingsRequest::default()
    };
    let error = client.clone().list_findings(with_token(list)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
}
