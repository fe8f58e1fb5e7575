//! The development instance of the working directory: where it is, and its tokens.

use std::path::{Path, PathBuf};

use crate::data_dir::{keys_of, occupant};

/// Data directory of `cloakroom serve --dev` when nothing else is said.
const DEV_DATA_DIR: &str = "data";
/// Where `cloakroom serve --dev` listens when nothing else is said.
const DEV_URL: &str = "http://127.0.0.1:8000";

/// Whose token of a development instance a command uses when none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevIdentity {
    /// Its user, for commands about one's own files.
    User,
    /// Its administrator, for commands that nobody else may give.
    Administrator,
}

impl DevIdentity {
    /// Where `cloakroom serve --dev` leaves the token, below its keys.
    const fn token_file(self) -> &'static str {
        match self {
            Self::User => "user.token",
            Self::Administrator => "admin.token",
        }
    }

    /// For messages.
    pub(super) const fn as_whom(self) -> &'static str {
        match self {
            Self::User => "",
            Self::Administrator => " as its administrator",
        }
    }
}

/// A development instance of the working directory.
#[derive(Debug)]
pub(super) struct DevInstance {
    /// Its address.
    pub(super) url: String,
    /// Where the token is.
    pub(super) token_file: PathBuf,
    /// Whose token it is.
    pub(super) identity: DevIdentity,
}

impl DevInstance {
    /// The one that has left a token in `./data`; its address is what the running process says.
    pub(super) fn here(identity: DevIdentity) -> Option<Self> {
        let data_dir = Path::new(DEV_DATA_DIR);
        let token_file = Some(keys_of(data_dir).join(identity.token_file())).filter(|path| path.is_file())?;
        Some(Self {
            url: occupant(data_dir).api_url.unwrap_or_else(|| DEV_URL.to_owned()),
            token_file,
            identity,
        })
    }
}
