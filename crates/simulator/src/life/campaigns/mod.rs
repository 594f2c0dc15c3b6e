//! The attacks: each a script with what must be found of it.

mod code;
mod settings;

use super::names::{BROWSERS, GIT_CLIENTS};
use super::presence::{Class, Credential};
use super::story::StoryKind::Campaign;
use super::story::{Cast, Script, Teller};
pub(crate) use code::overridden;
use code::*;
use settings::*;

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
        self.world.closed_repos(org).skip(first).take(count).collect()
    }
}
