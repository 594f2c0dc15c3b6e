//! The attacks: each a script with what must be found of it.

use super::act::rfc3339;
use super::line::Line;
use super::names::{BROWSERS, GIT_CLIENTS};
use super::rhythm::MINUTE;
use super::story::StoryKind::Campaign;
use super::story::{Cast, Place, Script, Teller, about};
use super::web::fingerprint;
use super::world::{Class, Credential, repo};

const SECOND: i64 = 1000;

/// The organization hook that feeds the enterprise's own monitoring.
pub(crate) const MONITORING_HOOK: i64 = 410_220_907;

pub(crate) static SCRIPTS: [Script; 13] = [
    Script {
        name: "repository-made-public",
        kind: Campaign,
        title: "A hijacked session opens a private repository to the world",
        expects: &["repo-made-public"],
        begins: (40, 2),
        hours: 1,
        tell: repository_made_public,
    },
    Script {
        name: "rogue-owner-added",
        kind: Campaign,
        title: "An outsider is invited from a foreign mail domain, made an owner, then an enterprise owner",
        expects: &[
            "invite-to-foreign-email-domain",
            "org-owner-added",
            "org-owner-role-granted",
            "enterprise-admin-added",
        ],
        begins: (130, 22),
        hours: 2,
        tell: rogue_owner_added,
    },
    Script {
        name: "single-sign-on-weakened",
        kind: Campaign,
        title: "Recovery codes are taken, then single sign-on and the two-factor requirement are switched off",
        expects: &[
            "sso-recovery-codes-accessed",
            "sso-disabled",
            "two-factor-requirement-disabled",
        ],
        begins: (230, 3),
        hours: 1,
        tell: single_sign_on_weakened,
    },
    Script {
        name: "insider-downloads-archives",
        kind: Campaign,
        title: "Somebody about to leave downloads archives of many private repositories",
        expects: &["mass-zip-download"],
        begins: (300, 20),
        hours: 1,
        tell: insider_downloads_archives,
    },
    Script {
        name: "scanning-switched-off",
        kind: Campaign,
        title: "Secret scanning and push protection are switched off on eight repositories",
        expects: &["secret-scanning-disabled", "push-protection-disabled"],
        begins: (400, 1),
        hours: 1,
        tell: scanning_switched_off,
    },
    Script {
        name: "app-scope-widened",
        kind: Campaign,
        title: "An app gets a new client secret, more permissions and all repositories",
        expects: &["github-app-credential-changed", "github-app-scope-expanded"],
        begins: (500, 4),
        hours: 1,
        tell: app_scope_widened,
    },
    Script {
        name: "audit-stream-cut",
        kind: Campaign,
        title: "The audit stream is paused and removed, source addresses are hidden, the monitoring hook is deleted",
        expects: &[
            "audit-log-stream-paused",
            "audit-log-stream-destroyed",
            "source-ip-disclosure-disabled",
        ],
        begins: (600, 23),
        hours: 1,
        tell: audit_stream_cut,
    },
    Script {
        name: "mass-deletion",
        kind: Campaign,
        title: "Fourteen repositories are deleted within twenty minutes",
        expects: &["mass-repo-deletion"],
        begins: (700, 2),
        hours: 1,
        tell: mass_deletion,
    },
    Script {
        name: "token-stolen-repositories-cloned",
        kind: Campaign,
        title: "A stolen personal access token clones 64 private repositories from a new country",
        expects: &["mass-clone-by-token", "mass-clone-by-user"],
        begins: (800, 3),
        hours: 1,
        tell: token_stolen,
    },
    Script {
        name: "protection-off-and-pushed",
        kind: Campaign,
        title: "Branch protection is removed, code is pushed, protection is put back; another branch is overridden",
        expects: &["branch-protection-removed", "branch-protection-overridden"],
        begins: (840, 1),
        hours: 1,
        tell: protection_off,
    },
    Script {
        name: "rogue-runner-registered",
        kind: Campaign,
        title: "A strange machine is registered as a runner and takes jobs",
        expects: &["self-hosted-runner-registered"],
        begins: (880, 0),
        hours: 1,
        tell: rogue_runner,
    },
    Script {
        name: "history-force-pushed",
        kind: Campaign,
        title: "Protected branches of four repositories are overwritten by force",
        expects: &["protected-force-push-burst", "branch-protection-overridden"],
        begins: (920, 2),
        hours: 1,
        tell: history_force_pushed,
    },
    Script {
        name: "worm-repositories-published",
        kind: Campaign,
        title: "A worm publishes stolen secrets and copies of private repositories",
        expects: &["shai-hulud-exfil-repo", "mass-visibility-change"],
        begins: (955, 5),
        hours: 1,
        tell: worm,
    },
];

