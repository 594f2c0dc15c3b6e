use hubwarden_service::config::Origin;

use crate::args::{ConfigCommand, Global, ShowConfig};
use crate::config::load;
use crate::failure::{Exit, Failure};
use crate::output::Rows;

/// `hubwarden config …`
pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<Exit, Failure> {
    let loaded = load(global.config.as_deref(), global.data_dir.as_deref())?;
    match command {
        ConfigCommand::Show(options) => show(global, &loaded.origins()?, options)?,
        ConfigCommand::Validate => {
            let file = loaded.file.map_or("the defaults".into(), |file| file.display().to_string());
            eprintln!("{file}: fine");
        }
    }
    Ok(Exit::Done)
}

fn show(global: &Global, origins: &[Origin], options: &ShowConfig) -> Result<(), Failure> {
    let row: fn(&Origin) -> Vec<String> = if options.origin {
        |origin| vec![origin.key.clone(), origin.value.clone(), origin.origin.clone()]
    } else {
        |origin| vec![origin.key.clone(), origin.value.clone()]
    };
    let header: &[&str] =
        if options.origin { &["key", "value", "origin"] } else { &["key", "value"] };
    Rows { header, values: origins, row }.print(global.output)
}
