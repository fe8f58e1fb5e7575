//! Conditions of reads and writes (RFC 9110 §13, S3 API "Conditional requests").

use cloakroom_core::ports::objects::{ObjectError, ObjectInfo, ReadConditions, Result, WriteConditions};
use jiff::Timestamp;

/// Checks a read in S3's order: an `If-Match` that holds makes `If-Unmodified-Since` irrelevant, an `If-None-Match`
/// makes `If-Modified-Since` so.
pub(crate) fn check_read(conditions: &ReadConditions, info: &ObjectInfo) -> Result<()> {
    if conditions
        .if_generation
        .as_ref()
        .is_some_and(|generation| *generation != info.generation)
    {
        return Err(ObjectError::PreconditionFailed("generation"));
    }
    if let Some(list) = &conditions.if_match {
        if !matches_strongly(list, &info.etag) {
            return Err(ObjectError::PreconditionFailed("If-Match"));
        }
    } else if conditions
        .if_unmodified_since
        .is_some_and(|since| is_modified(info, since))
    {
        return Err(ObjectError::PreconditionFailed("If-Unmodified-Since"));
    }
    let current = if let Some(list) = &conditions.if_none_match {
        matches_weakly(list, &info.etag)
    } else {
        conditions
            .if_modified_since
            .is_some_and(|since| !is_modified(info, since))
    };
    if current {
        return Err(ObjectError::NotModified {
            info: Box::new(info.clone()),
        });
    }
    Ok(())
}

/// Checks a write against the object that it would replace. `If-Match` on a key without an object is
/// [`ObjectError::NotFound`], as on S3.
pub(crate) fn check_write(conditions: &WriteConditions, current: Option<&ObjectInfo>) -> Result<()> {
    if conditions.if_absent && current.is_some() {
        return Err(ObjectError::PreconditionFailed("If-None-Match"));
    }
    if let Some(list) = &conditions.if_match {
        let current = current.ok_or(ObjectError::NotFound)?;
        if !matches_strongly(list, &current.etag) {
            return Err(ObjectError::PreconditionFailed("If-Match"));
        }
    }
    if let Some(generation) = &conditions.if_generation
        && current.is_none_or(|current| current.generation != *generation)
    {
        return Err(ObjectError::PreconditionFailed("generation"));
    }
    Ok(())
}

/// Whether there is anything to check, and so a need to look at the current object.
pub(crate) fn is_conditional(conditions: &WriteConditions) -> bool {
    *conditions != WriteConditions::default()
}

/// HTTP dates have whole seconds, so the time of the object is cut to them.
fn is_modified(info: &ObjectInfo, since: Timestamp) -> bool {
    info.modified_at.as_second() > since.as_second()
}

fn matches_strongly(list: &str, etag: &str) -> bool {
    entity_tags(list).any(|tag| tag == "*" || strip_quotes(tag) == etag)
}

fn matches_weakly(list: &str, etag: &str) -> bool {
    entity_tags(list).any(|tag| tag == "*" || strip_quotes(tag.strip_prefix("W/").unwrap_or(tag)) == etag)
}

/// The members of a list of entity tags. A comma inside of quotes does not separate.
fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
    .map(str::trim)
}

/// S3 clients often leave the quotes out.
pub(crate) fn strip_quotes(tag: &str) -> &str {
    tag.strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'))
        .unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use cloakroom_core::ports::objects::{Checksums, ObjectAttributes};

    use super::*;

    fn info() -> ObjectInfo {
        ObjectInfo {
            size_bytes: 1,
            etag: "abc".into(),
            generation: "g1".into(),
            modified_at: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            attributes: ObjectAttributes::default(),
            checksums: Checksums::default(),
            parts: None,
        }
    }

    fn verdict(conditions: &ReadConditions) -> u16 {
        match check_read(conditions, &info()) {
            Ok(()) => 200,
            Err(ObjectError::NotModified { .. }) => 304,
            Err(ObjectError::PreconditionFailed(_)) => 412,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn entity_tags_are_compared_as_the_rfc_says() {
        let table = [
            ("abc", true, true),
            ("\"abc\"", true, true),
            ("W/\"abc\"", false, true),
            ("*", true, true),
            ("\"x\", \"abc\"", true, true),
            ("\"x\",W/\"abc\"", false, true),
            ("\"x,abc\"", false, false),
            ("\"abc", false, false),
            ("", false, false),
        ];
        for (list, strong, weak) in table {
            assert_eq!(matches_strongly(list, "abc"), strong, "{list}");
            assert_eq!(matches_weakly(list, "abc"), weak, "{list}");
        }
    }

    #[test]
    fn read_conditions_take_precedence_as_on_s3() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let (before, same, after) = (
            at("2025-12-31T23:59:59Z"),
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T00:00:01Z"),
        );
        let table = [
            (None, None, None, None, 200),
            (Some("abc"), None, None, None, 200),
            (Some("x"), None, None, None, 412),
            (None, Some("abc"), None, None, 304),
            (None, Some("x"), None, None, 200),
            (None, None, before, None, 200),
            (None, None, same, None, 304),
            (None, None, after, None, 304),
            (None, None, None, before, 412),
            (None, None, None, same, 200),
            (None, None, None, after, 200),
            (Some("abc"), None, None, before, 200),
            (None, Some("x"), after, None, 200),
            (Some("abc"), Some("abc"), None, None, 304),
            (Some("x"), Some("abc"), None, None, 412),
        ];
        for (if_match, if_none_match, if_modified_since, if_unmodified_since, expected) in table {
            let conditions = ReadConditions {
                if_match: if_match.map(str::to_owned),
                if_none_match: if_none_match.map(str::to_owned),
                if_modified_since,
                if_unmodified_since,
                if_generation: None,
            };
            assert_eq!(verdict(&conditions), expected, "{conditions:?}");
        }
        for (generation, expected) in [("g1", 200), ("g2", 412)] {
            let conditions = ReadConditions {
                if_generation: Some(generation.to_owned()),
                ..ReadConditions::default()
            };
            assert_eq!(verdict(&conditions), expected);
        }
    }

    #[test]
    fn write_conditions() {
        let conditions = |if_match: Option<&str>, if_absent, if_generation: Option<&str>| WriteConditions {
            if_match: if_match.map(str::to_owned),
            if_absent,
            if_generation: if_generation.map(str::to_owned),
        };
        let info = info();
        assert!(check_write(&conditions(None, false, None), None).is_ok());
        assert!(check_write(&conditions(None, true, None), None).is_ok());
        assert!(check_write(&conditions(None, true, None), Some(&info)).is_err());
        assert!(check_write(&conditions(Some("*"), false, None), Some(&info)).is_ok());
        assert!(check_write(&conditions(Some("\"abc\""), false, None), Some(&info)).is_ok());
        assert!(check_write(&conditions(Some("x"), false, None), Some(&info)).is_err());
        assert!(matches!(
            check_write(&conditions(Some("*"), false, None), None),
            Err(ObjectError::NotFound)
        ));
        assert!(check_write(&conditions(None, false, Some("g1")), Some(&info)).is_ok());
        assert!(check_write(&conditions(None, false, Some("g2")), Some(&info)).is_err());
        assert!(check_write(&conditions(None, false, Some("g1")), None).is_err());
    }
}
