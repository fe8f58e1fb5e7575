//! Names of buckets. Those of an embedded instance are its own, those of a provider are shared with the whole world,
//! so a bucket may have to get another name on the way.

use std::collections::BTreeMap;

/// Reads `old=new`.
pub(super) fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("a new name of a bucket is written old=new".to_owned()),
    }
}

/// What buckets are called in the target.
#[derive(Debug, Default)]
pub(super) struct BucketNames(BTreeMap<String, String>);

impl BucketNames {
    /// From the command line. Two buckets must not become one: their objects could not be told apart again.
    pub(super) fn new(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut names = BTreeMap::new();
        for (old, new) in pairs {
            if names.values().any(|name| name == new) {
                return Err(format!("--bucket: two buckets cannot both become {new}"));
            }
            if names.insert(old.clone(), new.clone()).is_some() {
                return Err(format!("--bucket: {old} is given two names"));
            }
        }
        Ok(Self(names))
    }

    /// The name in the target.
    pub(super) fn new_name<'a>(&'a self, old: &'a str) -> &'a str {
        self.0.get(old).map_or(old, String::as_str)
    }

    /// What is renamed, for comparing: always in the same order.
    pub(super) fn summary(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(old, new)| format!("{old}={new}")).collect();
        pairs.join(",")
    }

    /// Names that were given for buckets which do not exist, or that a bucket which keeps its name has already.
    pub(super) fn check<'a>(&self, buckets: impl Iterator<Item = &'a str> + Clone) -> Result<(), String> {
        for (old, new) in &self.0 {
            if !buckets.clone().any(|bucket| bucket == old) {
                return Err(format!("--bucket: the embedded instance has no bucket {old}"));
            }
            if buckets
                .clone()
                .any(|bucket| bucket == new && !self.0.contains_key(bucket))
            {
                return Err(format!(
                    "--bucket: {new} is the name of another bucket that moves"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[&str]) -> Result<BucketNames, String> {
        let pairs: Vec<_> = pairs.iter().map(|text| parse(text).expect("a pair")).collect();
        BucketNames::new(&pairs)
    }

    #[test]
    fn buckets_keep_their_names_or_get_new_ones() {
        let renamed = names(&["files=acme-files", "a=b", "b=a"]).expect("good names");
        assert_eq!(renamed.new_name("files"), "acme-files");
        assert_eq!(renamed.new_name("photos"), "photos");
        renamed
            .check(["files", "photos", "a", "b"].into_iter())
            .expect("they exist");
    }

    #[test]
    fn no_two_become_one() {
        assert!(parse("files").is_err() && parse("=x").is_err() && parse("x=").is_err());
        assert!(names(&["a=c", "b=c"]).is_err());
        assert!(names(&["a=b", "a=c"]).is_err());
        let onto_another = names(&["a=b"]).expect("good names");
        assert!(onto_another.check(["a", "b"].into_iter()).is_err());
        assert!(onto_another.check(["c"].into_iter()).is_err());
    }
}
