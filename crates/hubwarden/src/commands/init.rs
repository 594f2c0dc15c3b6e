use std::io::Write;

use crate::args::{Global, Init};
use crate::config::DEFAULT_FILE;
use crate::failure::{Exit, Failure};
use crate::output::{print_text, say};

const TEMPLATE: &str = include_str!("../../../../config/hubwarden.toml");

/// `hubwarden init`
pub(crate) fn run(global: &Global, options: &Init) -> Result<Exit, Failure> {
    let file = global.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create_new(!options.force).create(true).truncate(options.force);
    let mut out = open.open(&file).map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::AlreadyExists {
            "; --force overwrites it"
        } else {
            ""
        };
        Failure::new(Exit::Failed, format!("cannot write {}: {error}{hint}", file.display()))
    })?;
    out.write_all(TEMPLATE.as_bytes())?;
    let config = crate::config::load(Some(&file), global.data_dir.as_deref())?.config;
    let data_dir = &config.storage.data_dir;
    {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    }
    say(&format!("wrote {}; its data goes to {}", file.display(), data_dir.display()));
    say("next: add a [[github]] connection there, then `hubwarden doctor` and `hubwarden serve`");
    print_text(&data_dir.display().to_string())?;
    Ok(Exit::Done)
}
