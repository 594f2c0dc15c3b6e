//! Answers in GitHub's form: bodies of errors, headers, and the ones that are wrong on purpose.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_stream::Stream;

use super::state::Rate;

pub(crate) const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// An answer whose headers may still be added to.
pub(crate) struct Answer(pub(crate) Response<Body>);

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Body>) -> Self {
        let mut response = Response::new(body.into());
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(response).with(header::CONTENT_TYPE.as_str(), "application/json; charset=utf-8")
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string())
    }

    pub(crate) fn error(status: u16, message: &str) -> Self {
        let status_text = status.to_string();
        let body =
            json!({"message": message, "documentation_url": DOCUMENTATION, "status": status_text});
        Self::json(status, &body)
    }

    pub(crate) fn invalid(message: &str) -> Self {
        let errors = json!([{"resource": "AuditLog", "field": "phrase", "code": "invalid", "message": message}]);
        let body = json!({"message": "Validation Failed", "documentation_url": DOCUMENTATION, "errors": errors, "status": "422"});
        Self::json(422, &body)
    }

    /// Sets a header; a value that HTTP does not allow is left out.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    /// Says how much of a bucket is used.
    pub(crate) fn with_rate(self, resource: &str, rate: Rate) -> Self {
        self.with("x-ratelimit-limit", &rate.limit.to_string())
            .with("x-ratelimit-remaining", &rate.remaining().to_string())
            .with("x-ratelimit-used", &rate.used.to_string())
            .with("x-ratelimit-reset", &rate.reset_s().to_string())
            .with("x-ratelimit-resource", resource)
    }

    pub(crate) fn html() -> Self {
        let page = "<!DOCTYPE html><html><body><h1>Sign in to the proxy</h1></body></html>";
        Self::new(200, page).with(header::CONTENT_TYPE.as_str(), "text/html; charset=utf-8")
    }

    /// A JSON array of about `bytes` bytes, made while it is sent.
    pub(crate) fn huge(bytes: u64) -> Self {
        const PART: Bytes = Bytes::from_static(&[b'x'; 1 << 16]);
        let parts = (0..bytes >> 16).map(|_| PART);
        let start = std::iter::once(Bytes::from_static(
            br#"[{"action":"git.push","@timestamp":1,"user_agent":""#,
        ));
        let end = std::iter::once(Bytes::from_static(b"\"}]"));
        let body = start.chain(parts).chain(end).map(Ok::<_, io::Error>);
        Self::new(200, Body::from_stream(tokio_stream::iter(body)))
    }

    /// Sends what is given, then breaks the connection.
    pub(crate) fn aborted(start: Bytes) -> Self {
        let stream = Broken { start: Some(start), has_waited: false };
        Self::new(200, Body::from_stream(stream))
    }
}

/// A body that ends in an error once its start is on the wire.
struct Broken {
    start: Option<Bytes>,
    has_waited: bool,
}

impl Stream for Broken {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(start)));
        }
        if !self.has_waited {
            // The server sends what it has when the body makes it wait; without that the error would come first.
            self.has_waited = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let kind = io::ErrorKind::ConnectionAborted;
        Poll::Ready(Some(Err(io::Error::new(kind, "broken on purpose"))))
    }
}

/// A JSON array of the events.
pub(crate) fn array(events: &[Bytes]) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum::<usize>() + 2);
    body.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.push(b']');
    body
}

/// Percent-encodes all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
