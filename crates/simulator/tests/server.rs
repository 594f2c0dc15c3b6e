//! The look-alike answers as GitHub does: paging, limits, phrases, retention, errors, and faults on demand.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashSet;
use std::time::Duration;

use hubwarden_simulator::{Clock, Fault, Life, Plan, Settings, Simulator, Token};
use reqwest::Response;
use serde_json::{Value, json};

const DAY: i64 = 86_400_000;
const NOW: i64 = 1_793_491_200_000; // 2026-11-01

fn settings() -> Settings {
    Settings { clock: Clock::fixed(NOW), ..Settings::default() }
}

async fn started(settings: Settings) -> Simulator {
    Simulator::start(settings).await.unwrap()
}

fn event(at_ms: i64, id: &str, action: &str, org: &str) -> String {
    json!({"@timestamp": at_ms, "_document_id": id, "action": action, "actor": "octocat", "org": org}).to_string()
}

fn client(builder: reqwest::ClientBuilder) -> reqwest::Client {
    // Fails when another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder.build().unwrap()
}

async fn request(url: &str, token: Option<&str>) -> Response {
    let client = client(reqwest::Client::builder().user_agent("test"));
    let request = client.get(url);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap()
}

async fn get(url: &str) -> Response {
    request(url, Some("ghp_simulator")).await
}

