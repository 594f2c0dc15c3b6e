//! What the generated life promises to those who read it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::rhythm::{DAY, HOUR, MINUTE};
use super::*;

/// Days and events at which the default density of a million in thirty days holds.
const DENSE: Plan = Plan {
    seed: 7,
    start_ms: 1_793_491_200_000 - 3 * DAY,
    days: 3,
    events: 100_000,
    stories: true,
};

fn parsed(event: &Generated) -> Value {
    serde_json::from_slice(&event.json).unwrap()
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_default()
}

#[test]
fn same_seed_same_bytes() {
    let plan = Plan { days: 2, events: 5_000, ..DENSE };
    let life = Life::new(plan.clone());
    let first: Vec<Generated> = life.events().collect();
    assert_eq!(first, life.events().collect::<Vec<_>>(), "the same life told again");
    assert_eq!(
        first,
        Life::new(plan.clone()).events().collect::<Vec<_>>(),
        "the same plan in another life"
    );
    let other = Life::new(Plan { seed: 8, ..plan });
    assert_ne!(first, other.events().collect::<Vec<_>>());
}

#[test]
fn as_many_events_as_planned_in_the_order_of_time() {
    for (days, events) in [(1, 1_000), (2, 7_777), (30, 20_000), (3, 60_000)] {
        let life = Life::new(Plan { days, events, ..DENSE });
        let mut last_ms = life.plan().start_ms;
        let mut count = 0;
        for event in life.events() {
            assert!(event.at_ms >= last_ms && event.at_ms < life.plan().end_ms());
            last_ms = event.at_ms;
            count += 1;
        }
        assert_eq!(count, events, "{days} days");
    }
}

#[test]
fn the_mix_and_the_size_are_those_of_a_real_log() {
    let mut parts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut bytes, mut smallest, mut keys, mut working_day, mut weekend) =
        (0, usize::MAX, 0, 0_u64, 0_u64);
    for event in Life::new(Plan { days: 7, ..DENSE }).events() {
        let value = parsed(&event);
        let part = match text(&value, "action").split('.').next() {
            Some("git") => "git",
            Some("workflows") => "workflows",
            _ => "web",
        };
        *parts.entry(part).or_default() += 1;
        bytes += event.json.len();
        smallest = smallest.min(event.json.len());
        keys += value.as_object().unwrap().len();
        if super::rhythm::is_weekend(event.at_ms) { weekend += 1 } else { working_day += 1 }
    }
    let share = |part: &str| parts[part] as f64 / DENSE.events as f64;
    assert!((0.60..0.70).contains(&share("git")), "{parts:?}");
    assert!((0.20..0.25).contains(&share("workflows")), "{parts:?}");
    assert!((0.08..0.18).contains(&share("web")), "{parts:?}");
    let mean = bytes as f64 / DENSE.events as f64;
    assert!((900.0..1100.0).contains(&mean), "mean size {mean}");
    assert!(smallest > 600, "smallest {smallest}");
    let keys = keys as f64 / DENSE.events as f64;
    assert!((28.0..34.0).contains(&keys), "mean keys {keys}");
    assert!(working_day / 5 > 2 * (weekend / 2), "{working_day} in five days, {weekend} in two");
}

#[test]
fn every_event_has_what_readers_rely_on() {
    let mut ids = HashSet::new();
    let life = Life::new(DENSE);
    let orgs: HashMap<Arc<str>, i64> = life.orgs().collect();
    for event in life.events() {
        let value = parsed(&event);
        assert_eq!(value["@timestamp"], event.at_ms);
        let id = text(&value, "_document_id").to_owned();
        assert_eq!(id.len(), 22);
        assert!(ids.insert(id), "{value}");
        assert_eq!(value["business"], life.enterprise());
        assert_eq!(event.enterprise_only, event.org.is_empty());
        if event.enterprise_only {
            assert_ne!(text(&value, "action").split('.').next(), Some("git"));
        } else {
            assert_eq!(text(&value, "org"), &*event.org);
            assert_eq!(value["org_id"], orgs[&event.org]);
        }
        let names: Vec<&str> = top_level_names(&event.json);
        assert_eq!(
            names.len(),
            names.iter().collect::<BTreeSet<_>>().len(),
            "a name twice in {value}"
        );
    }
}

/// Names of the outermost object as written, repeats included.
fn top_level_names(json: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(json).unwrap();
    let (mut depth, mut names, mut start, mut previous) = (0, Vec::new(), None, ' ');
    for (place, letter) in text.char_indices() {
        match (start, letter) {
            (None, '"') => start = Some(place + 1),
            (Some(from), '"') if previous != '\\' => {
                if depth == 1 && text[place + 1..].starts_with(':') {
                    names.push(&text[from..place]);
                }
                start = None;
            }
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            _ => {}
        }
        previous = letter;
    }
    names
}

