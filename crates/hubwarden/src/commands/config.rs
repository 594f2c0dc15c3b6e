use hubwarden_collector::audit::Level;
use hubwarden_service::config::Origin;

use crate::Config;
use crate::args::{ConfigCommand, Global, ShowConfig};
use crate::config::load;
use crate::failure::{Exit, Failure};
use crate::output::{Rows, say};
use crate::rule_check::check_rules;

/// `hubwarden config …`
pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<Exit, Failure> {
    let loaded = load(global.config.as_deref(), global.data_dir.as_deref())?;
    match command {
        ConfigCommand::Show(options) => show(global, &loaded.origins()?, options)?,
        ConfigCommand::Validate => {
            let file = loaded.file.map_or("the defaults".into(), |file| file.display().to_string());
            return Ok(validate(&file, &loaded.config));
        }
    }
    Ok(Exit::Done)
}

/// Values are right already when the configuration has been read; what they lead to is looked at here.
fn validate(file: &str, config: &Config) -> Exit {
    let lines = check_rules(config);
    for line in lines.iter().filter(|line| line.level != Level::Ok) {
        say(&format!("{file}: {} {}: {}", line.word(), line.what, line.found));
    }
    if lines.iter().any(|line| line.level == Level::Fail) {
        return Exit::Usage;
    }
    say(&format!("{file}: fine"));
    Exit::Done
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