fn link(response: &Response, rel: &str) -> Option<String> {
    let links = response.headers().get("link")?.to_str().unwrap();
    let wanted = format!("rel=\"{rel}\"");
    let one = links.split(", ").find(|link| link.ends_with(&wanted))?;
    Some(one[1..one.find('>').unwrap()].to_owned())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Follows `rel` links from `url` on and gives the ids of all events met.
async fn follow(url: String, rel: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = Some(url);
    while let Some(url) = next {
        let response = get(&url).await;
        assert_eq!(response.status(), 200, "{url}");
        next = link(&response, rel);
        ids.extend(ids_of(response).await);
        assert!(ids.len() < 100_000, "paging never ends");
    }
    ids
}

async fn ids_of(response: Response) -> Vec<String> {
    let events: Vec<Value> = response.json().await.unwrap();
    events.iter().map(|event| event["_document_id"].as_str().unwrap().to_owned()).collect()
}

async fn count(simulator: &Simulator, query: &str) -> usize {
    let url = format!(
        "{}/enterprises/octo-corp/audit-log?include=all&per_page=100&{query}",
        simulator.url()
    );
    ids_of(get(&url).await).await.len()
}

#[tokio::test]
async fn paging_visits_every_event_once_in_both_orders() {
    let life = Life::new(Plan { days: 3, events: 3_000, ..Plan::default() }.ending_at(NOW));
    let simulator = started(settings()).await;
    simulator.add(life.events()).unwrap();
    let expected: Vec<String> = {
        let mut keys: Vec<(i64, String)> = life
            .events()
            .map(|event| {
                let json: Value = serde_json::from_slice(&event.json).unwrap();
                (event.at_ms, json["_document_id"].as_str().unwrap().to_owned())
            })
            .collect();
        keys.sort();
        keys.into_iter().map(|(_, id)| id).collect()
    };
    let url = |order| {
        format!(
            "{}/enterprises/octo-corp/audit-log?include=all&order={order}&per_page=100",
            simulator.url()
        )
    };
    assert_eq!(follow(url("asc"), "next").await, expected);
    let mut descending = follow(url("desc"), "next").await;
    descending.reverse();
    assert_eq!(descending, expected);
}

#[tokio::test]
async fn links_have_githubs_form_and_lead_back() {
    let simulator = started(settings()).await;
    let events =
        (0..25).map(|n| event(NOW - DAY + n, &format!("id{n:02}"), "team.create", "octo-shop"));
    simulator.add_json(events).unwrap();
    let first = get(&format!(
        "{}/orgs/octo-shop/audit-log?order=asc&per_page=10&include=all",
        simulator.url()
    ))
    .await;
    let next = link(&first, "next").unwrap();
    let start = format!(
        "{}/organizations/80307827/audit-log?order=asc&per_page=10&include=all&after=",
        simulator.url()
    );
    assert!(
        next.starts_with(&start) && next.ends_with("%3D&before=") || next.ends_with("&before="),
        "{next}"
    );
    assert!(
        link(&first, "first").is_some()
            && link(&first, "last").is_none()
            && link(&first, "prev").is_none()
    );
    let second = get(&next).await;
    let back = link(&second, "prev").unwrap();
    assert!(back.contains("&after=&before="), "{back}");
    let third = get(&link(&second, "next").unwrap()).await;
    assert_eq!(link(&third, "next"), None, "the last page has no next");
    let third_back = link(&third, "prev").unwrap();
    assert_eq!(ids_of(third).await, ["id20", "id21", "id22", "id23", "id24"]);
    let (first, second) = (ids_of(first).await, ids_of(second).await);
    assert_eq!(ids_of(get(&back).await).await, first);
    assert_eq!(ids_of(get(&third_back).await).await, second);
}

#[tokio::test]
async fn a_cursor_stays_valid_while_events_arrive() {
    let simulator = started(settings()).await;
    let numbered =
        |n: i64| event(NOW - DAY + 10 * n, &format!("id{n:03}"), "team.create", "octo-shop");
    simulator.add_json((0..100).map(numbered)).unwrap();
    let mut url =
        Some(format!("{}/orgs/octo-shop/audit-log?order=desc&per_page=10", simulator.url()));
    let (mut seen, mut round) = (Vec::new(), 0);
    while let Some(page) = url {
        let response = get(&page).await;
        url = link(&response, "next");
        seen.extend(ids_of(response).await);
        round += 1;
        simulator.add_json([numbered(100 + round)]).unwrap(); // newer than everything on the way
    }
    let expected: Vec<String> = (0..100).rev().map(|n| format!("id{n:03}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(simulator.len(), 110);
}

#[tokio::test]
async fn organization_and_enterprise_see_their_own() {
    let simulator = started(settings()).await;
    let life = Life::new(Plan { days: 1, events: 2_000, ..Plan::default() }.ending_at(NOW));
    simulator.add(life.events()).unwrap();
    let mut in_orgs = 0;
    for (org, id) in life.orgs() {
        let of_org: Vec<String> = follow(
            format!("{}/orgs/{org}/audit-log?include=all&per_page=100", simulator.url()),
            "next",
        )
        .await;
        let generated = life.events().filter(|event| event.org == org).count();
        assert_eq!(of_org.len(), generated, "{org}");
        let by_number =
            format!("{}/organizations/{id}/audit-log?include=all&per_page=100", simulator.url());
        assert_eq!(follow(by_number, "next").await, of_org);
        in_orgs += of_org.len();
    }
    let all = follow(
        format!("{}/enterprises/20117/audit-log?include=all&per_page=100", simulator.url()),
        "next",
    )
    .await;
    let only_enterprise = life.events().filter(|event| event.enterprise_only).count();
    assert!(only_enterprise > 3);
    assert_eq!(all.len(), in_orgs + only_enterprise);
}

#[tokio::test]
async fn include_and_page_size() {
    let simulator = started(settings()).await;
    simulator
        .add_json(
            (0..150).map(|n| event(NOW - DAY + n, &format!("w{n}"), "team.create", "octo-shop")),
        )
        .unwrap();
    simulator
        .add_json((0..50).map(|n| event(NOW - DAY + n, &format!("g{n}"), "git.push", "octo-shop")))
        .unwrap();
    simulator.add_json([event(NOW - DAY, "api", "api.request", "octo-shop")]).unwrap();
    let base = format!("{}/orgs/octo-shop/audit-log", simulator.url());
    for (query, expected) in
        [("", 30), ("?per_page=500", 100), ("?per_page=0", 1), ("?include=git&per_page=100", 50)]
    {
        assert_eq!(ids_of(get(&format!("{base}{query}")).await).await.len(), expected, "{query}");
    }
    assert_eq!(follow(format!("{base}?per_page=100"), "next").await.len(), 150, "web by default");
    assert_eq!(
        follow(format!("{base}?per_page=100&include=all"), "next").await.len(),
        200,
        "api.request never"
    );
    let newest = ids_of(get(&format!("{base}?per_page=1")).await).await;
    assert_eq!(newest, ["w149"], "newest first by default");
    assert_eq!(get(&format!("{base}?include=some")).await.status(), 422);
}

#[tokio::test]
async fn phrases_select_and_unknown_ones_are_refused() {
    let simulator = started(settings()).await;
    let day = |n: i64| NOW - 100 * DAY + n * DAY;
    simulator
        .add_json((0..100).map(|n| event(day(n), &format!("id{n:02}"), "team.create", "octo-shop")))
        .unwrap();
    simulator.add_json([event(day(99), "other", "hook.create", "octo-data")]).unwrap();
    assert_eq!(count(&simulator, "phrase=action:hook").await, 1);
    assert_eq!(count(&simulator, "phrase=-action:team+org:octo-data").await, 1);
    assert_eq!(count(&simulator, "phrase=created:%3E%3D2026-10-30").await, 3);
    let refused =
        get(&format!("{}/orgs/octo-shop/audit-log?phrase=colour:red", simulator.url())).await;
    assert_eq!(refused.status(), 422);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["message"], "Validation Failed");
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("colour"));
    let next = {
        let url = format!(
            "{}/orgs/octo-shop/audit-log?phrase=action:team+created:%3E2026-10-01&per_page=5",
            simulator.url()
        );
        link(&get(&url).await, "next").unwrap()
    };
    assert!(next.contains("phrase=action%3Ateam%20created%3A%3E2026-10-01"), "{next}");
    assert_eq!(ids_of(get(&next).await).await.len(), 5);
}

#[tokio::test]
async fn three_months_by_default_and_retention_by_its_clock() {
    let simulator = started(settings()).await;
    for (age, id) in [(1, "new"), (80, "recent"), (120, "old"), (200, "gone")] {
        simulator.add_json([event(NOW - age * DAY, id, "team.create", "octo-shop")]).unwrap();
    }
    for (age, id) in [(1, "git-new"), (8, "git-gone")] {
        simulator.add_json([event(NOW - age * DAY, id, "git.push", "octo-shop")]).unwrap();
    }
    assert_eq!(count(&simulator, "").await, 3, "new, recent, git-new");
    assert_eq!(count(&simulator, "phrase=created:%3E2020-01-01").await, 4, "and old");
    simulator.clock().advance(90 * DAY);
    assert_eq!(
        count(&simulator, "phrase=created:%3E2020-01-01").await,
        2,
        "only new and recent are kept"
    );
    simulator.clock().set(NOW - 2 * DAY);
    assert_eq!(
        count(&simulator, "").await,
        2,
        "what is still to come is not shown: recent and git-gone"
    );
}

#[tokio::test]
async fn each_bucket_counts_alone() {
    let simulator = started(Settings { rate_limit: 5, ..settings() }).await;
    let log = format!("{}/orgs/octo-shop/audit-log", simulator.url());
    let user = format!("{}/user", simulator.url());
    for used in ["1", "2", "3"] {
        let response = get(&user).await;
        assert_eq!(header(&response, "x-ratelimit-resource"), "core");
        assert_eq!(header(&response, "x-ratelimit-used"), used);
        let response = get(&log).await;
        assert_eq!(header(&response, "x-ratelimit-resource"), "audit_log");
        assert_eq!(header(&response, "x-ratelimit-used"), used);
    }
    for _ in 0..3 {
        let limits: Value =
            get(&format!("{}/rate_limit", simulator.url())).await.json().await.unwrap();
        let used = |bucket: &str| limits["resources"][bucket]["used"].as_u64();
        assert_eq!((used("core"), used("audit_log")), (Some(3), Some(3)), "asking is free");
    }
    let meta = format!("{}/meta", simulator.url());
    for _ in 0..60 {
        assert_eq!(request(&meta, None).await.status(), 200);
    }
    let refused = request(&meta, None).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "x-ratelimit-remaining")), (403, "0"));
    assert_eq!(get(&user).await.status(), 200, "with a token it goes on");
    simulator.clock().advance(3_600_000);
    assert_eq!(request(&meta, None).await.status(), 200);
}

