//! Campaigns against code: taking it, destroying it, changing it.

use super::super::act::rfc3339;
use super::super::line::Line;
use super::super::rhythm::MINUTE;
use super::super::story::{Place, Teller, about};
use super::super::web::fingerprint;
use super::super::world::repo;

const SECOND: i64 = 1000;

pub(super) fn insider_downloads_archives(teller: &mut Teller<'_>) {
    let world = teller.world;
    let insider = teller.hijacked(57, "198.18.57.3", "DE");
    let mut at_ms = teller.start_ms;
    for repo in teller.closed(0, 60, 22) {
        let repo = &world.repos[repo];
        teller.web(at_ms, &insider, Place::Repo(repo), "repo.download_zip", "access", |line| {
            line.text("visibility", repo.visibility);
        });
        at_ms += teller.rng.between(25_000, 55_000) as i64;
    }
}

pub(super) fn mass_deletion(teller: &mut Teller<'_>) {
    let world = teller.world;
    let vandal = teller.hijacked(5, "203.0.113.163", "RO");
    let mut at_ms = teller.start_ms;
    for repo in teller.closed(1, 20, 14) {
        let repo = &world.repos[repo];
        teller.web(at_ms, &vandal, Place::Repo(repo), "repo.destroy", "remove", |line| {
            line.text("request_method", "delete").text("visibility", repo.visibility);
        });
        at_ms += teller.rng.between(40_000, 80_000) as i64;
    }
}

pub(super) fn token_stolen(teller: &mut Teller<'_>) {
    let world = teller.world;
    let thief = teller.hijacked(73, "203.0.113.201", "VN");
    let mut at_ms = teller.start_ms;
    for repo in teller.closed(0, 0, 48).into_iter().chain(teller.closed(1, 0, 16)) {
        teller.git(at_ms, &thief, &world.repos[repo], "git.clone");
        at_ms += teller.rng.between(14_000, 22_000) as i64;
    }
}

/// The fields of a protected branch.
pub(super) fn protection(line: &mut Line) {
    line.text("name", "main").flag("admin_enforced", true).int("enforcement_level", 2);
    line.int("allow_deletions_enforcement_level", 0).int("allow_force_pushes_enforcement_level", 0);
    line.texts("authorized_actor_names", &[]).int("pull_request_reviews_enforcement_level", 2);
    line.flag("require_code_owner_review", true).int("required_approving_review_count", 2);
    line.int("required_status_checks_enforcement_level", 2)
        .flag("strict_required_status_checks_policy", true);
}

