//! Embedded migrations: numbered SQL texts with a checksum. How they are applied is the engine's matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::prefix::TablePrefix;

/// One step of a schema.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// Its number, from 1 without gaps.
    pub(crate) version: u32,
    /// Its name, as in the file name.
    pub(crate) name: &'static str,
    /// Its statements, with `{p}` for the table prefix.
    pub(crate) sql: &'static str,
}

impl Migration {
    /// Number and name, as its file is called.
    pub(crate) fn label(&self) -> String {
        format!("{:04}_{}", self.version, self.name)
    }

    /// SHA-256 of the text, hexadecimal; an applied step must keep it.
    pub(crate) fn checksum(&self) -> String {
        Sha256::digest(self.sql.as_bytes())
            .iter()
            .fold(String::new(), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

/// A step that the database says was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Its number.
    pub(crate) version: u32,
    /// Checksum of its text at the time.
    pub(crate) checksum: String,
}

/// Why the steps of the program and of the database do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrationMismatch {
    /// The database has steps that this program does not know.
    #[error("its schema has version {found}, this program knows versions up to {known}: use a newer program")]
    Newer {
        /// Version of the database.
        found: u32,
        /// Newest version of the program.
        known: u32,
    },
    /// The text of a step differs from the one that was applied.
    #[error("migration {version:04}_{name} differs from the one that was applied")]
    Changed {
        /// Number of the step.
        version: u32,
        /// Name of the step.
        name: &'static str,
    },
    /// A step is missing between applied ones.
    #[error("migration {version:04}_{name} was never applied, though later ones were")]
    Missing {
        /// Number of the step.
        version: u32,
        /// Name of the step.
        name: &'static str,
    },
    /// Tables are gone that applied steps made.
    #[error(
        "{} missing, though the migrations were applied: restore the database from a backup, or begin with an empty \
         one and run `cloakroom rebuild`",
        counted(.tables)
    )]
    Gone {
        /// Their names.
        tables: Vec<String>,
    },
}

fn counted(tables: &[String]) -> String {
    let (noun, verb) = if tables.len() == 1 {
        ("table", "is")
    } else {
        ("tables", "are")
    };
    format!("its {noun} {} {verb}", tables.join(", "))
}

/// The tables that stand when these steps were applied. Steps are written with one statement's beginning to a line.
pub(crate) fn tables(steps: &[Migration], prefix: &TablePrefix) -> Vec<String> {
    let mut tables = BTreeSet::new();
    for line in steps.iter().flat_map(|step| step.sql.lines()) {
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|word| word.trim_end_matches(';'))
            .collect();
        match words.as_slice() {
            ["CREATE", "TABLE", name, ..] | ["CREATE", "VIRTUAL", "TABLE", name, ..] => {
                tables.insert(*name);
            }
            ["DROP", "TABLE", name] => {
                tables.remove(name);
            }
            ["ALTER", "TABLE", old, "RENAME", "TO", new] => {
                tables.remove(old);
                tables.insert(*new);
            }
            _ => {}
        }
    }
    tables.into_iter().map(|name| prefix.render(name)).collect()
}

/// The steps that are still to be applied. `applied` is in order of version.
pub(crate) fn outstanding<'a>(
    known: &'a [Migration],
    applied: &[Applied],
) -> Result<&'a [Migration], MigrationMismatch> {
    for (step, done) in known.iter().zip(applied) {
        if done.version != step.version {
            return Err(MigrationMismatch::Missing {
                version: step.version,
                name: step.name,
            });
        }
        if done.checksum != step.checksum() {
            return Err(MigrationMismatch::Changed {
                version: step.version,
                name: step.name,
            });
        }
    }
    match applied.get(known.len()) {
        None => Ok(&known[applied.len()..]),
        Some(_) => Err(MigrationMismatch::Newer {
            found: applied.last().map_or(0, |last| last.version),
            known: known.last().map_or(0, |last| last.version),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] = &[
        Migration {
            version: 1,
            name: "first",
            sql: "a",
        },
        Migration {
            version: 2,
            name: "second",
            sql: "b",
        },
    ];

    fn applied(steps: &[Migration]) -> Vec<Applied> {
        steps
            .iter()
            .map(|step| Applied {
                version: step.version,
                checksum: step.checksum(),
            })
            .collect()
    }

    fn versions(result: Result<&[Migration], MigrationMismatch>) -> Result<Vec<u32>, MigrationMismatch> {
        result.map(|steps| steps.iter().map(|step| step.version).collect())
    }

    #[test]
    fn only_what_is_missing_at_the_end_is_applied() {
        assert_eq!(versions(outstanding(KNOWN, &[])), Ok(vec![1, 2]));
        assert_eq!(versions(outstanding(KNOWN, &applied(&KNOWN[..1]))), Ok(vec![2]));
        assert_eq!(versions(outstanding(KNOWN, &applied(KNOWN))), Ok(vec![]));
    }

    #[test]
    fn tables_are_those_of_the_last_step() {
        let steps = [
            Migration {
                version: 1,
                name: "first",
                sql: "CREATE TABLE {p}_a (\n    x int\n);\nCREATE TABLE {p}_b (x int);\nCREATE INDEX {p}_i ON {p}_a (x);",
            },
            Migration {
                version: 2,
                name: "second",
                sql: "CREATE VIRTUAL TABLE {p}_c USING fts5 (x);\nCREATE TABLE {p}_a_next (\nx int);\nDROP TABLE {p}_a;\n\
                      ALTER TABLE {p}_a_next RENAME TO {p}_a;\nALTER TABLE {p}_b ADD COLUMN y int;",
            },
        ];
        let prefix = "t".parse().unwrap();
        assert_eq!(tables(&steps, &prefix), ["t_a", "t_b", "t_c"]);
    }

    #[test]
    fn newer_changed_and_missing_steps_are_refused() {
        let newer = MigrationMismatch::Newer { found: 2, known: 1 };
        assert_eq!(versions(outstanding(&KNOWN[..1], &applied(KNOWN))), Err(newer));
        let mut other = applied(KNOWN);
        other[1].checksum = "0".to_owned();
        assert_eq!(
            versions(outstanding(KNOWN, &other)),
            Err(MigrationMismatch::Changed {
                version: 2,
                name: "second"
            })
        );
        assert_eq!(
            versions(outstanding(KNOWN, &applied(&KNOWN[1..]))),
            Err(MigrationMismatch::Missing {
                version: 1,
                name: "first"
            })
        );
    }
}