#[tokio::test]
async fn the_audit_bucket_is_its_own_and_refills() {
    for status in [403, 429] {
        let simulator =
            started(Settings { rate_limit: 3, rate_limit_status: status, ..settings() }).await;
        let url = format!("{}/orgs/octo-shop/audit-log", simulator.url());
        for left in ["2", "1", "0"] {
            let response = get(&url).await;
            assert_eq!(
                (response.status().as_u16(), header(&response, "x-ratelimit-remaining")),
                (200, left)
            );
            assert_eq!(header(&response, "x-ratelimit-limit"), "3");
            assert_eq!(header(&response, "x-ratelimit-resource"), "audit_log");
        }
        let refused = get(&url).await;
        assert_eq!(
            (refused.status().as_u16(), header(&refused, "x-ratelimit-remaining")),
            (status, "0")
        );
        let reset: i64 = header(&refused, "x-ratelimit-reset").parse().unwrap();
        assert_eq!(reset, (NOW + 3_600_000) / 1000);
        let limits: Value =
            get(&format!("{}/rate_limit", simulator.url())).await.json().await.unwrap();
        assert_eq!(limits["resources"]["audit_log"]["remaining"], 0);
        assert_eq!(limits["resources"]["core"]["limit"], 5000);
        simulator.clock().advance(3_600_000);
        assert_eq!(get(&url).await.status(), 200);
        let counted = simulator.requests();
        assert_eq!(counted[&("/orgs/octo-shop/audit-log".to_owned(), 200)], 4);
        assert_eq!(counted[&("/orgs/octo-shop/audit-log".to_owned(), status)], 1);
    }
}

