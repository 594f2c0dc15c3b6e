//! Folds the route templates and concrete paths of API requests to one form.

/// What follows a collection in a path, under GitHub's documented name.
///
/// With `Number` only a number or a template's placeholder is taken for it, with `Any` every
/// segment but a [`FIXED`] one, with `Rest` all that follows.
const COLLECTIONS: &[(&str, Takes, &str)] = &[
    ("alerts", Takes::Number, "{alert_number}"),
    ("artifacts", Takes::Number, "{artifact_id}"),
    ("assets", Takes::Number, "{asset_id}"),
    ("attempts", Takes::Number, "{attempt_number}"),
    ("blobs", Takes::Any, "{file_sha}"),
    ("branches", Takes::Any, "{branch}"),
    ("check-runs", Takes::Number, "{check_run_id}"),
    ("check-suites", Takes::Number, "{check_suite_id}"),
    ("collaborators", Takes::Any, "{username}"),
    ("comments", Takes::Number, "{comment_id}"),
    ("commits", Takes::Any, "{ref}"),
    ("compare", Takes::Rest, "{basehead}"),
    ("contents", Takes::Rest, "{path}"),
    ("credential-authorizations", Takes::Number, "{credential_id}"),
    ("deliveries", Takes::Number, "{delivery_id}"),
    ("deployments", Takes::Number, "{deployment_id}"),
    ("environments", Takes::Any, "{environment_name}"),
    ("hooks", Takes::Number, "{hook_id}"),
    ("installations", Takes::Number, "{installation_id}"),
    ("invitations", Takes::Number, "{invitation_id}"),
    ("issues", Takes::Number, "{issue_number}"),
    ("jobs", Takes::Number, "{job_id}"),
    ("keys", Takes::Number, "{key_id}"),
    ("labels", Takes::Any, "{name}"),
    ("members", Takes::Any, "{username}"),
    ("memberships", Takes::Any, "{username}"),
    ("milestones", Takes::Number, "{milestone_number}"),
    ("personal-access-token-requests", Takes::Number, "{pat_request_id}"),
    ("personal-access-tokens", Takes::Number, "{pat_id}"),
    ("pulls", Takes::Number, "{pull_number}"),
    ("ref", Takes::Rest, "{ref}"),
    ("refs", Takes::Rest, "{ref}"),
    ("releases", Takes::Number, "{release_id}"),
    ("repositories", Takes::Number, "{repository_id}"),
    ("reviews", Takes::Number, "{review_id}"),
    ("rulesets", Takes::Number, "{ruleset_id}"),
    ("runner-groups", Takes::Number, "{runner_group_id}"),
    ("runners", Takes::Number, "{runner_id}"),
    ("runs", Takes::Number, "{run_id}"),
    ("secrets", Takes::Any, "{secret_name}"),
    ("statuses", Takes::Any, "{sha}"),
    ("tarball", Takes::Rest, "{ref}"),
    ("teams", Takes::Any, "{team_slug}"),
    ("trees", Takes::Any, "{tree_sha}"),
    ("variables", Takes::Any, "{name}"),
    ("workflows", Takes::Any, "{workflow_id}"),
    ("zipball", Takes::Rest, "{ref}"),
];

/// Segments that stand for themselves where a name would be expected.
const FIXED: &[&str] = &["public-key", "latest", "comments", "suggestions", "outside"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Number,
    Any,
    Rest,
}

