//! What each action has beyond the fields that all events have.

use super::super::act::{pull_request_fields, rfc3339, run_fields, run_id};
use super::super::line::{Line, hashed_token};
use super::super::names::{FIRST, LAST, PACKAGES};
use super::super::rhythm::HOUR;
use super::super::rng::{Rng, mix};
use super::super::world::{MAIL_DOMAIN, Repo};
use super::Scene;

/// The login of somebody who is not (or no longer) one of the people that act.
pub(super) fn newcomer(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    format!("{}-{}-{}", rng.pick(&FIRST), rng.pick(&LAST), rng.between(2, 99))
}

pub(super) fn number(scene: &Scene<'_>) -> i64 {
    (scene.seed >> 7) as i64 % 9_000_000
}

pub(super) fn new_repository<'l>(
    line: &'l mut Line,
    scene: &Scene<'_>,
    repo: &Repo,
) -> &'l mut Line {
    let mut rng = Rng::new(scene.seed);
    let subject = repo.short_name().split('-').next().unwrap_or_default();
    let org = &scene.world.orgs[repo.org];
    let name = format!(
        "{}/{subject}-{}-{}",
        org.name,
        rng.pick(&["tool", "service", "demo", "spike"]),
        rng.between(2, 99)
    );
    let visibility = if rng.percent(40) { "internal" } else { "private" };
    line.raw(&org.web)
        .text("repo", &name)
        .int("repo_id", 390_000_000 + number(scene))
        .flag("public_repo", false);
    line.text("visibility", visibility).text("request_method", "post")
}

pub(super) fn none(_: &mut Line, _: &Scene<'_>, _: &Repo) {}

pub(super) fn pull_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
}

pub(super) fn review(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
    line.int("review_id", 3_100_000_000 + number(scene));
}

pub(super) fn review_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
    let reviewer = &scene.world.actors[scene.world.member(&mut Rng::new(scene.seed))];
    line.text("reviewer", &reviewer.login)
        .int("reviewer_id", reviewer.id)
        .text("reviewer_type", "User");
}

pub(super) fn agent_pull_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
    line.flag("actor_is_agent", true);
    line.text(
        "agent_session_id",
        &format!("{:08x}-5f1c-4a7e-9d21-{:012x}", scene.seed >> 32, scene.seed & 0xFFFF_FFFF),
    );
}

pub(super) fn comment(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("comment_id", 2_400_000_000 + number(scene));
}

pub(super) fn run(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    run_fields(line, repo, scene.seed, scene.at_ms - 240_000);
}

pub(super) fn cancelled(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    run(line, scene, repo);
    line.text("cancelled_at", &rfc3339(scene.at_ms));
}

pub(super) fn rerun(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    run(line, scene, repo);
    line.null("check_run_id").text("rerun_type", "failed_jobs").int("run_attempt", 2);
}

pub(super) fn approved(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("run_number", number(scene) % 8000).int("workflow_run_id", run_id(scene.seed));
}

pub(super) fn vulnerability(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let mut rng = Rng::new(scene.seed);
    line.flag("active", true)
        .int("alert_id", 900_000 + number(scene))
        .int("alert_number", number(scene) % 300 + 1);
    let letters = b"23456789cfghjmpqrvwx";
    let mut part = || -> String { (0..4).map(|_| char::from(*rng.pick(letters))).collect() };
    line.text("ghsa_id", &format!("GHSA-{}-{}-{}", part(), part(), part()));
    line.text("owner", &scene.world.orgs[repo.org].name);
}

pub(super) fn dismissed(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    vulnerability(line, scene, repo);
    line.text("dismiss_comment", "only used by the tests").text("dismiss_reason", "not_used");
}

pub(super) fn code_alert(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("alert_number", number(scene) % 400 + 1).null("alert_numbers");
    line.sha("commit_oid", scene.seed).text("ref", "refs/heads/main");
}

pub(super) fn secret_alert(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.flag("multi_repo", false)
        .int("number", number(scene) % 60 + 1)
        .flag("publicly_leaked", false);
    line.text("secret_type", "slack_api_token").text("secret_type_display_name", "Slack API Token");
}

pub(super) fn secret_resolved(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    secret_alert(line, scene, repo);
    line.text("resolution", "revoked");
}