#[tokio::test]
async fn every_refusal_has_its_form() {
    let with = |value: &str, change: fn(&mut Token)| {
        let mut token = Token::new(value);
        change(&mut token);
        token
    };
    let tokens = vec![
        with("good", |token| token.expires = Some("2027-10-12 09:00:00 UTC".to_owned())),
        with("scopeless", |token| token.scopes = vec!["read:org".to_owned()]),
        with("sso", |token| token.sso_authorized = false),
    ];
    let simulator = started(Settings { tokens, bad_token_limit: 2, ..settings() }).await;
    let url = format!("{}/orgs/octo-shop/audit-log", simulator.url());

    let good = request(&url, Some("good")).await;
    assert_eq!(header(&good, "x-oauth-scopes"), "read:audit_log, read:org");
    assert_eq!(header(&good, "github-authentication-token-expiration"), "2027-10-12 09:00:00 UTC");
    let missing =
        request(&format!("{}/orgs/nobody/audit-log", simulator.url()), Some("good")).await;
    assert_eq!(missing.status(), 404);
    let body: Value = missing.json().await.unwrap();
    assert_eq!((&body["message"], &body["status"]), (&json!("Not Found"), &json!("404")));

    let scopeless = request(&url, Some("scopeless")).await;
    assert_eq!(scopeless.status(), 403);
    assert_eq!(header(&scopeless, "x-accepted-oauth-scopes"), "read:audit_log");
    assert_eq!(header(&scopeless, "x-oauth-scopes"), "read:org");
    let sso = request(&url, Some("sso")).await;
    assert_eq!(sso.status(), 403);
    assert!(
        header(&sso, "x-github-sso")
            .starts_with("required; url=https://github.com/orgs/octo-shop/sso?")
    );

    assert_eq!(request(&url, None).await.status(), 401);
    let nameless =
        client(reqwest::Client::builder()).get(&url).bearer_auth("good").send().await.unwrap();
    assert_eq!(nameless.status(), 403, "no User-Agent");
    for _ in 0..2 {
        let wrong = request(&url, Some("wrong")).await;
        assert_eq!(wrong.status(), 401);
        assert_eq!(wrong.json::<Value>().await.unwrap()["message"], "Bad credentials");
    }
    assert_eq!(
        request(&url, Some("good")).await.status(),
        403,
        "after several wrong tokens everybody is refused"
    );
    simulator.clock().advance(600_001);
    assert_eq!(request(&url, Some("good")).await.status(), 200);
}

