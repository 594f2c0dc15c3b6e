use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where a secret is to be found; the secret itself is never a configuration value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretRef {
    /// A file whose content, without the line end, is the secret.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// A secret that is not where the configuration says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error(
        "cannot read the secret file {path}; create it, readable only for this user, or correct the path"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The variable is not set.
    #[error("the environment variable {0} is not set; set it to the secret before starting")]
    Env(String),
    /// There is nothing in it.
    #[error("{0} holds no secret: it is empty")]
    Empty(String),
}

impl SecretRef {
    /// Reads the secret, now: a rotated file is seen at the next call.
    ///
    /// # Errors
    /// The file or variable is missing, unreadable or empty.
    pub fn resolve(&self) -> Result<SecretString, SecretError> {
        let (text, place) = match self {
            Self::File(path) => {
                let read = std::fs::read_to_string(path);
                (
                    read.map_err(|source| SecretError::File { path: path.clone(), source })?,
                    path.display().to_string(),
                )
            }
            Self::Env(name) => {
                (std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?, name.clone())
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::Empty(place));
        }
        Ok(text.to_owned().into())
    }

    /// The same reference, a relative file being taken from `folder`.
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            env @ Self::Env(_) => env,
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn reads_a_file_without_its_line_end_and_names_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "ghp_x\n").unwrap();
        let secret = SecretRef::File("token".into()).relative_to(folder.path());
        assert_eq!(secret.resolve().unwrap().expose_secret(), "ghp_x");
        let missing = SecretRef::Env("HUBWARDEN_TEST_NOT_SET".into()).resolve().unwrap_err();
        assert!(missing.to_string().contains("HUBWARDEN_TEST_NOT_SET is not set"));
        std::fs::write(folder.path().join("token"), "\n").unwrap();
        assert!(secret.resolve().unwrap_err().to_string().contains("empty"));
    }
}