/// The fields of a push that went past a rule.
pub(crate) fn overridden(line: &mut Line, seed: u64, branch: &str, code: &str, message: &str) {
    line.sha("after", seed)
        .sha("before", !seed)
        .text("branch", branch)
        .json("compliant_pull_request_ids", "[]");
    line.texts("overridden_codes", &[code]);
    line.json("reasons", &format!(r#"[{{"code":"{code}","message":"{message}"}}]"#));
    line.null("referrer").int("rule_suite_id", 690_000_000 + (seed % 9_000_000) as i64);
}

pub(super) fn protection_off(teller: &mut Teller<'_>) {
    let world = teller.world;
    let admin = teller.hijacked(7, "203.0.113.37", "SC");
    let closed = teller.closed(0, 30, 2);
    let (first, second) = (&world.repos[closed[0]], &world.repos[closed[1]]);
    let start = teller.start_ms;
    teller.web(start, &admin, Place::Repo(first), "protected_branch.destroy", "remove", protection);
    for push in 1..4 {
        teller.git(start + 2 * push * MINUTE, &admin, first, "git.push");
    }
    teller.web(
        start + 12 * MINUTE,
        &admin,
        Place::Repo(first),
        "protected_branch.create",
        "create",
        protection,
    );
    let at_ms = start + 20 * MINUTE;
    teller.git(at_ms, &admin, second, "git.push");
    let seed = teller.rng.next();
    teller.web(
        at_ms + SECOND,
        &admin,
        Place::Repo(second),
        "protected_branch.policy_override",
        "modify",
        |line| {
            let message =
                "At least 2 approving reviews are required by reviewers with write access.";
            overridden(line, seed, "refs/heads/main", "review_policy_not_satisfied", message);
        },
    );
}

pub(super) fn rogue_runner(teller: &mut Teller<'_>) {
    let world = teller.world;
    let intruder = teller.hijacked(90, "203.0.113.212", "PA");
    let Some(repo) = world.repos.iter().find(|repo| repo.is_public()) else {
        return;
    };
    let start = teller.start_ms;
    teller.web(start, &intruder, Place::Repo(repo), "public_key.create", "create", |line| {
        fingerprint(line, 77);
        line.flag("read_only", false).text("title", "ci-cache");
    });
    teller.web(
        start + 4 * MINUTE,
        &intruder,
        Place::Repo(repo),
        "repo.register_self_hosted_runner",
        "create",
        |line| {
            about(line, &intruder.login, intruder.id);
        },
    );
    for job in 0..4 {
        let at_ms = start + (7 + 5 * job) * MINUTE;
        teller.web(
            at_ms,
            &intruder,
            Place::Repo(repo),
            "workflows.prepared_workflow_job",
            "create",
            |line| {
                line.json("calling_workflow_refs", "[]")
                    .null("environment_name")
                    .text("job_name", "build");
                line.text(
                    "job_workflow_ref",
                    &format!("{}/.github/workflows/cache.yml@refs/heads/cache", repo.name),
                );
                line.flag("is_hosted_runner", false)
                    .int("runner_group_id", 1)
                    .text("runner_group_name", "Default");
                line.int("runner_id", 931)
                    .texts("runner_labels", &["self-hosted"])
                    .text("runner_name", "win-build-4c1e");
                line.text("runner_owner_type", "repository")
                    .texts("secrets_passed", &["github_token", "NPM_TOKEN"]);
                line.int("workflow_run_id", 24_000_000_000 + job)
                    .text("started_at", &rfc3339(at_ms));
            },
        );
    }
}

pub(super) fn history_force_pushed(teller: &mut Teller<'_>) {
    let world = teller.world;
    let vandal = teller.hijacked(8, "203.0.113.55", "RO");
    let repos = teller.closed(1, 50, 4);
    let mut at_ms = teller.start_ms;
    for branch in ["main", "release", "develop"] {
        for &repo in &repos {
            let (repo, seed) = (&world.repos[repo], teller.rng.next());
            teller.git(at_ms, &vandal, repo, "git.push");
            teller.web(
                at_ms + SECOND,
                &vandal,
                Place::Repo(repo),
                "protected_branch.policy_override",
                "modify",
                |line| {
                    let branch = format!("refs/heads/{branch}");
                    overridden(
                        line,
                        seed,
                        &branch,
                        "force_push",
                        "Cannot force-push to this branch",
                    );
                },
            );
            at_ms += teller.rng.between(15_000, 28_000) as i64;
        }
    }
}

pub(super) fn worm(teller: &mut Teller<'_>) {
    let world = teller.world;
    let victim = teller.hijacked(112, "203.0.113.9", "NL");
    let mut at_ms = teller.start_ms;
    let exfil = repo(&world.orgs, 0, "Shai-Hulud", 990_100_001, "public");
    teller.web(at_ms, &victim, Place::Repo(&exfil), "repo.create", "create", |line| {
        line.text("request_method", "post").text("visibility", "public");
    });
    for (copy, original) in teller.closed(0, 100, 5).into_iter().enumerate() {
        let original = &world.repos[original];
        let name = format!("{}-migration", original.short_name());
        let made = |visibility| repo(&world.orgs, 0, &name, 990_100_010 + copy as i64, visibility);
        at_ms += teller.rng.between(20_000, 60_000) as i64;
        teller.web(
            at_ms,
            &victim,
            Place::Repo(&made("private")),
            "repo.create",
            "create",
            |line| {
                line.text("request_method", "post").text("visibility", "private");
            },
        );
        teller.web(
            at_ms + 9 * SECOND,
            &victim,
            Place::Repo(&made("public")),
            "repo.access",
            "modify",
            |line| {
                line.text("visibility", "public").text("previous_visibility", "private");
            },
        );
    }
    teller.git(at_ms + 2 * MINUTE, &victim, &exfil, "git.push");
}
