//! Configuration in layers: defaults, the file, `conf.d/*.toml` beside it, the environment, flags.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::nearest;

/// Begins the name of every environment variable that is configuration; sections follow after `__`.
pub const ENV_PREFIX: &str = "HUBWARDEN__";

/// A value that its type allows and its meaning does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration key `{key}`: {reason}")]
pub struct Invalid {
    /// The key as the operator writes it.
    pub key: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Invalid {
    /// Names the key and what is wrong with its value.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// Checks what types cannot: ranges, and pairs that exclude each other.
pub trait Validate {
    /// # Errors
    /// The first key whose value makes no sense.
    fn validate(&self) -> Result<(), Invalid>;
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that was asked for is not there.
    #[error(
        "configuration file {0} does not exist; create it with `hubwarden init` or name another with --config"
    )]
    NoFile(PathBuf),
    /// A key that no section has.
    #[error("{place}: unknown configuration key `{key}`{hint}")]
    UnknownKey {
        /// The key with its section.
        key: String,
        /// The layer that has it.
        place: String,
        /// ``; did you mean `…`?`` or the keys that exist.
        hint: String,
    },
    /// A layer that cannot be read, or a value of the wrong type.
    #[error("{place}: {reason}")]
    Read {
        /// The layer.
        place: String,
        /// What is wrong in it.
        reason: String,
    },
    /// A value that makes no sense.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A configuration and where each of its values came from.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The values.
    pub config: C,
    /// The file that was read, if any; relative paths in the configuration start at its folder.
    pub file: Option<PathBuf>,
    layers: Figment,
}

/// One value, as `config show --origin` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The key with its sections.
    pub key: String,
    /// The effective value, as TOML.
    pub value: String,
    /// The layer that set it: `default`, a file, an environment variable, or `flag`.
    pub origin: String,
}

/// Merges the layers, reads them into `C` and validates it.
///
/// `flags` are keys with their sections (`storage.data_dir`) and values.
///
/// # Errors
/// A file that is missing, unknown keys, wrong types, or values that make no sense.
pub fn load<C>(file: Option<&Path>, flags: &[(&str, toml::Value)]) -> Result<Loaded<C>, Error>
where
    C: DeserializeOwned + Serialize + Default + Validate,
{
    let mut layers = Figment::from(Serialized::defaults(C::default()));
    if let Some(file) = file {
        if !file.is_file() {
            return Err(Error::NoFile(file.into()));
        }
        layers = layers.merge(Toml::file_exact(file));
        for extra in conf_d(file) {
            layers = layers.merge(Toml::file_exact(extra));
        }
    }
    layers = layers.merge(Env::prefixed(ENV_PREFIX).split("__"));
    for (key, value) in flags {
        layers = layers.merge(Serialized::default(key, value));
    }
    let config: C = layers.extract().map_err(|error| explain(&error))?;
    config.validate()?;
    Ok(Loaded { config, file: file.map(Into::into), layers })
}

/// The `*.toml` files of `conf.d` beside the configuration file, by name.
fn conf_d(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

impl<C> Loaded<C> {
    /// Every effective value with the layer that set it, by key.
    ///
    /// # Errors
    /// Layers that cannot be read any more.
    pub fn origins(&self) -> Result<Vec<Origin>, Error> {
        let values: Value = self.layers.extract().map_err(|error| explain(&error))?;
        let mut rows = Vec::new();
        self.collect("", &values, &mut rows);
        Ok(rows)
    }

    fn collect(&self, key: &str, value: &Value, rows: &mut Vec<Origin>) {
        if let Value::Dict(_, members) = value {
            for (name, member) in members {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                self.collect(&key, member, rows);
            }
            return;
        }
        let value_text =
            toml::Value::try_from(value).map_or_else(|_| String::new(), |value| value.to_string());
        rows.push(Origin { key: key.into(), value: value_text, origin: self.origin(key) });
    }

    fn origin(&self, key: &str) -> String {
        let Some(metadata) = self.layers.find_metadata(key) else { return "default".into() };
        if metadata.name.contains("environment") {
            return format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "__"));
        }
        match &metadata.source {
            Some(figment::Source::File(path)) => path.display().to_string(),
            // Serialized layers name the code that made them: the defaults merge the whole
            // structure, a flag one key.
            _ if metadata.name.contains("Value") => "flag".into(),
            _ => "default".into(),
        }
    }
}

