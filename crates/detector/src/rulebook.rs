use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hubwarden_rules::{Compiled, Lists, ProblemSeverity, RuleFile, RuleSet};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Catalogue, Error, shipped};

/// Section `[rules]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// Whether the rules of this release are loaded.
    pub shipped: bool,
    /// Folders with rule files of one's own (`*.yml`, `*.yaml`), read beside the shipped ones.
    ///
    /// A rule there with the name or id of a shipped one replaces it.
    pub dirs: Vec<PathBuf>,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { shipped: true, dirs: Vec::new() }
    }
}

/// A list of section `[lists]`: its values, or the file that holds them, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ListSource {
    /// The values.
    Values(Vec<String>),
    /// A file with a value a line; `#` begins a comment.
    File {
        /// The file.
        file: PathBuf,
    },
}

/// By hand, because an untagged enum cannot say which forms are right.
impl<'de> Deserialize<'de> for ListSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Source)
    }
}

struct Source;

impl<'de> Visitor<'de> for Source {
    type Value = ListSource;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("values such as [\"a\", \"b\"], or { file = \"PATH\" } with one value a line")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<ListSource, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(values)).map(ListSource::Values)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ListSource, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "file" {
                return Err(A::Error::custom(format!(
                    "unknown key `{key}`, expected {}",
                    &self as &dyn Expected
                )));
            }
            found = Some(ListSource::File { file: map.next_value()? });
        }
        found.ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &self))
    }
}

/// Rule files and lists as they were read together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rulebook {
    /// The rule files.
    pub files: Vec<RuleFile>,
    /// The lists.
    pub lists: Lists,
}

impl Rulebook {
    /// The rules and lists of this release.
    pub fn shipped() -> Self {
        Self { files: shipped::rule_files(), lists: shipped::lists() }
    }

    /// Reads what the configuration names; configured lists replace shipped ones of the same name.
    ///
    /// # Errors
    /// A folder or list file that cannot be read. A flaw inside a rule file is not an error: it is
    /// told by [`compile`](Self::compile) and the other rules load.
    pub fn read(rules: &RulesConfig, lists: &BTreeMap<String, ListSource>) -> Result<Self, Error> {
        let mut book = if rules.shipped { Self::shipped() } else { Self::default() };
        for folder in &rules.dirs {
            book.files.extend(read_folder(folder)?);
        }
        for (name, source) in lists {
            let values = match source {
                ListSource::Values(values) => values.clone(),
                ListSource::File { file } => shipped::list_values(&read_text(file)?),
            };
            book.lists.insert(name, values);
        }
        Ok(book)
    }

    /// The set of these rules, and what there is to say about them.
    pub fn compile(&self) -> Compiled {
        RuleSet::compile(&self.files, &self.lists, Some(&Catalogue))
    }

    /// This book, with the text that `before` has for each file of one's own that cannot be loaded now.
    ///
    /// So a broken edit changes nothing while people correct it.
    pub fn or_before(&self, before: &Self) -> Self {
        let mut book = self.clone();
        let broken: BTreeSet<String> = self
            .compile()
            .problems
            .into_iter()
            .filter(|problem| problem.severity == ProblemSeverity::Error)
            .map(|problem| problem.file)
            .collect();
        for file in book.files.iter_mut().filter(|file| broken.contains(&file.name)) {
            let earlier = before.files.iter().find(|one| one.name == file.name && !one.shipped);
            if let (Some(earlier), false) = (earlier, file.shipped) {
                file.text.clone_from(&earlier.text);
            }
        }
        book
    }
}

fn read_text(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|source| Error::Read { path: file.into(), source })
}

/// The rule files of a folder and its sub-folders, by name; hidden files and cases are left out.
fn read_folder(folder: &Path) -> Result<Vec<RuleFile>, Error> {
    let mut files = Vec::new();
    for path in rule_paths(folder)? {
        files.push(read_rule_file(&path)?);
    }
    Ok(files)
}

/// One rule file; bytes that are not UTF-8 become U+FFFD, for which compiling refuses the file.
///
/// # Errors
/// A file that cannot be read.
pub fn read_rule_file(path: &Path) -> Result<RuleFile, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(RuleFile {
        name: path.display().to_string(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        shipped: false,
    })
}

/// Paths of the rule files below a folder.
///
/// # Errors
/// A folder that cannot be read.
pub fn rule_paths(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Read { path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            paths.extend(rule_paths(&path)?);
        } else if is_rule_file(&name) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_rule_file(name: &str) -> bool {
    let stem = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| !stem.ends_with(".cases"))
}

/// When anything below these folders last changed; to be compared with an earlier answer.
pub fn last_change(folders: &[PathBuf]) -> Vec<(PathBuf, Option<SystemTime>)> {
    let paths = folders.iter().flat_map(|folder| rule_paths(folder).unwrap_or_default());
    paths
        .map(|path| {
            let changed = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            (path, changed)
        })
        .collect()
}
