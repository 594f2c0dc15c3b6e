//! What every `main` needs before domain code runs: configuration, telemetry, health, TLS, access,
//! retry, supervision.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
pub mod config;
pub mod duration;
pub mod grpc;
mod health;
mod log;
pub mod metrics;
mod nearest;
mod probe;
pub mod process;
mod retry;
mod secret;
mod supervise;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod trace;

pub use access::{Access, Caller, Role, TokenConfig, TokensConfig, hash_token, new_token};
pub use config::{Invalid, Validate};
pub use grpc::GrpcConfig;
pub use health::{Condition, Health, HealthConfig, HealthServer, ListenError, Pulse};
pub use log::{LogConfig, LogFormat, init_logging};
pub use nearest::nearest;
pub use retry::Backoff;
pub use secret::{SecretError, SecretRef};
pub use supervise::{TaskError, TaskResult, signalled, supervise};
pub use telemetry::{Telemetry, TelemetryConfig, TelemetryError};
pub use tls::{ClientTls, ServerTls};