pub(super) fn secret_bypassed(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    secret_alert(line, scene, repo);
    line.text("push_protection_bypass_reason", "used_in_tests");
    line.null("request_reviewer").null("request_reviewer_comment").null("request_reviewer_id");
}

pub(super) fn scanned(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text("started_at", &rfc3339(scene.at_ms - HOUR))
        .text("completed_at", &rfc3339(scene.at_ms));
    line.texts("secret_types", &["slack_api_token", "aws_access_key_id"])
        .text("source", "Git")
        .text("source_slug", "git");
    line.text("type", "Incremental").text("type_slug", "incremental");
}

pub(super) fn package(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let seed = scene.seed;
    line.text("ecosystem", if seed & 1 == 0 { "npm" } else { "container" })
        .flag("is_republished", false);
    line.text("package", repo.short_name())
        .text("version", &format!("{}.{}.{}", seed >> 4 & 7, seed >> 8 & 31, seed >> 16 & 63));
}

pub(super) fn cache(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("actions_cache_id", number(scene)).text("actions_cache_scope", "refs/heads/main");
    line.text(
        "actions_cache_key",
        &format!("{}-{:x}", PACKAGES[scene.seed as usize % PACKAGES.len()], scene.seed >> 32),
    );
    line.sha("actions_cache_version", scene.seed);
}

pub(super) fn codespace(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let owner = &scene.world.actors[scene.actor].login;
    line.text("devcontainer_path", ".devcontainer/devcontainer.json")
        .text("machine_type", "standardLinux32gb");
    line.text("name", &format!("{owner}-{:x}", scene.seed >> 40))
        .text("owner", owner)
        .null("pull_request_id");
}

pub(super) fn secret_key(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let key = ["NPM_TOKEN", "DEPLOY_KEY", "SENTRY_DSN", "DATABASE_URL"][scene.seed as usize & 3];
    line.text("key", key).text("visibility", repo.visibility);
}

pub(super) fn environment(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text("environment_name", ["staging", "production", "preview"][scene.seed as usize % 3]);
}

pub(super) fn environment_secret(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    environment(line, scene, repo);
    secret_key(line, scene, repo);
}

pub(super) fn visibility(line: &mut Line, _: &Scene<'_>, repo: &Repo) {
    line.text("visibility", repo.visibility);
}

pub(super) fn collaborator(line: &mut Line, _: &Scene<'_>, repo: &Repo) {
    line.text("permission", "write").text("visibility", repo.visibility);
}

pub(super) fn branch(line: &mut Line, _: &Scene<'_>, _: &Repo) {
    line.text("name", "release").flag("admin_enforced", true).flag("create_protected", true);
    line.int("allow_deletions_enforcement_level", 0).int("allow_force_pushes_enforcement_level", 0);
    line.texts("authorized_actor_names", &[]).flag("dismiss_stale_reviews_on_push", true);
    line.int("enforcement_level", 2).int("linear_history_requirement_enforcement_level", 0);
    line.int("pull_request_reviews_enforcement_level", 2).flag("require_code_owner_review", true);
    line.flag("require_last_push_approval", true).int("required_approving_review_count", 2);
    line.int("required_status_checks_enforcement_level", 2)
        .int("signature_requirement_enforcement_level", 0);
    line.flag("strict_required_status_checks_policy", true);
}

pub(super) fn check(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text("context", ["ci/build", "ci/test", "codeql"][scene.seed as usize % 3]);
}