impl Teller<'_> {
    /// A person's account in somebody else's hands: another address and country, and a fresh or stolen token.
    fn hijacked(&mut self, actor: usize, address: &str, country: &'static str) -> Cast {
        let actor = &self.world.actors[actor];
        Cast {
            login: actor.login.clone(),
            id: actor.id,
            class: Class::Person,
            address: Some(address.to_owned()),
            country,
            browser: BROWSERS[2],
            git: GIT_CLIENTS[2],
            credential: Credential::classic(&mut self.rng),
        }
    }

    /// Closed repositories of an organization, from `first` on.
    fn closed(&self, org: usize, first: usize, count: usize) -> Vec<usize> {
        self.world
            .closed_repos(org)
            .skip(first)
            .take(count)
            .collect()
    }
}

fn repository_made_public(teller: &mut Teller<'_>) {
    let world = teller.world;
    let thief = teller.hijacked(31, "203.0.113.24", "NL");
    let repo = &world.repos[teller.closed(0, 17, 1)[0]];
    let start = teller.start_ms;
    teller.web(
        start,
        &thief,
        Place::Org(repo.org),
        "org.sso_response",
        "authentication",
        |line| {
            line.text("issuer", "https://idp.octo-corp.example/app/github");
        },
    );
    teller.web(
        start + 4 * MINUTE,
        &thief,
        Place::Repo(repo),
        "repo.update_actions_secret",
        "modify",
        |line| {
            line.text("key", "DEPLOY_KEY")
                .text("visibility", repo.visibility);
        },
    );
    // The event tells the state after the change, so the repository is already public in it.
    let open = super::world::repo(&world.orgs, repo.org, repo.short_name(), repo.id, "public");
    teller.web(
        start + 9 * MINUTE,
        &thief,
        Place::Repo(&open),
        "repo.access",
        "modify",
        |line| {
            line.text("visibility", "public")
                .text("previous_visibility", repo.visibility);
        },
    );
}

fn rogue_owner_added(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(2, "203.0.113.61", "RO");
    let (start, outsider, id) = (teller.start_ms, "m-vale-consult", 201_774_310);
    teller.web(
        start,
        &owner,
        Place::Org(0),
        "org.invite_member",
        "create",
        |line| {
            about(line, outsider, id);
            let email = "m.vale@mailbox-for-you.example";
            line.text("email", email)
                .int("invitation_id", 51_220_871)
                .text("invitee_email", email);
        },
    );
    teller.web(
        start + 3 * MINUTE,
        &owner,
        Place::Org(0),
        "org.add_member",
        "modify",
        |line| {
            about(line, outsider, id);
            line.int("invitation_id", 51_220_871)
                .text("permission", "admin");
        },
    );
    teller.web(
        start + 11 * MINUTE,
        &owner,
        Place::Org(1),
        "org.update_member",
        "modify",
        |line| {
            about(line, outsider, id);
            line.text("old_permission", "read")
                .text("permission", "admin");
        },
    );
    teller.web(
        start + 26 * MINUTE,
        &owner,
        Place::Enterprise,
        "business.add_admin",
        "modify",
        |line| {
            about(line, outsider, id);
            line.text("name", "Octo Corp");
        },
    );
}

fn single_sign_on_weakened(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(4, "203.0.113.77", "VN");
    let start = teller.start_ms;
    let steps = [
        (0, "org.recovery_codes_viewed", "access"),
        (1, "org.recovery_codes_downloaded", "access"),
        (6, "org.disable_saml", "modify"),
        (8, "org.disable_two_factor_requirement", "modify"),
    ];
    for (minute, action, operation) in steps {
        teller.web(
            start + minute * MINUTE,
            &owner,
            Place::Org(1),
            action,
            operation,
            |line| {
                about(line, &owner.login, owner.id);
                if action == "org.disable_saml" {
                    line.text("issuer", "https://idp.octo-corp.example/app/github");
                    line.text("sso_url", "https://idp.octo-corp.example/sso/saml");
                }
            },
        );
    }
}

