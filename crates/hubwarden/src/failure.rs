use std::process::ExitCode;

/// How the program ends; the numbers are part of its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// A gate was not met: findings above a severity, failing cases, a failed check.
    Gate = 3,
    /// Not signed in, or not allowed.
    Denied = 4,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed, ready to be shown, with the exit code that says so to programs.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// Cause, effect and next step.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

/// The error and its causes, each said once.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

macro_rules! failed {
    ($($error:ty => $exit:expr),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new($exit, with_causes(&error))
            }
        })*
    };
}

failed! {
    hubwarden_service::config::Error => Exit::Usage,
    hubwarden_service::SecretError => Exit::Usage,
    hubwarden_normalizer::InvalidNetwork => Exit::Usage,
    hubwarden_detector::Error => Exit::Failed,
    hubwarden_bus::Error => Exit::Failed,
    hubwarden_console::Error => Exit::Failed,
    hubwarden_collector::Error => Exit::Failed,
    hubwarden_detector::UnknownRule => Exit::Usage,
    std::io::Error => Exit::Failed,
    serde_json::Error => Exit::Failed,
}

impl From<hubwarden_service::TaskError> for Failure {
    fn from(error: hubwarden_service::TaskError) -> Self {
        Self::new(Exit::Failed, with_causes(&*error))
    }
}
