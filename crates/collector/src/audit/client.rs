use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hubwarden_event::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LINK, LOCATION};
use reqwest::{Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};

use super::config::Connection;
use super::{Clock, link, refusal};
use crate::Error;
use crate::files::cut_array;

/// The largest answer that is read, in bytes.
const MAX_BODY: usize = 32 << 20;

/// The most redirects that are followed for one page.
const MAX_REDIRECTS: usize = 5;

/// One page of the audit log.
#[derive(Debug)]
pub(super) struct Page {
    /// The body as sent.
    pub(super) body: Bytes,
    /// Where the events stand in it.
    pub(super) events: Vec<Range<usize>>,
    /// The page after it.
    pub(super) next: Option<Url>,
    /// What the headers tell beside it.
    pub(super) headers: HeaderMap,
}

/// Gets pages; a server, or a test in its place.
pub(super) trait Fetch: Send + Sync {
    fn page(&self, url: &Url) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Forgets what it knows of the token, which may have been replaced.
    fn forget_token(&self) {}
}

/// Asks GitHub over HTTP, and only the host that the connection names.
pub(super) struct Client {
    http: reqwest::Client,
    connection: Connection,
    base: Url,
    token: Mutex<Option<SecretString>>,
    clock: Clock,
}

impl Client {
    /// A client for this connection; nothing is sent yet.
    ///
    /// # Errors
    /// The address makes no sense, or TLS cannot be set up.
    pub(super) fn new(connection: &Connection, clock: Clock) -> Result<Self, Error> {
        // a provider that is already there stays
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = connection.log_url()?;
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        let timeout = connection.poll.timeout;
        let http = reqwest::Client::builder()
            .user_agent(concat!("hubwarden/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(timeout.min(std::time::Duration::from_secs(10)))
            .timeout(timeout)
            .build()
            .map_err(Error::Client)?;
        let token = Mutex::new(None);
        Ok(Self { http, connection: connection.clone(), base, token, clock })
    }

    /// The value of `Authorization`, read again where the token was forgotten.
    fn authorization(&self) -> Result<HeaderValue, Error> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let token = match &mut *token {
            Some(token) => token,
            none => none.insert(self.connection.token.resolve()?),
        };
        let value = format!("Bearer {}", token.expose_secret());
        let mut value = HeaderValue::try_from(value).map_err(|_| Error::Unauthorized)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Asks for an address of our host, following redirects that stay there.
    async fn get(&self, url: &Url) -> Result<Response, Error> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.check_host(&url)?;
            let doing = "it was asked for a page";
            let request = self.http.get(url.clone()).header(AUTHORIZATION, self.authorization()?);
            let answer = request.send().await;
            let answer = answer.map_err(|source| Error::Unavailable { doing, source })?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            url = next.ok_or(Error::Unexpected { status: answer.status().as_u16() })?;
        }
        Err(Error::Loop { link: url.into() })
    }

    fn check_host(&self, url: &Url) -> Result<(), Error> {
        if link::same_origin(&self.base, url) {
            return Ok(());
        }
        Err(Error::OtherHost { link: url.as_str().chars().take(200).collect() })
    }

    fn next(&self, headers: &HeaderMap) -> Result<Option<Url>, Error> {
        let Some(address) =
            headers.get(LINK).and_then(|value| value.to_str().ok()).and_then(link::next)
        else {
            return Ok(None);
        };
        let other = || Error::OtherHost { link: address.chars().take(200).collect() };
        let url = self.base.join(address).map_err(|_| other())?;
        self.check_host(&url)?;
        Ok(Some(url))
    }
}

impl Fetch for Client {
    async fn page(&self, url: &Url) -> Result<Page, Error> {
        let answer = self.get(url).await?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = body(answer).await;
        if status != 200 {
            let body = body.unwrap_or_default(); // the status says more than a broken body
            let scope = self.connection.scope();
            return Err(refusal::explain(status, &headers, &body, &scope, (self.clock)()));
        }
        let body = body?;
        let events = cut_array(&body).map_err(|what| Error::NotEvents { what: what.to_owned() })?;
        let next = self.next(&headers)?;
        Ok(Page { body, events, next, headers })
    }

    fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The body, unless it is larger than any page can be.
async fn body(mut answer: Response) -> Result<Bytes, Error> {
    let too_large = || Error::TooLarge { limit: MAX_BODY };
    let announced = refusal::number(answer.headers(), CONTENT_LENGTH.as_str()).unwrap_or(0);
    if announced > MAX_BODY as u64 {
        return Err(too_large());
    }
    let doing = "it was sending a page";
    let mut body = Vec::new();
    while let Some(part) =
        answer.chunk().await.map_err(|source| Error::Unavailable { doing, source })?
    {
        if body.len() + part.len() > MAX_BODY {
            return Err(too_large());
        }
        body.extend_from_slice(&part);
    }
    Ok(body.into())
}

/// The moment in a header or event that counts milliseconds since 1970.
pub(super) fn moment(event: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Times {
        #[serde(rename = "@timestamp")]
        happened: Option<serde_json::Number>,
        created_at: Option<serde_json::Number>,
    }
    let times: Times = serde_json::from_slice(event).ok()?;
    let millis = times.happened.or(times.created_at)?.as_i64()?;
    Some(Timestamp::from_millis(millis))
}