/// Says which layer, which key, what is wrong, and what would be right.
fn explain(error: &figment::Error) -> Error {
    let path = key(&error.path);
    let place = match error.metadata.as_ref() {
        Some(metadata) => match &metadata.source {
            Some(figment::Source::File(file)) => file.display().to_string(),
            _ if metadata.name.contains("environment") => "environment".into(),
            _ => "configuration".into(),
        },
        None => "configuration".into(),
    };
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let section = path.strip_suffix(field.as_str()).unwrap_or(&path).trim_end_matches('.');
            let key = if section.is_empty() { field.clone() } else { format!("{section}.{field}") };
            Error::UnknownKey { key, place, hint: hint(field, known) }
        }
        Kind::UnknownVariant(found, known) => {
            let reason = format!("key `{path}`: `{found}` is none of {}", known.join(", "));
            Error::Read { place, reason }
        }
        kind if path.is_empty() => Error::Read { place, reason: kind.to_string() },
        kind => Error::Read { place, reason: format!("key `{path}`: {kind}") },
    }
}

/// The key as the operator writes it: `github[0].token`.
fn key(path: &[String]) -> String {
    let mut key = String::new();
    for part in path {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            key.push_str(&format!("[{part}]"));
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(part);
    }
    key
}

fn hint(field: &str, known: &[&str]) -> String {
    match nearest(field, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; the keys here are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        server: Server,
        names: Vec<String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Server {
        listen: String,
        grace_s: u32,
    }

    impl Default for Server {
        fn default() -> Self {
            Self { listen: "127.0.0.1:7474".into(), grace_s: 10 }
        }
    }

    impl Validate for Sample {
        fn validate(&self) -> Result<(), Invalid> {
            match self.server.grace_s {
                0 => Err(Invalid::new("server.grace_s", "must be at least 1")),
                _ => Ok(()),
            }
        }
    }

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hubwarden.toml");
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn later_layers_win_and_origins_name_them() {
        let (folder, file) = write("names = ['a']\n[server]\nlisten = 'file'\ngrace_s = 5\n");
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        std::fs::write(folder.path().join("conf.d/10.toml"), "[server]\ngrace_s = 7\n").unwrap();
        let flags = [("server.listen", toml::Value::from("flag"))];
        let loaded: Loaded<Sample> = load(Some(&file), &flags).unwrap();
        assert_eq!(
            (loaded.config.server.listen.as_str(), loaded.config.server.grace_s),
            ("flag", 7)
        );
        let origins = loaded.origins().unwrap();
        let origin = |key: &str| origins.iter().find(|row| row.key == key).unwrap().origin.clone();
        assert_eq!(origin("server.listen"), "flag");
        assert!(origin("server.grace_s").ends_with("10.toml"), "{}", origin("server.grace_s"));
        assert!(origin("names").ends_with("hubwarden.toml"));
        let plain: Loaded<Sample> = load(None, &[]).unwrap();
        assert!(plain.origins().unwrap().iter().all(|row| row.origin == "default"));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion() {
        let (_folder, file) = write("[server]\nlisen = 'x'\n");
        let error = load::<Sample>(Some(&file), &[]).unwrap_err().to_string();
        assert!(
            error.contains("unknown configuration key `server.lisen`; did you mean `listen`?"),
            "{error}"
        );
        assert!(error.contains("hubwarden.toml"), "{error}");
    }

    #[test]
    fn wrong_types_and_senseless_values_name_the_key() {
        for (text, part) in [
            ("[server]\ngrace_s = 'x'\n", "server.grace_s"),
            ("[server]\ngrace_s = 0\n", "must be at least 1"),
            ("[server\n", "hubwarden.toml"),
        ] {
            let (_folder, file) = write(text);
            let error = load::<Sample>(Some(&file), &[]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(matches!(
            load::<Sample>(Some(Path::new("/nonexistent")), &[]),
            Err(Error::NoFile(_))
        ));
    }
}
