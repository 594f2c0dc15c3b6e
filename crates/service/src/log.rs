use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::{Invalid, Validate};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level, or targets with levels, as in `info,hubwarden_collector=debug`.
    pub filter: String,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "warn".into(), format: LogFormat::Text }
    }
}

impl Validate for LogConfig {
    fn validate(&self) -> Result<(), Invalid> {
        EnvFilter::try_new(&self.filter).map(|_| ()).map_err(|error| {
            Invalid::new("log.filter", format!("`{}` is no filter: {error}", self.filter))
        })
    }
}

/// Sends log lines to standard error from here on; a second call changes nothing.
///
/// For programs without [`telemetry::init`](crate::telemetry::init), such as the command line.
pub fn init_logging(config: &LogConfig) {
    crate::telemetry::init_lines(config);
}
