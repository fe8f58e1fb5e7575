//! Who may do what (design §6).

use crate::file::File;
use crate::id::ServiceTokenId;
use crate::record::Record;

/// What a caller may do beyond their own files. Ordered: `Admin` > `Operator` > `User`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Their own files and records.
    User,
    /// Reads everything, changes only their own.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The role's name in tokens and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads a role's name; any letter case, as issuers differ.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str().eq_ignore_ascii_case(text))
    }
}

/// How the caller proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A validated access token of a person.
    AccessToken,
    /// A service token: an application or a bot, which may act for owners it names.
    ServiceToken {
        /// The token's id, for the audit.
        id: ServiceTokenId,
        /// The collections it is scoped to; `None` is all of them.
        collections: Option<Vec<String>>,
    },
}

/// The authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `sub` of the token, or the service token's name; owns what it creates.
    pub subject: String,
    /// The role.
    pub role: Role,
    /// How they proved it.
    pub credential: Credential,
    /// A short name for storage file names; the subject when the token has none.
    pub username: String,
    /// A name for people, when the token has one.
    pub full_name: Option<String>,
}

/// What somebody wants to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See it: metadata, state, timeline, bytes.
    Read,
    /// Change it: confirm, patch, delete, restore.
    Write,
}

impl Principal {
    /// Whether this is a service token whose scope covers the collection.
    pub fn serves(&self, collection: &str) -> bool {
        match &self.credential {
            Credential::AccessToken => false,
            Credential::ServiceToken {
                collections: None, ..
            } => true,
            Credential::ServiceToken {
                collections: Some(names),
                ..
            } => names.iter().any(|name| name == collection),
        }
    }

    /// Whether the caller may use the collection for new files at all.
    pub fn may_use_collection(&self, collection: &str) -> bool {
        match &self.credential {
            Credential::AccessToken => true,
            Credential::ServiceToken { .. } => self.serves(collection),
        }
    }

    /// The one rule for files. `false` is answered as if the file did not exist (I8).
    pub fn may(&self, action: Action, file: &File) -> bool {
        if let Credential::ServiceToken { .. } = self.credential {
            return self.serves(&file.collection);
        }
        file.owner == self.subject
            || match action {
                Action::Read => self.role >= Role::Operator,
                Action::Write => self.role >= Role::Admin,
            }
    }

    /// The one rule for records: the owner, an administrator, a service token; an operator may read.
    pub fn may_record(&self, action: Action, record: &Record) -> bool {
        if let Credential::ServiceToken { .. } = self.credential {
            return true;
        }
        record.owner == self.subject
            || match action {
                Action::Read => self.role >= Role::Operator,
                Action::Write => self.role >= Role::Admin,
            }
    }

    /// Whether the caller may name another owner: service tokens and administrators.
    pub fn may_act_for_others(&self) -> bool {
        matches!(self.credential, Credential::ServiceToken { .. }) || self.role >= Role::Admin
    }
}