#[tokio::test]
async fn faults_meet_the_request_they_are_meant_for() {
    let simulator = started(settings()).await;
    simulator
        .add_json(
            (0..50).map(|n| event(NOW - DAY + n, &format!("id{n:02}"), "team.create", "octo-shop")),
        )
        .unwrap();
    let url = format!("{}/orgs/octo-shop/audit-log?per_page=10", simulator.url());
    simulator.fault_at(2, Fault::Status(502));
    assert_eq!(get(&url).await.status(), 200);
    assert_eq!(get(&url).await.status(), 502);
    assert_eq!(get(&url).await.status(), 200);

    simulator.fault_next(Fault::Html);
    simulator.fault_next(Fault::Truncated);
    let html = get(&url).await;
    assert!(header(&html, "content-type").starts_with("text/html"));
    let truncated = get(&url).await;
    assert_eq!(truncated.status(), 200);
    assert!(serde_json::from_slice::<Value>(&truncated.bytes().await.unwrap()).is_err());

    simulator.fault_next(Fault::Aborted);
    assert!(get(&url).await.bytes().await.is_err(), "the connection breaks");
    simulator.fault_next(Fault::Huge(1 << 20));
    let huge = get(&url).await.bytes().await.unwrap();
    assert!(huge.len() >= 1 << 20 && serde_json::from_slice::<Value>(&huge).is_ok());
    simulator.fault_next(Fault::OtherHost("evil.example".to_owned()));
    assert!(
        link(&get(&url).await, "next").unwrap().starts_with("http://evil.example/organizations/")
    );
    simulator.fault_next(Fault::Empty);
    assert_eq!(ids_of(get(&url).await).await, Vec::<String>::new());
    simulator.fault_next(Fault::SsoRequired);
    assert!(header(&get(&url).await, "x-github-sso").starts_with("required"));
    simulator.fault_next(Fault::RateLimited);
    assert_eq!(header(&get(&url).await, "x-ratelimit-remaining"), "0");
    for retry_after in [Some(7), None] {
        simulator.fault_next(Fault::SecondaryLimit { status: 429, retry_after });
        let limited = get(&url).await;
        assert_eq!(
            (limited.status().as_u16(), header(&limited, "retry-after")),
            (429, if retry_after.is_some() { "7" } else { "" })
        );
        assert_ne!(header(&limited, "x-ratelimit-remaining"), "0");
    }
    simulator.fault_next(Fault::Slow(Duration::from_millis(30)));
    let begun = std::time::Instant::now();
    assert_eq!(get(&url).await.status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(30));

    simulator.fault_always(Some(Fault::LoopPages));
    let first = link(&get(&url).await, "next").unwrap();
    let second = link(&get(&first).await, "next").unwrap();
    assert_eq!(first, second);
    simulator.fault_always(None);
    assert_eq!(follow(url, "next").await.len(), 50);
}

#[tokio::test]
async fn late_events_come_late_and_doubles_come_twice() {
    let settings = Settings {
        late_per_mille: 200,
        late_by: Duration::from_secs(3600),
        twice_per_mille: 300,
        ..settings()
    };
    let simulator = started(settings).await;
    simulator
        .add_json(
            (0..1000)
                .map(|n| event(NOW - 1000 + n, &format!("id{n:03}"), "team.create", "octo-shop")),
        )
        .unwrap();
    let url = format!("{}/orgs/octo-shop/audit-log?order=asc&per_page=100", simulator.url());
    let early = follow(url.clone(), "next").await;
    let distinct: HashSet<&String> = early.iter().collect();
    assert!((700..900).contains(&distinct.len()), "{} on time", distinct.len());
    assert!(early.len() > distinct.len() + 100, "{} twice", early.len() - distinct.len());
    simulator.clock().advance(3_600_000);
    assert_eq!(
        follow(url, "next").await.iter().collect::<HashSet<_>>().len(),
        1000,
        "all are there in the end"
    );
}

#[tokio::test]
async fn odd_values_are_served_and_keep_their_place() {
    let simulator = started(Settings { odd_per_mille: 1000, ..settings() }).await;
    let life =
        Life::new(Plan { days: 1, events: 200, stories: false, ..Plan::default() }.ending_at(NOW));
    simulator.add(life.events()).unwrap();
    let url =
        format!("{}/enterprises/octo-corp/audit-log?include=all&per_page=100", simulator.url());
    let events: Vec<Value> = get(&url).await.json().await.unwrap();
    assert!(events.iter().any(|event| event["org"].is_array()));
    assert!(events.iter().any(|event| event["action"] == "quantum_vault.entangle"));
    assert!(
        events.iter().any(|event| {
            event["user_agent"].as_str().is_some_and(|agent| agent.len() == 1 << 20)
        })
    );
    assert!(events.iter().any(|event| event["actor_id"].is_string()));
}

