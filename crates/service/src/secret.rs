use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What a configuration writes where a secret is wanted.
const FORM: &str = "`{ file = \"PATH\" }` or `{ env = \"NAME\" }`; the secret itself never stands in the configuration";

/// Where a secret is to be found; the secret itself is never a configuration value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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

/// By hand, so that an error never shows a secret that was written in place of the reference.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

struct Reference;

impl Reference {
    fn literal<E: Error, T>() -> Result<T, E> {
        Err(E::custom(format!("expected {FORM}; revoke what was written here if it is real")))
    }
}

impl<'de> Visitor<'de> for Reference {
    type Value = SecretRef;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(FORM)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretRef, E> {
        Self::literal()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretRef, E> {
        Self::literal()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretRef, E> {
        Self::literal()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            let reference = match key.as_str() {
                "file" => SecretRef::File(map.next_value()?),
                "env" => SecretRef::Env(map.next_value()?),
                _ => return Err(A::Error::custom(format!("unknown key `{key}`, expected {FORM}"))),
            };
            if found.replace(reference).is_some() {
                return Err(A::Error::custom(format!("expected only one of {FORM}")));
            }
        }
        found.ok_or_else(|| A::Error::custom(format!("expected {FORM}")))
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

    #[test]
    fn only_references_are_read_and_no_error_shows_a_secret() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Sample {
            token: SecretRef,
        }
        for (value, reference) in [
            ("{ file = 'a/b' }", SecretRef::File("a/b".into())),
            ("{ env = 'T' }", SecretRef::Env("T".into())),
        ] {
            let sample: Sample = toml::from_str(&format!("token = {value}")).unwrap();
            assert_eq!(sample.token, reference);
            let written = toml::to_string(&sample).unwrap();
            assert_eq!(toml::from_str::<Sample>(&written).unwrap(), sample, "{written}");
        }
        for value in
            ["'ghp_real'", "71", "true", "[]", "{}", "{ fil = 'x' }", "{ file = 'x', env = 'Y' }"]
        {
            // as the configuration is read: only the message and the key, no line of the file
            let value: toml::Value = toml::from_str(&format!("token = {value}")).unwrap();
            let error = value.clone().try_into::<Sample>().unwrap_err().to_string();
            assert!(error.contains("{ file = \"PATH\" }"), "{value}: {error}");
            assert!(!error.contains("ghp_real") && !error.contains("71"), "{value}: {error}");
        }
    }
}
