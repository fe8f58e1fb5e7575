//! The programs that `[processors.NAME]` tables name: whether this machine can run them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Config;
use super::layers::Problem;
use super::processors::ProcessorTable;

/// What a process that does background work lacks: without its program a processor would only ever fill the list of dead
/// jobs.
pub fn missing_programs(config: &Config) -> Vec<Problem> {
    let problem = |table: &ProcessorTable| {
        let program = table.command.first()?;
        let why = unusable(Path::new(program))?;
        Some(Problem(format!(
            "processors.{}.command names {program}, which {why}: install it or correct the path on every machine that does \
             background work (a server without a worker, serve --no-worker, needs none)",
            table.name
        )))
    };
    config.processors.values().filter_map(problem).collect()
}

fn unusable(program: &Path) -> Option<String> {
    match std::fs::metadata(program) {
        Err(error) => Some(format!("cannot be run: {error}")),
        Ok(found) if !found.is_file() => Some("is no file".to_owned()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable".to_owned()),
        Ok(_) => None,
    }
}