pub(super) fn rejected(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.sha("after", scene.seed).sha("before", !scene.seed).text("branch", "refs/heads/main");
    line.json("compliant_pull_request_ids", "[]").json("overridden_codes", "[]");
    let message = "At least 1 approving review is required by reviewers with write access.";
    line.json(
        "reasons",
        &format!(r#"[{{"code":"review_policy_not_satisfied","message":"{message}"}}]"#),
    );
    line.null("referrer").int("rule_suite_id", 700_000_000 + number(scene));
}

pub(super) fn ruleset(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("ruleset_id", 1_000_000 + number(scene) % 900_000)
        .text("ruleset_name", "Release branches");
    line.text("ruleset_enforcement", "enabled").text("ruleset_source_type", "Repository");
}

pub(super) fn ruleset_created(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    ruleset(line, scene, repo);
    line.text("name", "Release branches").json("ruleset_bypass_actors", "[]");
    line.json(
        "ruleset_conditions",
        r#"[{"target":"ref_name","parameters":{"include":["refs/heads/release/*"]}}]"#,
    );
    line.json("ruleset_rules", r#"[{"type":"deletion"},{"type":"non_fast_forward"}]"#);
}

pub(super) fn hook(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.flag("active", true)
        .texts("events", &["push", "pull_request"])
        .int("hook_id", 420_000_000 + number(scene));
    line.null("integration").text("name", "web").null("sponsors_listing_id");
}

pub(super) fn deploy_key(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    fingerprint(line, scene.seed);
    line.flag("read_only", true).text("title", "gitops");
}

pub(super) fn user_key(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    fingerprint(line, scene.seed);
    line.flag("read_only", false).text("title", "laptop");
}

/// The fingerprint of an SSH key.
pub(crate) fn fingerprint(line: &mut Line, seed: u64) {
    let hash = hashed_token(&mut Rng::new(seed));
    line.text("fingerprint", &format!("SHA256:{}", String::from_utf8_lossy(&hash[..43])));
}

pub(super) fn team(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let repo = &scene.world.repos[scene.repo];
    let name = repo.short_name().split('-').next().unwrap_or_default();
    line.text("team", &format!("{}/{name}", scene.world.orgs[repo.org].name))
        .text("team_type", "organization");
}

pub(super) fn team_repository(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    team(line, scene, repo);
    line.text("permission", "write").text("repo", &repo.name).int("repo_id", repo.id);
}

pub(super) fn invited(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let email = format!("{}@{MAIL_DOMAIN}", newcomer(scene.seed));
    line.text("email", &email)
        .int("invitation_id", 50_000_000 + number(scene))
        .text("invitee_email", &email);
}

pub(super) fn joined(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("invitation_id", 50_000_000 + number(scene)).text("permission", "read");
}

pub(super) fn token_authorized(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.null("application_id").null("application_name").null("application_type");
    let hash = hashed_token(&mut Rng::new(scene.seed));
    line.text("managed_hashed_token", &String::from_utf8_lossy(&hash))
        .null("managed_oauth_access_id");
    line.text("managed_token_scopes", "read:org,repo")
        .int("managed_token_id", 2_000_000_000 + number(scene));
    line.text("oauth_credential_type", "personal access token");
}

pub(super) fn token_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    line.texts("repositories", &[&repo.name]).text("repository_selection", "subset");
    line.int("user_programmatic_access_id", 400_000 + number(scene));
    line.text("user_programmatic_access_name", "local development");
}

pub(super) fn seat(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let owner = &scene.world.orgs[repo.org].name;
    line.text("owner", owner).text("owner_type", "Organization");
}

pub(super) fn runner(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let runner = scene.seed & 31;
    line.int("runner_id", 40 + runner as i64)
        .text("runner_name", &format!("octo-runner-{runner:02}"));
}

pub(super) fn app_repository(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let app = ["renovate", "codecov", "mergify"][scene.seed as usize % 3];
    line.text("application_client_id", &format!("Iv1.{:016x}", mix(app.len() as u64)));
    line.text("integration", app).text("name", app).text("repository_selection", "selected");
    line.json("repositories_added", &format!("[{}]", repo.id))
        .texts("repositories_added_names", &[&repo.name]);
}

pub(super) fn property(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("definition_id", 1200 + number(scene) % 9).text("property_name", "criticality");
    line.text("value", ["low", "medium", "high"][scene.seed as usize % 3]);
}

pub(super) fn sso(line: &mut Line, _: &Scene<'_>, _: &Repo) {
    line.text("issuer", "https://idp.octo-corp.example/app/github");
}

pub(super) fn enterprise_sso(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    sso(line, scene, repo);
    line.text("name", "Octo Corp");
}

pub(super) fn scim(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text(
        "scim_user_id",
        &format!("{:08x}-7d3a-11ef-bf4c-{:012x}", scene.seed >> 32, scene.seed & 0xFFFF_FFFF),
    );
}
