//! Everything people and apps do that is neither Git nor a workflow run: a table of actions with their fields.
//!
//! The table avoids what a person on duty would be woken for (owners added, protection removed, repositories made
//! public …): such acts belong to stories, and to the two alarms of [`super::alarms`].

use super::act::{Written, pull_request_fields, rfc3339, run_fields, run_id};
use super::line::Line;
use super::names::{FIRST, LAST, PACKAGES};
use super::rhythm::HOUR;
use super::rng::Rng;
use super::world::{ENTERPRISE, ENTERPRISE_ID, MAIL_DOMAIN, Repo, World, bot};

/// Who does such a thing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Somebody in a repository of the own team.
    Developer,
    /// The same, but seldom: at most four such acts in half an hour, so that no burst arises by chance.
    Careful,
    /// Somebody who administers the organization.
    Admin,
    /// A program, by its place in [`World::actors`].
    Program(usize),
}

/// What the event is about, so which of enterprise, organization and repository it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Repo,
    /// A repository that did not exist before.
    NewRepo,
    Org,
    /// An organization, but told only to the enterprise.
    OrgForEnterprise,
    Enterprise,
}

/// Whom `user` names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Actor,
    Member,
    Newcomer,
}

pub(crate) struct Kind {
    pub(crate) action: &'static str,
    operation: &'static str,
    pub(crate) who: Who,
    pub(crate) about: About,
    subject: Subject,
    fields: fn(&mut Line, &Scene<'_>, &Repo),
}

/// One act of ordinary life with everything that its fields are made of.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) at_ms: i64,
    pub(crate) actor: usize,
    pub(crate) repo: usize,
    pub(crate) place: usize,
    pub(crate) seed: u64,
}