fn insider_downloads_archives(teller: &mut Teller<'_>) {
    let world = teller.world;
    let insider = teller.hijacked(57, "198.18.57.3", "DE");
    let mut at_ms = teller.start_ms;
    for repo in teller.closed(0, 60, 22) {
        let repo = &world.repos[repo];
        teller.web(
            at_ms,
            &insider,
            Place::Repo(repo),
            "repo.download_zip",
            "access",
            |line| {
                line.text("visibility", repo.visibility);
            },
        );
        at_ms += teller.rng.between(25_000, 55_000) as i64;
    }
}

fn scanning_switched_off(teller: &mut Teller<'_>) {
    let world = teller.world;
    let admin = teller.hijacked(6, "203.0.113.90", "SC");
    let mut at_ms = teller.start_ms;
    for repo in teller.closed(2, 4, 8) {
        let repo = &world.repos[repo];
        for action in [
            "repository_secret_scanning_push_protection.disable",
            "repository_secret_scanning.disable",
        ] {
            teller.web(at_ms, &admin, Place::Repo(repo), action, "modify", |line| {
                about(line, &admin.login, admin.id)
            });
            at_ms += teller.rng.between(8_000, 25_000) as i64;
        }
    }
    let repo = &world.repos[teller.closed(2, 4, 1)[0]];
    teller.git(at_ms + 3 * MINUTE, &admin, repo, "git.push");
}

fn app_scope_widened(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(1, "203.0.113.118", "PA");
    let start = teller.start_ms;
    let app = |line: &mut Line| {
        line.text("application_client_id", "Iv1.8a61f9b3a7aba766")
            .text("integration", "build-insights");
        line.text("name", "build-insights");
    };
    teller.web(
        start,
        &owner,
        Place::Org(0),
        "integration.generate_client_secret",
        "create",
        app,
    );
    teller.web(
        start + 5 * MINUTE,
        &owner,
        Place::Org(0),
        "integration_installation.version_updated",
        "modify",
        |line| {
            app(line);
            line.texts("events_added", &["push", "secret_scanning_alert"])
                .texts("events_removed", &[]);
            line.texts("events_unchanged", &["check_run"])
                .text("repository_selection", "all");
        },
    );
    teller.web(
        start + 7 * MINUTE,
        &owner,
        Place::Org(0),
        "integration_installation.repositories_added",
        "modify",
        |line| {
            app(line);
            line.json("repositories_added", "[]")
                .texts("repositories_added_names", &[])
                .text("repository_selection", "all");
        },
    );
}

fn audit_stream_cut(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(3, "203.0.113.140", "NL");
    let start = teller.start_ms;
    let stream = |line: &mut Line| {
        line.int("audit_log_stream_id", 4_117)
            .text("audit_log_stream_sink", "Splunk");
        line.text(
            "audit_log_stream_sink_details",
            "https://hec.octo-corp.example:8088",
        );
    };
    teller.web(
        start,
        &owner,
        Place::Enterprise,
        "audit_log_streaming.update",
        "modify",
        |line| {
            stream(line);
            line.flag("audit_log_stream_enabled", false)
                .text("reason", "User initiated pause")
                .texts("secrets_updated", &[]);
        },
    );
    teller.web(
        start + 2 * MINUTE,
        &owner,
        Place::Enterprise,
        "business.disable_source_ip_disclosure",
        "modify",
        |line| {
            about(line, &owner.login, owner.id);
        },
    );
    teller.web(
        start + 5 * MINUTE,
        &owner,
        Place::Enterprise,
        "audit_log_streaming.destroy",
        "remove",
        stream,
    );
    teller.web(
        start + 9 * MINUTE,
        &owner,
        Place::Org(2),
        "hook.destroy",
        "remove",
        |line| {
            line.flag("active", true)
                .texts("events", &["*"])
                .int("hook_id", MONITORING_HOOK)
                .text("name", "web");
        },
    );
}

