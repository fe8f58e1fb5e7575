//! Profiles: named instances with their tokens, in one file per person.
//!
//! ```toml
//! [default]
//! url = "https://files.example.com"
//! token_file = "token"        # beside this file; or token = ".."
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloakroom_signing::Secret;
use serde::Deserialize;

use super::error::{ClientError, Result};

/// The profile that is used when none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// One instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Address of the API.
    pub url: Option<String>,
    /// The token itself.
    pub token: Option<Secret>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileTable {
    url: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

/// The profiles of a file.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    profiles: BTreeMap<String, Profile>,
    path: PathBuf,
}

impl Profiles {
    /// Reads the file; without a file there are no profiles. `home` is what `~/` stands for.
    pub fn read(path: &Path, home: Option<&Path>) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path, home),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self {
                path: path.to_owned(),
                ..Self::default()
            }),
            Err(error) => Err(ClientError::Usage(format!(
                "cannot read {}: {error}",
                path.display()
            ))),
        }
    }

    fn parse(text: &str, path: &Path, home: Option<&Path>) -> Result<Self> {
        let wrong = |message: String| ClientError::Usage(format!("{}: {message}", path.display()));
        let tables: BTreeMap<String, ProfileTable> = toml::from_str(text).map_err(|error| {
            // The error's own text quotes the line, and a line may hold a token.
            let line = error.span().map_or(1, |span| {
                text[..span.start.min(text.len())].lines().count().max(1)
            });
            wrong(format!("line {line}: {}", error.message()))
        })?;
        let mut profiles = BTreeMap::new();
        for (name, table) in tables {
            if table.token.is_some() && table.token_file.is_some() {
                return Err(wrong(format!("profile {name} has both token and token_file")));
            }
            let token_file = table.token_file.map(|file| match (file.strip_prefix("~"), home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path.parent().unwrap_or(Path::new("")).join(file),
            });
            profiles.insert(
                name,
                Profile {
                    url: table.url,
                    token: table.token.map(Secret::from),
                    token_file,
                },
            );
        }
        Ok(Self {
            profiles,
            path: path.to_owned(),
        })
    }

    /// The profile of that name, which must be there.
    pub fn named(&self, name: &str) -> Result<&Profile> {
        self.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            ClientError::Usage(format!(
                "there is no profile {name} in {} (known: {known})",
                self.path.display()
            ))
        })
    }

    /// The profile for when none is named.
    pub fn fallback(&self) -> Option<&Profile> {
        self.profiles.get(DEFAULT_PROFILE)
    }

    /// Whether a token stands in this file and others on this machine may read it.
    pub fn exposes_tokens(&self) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        self.profiles.values().any(|profile| profile.token.is_some())
            && std::fs::metadata(&self.path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
    }

    /// Where they were read from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Profiles> {
        Profiles::parse(
            text,
            Path::new("/config/profiles.toml"),
            Some(Path::new("/home/ann")),
        )
    }

    #[test]
    fn token_files_are_found_beside_the_profiles_and_at_home() {
        let profiles = parse(
            "[default]\nurl = 'http://a'\ntoken_file = 'token'\n[b]\ntoken_file = '~/b'\n[c]\ntoken_file = '/run/c'\n[d]\ntoken = 't'",
        )
        .expect("good profiles");
        let file = |name| {
            profiles
                .named(name)
                .expect("there")
                .token_file
                .clone()
                .expect("a file")
        };
        assert_eq!(file("default"), Path::new("/config/token"));
        assert_eq!(file("b"), Path::new("/home/ann/b"));
        assert_eq!(file("c"), Path::new("/run/c"));
        assert_eq!(
            profiles.fallback().and_then(|profile| profile.url.as_deref()),
            Some("http://a")
        );
        assert_eq!(
            profiles.named("e").expect_err("not there").to_string(),
            "there is no profile e in /config/profiles.toml (known: b, c, d, default)"
        );
    }

    #[test]
    fn mistakes_are_named_and_tokens_are_not_quoted() {
        let error = parse("[default]\nurl = 'http://a'\ntoken = 5ec2e7")
            .expect_err("not a string")
            .to_string();
        assert!(
            error.starts_with("/config/profiles.toml: line 3: ") && !error.contains("5ec2e7"),
            "{error}"
        );
        let error = parse("[default]\nurll = 'x'").expect_err("unknown").to_string();
        assert!(error.contains("unknown field `urll`"), "{error}");
        let error = parse("[p]\ntoken = 'a'\ntoken_file = 'b'")
            .expect_err("both")
            .to_string();
        assert!(error.contains("profile p has both"), "{error}");
    }

    #[test]
    fn a_token_that_others_can_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("profiles.toml");
        std::fs::write(&path, "[default]\ntoken = 't'").expect("written");
        for (mode, exposed) in [(0o600, false), (0o640, true), (0o604, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(
                Profiles::read(&path, None).expect("readable").exposes_tokens(),
                exposed,
                "{mode:o}"
            );
        }
        let absent =
            Profiles::read(&directory.path().join("absent.toml"), None).expect("no file is no profiles");
        assert!(absent.fallback().is_none() && !absent.exposes_tokens());
    }
}
