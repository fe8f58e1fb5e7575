//! The variables with which AWS and its SDKs say where credentials come from. They belong to the platform and are no
//! settings of ours.

use std::fmt;

use super::Inputs;
use super::layers::Variables;

/// Those that begin with `AWS_`. `Debug` shows names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AwsVariables(Variables);

/// Any of these names a source of credentials; without one, only an instance of EC2 has any.
const SOURCES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

impl AwsVariables {
    /// Of the environment.
    pub(super) fn of(inputs: &Inputs) -> Self {
        let ours = inputs
            .environment
            .iter()
            .filter(|(name, value)| name.starts_with("AWS_") && !value.trim().is_empty());
        Self(ours.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// Whether they name where credentials come from.
    pub fn name_a_source(&self) -> bool {
        SOURCES.iter().any(|name| self.0.contains_key(*name))
    }
}

impl fmt::Debug for AwsVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
