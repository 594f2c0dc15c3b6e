//! The frame of every page.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::{assets, parts};
use crate::Filter;
use crate::link::Link;

/// Where in the navigation a page belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Findings,
    Pipeline,
    /// On no page of the navigation, though signed in.
    Elsewhere,
    /// Not signed in: there is nothing to navigate.
    Outside,
}

/// A whole page.
pub(super) fn page(title: &str, place: Place, content: &Markup) -> Html<String> {
    let inside = place != Place::Outside;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (parts::shown(title)) " · Hubwarden" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.path());
                link rel="stylesheet" href=(assets::STYLE.path());
                script type="module" src=(assets::SCRIPT.path()) {}
            }
            body {
                a class="skip" href="#main" { "Skip to content" }
                header class="top" {
                    (brand())
                    @if inside {
                        nav aria-label="Main" {
                            (nav_link(Link::Overview, "Overview", place == Place::Overview))
                            (nav_link(Link::Findings(&Filter::default()), "Findings", place == Place::Findings))
                            span class="group" id="operate" { "Operate" }
                            span role="group" aria-labelledby="operate" {
                                (nav_link(Link::Pipeline, "Pipeline", place == Place::Pipeline))
                            }
                        }
                        form class="jump" role="search" aria-label="All findings" action="/findings" {
                            input type="search" name="text" aria-label="Search all findings"
                                placeholder="Search findings" data-search;
                            button type="button" class="quiet" data-help hidden
                                aria-label="Keyboard shortcuts" { "?" }
                        }
                    }
                }
                main id="main" tabindex="-1" { (*content) }
                @if inside { (help()) }
            }
        }
    };
    Html(page.into_string())
}

fn brand() -> Markup {
    html! {
        a class="brand" href=(Link::Overview) {
            img src=(assets::ICON.path()) alt="" width="22" height="22";
            "Hubwarden"
        }
    }
}

fn nav_link(link: Link<'_>, text: &str, here: bool) -> Markup {
    html! { a href=(link) aria-current=[here.then_some("page")] { (text) } }
}

fn help() -> Markup {
    html! {
        dialog id="help" aria-labelledby="help-title" {
            form method="dialog" {
                h2 id="help-title" { "Keyboard" }
                dl class="keys" {
                    @for (key, what) in [
                        ("j", "next finding"),
                        ("k", "previous finding"),
                        ("Enter", "open it"),
                        ("u", "back to the list"),
                        ("/", "search"),
                        ("?", "this help"),
                        ("Esc", "close"),
                    ] {
                        div { dt { kbd { (key) } } dd { (what) } }
                    }
                }
                p {
                    label { input type="checkbox" id="keys-on" checked; " Single-key shortcuts" }
                }
                button { "Close" }
            }
        }
    }
}

/// A short page that says one thing.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    let content = html! {
        section class="message" {
            h1 { (title) }
            p { (parts::shown(text)) }
            p { a href=(Link::Overview) { "Go to the overview" } }
        }
    };
    (status, page(title, Place::Elsewhere, &content)).into_response()
}

/// What everybody sees who is not signed in.
pub(super) fn sign_in() -> Response {
    let content = html! {
        section class="message" {
            h1 { "You are not signed in" }
            p {
                "This console opens by a link that works once. Each session ends after 12 hours, or when \
                 Hubwarden restarts."
            }
            p { "Print a new link on the machine that runs it, then open that link here:" }
            (parts::command("hubwarden status --link"))
        }
    };
    (StatusCode::UNAUTHORIZED, page("Sign in", Place::Outside, &content)).into_response()
}