#[test]
fn every_action_is_in_githubs_catalogue_and_in_the_right_log() {
    let catalogue: HashMap<&str, &str> = include_str!("../../fixtures/actions-used.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let mut used = BTreeSet::new();
    for event in Life::new(DENSE).events() {
        let value = parsed(&event);
        let action = text(&value, "action");
        let Some(log) = catalogue.get(action) else {
            panic!("{action} is not an action of GitHub");
        };
        assert_eq!(event.enterprise_only, *log == "enterprise", "{action}");
        used.insert(action.to_owned());
    }
    assert!(used.len() > 85, "only {} kinds of action", used.len());
}

#[test]
fn stories_are_whole_even_in_a_short_life() {
    for (days, events) in [(1, 2_000), (6, 20_000), (30, 20_000)] {
        let life = Life::new(Plan { days, events, ..DENSE });
        let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); life.stories().len()];
        for event in life.events() {
            if let Some(story) = event.story {
                assert!(seen[story].insert(text(&parsed(&event), "_document_id").to_owned()));
            }
        }
        for (index, story) in life.stories().iter().enumerate() {
            assert_eq!(seen[index], life.document_ids(index), "{}", story.name);
            assert_eq!(seen[index].len(), story.events, "{}", story.name);
            assert!(story.events > 0 && story.first_ms >= life.plan().start_ms, "{}", story.name);
            assert_eq!(
                story.expects.is_empty(),
                story.kind == StoryKind::Lookalike,
                "{}",
                story.name
            );
        }
    }
    let life = Life::new(DENSE);
    let named = |kind| {
        life.stories()
            .iter()
            .filter(|story| story.kind == kind)
            .map(|story| story.name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(StoryKind::Campaign),
        [
            "repository-made-public",
            "rogue-owner-added",
            "single-sign-on-weakened",
            "insider-downloads-archives",
            "scanning-switched-off",
            "app-scope-widened",
            "audit-stream-cut",
            "mass-deletion",
            "token-stolen-repositories-cloned",
            "protection-off-and-pushed",
            "rogue-runner-registered",
            "history-force-pushed",
            "worm-repositories-published",
        ]
    );
    assert_eq!(
        named(StoryKind::Lookalike),
        [
            "team-joins-and-clones",
            "bot-clean-up",
            "people-leave",
            "planned-migration",
            "new-laptop",
            "release-day"
        ]
    );
}

/// How many distinct values one key reaches within any span.
struct Window {
    span_ms: i64,
    recent: HashMap<String, VecDeque<(i64, String)>>,
    most: HashMap<String, usize>,
}

impl Window {
    fn new(span_ms: i64) -> Self {
        Self { span_ms, recent: HashMap::new(), most: HashMap::new() }
    }

    fn see(&mut self, key: &str, at_ms: i64, value: &str) {
        let recent = self.recent.entry(key.to_owned()).or_default();
        recent.push_back((at_ms, value.to_owned()));
        while recent.front().is_some_and(|(first, _)| at_ms - first > self.span_ms) {
            recent.pop_front();
        }
        let distinct = recent.iter().map(|(_, value)| value).collect::<HashSet<_>>().len();
        let most = self.most.entry(key.to_owned()).or_default();
        *most = distinct.max(*most);
    }

    fn most(&self) -> usize {
        self.most.values().copied().max().unwrap_or(0)
    }
}

/// The thresholds that detections put on people, measured over everything that belongs to no campaign.
#[test]
fn ordinary_life_and_lookalikes_stay_below_every_threshold() {
    let life = Life::new(Plan { events: 200_000, ..DENSE });
    let lists = life.lists();
    let listed = |actor: &str| {
        let of = |name: &str| lists[name].iter().any(|listed| listed == actor);
        actor.ends_with("[bot]") || of("machine_users") || of("migration_operators")
    };
    let mut by_user = Window::new(30 * MINUTE);
    let mut by_token = Window::new(5 * MINUTE);
    let (mut zips, mut closed, mut destroyed) =
        (Window::new(30 * MINUTE), Window::new(8 * MINUTE), Window::new(30 * MINUTE));
    let (mut created, mut dismissed, mut rejected) =
        (Window::new(HOUR), Window::new(10 * MINUTE), Window::new(8 * MINUTE));
    let campaign = |event: &Generated| {
        event.story.is_some_and(|story| life.stories()[story].kind == StoryKind::Campaign)
    };
    for event in life.events().filter(|event| !campaign(event)) {
        let value = parsed(&event);
        let (actor, at_ms, id) = (text(&value, "actor"), event.at_ms, text(&value, "_document_id"));
        match text(&value, "action") {
            "git.clone" if !listed(actor) && value["repository_public"] == false => {
                by_user.see(actor, at_ms, text(&value, "repo"));
                by_token.see(text(&value, "hashed_token"), at_ms, text(&value, "repo"));
            }
            "repo.download_zip" => zips.see(actor, at_ms, text(&value, "repo")),
            "pull_request.close" => closed.see(actor, at_ms, id),
            "repo.destroy" => destroyed.see(actor, at_ms, text(&value, "repo")),
            "repo.create" => created.see(actor, at_ms, id),
            "repository_vulnerability_alert.dismiss" | "secret_scanning_alert.resolve" => {
                dismissed.see(actor, at_ms, id)
            }
            "protected_branch.rejected_ref_update" => rejected.see(actor, at_ms, id),
            _ => {}
        }
    }
    assert!((1..=5).contains(&by_user.most()), "clones by a person: {}", by_user.most());
    assert!((1..10).contains(&by_token.most()), "clones by a token: {}", by_token.most());
    assert!((1..=5).contains(&zips.most()), "archives: {}", zips.most());
    assert!((1..10).contains(&closed.most()), "pull requests closed: {}", closed.most());
    assert!((1..3).contains(&destroyed.most()), "repositories destroyed: {}", destroyed.most());
    assert_eq!(created.most(), 1, "repositories created by one person within an hour");
    assert!((1..5).contains(&dismissed.most()), "alerts dismissed: {}", dismissed.most());
    assert!((1..5).contains(&rejected.most()), "pushes rejected: {}", rejected.most());
}

