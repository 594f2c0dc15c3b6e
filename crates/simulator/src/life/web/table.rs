//! Which single acts ordinary life has, and how often each happens.

use super::super::world::bot;
use super::fields::*;
use super::{About, Kind, Subject, Who};

pub(crate) static PULL_REQUEST_CREATE: Kind =
    Kind::dev("pull_request.create", "create", pull_request);
pub(crate) static PULL_REQUEST_MERGE: Kind =
    Kind::dev("pull_request.merge", "modify", pull_request);
pub(crate) static PULL_REQUEST_CLOSE: Kind =
    Kind::dev("pull_request.close", "modify", pull_request).by(Who::Careful);
pub(crate) static REVIEW_REQUEST: Kind =
    Kind::dev("pull_request.create_review_request", "create", review_request);
pub(crate) static REVIEW_SUBMIT: Kind = Kind::dev("pull_request_review.submit", "create", review);
pub(crate) static SSO_RESPONSE: Kind =
    Kind::dev("org.sso_response", "authentication", sso).about(About::Org);

/// Single acts and how often each happens compared with the others.
pub(crate) static SINGLES: [(u64, Kind); 66] = [
    (1500, Kind::dev("pull_request_review_comment.create", "create", comment)),
    (300, Kind::dev("pull_request.ready_for_review", "modify", pull_request)),
    (90, Kind::dev("pull_request.converted_to_draft", "modify", pull_request)),
    (40, Kind::dev("pull_request.reopen", "modify", pull_request)),
    (150, Kind::dev("pull_request.close", "modify", pull_request).by(Who::Careful)),
    (60, Kind::dev("pull_request_review.dismiss", "modify", review)),
    (
        120,
        Kind::dev("pull_request.create", "create", agent_pull_request)
            .by(Who::Program(bot::COPILOT))
            .on(Subject::Member),
    ),
    (900, Kind::dev("issue_comment.update", "modify", none)),
    (60, Kind::dev("issue_comment.destroy", "remove", none)),
    (250, Kind::dev("workflows.cancel_workflow_run", "modify", cancelled)),
    (300, Kind::dev("workflows.rerun_workflow_run", "modify", rerun)),
    (60, Kind::dev("workflows.approve_workflow_job", "modify", approved)),
    (20, Kind::dev("actions_cache.delete", "remove", cache)),
    (30, Kind::dev("codespaces.create", "create", codespace)),
    (120, Kind::dev("codespaces.start_environment", "modify", codespace)),
    (120, Kind::dev("codespaces.suspend_environment", "modify", codespace)),
    (30, Kind::dev("repo.update_actions_secret", "modify", secret_key)),
    (12, Kind::dev("repo.create_actions_secret", "create", secret_key)),
    (10, Kind::dev("repo.update_actions_variable", "modify", secret_key)),
    (8, Kind::dev("environment.create", "create", environment)),
    (12, Kind::dev("environment.create_actions_secret", "create", environment_secret)),
    (20, Kind::dev("environment.update_actions_secret", "modify", environment_secret)),
    (15, Kind::dev("repo.add_topic", "modify", none)),
    (60, Kind::dev("repo.download_zip", "access", visibility).by(Who::Careful)),
    (10, Kind::dev("repo.create", "create", none).about(About::NewRepo)),
    (1, Kind::dev("repo.archived", "modify", visibility)),
    (60, Kind::dev("protected_branch.rejected_ref_update", "modify", rejected).by(Who::Careful)),
    (8, Kind::dev("protected_branch.create", "create", branch)),
    (10, Kind::dev("required_status_check.create", "create", check)),
    (3, Kind::dev("repository_ruleset.create", "create", ruleset_created)),
    (5, Kind::dev("hook.create", "create", hook)),
    (4, Kind::dev("hook.config_changed", "modify", hook)),
    (6, Kind::dev("public_key.create", "create", deploy_key)),
    (14, Kind::dev("public_key.create", "create", user_key).about(About::Org)),
    (30, Kind::dev("repository_vulnerability_alert.dismiss", "modify", dismissed).by(Who::Careful)),
    (8, Kind::dev("secret_scanning_alert.resolve", "modify", secret_resolved).by(Who::Careful)),
    (6, Kind::dev("secret_scanning_alert.assign", "modify", secret_alert).by(Who::Careful)),
    (
        3,
        Kind::dev("secret_scanning_push_protection.bypass", "modify", secret_bypassed)
            .by(Who::Careful),
    ),
    (
        60,
        Kind::dev("org_credential_authorization.grant", "create", token_authorized)
            .about(About::Org),
    ),
    (
        40,
        Kind::dev("personal_access_token.request_created", "create", token_request)
            .about(About::Org),
    ),
    (
        1200,
        Kind::dev("repository_vulnerability_alert.create", "create", vulnerability)
            .by(Who::Program(bot::DEPENDABOT)),
    ),
    (
        800,
        Kind::dev("repository_vulnerability_alert.resolve", "modify", vulnerability)
            .by(Who::Program(bot::DEPENDABOT)),
    ),
    (
        300,
        Kind::dev("code_scanning.alert_created", "create", code_alert)
            .by(Who::Program(bot::SCANNING)),
    ),
    (
        250,
        Kind::dev("code_scanning.alert_closed_became_fixed", "modify", code_alert)
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
    (30, Kind::admin("team.add_member", "modify", team).on(Subject::Member)),
    (15, Kind::admin("team.remove_member", "modify", team).on(Subject::Member)),
    (20, Kind::admin("team.add_repository", "modify", team_repository)),
    (8, Kind::admin("org.invite_member", "create", invited).on(Subject::Newcomer)),
    (8, Kind::admin("org.add_member", "modify", joined).on(Subject::Newcomer)),
    (6, Kind::admin("org.remove_member", "remove", none).on(Subject::Newcomer)),
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
        Kind::admin("personal_access_token.access_granted", "modify", token_request)
            .on(Subject::Member),
    ),
    (
        6,
        Kind::admin("personal_access_token.access_revoked", "remove", token_request)
            .on(Subject::Member),
    ),
    (12, Kind::admin("copilot.cfb_seat_assignment_created", "create", seat).on(Subject::Member)),
    (12, Kind::admin("copilot.cfb_seat_added", "create", seat).on(Subject::Member)),
    (4, Kind::admin("copilot.cfb_seat_cancelled", "remove", seat).on(Subject::Newcomer)),
    (6, Kind::admin("integration_installation.repositories_added", "modify", app_repository)),
    (15, Kind::admin("custom_property_value.create", "create", property).about(About::Repo)),
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
