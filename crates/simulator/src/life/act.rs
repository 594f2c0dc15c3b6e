//! One thing that happens in ordinary life, small enough to wait in a queue, and how it becomes an event.

use super::line::{Line, document_id, hashed_token};
use super::names::{JOBS, TITLE_THINGS, TITLE_VERBS, WORKFLOWS};
use super::rng::Rng;
use super::web::{Kind, Scene};
use super::world::{Repo, World, bot};

/// What happens, when, in the order of time and then of planning.
#[derive(Clone, Copy)]
pub(crate) struct Act {
    pub(crate) at_ms: i64,
    pub(crate) number: u64,
    pub(crate) what: What,
}

impl PartialEq for Act {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Act {}

impl Ord for Act {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

impl PartialOrd for Act {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Indexes point into [`World`]; `seed` makes the details, so events of one run or pull request agree.
#[derive(Clone, Copy)]
pub(crate) enum What {
    Git {
        action: &'static str,
        actor: usize,
        repo: usize,
        place: usize,
    },
    /// A job of a workflow run reads the repository with a token of its own.
    Checkout {
        repo: usize,
        seed: u64,
    },
    Run {
        stage: Stage,
        actor: usize,
        repo: usize,
        seed: u64,
        started_ms: i64,
    },
    Web {
        kind: &'static Kind,
        actor: usize,
        repo: usize,
        place: usize,
        seed: u64,
    },
}

#[derive(Clone, Copy)]
pub(crate) enum Stage {
    Created,
    Job(u64),
    Completed,
}

/// Where an act shows: the organization's index, and whether only the enterprise's log has it.
pub(crate) struct Written {
    pub(crate) json: Vec<u8>,
    pub(crate) org: Option<usize>,
}

/// What every Git event ends with.
pub(crate) const GIT_TAIL: &[u8] =
    br#","external_id":"","request_access_security_header":null,"user":"","user_id":0"#;

impl Act {
    pub(crate) fn write(&self, world: &World, rng: &mut Rng) -> Written {
        let id = document_id(rng);
        match self.what {
            What::Git { action, actor, repo, place } => {
                let mut line = Line::event(self.at_ms, &id, action);
                line.raw(&world.actors[actor].git[place]).raw(&world.repos[repo].git);
                line.request_id(rng).raw(GIT_TAIL);
                Written { json: line.close(), org: Some(world.repos[repo].org) }
            }
            What::Checkout { repo, seed } => {
                let mut line = Line::event(self.at_ms, &id, "git.fetch");
                line.raw(&world.actors[bot::ACTIONS].git[0])
                    .raw(&world.repos[repo].git)
                    .raw(b",\"hashed_token\":\"");
                line.raw(&hashed_token(&mut Rng::new(seed)));
                line.raw(br#"","programmatic_access_type":"GitHub App server-to-server token""#);
                line.int("token_id", 3_000_000_000 + (seed % 900_000_000) as i64)
                    .text("token_scopes", "");
                line.request_id(rng).raw(GIT_TAIL);
                Written { json: line.close(), org: Some(world.repos[repo].org) }
            }
            What::Run { stage, actor, repo, seed, started_ms } => {
                let action = match stage {
                    Stage::Created => "workflows.created_workflow_run",
                    Stage::Job(_) => "workflows.prepared_workflow_job",
                    Stage::Completed => "workflows.completed_workflow_run",
                };
                let mut line = Line::event(self.at_ms, &id, action);
                line.raw(&world.actors[actor].unattended).raw(&world.repos[repo].web);
                line.int("created_at", self.at_ms).request_id(rng);
                match stage {
                    Stage::Created => created(&mut line, &world.repos[repo], seed, started_ms),
                    Stage::Job(job) => prepared(&mut line, &world.repos[repo], seed, job),
                    Stage::Completed => {
                        completed(&mut line, &world.repos[repo], seed, started_ms, self.at_ms)
                    }
                }
                line.null("request_access_security_header").text("user_agent", "");
                line.text("user", &world.actors[actor].login)
                    .int("user_id", world.actors[actor].id);
                Written { json: line.close(), org: Some(world.repos[repo].org) }
            }
            What::Web { kind, actor, repo, place, seed } => {
                let scene = Scene { world, at_ms: self.at_ms, actor, repo, place, seed };
                kind.write(&scene, &id, rng)
            }
        }
    }
}

fn created(line: &mut Line, repo: &Repo, seed: u64, started_ms: i64) {
    line.text("operation_type", "create");
    run_fields(line, repo, seed, started_ms);
}

fn completed(line: &mut Line, repo: &Repo, seed: u64, started_ms: i64, at_ms: i64) {
    line.text("operation_type", "modify");
    run_fields(line, repo, seed, started_ms);
    line.text("completed_at", &rfc3339(at_ms)).int("run_attempt", 1);
    let conclusion = match seed >> 8 & 15 {
        0 => "failure",
        1 => "cancelled",
        _ => "success",
    };
    line.text("conclusion", conclusion);
}

/// The fields by which all events about one workflow run are told together.
pub(crate) fn run_fields(line: &mut Line, repo: &Repo, seed: u64, started_ms: i64) {
    let event = match seed & 7 {
        0..4 => "push",
        4 | 5 => "pull_request",
        6 => "schedule",
        _ => "merge_group",
    };
    line.text("event", event);
    if event == "pull_request" {
        line.text("head_branch", &format!("change-{}", seed >> 16 & 4095));
    } else {
        line.text("head_branch", "main");
    }
    let workflow = seed >> 20 & 7;
    line.sha("head_sha", seed).text("name", WORKFLOWS[workflow as usize]);
    line.int("run_number", (seed >> 24 & 0x1FFF) as i64 + 1)
        .text("started_at", &rfc3339(started_ms));
    line.int("trigger_id", (seed >> 12 & 0x7FFF_FFFF) as i64);
    line.int("workflow_id", repo.id % 100_000_000 + workflow as i64)
        .int("workflow_run_id", run_id(seed));
}

pub(crate) fn run_id(seed: u64) -> i64 {
    19_000_000_000 + (seed >> 4 & 0xFFFF_FFFF) as i64
}

fn prepared(line: &mut Line, repo: &Repo, seed: u64, job: u64) {
    let of_job = super::rng::mix(seed ^ job << 50);
    line.text("operation_type", "create")
        .json("calling_workflow_refs", "[]")
        .json("calling_workflow_shas", "[]");
    line.null("environment_name")
        .null("imposer_repo")
        .text("job_name", JOBS[(seed + job) as usize & 7]);
    let file = ["ci", "build", "lint", "deploy", "release", "codeql", "nightly", "image"]
        [(seed >> 20 & 7) as usize];
    line.text(
        "job_workflow_ref",
        &format!("{}/.github/workflows/{file}.yml@refs/heads/main", repo.name),
    );
    if of_job & 3 == 0 {
        let runner = of_job >> 8 & 31;
        line.flag("is_hosted_runner", false)
            .int("runner_group_id", 1)
            .text("runner_group_name", "Default");
        line.int("runner_id", 40 + runner as i64)
            .texts("runner_labels", &["self-hosted", "linux", "x64"]);
        line.text("runner_name", &format!("octo-runner-{runner:02}"))
            .text("runner_owner_type", "organization");
    } else {
        let runner = of_job >> 8 & 1023;
        line.flag("is_hosted_runner", true)
            .int("runner_group_id", 0)
            .text("runner_group_name", "GitHub Actions");
        line.int("runner_id", 1_000_000_000 + runner as i64)
            .texts("runner_labels", &["ubuntu-latest"]);
        line.text("runner_name", &format!("GitHub Actions {runner}"))
            .text("runner_owner_type", "enterprise");
    }
    line.texts(
        "secrets_passed",
        if of_job & 4 == 0 { &["github_token"] } else { &["github_token", "NPM_TOKEN"] },
    );
    line.int("workflow_run_id", run_id(seed));
}

/// The fields that name a pull request, the same for all events of one `seed`.
pub(crate) fn pull_request_fields(line: &mut Line, repo: &Repo, seed: u64) {
    let mut rng = Rng::new(seed);
    line.int("pull_request_id", 1_800_000_000 + rng.below(900_000_000) as i64);
    line.text(
        "pull_request_title",
        &format!("{} {}", rng.pick(&TITLE_VERBS), rng.pick(&TITLE_THINGS)),
    );
    line.text(
        "pull_request_url",
        &format!("https://github.com/{}/pull/{}", repo.name, rng.between(1, 4000)),
    );
}

/// Milliseconds since 1970 as GitHub's workflow events write a time.
pub(crate) fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