fn mass_deletion(teller: &mut Teller<'_>) {
    let world = teller.world;
    let vandal = teller.hijacked(5, "203.0.113.163", "RO");
    let mut at_ms = teller.start_ms;
    for repo in teller.closed(1, 20, 14) {
        let repo = &world.repos[repo];
        teller.web(
            at_ms,
            &vandal,
            Place::Repo(repo),
            "repo.destroy",
            "remove",
            |line| {
                line.text("request_method", "delete")
                    .text("visibility", repo.visibility);
            },
        );
        at_ms += teller.rng.between(40_000, 80_000) as i64;
    }
}

fn token_stolen(teller: &mut Teller<'_>) {
    let world = teller.world;
    let thief = teller.hijacked(73, "203.0.113.201", "VN");
    let mut at_ms = teller.start_ms;
    for repo in teller
        .closed(0, 0, 48)
        .into_iter()
        .chain(teller.closed(1, 0, 16))
    {
        teller.git(at_ms, &thief, &world.repos[repo], "git.clone");
        at_ms += teller.rng.between(14_000, 22_000) as i64;
    }
}

/// The fields of a protected branch.
fn protection(line: &mut Line) {
    line.text("name", "main")
        .flag("admin_enforced", true)
        .int("enforcement_level", 2);
    line.int("allow_deletions_enforcement_level", 0)
        .int("allow_force_pushes_enforcement_level", 0);
    line.texts("authorized_actor_names", &[])
        .int("pull_request_reviews_enforcement_level", 2);
    line.flag("require_code_owner_review", true)
        .int("required_approving_review_count", 2);
    line.int("required_status_checks_enforcement_level", 2)
        .flag("strict_required_status_checks_policy", true);
}

/// The fields of a push that went past a rule.
pub(crate) fn overridden(line: &mut Line, seed: u64, branch: &str, code: &str, message: &str) {
    line.sha("after", seed)
        .sha("before", !seed)
        .text("branch", branch)
        .json("compliant_pull_request_ids", "[]");
    line.null("deploy_key_fingerprint")
        .texts("overridden_codes", &[code]);
    line.json(
        "reasons",
        &format!(r#"[{{"code":"{code}","message":"{message}"}}]"#),
    );
    line.null("referrer")
        .int("rule_suite_id", 690_000_000 + (seed % 9_000_000) as i64);
}

fn protection_off(teller: &mut Teller<'_>) {
    let world = teller.world;
    let admin = teller.hijacked(7, "203.0.113.37", "SC");
    let closed = teller.closed(0, 30, 2);
    let (first, second) = (&world.repos[closed[0]], &world.repos[closed[1]]);
    let start = teller.start_ms;
    teller.web(
        start,
        &admin,
        Place::Repo(first),
        "protected_branch.destroy",
        "remove",
        protection,
    );
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
            overridden(
                line,
                seed,
                "refs/heads/main",
                "review_policy_not_satisfied",
                message,
            );
        },
    );
}

fn rogue_runner(teller: &mut Teller<'_>) {
    let world = teller.world;
    let intruder = teller.hijacked(90, "203.0.113.212", "PA");
    let Some(repo) = world.repos.iter().find(|repo| repo.is_public()) else {
        return;
    };
    let start = teller.start_ms;
    teller.web(
        start,
        &intruder,
        Place::Repo(repo),
        "public_key.create",
        "create",
        |line| {
            fingerprint(line, 77);
            line.flag("read_only", false).text("title", "ci-cache");
        },
    );
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

fn history_force_pushed(teller: &mut Teller<'_>) {
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

fn worm(teller: &mut Teller<'_>) {
    let world = teller.world;
    let victim = teller.hijacked(112, "203.0.113.9", "NL");
    let mut at_ms = teller.start_ms;
    let exfil = repo(&world.orgs, 0, "Shai-Hulud", 990_100_001, "public");
    teller.web(
        at_ms,
        &victim,
        Place::Repo(&exfil),
        "repo.create",
        "create",
        |line| {
            line.text("request_method", "post")
                .text("visibility", "public");
        },
    );
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
                line.text("request_method", "post")
                    .text("visibility", "private");
            },
        );
        teller.web(
            at_ms + 9 * SECOND,
            &victim,
            Place::Repo(&made("public")),
            "repo.access",
            "modify",
            |line| {
                line.text("visibility", "public")
                    .text("previous_visibility", "private");
            },
        );
    }
    teller.git(at_ms + 2 * MINUTE, &victim, &exfil, "git.push");
}
