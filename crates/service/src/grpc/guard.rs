//! Stands before every gRPC method: who calls, may they, and what came of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Request, Response};
use jiff::Timestamp;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument;

use super::methods::{OPEN, method};
use crate::metrics::{Counter, Histogram, catalogue};
use crate::{Access, Caller, trace};

static REQUESTS: Counter<1> = Counter::new(&catalogue::service::GRPC);
static DURATION: Histogram<0> = Histogram::new(&catalogue::service::GRPC_DURATION);
static REFUSED: Counter<1> = Counter::new(&catalogue::service::REFUSED);

/// Refuses every call whose caller the table of methods does not allow.
///
/// The [`Caller`] is in the extensions of requests that pass. Health checks pass without one.
#[derive(Debug, Clone)]
pub struct Guard {
    access: Arc<Access>,
}

impl Guard {
    /// A guard that recognises callers so.
    pub fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    /// Who calls, if they may call this.
    fn admit<B>(&self, request: &Request<B>) -> Result<Caller, Status> {
        let refuse = |reason: &str| REFUSED.add(1, [reason]);
        let connection = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let certificates = connection.and_then(TlsConnectInfo::peer_certs);
        let first = certificates.as_ref().and_then(|certificates| certificates.first());
        let caller = self.access.caller(request.headers(), first, Timestamp::now());
        let caller = caller.map_err(|refusal| {
            refuse(refusal.as_str());
            // the same words whatever is wrong: a caller learns nothing about tokens
            Status::unauthenticated(
                "no valid credential; send a token as `authorization: Bearer …`, or a certificate",
            )
        })?;
        let path = request.uri().path();
        let Some(method) = method(path) else {
            refuse("unknown_method");
            return Err(Status::permission_denied("nobody may call this method"));
        };
        if !method.roles.contains(&caller.role) {
            refuse("role");
            tracing::info!(caller = caller.name, role = caller.role.as_str(), path, "call refused");
            let role = caller.role.as_str();
            let reason =
                format!("role {role} may not call {path}; ask for a token with another role");
            return Err(Status::permission_denied(reason));
        }
        Ok(caller)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if OPEN.contains(&request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let caller = match self.guard.admit(&request) {
            Ok(caller) => caller,
            Err(status) => {
                REQUESTS.add(1, ["refused"]);
                return Box::pin(std::future::ready(Ok(status.into_http())));
            }
        };
        let span = trace::rpc(request.uri().path().trim_start_matches('/'), request.headers());
        span.record("caller", &caller.name);
        request.extensions_mut().insert(caller);
        let began = Instant::now();
        let answering = self.inner.call(request);
        let work = async move {
            let answer = answering.await;
            DURATION.record(began.elapsed().as_secs_f64(), []);
            let code = match &answer {
                Ok(answer) => Status::from_header_map(answer.headers())
                    .map_or(Code::Ok, |status| status.code()),
                Err(_) => Code::Internal,
            };
            let result = result(code);
            REQUESTS.add(1, [result]);
            if result == "server_error" {
                trace::failed(&tracing::Span::current(), "grpc");
            }
            answer
        };
        Box::pin(work.instrument(span))
    }
}

/// The metric's word for a status code.
fn result(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Unauthenticated | Code::PermissionDenied => "refused",
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Cancelled
        | Code::ResourceExhausted => "client_error",
        _ => "server_error",
    }
}