#[tokio::test]
async fn ghes_counts_pages_and_has_no_limits() {
    let simulator = started(Settings { ghes: Some("3.19.0".to_owned()), ..settings() }).await;
    simulator
        .add_json(
            (0..25).map(|n| {
                event(NOW - DAY * 400 + n, &format!("id{n:02}"), "team.create", "octo-shop")
            }),
        )
        .unwrap();
    assert!(simulator.url().ends_with("/api/v3"));
    let base = format!(
        "{}/orgs/octo-shop/audit-log?per_page=10&order=asc&phrase=created:%3E2020-01-01",
        simulator.url()
    );
    let first = get(&base).await;
    assert_eq!(header(&first, "x-github-enterprise-version"), "3.19.0");
    assert_eq!(header(&first, "x-ratelimit-limit"), "");
    assert!(link(&first, "last").unwrap().ends_with("&page=3"));
    assert!(link(&first, "next").unwrap().contains("/api/v3/orgs/octo-shop/audit-log?"));
    assert_eq!(follow(base, "next").await.len(), 25, "kept for ever");
    let limit = get(&format!("{}/rate_limit", simulator.url())).await;
    assert_eq!(limit.status(), 404);
    assert_eq!(limit.json::<Value>().await.unwrap()["message"], "Rate limiting is not enabled.");
    let meta: Value =
        request(&format!("{}/meta", simulator.url()), None).await.json().await.unwrap();
    assert_eq!(meta["installed_version"], "3.19.0");
    let user = get(&format!("{}/user", simulator.url())).await;
    assert_eq!((user.status().as_u16(), header(&user, "x-ratelimit-limit")), (200, ""));
    let versions = get(&format!("{}/versions", simulator.url())).await;
    assert_eq!(versions.status(), 404, "only GitHub.com has it");
}

#[tokio::test]
async fn the_enterprise_log_also_knows_pages_by_number() {
    let simulator = started(settings()).await;
    let events =
        (0..25).map(|n| event(NOW - DAY + n, &format!("id{n:02}"), "team.create", "octo-shop"));
    simulator.add_json(events).unwrap();
    let base = format!("{}/enterprises/octo-corp/audit-log?order=asc&per_page=10", simulator.url());
    let third = get(&format!("{base}&page=3")).await;
    assert_eq!(link(&third, "prev"), Some(format!("{base}&page=2")));
    assert_eq!(link(&third, "next"), None);
    assert_eq!(ids_of(third).await, ["id20", "id21", "id22", "id23", "id24"]);
    let of_org =
        format!("{}/orgs/octo-shop/audit-log?order=asc&per_page=1&page=3", simulator.url());
    assert_eq!(ids_of(get(&of_org).await).await, ["id00"], "the organization's does not");
}

#[tokio::test]
async fn the_small_endpoints_answer() {
    let simulator = started(settings()).await;
    let versions: Value =
        request(&format!("{}/versions", simulator.url()), None).await.json().await.unwrap();
    assert_eq!(versions, json!(["2022-11-28", "2026-03-10"]));
    let user = get(&format!("{}/user", simulator.url())).await;
    assert_eq!(header(&user, "x-oauth-scopes"), "read:audit_log, read:org");
    assert_eq!(header(&user, "x-ratelimit-resource"), "core");
    assert_eq!(header(&user, "x-ratelimit-reset"), ((NOW + 3_600_000) / 1000).to_string());
    let user: Value = user.json().await.unwrap();
    assert_eq!(user["url"], format!("{}/users/octo-auditor", simulator.url()));
    for (version, has_rate) in [("2022-11-28", true), ("2026-03-10", false)] {
        let client = client(reqwest::Client::builder().user_agent("test"));
        let limits = client.get(format!("{}/rate_limit", simulator.url()));
        let limits = limits.bearer_auth("ghp_simulator").header("x-github-api-version", version);
        let limits = limits.send().await.unwrap();
        assert_eq!(header(&limits, "x-github-api-version-selected"), version);
        let limits: Value = limits.json().await.unwrap();
        assert_eq!(limits.get("rate").is_some(), has_rate, "{version}");
    }
    let org: Value =
        get(&format!("{}/orgs/Octo-Shop", simulator.url())).await.json().await.unwrap();
    assert_eq!((&org["login"], &org["id"]), (&json!("octo-shop"), &json!(80_307_827)));
    assert!(
        simulator
            .add_json(["[]"])
            .unwrap_err()
            .to_string()
            .starts_with("event 1 is not an audit event")
    );
    let url = simulator.url();
    simulator.stop().await;
    assert!(client(reqwest::Client::builder().user_agent("test")).get(url).send().await.is_err());
}