/// Acts that detections of high or critical severity name, each alone worth a look.
const ALARMING: [&str; 39] = [
    "org.disable_saml",
    "org.disable_two_factor_requirement",
    "org.disable_oauth_app_restrictions",
    "org.recovery_codes_viewed",
    "org.recovery_codes_downloaded",
    "org.disable_source_ip_disclosure",
    "business.disable_source_ip_disclosure",
    "business.add_admin",
    "business.invite_admin",
    "business.remove_admin",
    "org.update_member",
    "organization_role.create",
    "organization_role.assign",
    "org.integration_manager_added",
    "org.update_default_repository_permission",
    "repo.access",
    "repo.transfer",
    "repo.transfer_outgoing",
    "org.transfer",
    "business.remove_organization",
    "org.delete",
    "protected_branch.destroy",
    "protected_branch.policy_override",
    "protected_branch.update_required_approving_review_count",
    "repository_ruleset.destroy",
    "repository_ruleset.update",
    "repository_secret_scanning.disable",
    "repository_secret_scanning_push_protection.disable",
    "repo.advanced_security_disabled",
    "repository_vulnerability_alerts.disable",
    "secret_scanning_alert.create",
    "secret_scanning_alert.public_leak",
    "audit_log_streaming.update",
    "audit_log_streaming.destroy",
    "hook.destroy",
    "integration_installation.version_updated",
    "integration.generate_client_secret",
    "environment.remove_protection_rule",
    "copilot.content_exclusion_changed",
];

#[test]
fn only_two_alarming_acts_belong_to_no_campaign() {
    let life = Life::new(Plan { events: 200_000, ..DENSE });
    let mut alarms = Vec::new();
    let mut in_campaigns = 0;
    for event in life.events() {
        let value = parsed(&event);
        let action = text(&value, "action");
        let alarming = ALARMING.contains(&action)
            || (action == "org.add_member" && value["permission"] == "admin")
            || (action == "migration.create"
                && text(&value, "actor") != lookalikes::MIGRATION_OPERATOR)
            || (action == "org.invite_member"
                && !text(&value, "invitee_email").ends_with(&format!("@{}", world::MAIL_DOMAIN)));
        match event.story.map(|story| life.stories()[story].kind) {
            Some(StoryKind::Campaign) => in_campaigns += u64::from(alarming),
            _ if alarming => alarms.push(value.to_string()),
            _ => {}
        }
    }
    assert_eq!(alarms.len(), alarms::COUNT, "{alarms:#?}");
    assert!(in_campaigns >= 50, "{in_campaigns}");
}

#[test]
fn the_stolen_token_clones_faster_than_any_threshold() {
    let life = Life::new(DENSE);
    let index = life
        .stories()
        .iter()
        .position(|story| story.name == "token-stolen-repositories-cloned")
        .unwrap();
    let (mut by_token, mut by_user, mut repos) =
        (Window::new(5 * MINUTE), Window::new(30 * MINUTE), HashSet::new());
    for event in life.events().filter(|event| event.story == Some(index)) {
        let value = parsed(&event);
        assert_eq!(value["repository_public"], false);
        assert_eq!(value["programmatic_access_type"], "Personal access token (classic)");
        by_token.see(text(&value, "hashed_token"), event.at_ms, text(&value, "repo"));
        by_user.see(text(&value, "actor"), event.at_ms, text(&value, "repo"));
        repos.insert(text(&value, "repo").to_owned());
    }
    assert!(repos.len() >= 60 && by_token.most() >= 10 && by_user.most() == repos.len());
}
