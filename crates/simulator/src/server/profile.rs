//! The user and the organizations as GitHub shows them, with every field that its description requires.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::settings::Token;
use super::state::State;

const USER_ID: i64 = 61_000_001;
const SINCE: &str = "2019-04-01T09:00:00Z";

/// The token's user as its own profile says it to a token without the `user` scope.
pub(crate) fn user(state: &State, token: &Token) -> Value {
    let login = &token.login;
    let url = format!("{}/users/{login}", state.base());
    json!({
        "login": login,
        "id": USER_ID,
        "user_view_type": "public",
        "node_id": node_id("User", USER_ID),
        "avatar_url": avatar(state, USER_ID),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("{}/{login}", state.url),
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
        "type": "User",
        "site_admin": false,
        "name": null,
        "company": null,
        "blog": "",
        "location": null,
        "email": null,
        "hireable": null,
        "bio": null,
        "twitter_username": null,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": SINCE,
        "updated_at": SINCE,
    })
}

/// An organization as one of its members sees it.
pub(crate) fn org(state: &State, login: &str, id: i64) -> Value {
    let url = format!("{}/orgs/{login}", state.base());
    json!({
        "login": login,
        "id": id,
        "node_id": node_id("Organization", id),
        "url": url,
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events"),
        "hooks_url": format!("{url}/hooks"),
        "issues_url": format!("{url}/issues"),
        "members_url": format!("{url}/members{{/member}}"),
        "public_members_url": format!("{url}/public_members{{/member}}"),
        "avatar_url": avatar(state, id),
        "description": null,
        "is_verified": false,
        "has_organization_projects": true,
        "has_repository_projects": true,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "html_url": format!("{}/{login}", state.url),
        "type": "Organization",
        "created_at": SINCE,
        "updated_at": SINCE,
        "archived_at": null,
        "plan": {"name": "enterprise", "space": 976_562_499, "private_repos": 999_999},
    })
}

fn avatar(state: &State, id: i64) -> String {
    format!("{}/avatars/u/{id}", state.url)
}

/// The older form of a node id: base64 of the kind's length, the kind and the number.
fn node_id(kind: &str, id: i64) -> String {
    STANDARD.encode(format!("0{}:{kind}{id}", kind.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_have_githubs_form() {
        assert_eq!(node_id("User", 1), "MDQ6VXNlcjE="); // of `mojombo`
        assert_eq!(node_id("Organization", 9_919), "MDEyOk9yZ2FuaXphdGlvbjk5MTk="); // of `github`
    }
}