impl Kind {
    const fn dev(
        action: &'static str,
        operation: &'static str,
        fields: fn(&mut Line, &Scene<'_>, &Repo),
    ) -> Self {
        Self {
            action,
            operation,
            who: Who::Developer,
            about: About::Repo,
            subject: Subject::Actor,
            fields,
        }
    }

    const fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    const fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    const fn on(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    const fn admin(
        action: &'static str,
        operation: &'static str,
        fields: fn(&mut Line, &Scene<'_>, &Repo),
    ) -> Self {
        Self::dev(action, operation, fields)
            .by(Who::Admin)
            .about(About::Org)
    }

    pub(crate) fn write(&self, scene: &Scene<'_>, id: &[u8; 22], rng: &mut Rng) -> Written {
        let (world, repo) = (scene.world, &scene.world.repos[scene.repo]);
        let actor = &world.actors[scene.actor];
        let mut line = Line::event(scene.at_ms, id, self.action);
        line.raw(&actor.web[scene.place]);
        match self.about {
            About::Repo => line.raw(&repo.web),
            About::NewRepo => new_repository(&mut line, scene, repo),
            About::Org | About::OrgForEnterprise => line.raw(&world.orgs[repo.org].web),
            About::Enterprise => line
                .text("business", ENTERPRISE)
                .int("business_id", ENTERPRISE_ID),
        };
        line.int("created_at", scene.at_ms)
            .text("operation_type", self.operation);
        line.null("request_access_security_header")
            .text("request_category", "other")
            .request_id(rng);
        match self.subject {
            Subject::Actor => line.text("user", &actor.login).int("user_id", actor.id),
            Subject::Member => {
                let member = &world.actors[world.member(&mut Rng::new(scene.seed))];
                line.text("user", &member.login).int("user_id", member.id)
            }
            Subject::Newcomer => line
                .text("user", &newcomer(scene.seed))
                .int("user_id", 190_000_000 + number(scene)),
        };
        (self.fields)(&mut line, scene, repo);
        let org =
            matches!(self.about, About::Repo | About::NewRepo | About::Org).then_some(repo.org);
        Written {
            json: line.close(),
            org,
        }
    }
}

/// The login of somebody who is not (or no longer) one of the people that act.
fn newcomer(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    format!(
        "{}-{}-{}",
        rng.pick(&FIRST),
        rng.pick(&LAST),
        rng.between(2, 99)
    )
}

fn number(scene: &Scene<'_>) -> i64 {
    (scene.seed >> 7) as i64 % 9_000_000
}

fn new_repository<'l>(line: &'l mut Line, scene: &Scene<'_>, repo: &Repo) -> &'l mut Line {
    let mut rng = Rng::new(scene.seed);
    let subject = repo.short_name().split('-').next().unwrap_or_default();
    let org = &scene.world.orgs[repo.org];
    let name = format!(
        "{}/{subject}-{}-{}",
        org.name,
        rng.pick(&["tool", "service", "demo", "spike"]),
        rng.between(2, 99)
    );
    let visibility = if rng.percent(40) {
        "internal"
    } else {
        "private"
    };
    line.raw(&org.web)
        .text("repo", &name)
        .int("repo_id", 390_000_000 + number(scene))
        .flag("public_repo", false);
    line.text("visibility", visibility)
        .text("request_method", "post")
}

fn none(_: &mut Line, _: &Scene<'_>, _: &Repo) {}

fn pull_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
}

fn review(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
    line.int("review_id", 3_100_000_000 + number(scene));
}

fn review_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
    let reviewer = &scene.world.actors[scene.world.member(&mut Rng::new(scene.seed))];
    line.text("reviewer", &reviewer.login)
        .int("reviewer_id", reviewer.id)
        .text("reviewer_type", "User");
}

fn agent_pull_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    pull_request_fields(line, repo, scene.seed);
    line.flag("actor_is_agent", true);
    line.text(
        "agent_session_id",
        &format!(
            "{:08x}-5f1c-4a7e-9d21-{:012x}",
            scene.seed >> 32,
            scene.seed & 0xFFFF_FFFF
        ),
    );
}

fn comment(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("comment_id", 2_400_000_000 + number(scene));
}

fn run(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    run_fields(line, repo, scene.seed, scene.at_ms - 240_000);
}

fn cancelled(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    run(line, scene, repo);
    line.text("cancelled_at", &rfc3339(scene.at_ms));
}

fn rerun(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    run(line, scene, repo);
    line.null("check_run_id")
        .text("rerun_type", "failed_jobs")
        .int("run_attempt", 2);
}

fn approved(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("run_number", number(scene) % 8000)
        .int("workflow_run_id", run_id(scene.seed));
}

fn vulnerability(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let mut rng = Rng::new(scene.seed);
    line.flag("active", true)
        .int("alert_id", 900_000 + number(scene))
        .int("alert_number", number(scene) % 300 + 1);
    let letters = b"23456789cfghjmpqrvwx";
    let mut part = || -> String { (0..4).map(|_| char::from(*rng.pick(letters))).collect() };
    line.text("ghsa_id", &format!("GHSA-{}-{}-{}", part(), part(), part()));
    line.text("owner", &scene.world.orgs[repo.org].name);
}

fn dismissed(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    vulnerability(line, scene, repo);
    line.text("dismiss_comment", "only used by the tests")
        .text("dismiss_reason", "not_used");
}

fn code_alert(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("alert_number", number(scene) % 400 + 1)
        .null("alert_numbers");
    line.sha("commit_oid", scene.seed)
        .text("ref", "refs/heads/main");
}

fn secret_alert(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.flag("multi_repo", false)
        .int("number", number(scene) % 60 + 1)
        .flag("publicly_leaked", false);
    line.text("secret_type", "slack_api_token")
        .text("secret_type_display_name", "Slack API Token");
}

fn secret_resolved(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    secret_alert(line, scene, repo);
    line.text("resolution", "revoked");
}

fn secret_bypassed(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    secret_alert(line, scene, repo);
    line.text("push_protection_bypass_reason", "used_in_tests");
    line.null("request_reviewer")
        .null("request_reviewer_comment")
        .null("request_reviewer_id");
}

fn scanned(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text("started_at", &rfc3339(scene.at_ms - HOUR))
        .text("completed_at", &rfc3339(scene.at_ms));
    line.texts("secret_types", &["slack_api_token", "aws_access_key_id"])
        .text("source", "Git")
        .text("source_slug", "git");
    line.text("type", "Incremental")
        .text("type_slug", "incremental");
}

fn package(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let seed = scene.seed;
    line.text("ecosystem", if seed & 1 == 0 { "npm" } else { "container" })
        .flag("is_republished", false);
    line.text("package", repo.short_name()).text(
        "version",
        &format!("{}.{}.{}", seed >> 4 & 7, seed >> 8 & 31, seed >> 16 & 63),
    );
}

fn cache(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("actions_cache_id", number(scene))
        .text("actions_cache_scope", "refs/heads/main");
    line.text(
        "actions_cache_key",
        &format!(
            "{}-{:x}",
            PACKAGES[scene.seed as usize % PACKAGES.len()],
            scene.seed >> 32
        ),
    );
    line.sha("actions_cache_version", scene.seed);
}

fn codespace(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let owner = &scene.world.actors[scene.actor].login;
    line.text("devcontainer_path", ".devcontainer/devcontainer.json")
        .text("machine_type", "standardLinux32gb");
    line.text("name", &format!("{owner}-{:x}", scene.seed >> 40))
        .text("owner", owner)
        .null("pull_request_id");
}

fn secret_key(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let key = ["NPM_TOKEN", "DEPLOY_KEY", "SENTRY_DSN", "DATABASE_URL"][scene.seed as usize & 3];
    line.text("key", key).text("visibility", repo.visibility);
}

fn environment(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text(
        "environment_name",
        ["staging", "production", "preview"][scene.seed as usize % 3],
    );
}

fn environment_secret(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    environment(line, scene, repo);
    secret_key(line, scene, repo);
}

fn visibility(line: &mut Line, _: &Scene<'_>, repo: &Repo) {
    line.text("visibility", repo.visibility);
}

fn collaborator(line: &mut Line, _: &Scene<'_>, repo: &Repo) {
    line.text("permission", "write")
        .text("visibility", repo.visibility);
}

fn branch(line: &mut Line, _: &Scene<'_>, _: &Repo) {
    line.text("name", "release")
        .flag("admin_enforced", true)
        .flag("create_protected", true);
    line.int("allow_deletions_enforcement_level", 0)
        .int("allow_force_pushes_enforcement_level", 0);
    line.texts("authorized_actor_names", &[])
        .flag("dismiss_stale_reviews_on_push", true);
    line.int("enforcement_level", 2)
        .int("linear_history_requirement_enforcement_level", 0);
    line.int("pull_request_reviews_enforcement_level", 2)
        .flag("require_code_owner_review", true);
    line.flag("require_last_push_approval", true)
        .int("required_approving_review_count", 2);
    line.int("required_status_checks_enforcement_level", 2)
        .int("signature_requirement_enforcement_level", 0);
    line.flag("strict_required_status_checks_policy", true);
}

fn check(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text(
        "context",
        ["ci/build", "ci/test", "codeql"][scene.seed as usize % 3],
    );
}

fn rejected(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.sha("after", scene.seed)
        .sha("before", !scene.seed)
        .text("branch", "refs/heads/main");
    line.json("compliant_pull_request_ids", "[]")
        .null("deploy_key_fingerprint")
        .json("overridden_codes", "[]");
    let message = "At least 1 approving review is required by reviewers with write access.";
    line.json(
        "reasons",
        &format!(r#"[{{"code":"review_policy_not_satisfied","message":"{message}"}}]"#),
    );
    line.null("referrer")
        .int("rule_suite_id", 700_000_000 + number(scene));
}

fn ruleset(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("ruleset_id", 1_000_000 + number(scene) % 900_000)
        .text("ruleset_name", "Release branches");
    line.text("ruleset_enforcement", "enabled")
        .text("ruleset_source_type", "Repository");
}

fn ruleset_created(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    ruleset(line, scene, repo);
    line.text("name", "Release branches")
        .json("ruleset_bypass_actors", "[]");
    line.json(
        "ruleset_conditions",
        r#"[{"target":"ref_name","parameters":{"include":["refs/heads/release/*"]}}]"#,
    );
    line.json(
        "ruleset_rules",
        r#"[{"type":"deletion"},{"type":"non_fast_forward"}]"#,
    );
}

fn hook(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.flag("active", true)
        .texts("events", &["push", "pull_request"])
        .int("hook_id", 420_000_000 + number(scene));
    line.null("integration")
        .text("name", "web")
        .null("sponsors_listing_id");
}

fn deploy_key(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    fingerprint(line, scene.seed);
    line.flag("read_only", true).text("title", "gitops");
}

fn user_key(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    fingerprint(line, scene.seed);
    line.flag("read_only", false).text("title", "laptop");
}

/// The fingerprint of an SSH key.
pub(crate) fn fingerprint(line: &mut Line, seed: u64) {
    let hash = super::line::hashed_token(&mut Rng::new(seed));
    line.text(
        "fingerprint",
        &format!("SHA256:{}", String::from_utf8_lossy(&hash[..43])),
    );
}

fn team(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let repo = &scene.world.repos[scene.repo];
    let name = repo.short_name().split('-').next().unwrap_or_default();
    line.text(
        "team",
        &format!("{}/{name}", scene.world.orgs[repo.org].name),
    )
    .text("team_type", "organization");
}

fn team_repository(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    team(line, scene, repo);
    line.text("permission", "write")
        .text("repo", &repo.name)
        .int("repo_id", repo.id);
}

fn invited(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let email = format!("{}@{MAIL_DOMAIN}", newcomer(scene.seed));
    line.text("email", &email)
        .int("invitation_id", 50_000_000 + number(scene))
        .text("invitee_email", &email);
}

fn joined(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("invitation_id", 50_000_000 + number(scene))
        .text("permission", "read");
}

fn token_authorized(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.null("application_id")
        .null("application_name")
        .null("application_type")
        .null("fingerprint");
    let hash = super::line::hashed_token(&mut Rng::new(scene.seed));
    line.text("managed_hashed_token", &String::from_utf8_lossy(&hash))
        .null("managed_oauth_access_id");
    line.text("managed_token_scopes", "read:org,repo")
        .int("managed_token_id", 2_000_000_000 + number(scene));
    line.text("oauth_credential_type", "personal access token");
}

fn token_request(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    line.texts("repositories", &[&repo.name])
        .text("repository_selection", "subset");
    line.int("user_programmatic_access_id", 400_000 + number(scene));
    line.text("user_programmatic_access_name", "local development");
}

fn seat(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let owner = &scene.world.orgs[repo.org].name;
    line.text("owner", owner).text("owner_type", "Organization");
}

fn runner(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    let runner = scene.seed & 31;
    line.int("runner_id", 40 + runner as i64)
        .text("runner_name", &format!("octo-runner-{runner:02}"));
}

fn app_repository(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    let app = ["renovate", "codecov", "mergify"][scene.seed as usize % 3];
    line.text(
        "application_client_id",
        &format!("Iv1.{:016x}", super::rng::mix(app.len() as u64)),
    );
    line.text("integration", app)
        .text("name", app)
        .text("repository_selection", "selected");
    line.json("repositories_added", &format!("[{}]", repo.id))
        .texts("repositories_added_names", &[&repo.name]);
}

fn property(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.int("definition_id", 1200 + number(scene) % 9)
        .text("property_name", "criticality");
    line.text("value", ["low", "medium", "high"][scene.seed as usize % 3]);
}

fn sso(line: &mut Line, _: &Scene<'_>, _: &Repo) {
    line.text("issuer", "https://idp.octo-corp.example/app/github");
}

fn enterprise_sso(line: &mut Line, scene: &Scene<'_>, repo: &Repo) {
    sso(line, scene, repo);
    line.text("name", "Octo Corp");
}

fn scim(line: &mut Line, scene: &Scene<'_>, _: &Repo) {
    line.text(
        "scim_user_id",
        &format!(
            "{:08x}-7d3a-11ef-bf4c-{:012x}",
            scene.seed >> 32,
            scene.seed & 0xFFFF_FFFF
        ),
    );
}

pub(crate) static PULL_REQUEST_CREATE: Kind =
    Kind::dev("pull_request.create", "create", pull_request);
pub(crate) static PULL_REQUEST_MERGE: Kind =
    Kind::dev("pull_request.merge", "modify", pull_request);
pub(crate) static PULL_REQUEST_CLOSE: Kind =
    Kind::dev("pull_request.close", "modify", pull_request).by(Who::Careful);
pub(crate) static REVIEW_REQUEST: Kind = Kind::dev(
    "pull_request.create_review_request",
    "create",
    review_request,
);
pub(crate) static REVIEW_SUBMIT: Kind = Kind::dev("pull_request_review.submit", "create", review);
pub(crate) static SSO_RESPONSE: Kind =
    Kind::dev("org.sso_response", "authentication", sso).about(About::Org);

/// Single acts and how often each happens compared with the others.
pub(crate) static SINGLES: [(u64, Kind); 66] = [
    (
        1500,
        Kind::dev("pull_request_review_comment.create", "create", comment),
    ),
    (
        300,
        Kind::dev("pull_request.ready_for_review", "modify", pull_request),
    ),
    (
        90,
        Kind::dev("pull_request.converted_to_draft", "modify", pull_request),
    ),
    (40, Kind::dev("pull_request.reopen", "modify", pull_request)),
    (
        150,
        Kind::dev("pull_request.close", "modify", pull_request).by(Who::Careful),
    ),
    (
        60,
        Kind::dev("pull_request_review.dismiss", "modify", review),
    ),
    (
        120,
        Kind::dev("pull_request.create", "create", agent_pull_request)
            .by(Who::Program(bot::COPILOT))
            .on(Subject::Member),
    ),
    (900, Kind::dev("issue_comment.update", "modify", none)),
    (60, Kind::dev("issue_comment.destroy", "remove", none)),
    (
        250,
        Kind::dev("workflows.cancel_workflow_run", "modify", cancelled),
    ),
    (
        300,
        Kind::dev("workflows.rerun_workflow_run", "modify", rerun),
    ),
    (
        60,
        Kind::dev("workflows.approve_workflow_job", "modify", approved),
    ),
    (20, Kind::dev("actions_cache.delete", "remove", cache)),
    (30, Kind::dev("codespaces.create", "create", codespace)),
    (
        120,
        Kind::dev("codespaces.start_environment", "modify", codespace),
    ),
    (
        120,
        Kind::dev("codespaces.suspend_environment", "modify", codespace),
    ),
    (
        30,
        Kind::dev("repo.update_actions_secret", "modify", secret_key),
    ),
    (
        12,
        Kind::dev("repo.create_actions_secret", "create", secret_key),
    ),
    (
        10,
        Kind::dev("repo.update_actions_variable", "modify", secret_key),
    ),
    (8, Kind::dev("environment.create", "create", environment)),
    (
        12,
        Kind::dev(
            "environment.create_actions_secret",
            "create",
            environment_secret,
        ),
    ),
    (
        20,
        Kind::dev(
            "environment.update_actions_secret",
            "modify",
            environment_secret,
        ),
    ),
    (15, Kind::dev("repo.add_topic", "modify", none)),
    (
        60,
        Kind::dev("repo.download_zip", "access", visibility).by(Who::Careful),
    ),
    (
        10,
        Kind::dev("repo.create", "create", none).about(About::NewRepo),
    ),
    (1, Kind::dev("repo.archived", "modify", visibility)),
    (
        60,
        Kind::dev("protected_branch.rejected_ref_update", "modify", rejected).by(Who::Careful),
    ),
    (8, Kind::dev("protected_branch.create", "create", branch)),
    (
        10,
        Kind::dev("required_status_check.create", "create", check),
    ),
    (
        3,
        Kind::dev("repository_ruleset.create", "create", ruleset_created),
    ),
    (5, Kind::dev("hook.create", "create", hook)),
    (4, Kind::dev("hook.config_changed", "modify", hook)),
    (6, Kind::dev("public_key.create", "create", deploy_key)),
    (
        14,
        Kind::dev("public_key.create", "create", user_key).about(About::Org),
    ),
    (
        30,
        Kind::dev(
            "repository_vulnerability_alert.dismiss",
            "modify",
            dismissed,
        )
        .by(Who::Careful),
    ),
    (
        8,
        Kind::dev("secret_scanning_alert.resolve", "modify", secret_resolved).by(Who::Careful),
    ),
    (
        6,
        Kind::dev("secret_scanning_alert.assign", "modify", secret_alert).by(Who::Careful),
    ),
    (
        3,
        Kind::dev(
            "secret_scanning_push_protection.bypass",
            "modify",
            secret_bypassed,
        )
        .by(Who::Careful),
    ),
    (
        60,
        Kind::dev(
            "org_credential_authorization.grant",
            "create",
            token_authorized,
        )
        .about(About::Org),
    ),
    (
        40,
        Kind::dev(
            "personal_access_token.request_created",
            "create",
            token_request,
        )
        .about(About::Org),
    ),
    (
        1200,
        Kind::dev(
            "repository_vulnerability_alert.create",
            "create",
            vulnerability,
        )
        .by(Who::Program(bot::DEPENDABOT)),
    ),
    (
        800,
        Kind::dev(
            "repository_vulnerability_alert.resolve",
            "modify",
            vulnerability,
        )
        .by(Who::Program(bot::DEPENDABOT)),
    ),
    (
        300,
        Kind::dev("code_scanning.alert_created", "create", code_alert)
            .by(Who::Program(bot::SCANNING)),
    ),
    (
        250,
        Kind::dev(
            "code_scanning.alert_closed_became_fixed",
            "modify",
            code_alert,
        )
        .by(Who::Program(bot::SCANNING)),
    ),
    (
        60,
        Kind::dev("secret_scanning_scan.completed", "modify", scanned)
            .by(Who::Program(bot::SCANNING)),
    ),
    (
        700,
        Kind::dev("packages.package_version_published", "create", package)
            .by(Who::Program(bot::ACTIONS)),
    ),
    (
        400,
        Kind::admin("org.self_hosted_runner_online", "modify", runner)
            .by(Who::Program(bot::MACHINES.start)),
    ),
    (
        400,
        Kind::admin("org.self_hosted_runner_offline", "modify", runner)
            .by(Who::Program(bot::MACHINES.start)),
    ),
    (
        30,
        Kind::admin("team.add_member", "modify", team).on(Subject::Member),
    ),
    (
        15,
        Kind::admin("team.remove_member", "modify", team).on(Subject::Member),
    ),
    (
        20,
        Kind::admin("team.add_repository", "modify", team_repository),
    ),
    (
        8,
        Kind::admin("org.invite_member", "create", invited).on(Subject::Newcomer),
    ),
    (
        8,
        Kind::admin("org.add_member", "modify", joined).on(Subject::Newcomer),
    ),
    (
        6,
        Kind::admin("org.remove_member", "remove", none).on(Subject::Newcomer),
    ),
    (
        10,
        Kind::admin("repo.add_member", "modify", collaborator)
            .about(About::Repo)
            .on(Subject::Member),
    ),
    (
        6,
        Kind::admin("repo.remove_member", "remove", visibility)
            .about(About::Repo)
            .on(Subject::Newcomer),
    ),
    (
        35,
        Kind::admin(
            "personal_access_token.access_granted",
            "modify",
            token_request,
        )
        .on(Subject::Member),
    ),
    (
        6,
        Kind::admin(
            "personal_access_token.access_revoked",
            "remove",
            token_request,
        )
        .on(Subject::Member),
    ),
    (
        12,
        Kind::admin("copilot.cfb_seat_assignment_created", "create", seat).on(Subject::Member),
    ),
    (
        12,
        Kind::admin("copilot.cfb_seat_added", "create", seat).on(Subject::Member),
    ),
    (
        4,
        Kind::admin("copilot.cfb_seat_cancelled", "remove", seat).on(Subject::Newcomer),
    ),
    (
        6,
        Kind::admin(
            "integration_installation.repositories_added",
            "modify",
            app_repository,
        ),
    ),
    (
        15,
        Kind::admin("custom_property_value.create", "create", property).about(About::Repo),
    ),
    (
        150,
        Kind::dev("business.sso_response", "authentication", enterprise_sso)
            .about(About::Enterprise),
    ),
    (
        90,
        Kind::admin("external_identity.update", "modify", scim)
            .by(Who::Program(bot::IDENTITY))
            .about(About::OrgForEnterprise)
            .on(Subject::Member),
    ),
    (
        6,
        Kind::admin("external_identity.provision", "create", scim)
            .by(Who::Program(bot::IDENTITY))
            .about(About::OrgForEnterprise)
            .on(Subject::Newcomer),
    ),
];