/// The template of a route or path in the spelling of GitHub's REST documentation.
///
/// `/repositories/:repository_id/hooks`, `/repositories/978/hooks` and `/repos/acme/web/hooks` all
/// become `/repos/{owner}/{repo}/hooks`; `/organizations/12` becomes `/orgs/{org}`.
pub(crate) fn fold(route: &str) -> String {
    let path = route.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
    let mut out = String::with_capacity(path.len() + 16);
    if segments.next_if_eq(&"api").is_some() {
        // GitHub Enterprise Server's base path.
        segments.next_if_eq(&"v3");
    }
    let first = segments.next().unwrap_or_default();
    let second = segments.peek().copied();
    match (first, second) {
        ("repositories", Some(id)) if is_placeholder(id) => {
            segments.next();
            out.push_str("/repos/{owner}/{repo}");
        }
        ("repos", Some(_)) => {
            segments.next();
            segments.next();
            out.push_str("/repos/{owner}/{repo}");
        }
        ("organizations" | "orgs", Some(_)) => {
            segments.next();
            out.push_str("/orgs/{org}");
        }
        ("enterprises", Some(_)) => {
            segments.next();
            out.push_str("/enterprises/{enterprise}");
        }
        ("users", Some(_)) => {
            segments.next();
            out.push_str("/users/{username}");
        }
        ("user", Some(id)) if is_placeholder(id) => {
            segments.next();
            out.push_str("/users/{username}");
        }
        ("gists", Some(id)) if !matches!(id, "public" | "starred") => {
            segments.next();
            out.push_str("/gists/{gist_id}");
        }
        _ => push(&mut out, first),
    }
    let mut before = first;
    while let Some(segment) = segments.next() {
        // The numeric form of a team's path is in the singular.
        let segment = match (segment, segments.peek()) {
            ("team", Some(id)) if is_placeholder(id) => "teams",
            _ => segment,
        };
        match collection(before) {
            Some((Takes::Rest, name)) => {
                push(&mut out, name);
                break;
            }
            Some((takes, name))
                if is_placeholder(segment) || takes == Takes::Any && !FIXED.contains(&segment) =>
            {
                push(&mut out, name);
                before = "";
                continue;
            }
            _ if is_number(segment) => push(&mut out, "{id}"),
            _ => match segment.strip_prefix(':') {
                Some(name) => {
                    out.push_str("/{");
                    out.push_str(name);
                    out.push('}');
                }
                None => push(&mut out, segment),
            },
        }
        before = segment;
    }
    out
}

fn push(out: &mut String, segment: &str) {
    out.push('/');
    out.push_str(segment);
}

fn collection(name: &str) -> Option<(Takes, &'static str)> {
    let place = COLLECTIONS.binary_search_by_key(&name, |(known, _, _)| known).ok()?;
    let (_, takes, parameter) = COLLECTIONS[place];
    Some((takes, parameter))
}

/// Whether a segment stands for any value: `{id}`, `:id`, or a number.
fn is_placeholder(segment: &str) -> bool {
    segment.starts_with([':', '{']) || is_number(segment)
}

fn is_number(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_digit()) && !segment.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collections_are_sorted() {
        assert!(COLLECTIONS.is_sorted_by_key(|(name, _, _)| *name));
    }

    #[test]
    fn every_spelling_of_a_route_is_one_template() {
        for (template, spellings) in [
            (
                "/repos/{owner}/{repo}/hooks",
                &[
                    "/repositories/:repository_id/hooks",
                    "/repositories/978979709/hooks",
                    "/repos/{owner}/{repo}/hooks",
                    "/repos/:owner/:repo/hooks/",
                    "/repos/acme/web/hooks?per_page=100",
                    "/api/v3/repos/acme/web/hooks",
                ][..],
            ),
            (
                "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries",
                &["/repositories/1/hooks/2/deliveries", "/repos/a/b/hooks/:id/deliveries"],
            ),
            ("/repos/{owner}/{repo}", &["/repositories/1", "/repos/acme/123"]),
            ("/orgs/{org}/members/{username}", &["/organizations/12/members/octocat"]),
            ("/orgs/{org}/teams/{team_slug}/members", &["/organizations/12/team/7/members"]),
            (
                "/orgs/{org}/actions/secrets/{secret_name}",
                &["/organizations/:organization_id/actions/secrets/KEY"],
            ),
            ("/orgs/{org}/actions/secrets/public-key", &["/orgs/acme/actions/secrets/public-key"]),
            ("/repos/{owner}/{repo}/contents/{path}", &["/repos/a/b/contents/src/lib.rs"]),
            (
                "/repos/{owner}/{repo}/issues/{issue_number}",
                &["/repos/a/b/issues/7", "/repos/{owner}/{repo}/issues/{number}"],
            ),
            ("/repos/{owner}/{repo}/pulls/comments", &["/repos/a/b/pulls/comments"]),
            ("/enterprises/{enterprise}/audit-log", &["/enterprises/5/audit-log"]),
            ("/users/{username}", &["/user/583231", "/users/octocat"]),
            ("/user/repos", &["/user/repos"]),
            ("/marketplace/plans/{plan_id}", &["/marketplace/plans/:plan_id"]),
            ("/things/{id}", &["/things/42"]),
            ("/repositories", &["/repositories"]),
            ("/", &["", "/", "?"]),
        ] {
            for spelling in spellings {
                assert_eq!(fold(spelling), template, "{spelling}");
            }
        }
    }
}
