use hubwarden_console::LetterAt;
use hubwarden_console::letters::{LetterFilter, LetterPageView, LetterView, Retried};
use hubwarden_console::link::Link;

use super::configure;
use crate::args::{self, Global};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Rows, print_one, say};

/// `hubwarden dead-letter …`
pub(crate) async fn run(global: &Global, command: &args::DeadLetter) -> Result<Exit, Failure> {
    let config = configure(global)?;
    match command {
        args::DeadLetter::List(options) => {
            let filter = LetterFilter {
                topic: options.topic.clone().unwrap_or_default(),
                reason: options.reason.clone().unwrap_or_default(),
                waiting: if options.waiting { "1".into() } else { String::new() },
                limit: options.limit.to_string(),
                page: String::new(),
            };
            let client = Client::must(&options.console.remote(), &config).await?;
            let path = Link::LettersJson(&filter).to_string();
            let page: LetterPageView = client.json("GET", &path).await?;
            print(global, &page.letters)?;
            if (page.letters.len() as u64) < page.total {
                let text = format!(
                    "{} of {} shown; --limit shows more, up to 500",
                    page.letters.len(),
                    page.total
                );
                say(&text);
            }
        }
        args::DeadLetter::Retry(options) => {
            let client = Client::must(&options.console.remote(), &config).await?;
            let retried = match &options.id {
                Some(id) => one(&client, id.parse()?, options.again).await?,
                None => {
                    let filter = LetterFilter {
                        topic: options.topic.clone().unwrap_or_default(),
                        reason: options.reason.clone().unwrap_or_default(),
                        ..LetterFilter::default()
                    };
                    let path = Link::RetryLettersJson(&filter).to_string();
                    client.json("POST", &path).await?
                }
            };
            print_one(global.output, &retried, &lines(&retried))?;
        }
    }
    Ok(Exit::Done)
}

/// Puts one letter back as it was when it was looked at.
async fn one(client: &Client, at: LetterAt, again: bool) -> Result<Retried, Failure> {
    let letter: LetterView = client.json("GET", &Link::LetterJson(at).to_string()).await?;
    if let Some(retry) = letter.retry.as_ref().filter(|_| !again) {
        let text = format!(
            "{at} was put back at {} by {}{}; --again repeats it",
            retry.at,
            retry.by,
            if retry.arrived { "" } else { ", and nobody knows whether it arrived" }
        );
        return Err(Failure::new(Exit::Failed, text));
    }
    let seen = letter.retry.map_or(0, |retry| retry.times);
    client.json("POST", &format!("{}/retry?seen={seen}", Link::LetterJson(at))).await
}

fn print(global: &Global, letters: &[LetterView]) -> Result<(), Failure> {
    let header =
        &["letter", "written", "reason", "stood at", "bytes", "kept", "put back", "first bytes"];
    let row = |letter: &LetterView| {
        let state = match (&letter.retry, &letter.lost) {
            (Some(retry), _) if retry.arrived => format!("{} by {}", retry.at, retry.by),
            (Some(retry), _) => format!("begun {} by {}, not known", retry.at, retry.by),
            (None, Some(_)) => "cannot be".into(),
            (None, None) => String::new(),
        };
        vec![
            letter.id.clone(),
            letter.at.to_string(),
            letter.reason.clone(),
            letter.source.clone(),
            letter.length.to_string(),
            letter.kept.to_string(),
            state,
            letter.glance.clone(),
        ]
    };
    Rows { header, values: letters, row }.print(global.output)
}

fn lines(retried: &Retried) -> Vec<String> {
    let Retried { put, lost, others, more } = *retried;
    let mut lines = vec![format!("{put} records put back")];
    if lost > 0 {
        lines.push(format!("{lost} letters do not hold a whole record"));
    }
    if others > 0 {
        lines.push(format!("{others} were put back by somebody else meanwhile"));
    }
    if more {
        lines.push("there are more; run it again to go on".into());
    }
    lines
}
