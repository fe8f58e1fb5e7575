//! Commands that look at an instance do not make one: in a wrong directory they would find nothing, and call that good.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::Config;
use crate::config::adapters::{Database, Store};

/// Refuses where there is no instance.
pub fn require(config: &Config) -> Result<(), Failure> {
    require_store(config)?;
    let settings = &config.settings;
    if settings.store() == Store::Local {
        // A database that was lost is a finding.
        return Ok(());
    }
    match settings.database().sqlite_path(Some(&settings.data_dir)) {
        Some(database) if !database.exists() => {
            let key = match settings.database() {
                Database::Sqlite(Some(_)) => "database.url",
                _ => "data_dir",
            };
            let refused = refusal(&database, "database", key);
            Err(Failure::usage(format!(
                "{refused}. A lost one comes back with `cloakroom rebuild`"
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses where there is no main store. The database may be a new one.
pub fn require_store(config: &Config) -> Result<(), Failure> {
    let objects = config.settings.data_dir.join("objects");
    if config.settings.store() == Store::Local && !objects.exists() {
        return Err(Failure::usage(refusal(&objects, "store", "data_dir")));
    }
    Ok(())
}

fn refusal(missing: &Path, what: &str, key: &str) -> String {
    format!(
        "there is no instance here: its {what} would be {}, which is not there; nothing was made. Run this where the server \
         runs, or say where it keeps its data: --data-dir, --config, or the setting {key}",
        absolute(missing).display()
    )
}

fn absolute(path: &Path) -> PathBuf {
    // It is for people; where there is no current directory the path as it was said has to do.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
