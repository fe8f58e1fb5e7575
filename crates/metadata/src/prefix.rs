//! The table prefix, by which several instances share one database. It is spelled into every statement, so this
//! type is the one place where that is made safe.

use std::fmt;
use std::str::FromStr;

/// Longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 21;

/// A checked table prefix: `^[a-z][a-z0-9_]{0,20}$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TablePrefix(String);

/// The text is not a table prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a table prefix is 1 to {PREFIX_BYTES_MAX} lower-case letters, digits or '_', beginning with a letter; not {0:?}"
)]
pub struct InvalidTablePrefix(String);

impl TablePrefix {
    /// Puts the prefix in the place of every `{p}` of a statement.
    pub(crate) fn render(&self, sql: &str) -> String {
        sql.replace("{p}", &self.0)
    }
}

impl Default for TablePrefix {
    fn default() -> Self {
        Self("cloakroom".to_owned())
    }
}

impl FromStr for TablePrefix {
    type Err = InvalidTablePrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() <= PREFIX_BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTablePrefix(text.to_owned()))
        }
    }
}

impl fmt::Display for TablePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_part_of_a_statement() {
        for good in ["a", "cloakroom", "se_01", &"a".repeat(21)] {
            assert_eq!(
                good.parse::<TablePrefix>().map(|p| p.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "A",
            "1a",
            "_a",
            "a-b",
            "a b",
            "a\"",
            "a;drop table x",
            "ä",
            "a\n",
            "a\0",
            &"a".repeat(22),
        ] {
            assert!(bad.parse::<TablePrefix>().is_err(), "{bad:?}");
        }
        assert_eq!(
            TablePrefix::default().render("SELECT 1 FROM {p}_a, {p}_b"),
            "SELECT 1 FROM cloakroom_a, cloakroom_b"
        );
    }
}
