//! Campaigns against settings: who may do what, and who would notice.

use super::super::line::Line;
use super::super::rhythm::MINUTE;
use super::super::story::{Place, Teller, about};
use super::super::world::repo as opened;
use super::MONITORING_HOOK;

pub(super) fn repository_made_public(teller: &mut Teller<'_>) {
    let world = teller.world;
    let thief = teller.hijacked(31, "203.0.113.24", "NL");
    let repo = &world.repos[teller.closed(0, 17, 1)[0]];
    let start = teller.start_ms;
    teller.web(start, &thief, Place::Org(repo.org), "org.sso_response", "authentication", |line| {
        line.text("issuer", "https://idp.octo-corp.example/app/github");
    });
    teller.web(
        start + 4 * MINUTE,
        &thief,
        Place::Repo(repo),
        "repo.update_actions_secret",
        "modify",
        |line| {
            line.text("key", "DEPLOY_KEY").text("visibility", repo.visibility);
        },
    );
    // The event tells the state after the change, so the repository is already public in it.
    let open = opened(&world.orgs, repo.org, repo.short_name(), repo.id, "public");
    teller.web(start + 9 * MINUTE, &thief, Place::Repo(&open), "repo.access", "modify", |line| {
        line.text("visibility", "public").text("previous_visibility", repo.visibility);
    });
}

pub(super) fn rogue_owner_added(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(2, "203.0.113.61", "RO");
    let (start, outsider, id) = (teller.start_ms, "m-vale-consult", 201_774_310);
    teller.web(start, &owner, Place::Org(0), "org.invite_member", "create", |line| {
        about(line, outsider, id);
        let email = "m.vale@mailbox-for-you.example";
        line.text("email", email).int("invitation_id", 51_220_871).text("invitee_email", email);
    });
    teller.web(start + 3 * MINUTE, &owner, Place::Org(0), "org.add_member", "modify", |line| {
        about(line, outsider, id);
        line.int("invitation_id", 51_220_871).text("permission", "admin");
    });
    teller.web(start + 11 * MINUTE, &owner, Place::Org(1), "org.update_member", "modify", |line| {
        about(line, outsider, id);
        line.text("old_permission", "read").text("permission", "admin");
    });
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

pub(super) fn single_sign_on_weakened(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(4, "203.0.113.77", "VN");
    let start = teller.start_ms;
    let steps = [
        (0, "org.recovery_codes_viewed", "access"),
        (1, "org.recovery_codes_downloaded", "access"),
        (6, "org.disable_saml", "modify"),
        (8, "org.disable_two_factor_requirement", "modify"),
    ];
    for (minute, action, operation) in steps {
        teller.web(start + minute * MINUTE, &owner, Place::Org(1), action, operation, |line| {
            about(line, &owner.login, owner.id);
            if action == "org.disable_saml" {
                line.text("issuer", "https://idp.octo-corp.example/app/github");
                line.text("sso_url", "https://idp.octo-corp.example/sso/saml");
            }
        });
    }
}

pub(super) fn scanning_switched_off(teller: &mut Teller<'_>) {
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

pub(super) fn app_scope_widened(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(1, "203.0.113.118", "PA");
    let start = teller.start_ms;
    let app = |line: &mut Line| {
        line.text("application_client_id", "Iv1.8a61f9b3a7aba766")
            .text("integration", "build-insights");
        line.text("name", "build-insights");
    };
    teller.web(start, &owner, Place::Org(0), "integration.generate_client_secret", "create", app);
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
            line.texts("events_unchanged", &["check_run"]).text("repository_selection", "all");
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

pub(super) fn audit_stream_cut(teller: &mut Teller<'_>) {
    let owner = teller.hijacked(3, "203.0.113.140", "NL");
    let start = teller.start_ms;
    let stream = |line: &mut Line| {
        line.int("audit_log_stream_id", 4_117).text("audit_log_stream_sink", "Splunk");
        line.text("audit_log_stream_sink_details", "https://hec.octo-corp.example:8088");
    };
    teller.web(start, &owner, Place::Enterprise, "audit_log_streaming.update", "modify", |line| {
        stream(line);
        line.flag("audit_log_stream_enabled", false)
            .text("reason", "User initiated pause")
            .texts("secrets_updated", &[]);
    });
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
    teller.web(start + 9 * MINUTE, &owner, Place::Org(2), "hook.destroy", "remove", |line| {
        line.flag("active", true)
            .texts("events", &["*"])
            .int("hook_id", MONITORING_HOOK)
            .text("name", "web");
    });
}
