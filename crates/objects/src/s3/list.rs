//! Listing keys (S3 API, "ListObjectsV2").

use cloakroom_core::key::KEY_BYTES_MAX;
use cloakroom_core::ports::objects::{ListOptions, ListedObject, ObjectError, ObjectList, Result};
use cloakroom_signing::percent_decode_str;
use http::Method;
use serde::Deserialize;

use super::client::Request;
use super::multipart::time;
use super::{S3Store, check_bucket};
use crate::conditions::strip_quotes;

/// The most keys of a page.
const LIMIT_MAX: u32 = 1_000;
/// The last character in byte order.
const LAST_CHARACTER: char = char::MAX;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyList {
    #[serde(default)]
    contents: Vec<ListedKey>,
    #[serde(default)]
    common_prefixes: Vec<CommonPrefix>,
    #[serde(default)]
    is_truncated: bool,
    encoding_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKey {
    key: String,
    size: u64,
    #[serde(rename = "ETag")]
    etag: String,
    last_modified: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommonPrefix {
    prefix: String,
}

impl S3Store {
    pub(super) async fn list_objects(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
        check_bucket(bucket)?;
        if options.limit == 0 {
            return if self.bucket_is_missing(bucket).await {
                Err(ObjectError::NoSuchBucket(bucket.to_owned()))
            } else {
                Ok(ObjectList::default())
            };
        }
        let mut first = ObjectList::default();
        if let Some(prefix) = prefix_around(options)
            && self.has_more_below(bucket, prefix, options).await?
        {
            first.common_prefixes.push(prefix.to_owned());
        }
        let limit = options.limit.min(LIMIT_MAX);
        let wanted = limit - first.common_prefixes.len() as u32;
        // Even a full page must know whether there is more.
        let page = self.page_of_keys(bucket, options, wanted.max(1)).await?;
        if wanted == 0 {
            let there_is_more = !(page.objects.is_empty() && page.common_prefixes.is_empty());
            first.next = first.common_prefixes.last().filter(|_| there_is_more).cloned();
            return Ok(first);
        }
        first.common_prefixes.extend(page.common_prefixes);
        Ok(ObjectList {
            common_prefixes: first.common_prefixes,
            ..page
        })
    }

    async fn page_of_keys(&self, bucket: &str, options: &ListOptions, limit: u32) -> Result<ObjectList> {
        let mut request = Request::new("ListObjectsV2", Method::GET, bucket, "")
            .query("encoding-type", "url")
            .query("list-type", "2")
            .query("max-keys", limit.to_string());
        if !options.delimiter.is_empty() {
            request = request.query("delimiter", options.delimiter.clone());
        }
        if !options.prefix.is_empty() {
            request = request.query("prefix", options.prefix.clone());
        }
        // Every key with the prefix comes after a place before the prefix, and Garage finds none if it is told the place.
        let after = options
            .after
            .as_deref()
            .filter(|after| *after > options.prefix.as_str());
        if let Some(after) = after {
            let after = prefix_around(options).map_or_else(|| after.to_owned(), end_of);
            request = request.query("start-after", after);
        }
        let page: KeyList = self.call_for_xml(request).await?;
        let encoding = page.encoding_type.as_deref();
        let mut list = ObjectList::default();
        for found in page.contents {
            list.objects.push(ListedObject {
                key: decode_key(found.key, encoding)?,
                size_bytes: found.size,
                etag: strip_quotes(&found.etag).to_owned(),
                modified_at: time(&found.last_modified)?,
            });
        }
        for found in page.common_prefixes {
            list.common_prefixes.push(decode_key(found.prefix, encoding)?);
        }
        if page.is_truncated {
            let last_key = list.objects.last().map(|object| object.key.clone());
            list.next = last_key.max(list.common_prefixes.last().cloned());
        }
        Ok(list)
    }

    /// Whether the common prefix in the midst of which a page begins still stands for a key. Services disagree on whether
    /// it then belongs to the page; so it is passed over, and this is asked for.
    async fn has_more_below(&self, bucket: &str, prefix: &str, options: &ListOptions) -> Result<bool> {
        if options.after.as_deref() == Some(prefix) {
            return Ok(false);
        }
        let below = ListOptions {
            prefix: prefix.to_owned(),
            delimiter: String::new(),
            after: options.after.clone(),
            limit: 1,
        };
        Ok(!self.page_of_keys(bucket, &below, 1).await?.objects.is_empty())
    }
}

/// The common prefix that the place where a page begins is in, or is.
fn prefix_around(options: &ListOptions) -> Option<&str> {
    if options.delimiter.is_empty() {
        return None;
    }
    let after = options.after.as_deref()?;
    let at = after
        .strip_prefix(options.prefix.as_str())?
        .find(&options.delimiter)?;
    Some(&after[..options.prefix.len() + at + options.delimiter.len()])
}

/// The last key that a common prefix can stand for.
fn end_of(prefix: &str) -> String {
    let mut last = prefix.to_owned();
    while last.len() + LAST_CHARACTER.len_utf8() <= KEY_BYTES_MAX {
        last.push(LAST_CHARACTER);
    }
    last
}

/// A key of a list that was asked for with `encoding-type=url`. Some services write a space as `+`; Ceph encodes lists of
/// uploads without saying so.
pub(super) fn decode_key(text: String, encoding: Option<&str>) -> Result<String> {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/*+%!'()".contains(&byte);
    if encoding != Some("url") && !text.bytes().all(is_kept) {
        return Ok(text);
    }
    let decoded = percent_decode_str(&text.replace('+', "%20")).map(|key| key.to_string());
    match decoded {
        Ok(key) => Ok(key),
        Err(_) if encoding.is_none() => Ok(text),
        Err(_) => Err(ObjectError::Internal(
            "the object store listed a key that cannot be read".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(after: &str) -> ListOptions {
        ListOptions {
            prefix: "a/".into(),
            delimiter: "/".into(),
            after: Some(after.into()),
            limit: 10,
        }
    }

    #[test]
    fn the_common_prefix_around_a_place_is_found() {
        for (after, around) in [
            ("a/b", None),
            ("a/b/", Some("a/b/")),
            ("a/b/c", Some("a/b/")),
            ("a/b/c/d", Some("a/b/")),
            ("b/c/", None),
            ("", None),
        ] {
            assert_eq!(prefix_around(&folded(after)), around, "{after}");
        }
        assert_eq!(
            prefix_around(&ListOptions {
                delimiter: String::new(),
                ..folded("a/b/c")
            }),
            None
        );
    }

    #[test]
    fn keys_are_decoded() {
        let decoded = |text: &str, encoding| decode_key(text.to_owned(), encoding);
        assert_eq!(
            decoded("a%2Bb+c%20d/%D0%9E", Some("url")).expect("a key"),
            "a+b c d/О"
        );
        assert_eq!(
            decoded("%C3%A9", None).expect("a key"),
            "é",
            "as Ceph lists uploads"
        );
        assert_eq!(decoded("é 100%", None).expect("a key"), "é 100%", "as it is");
        assert_eq!(decoded("100%", None).expect("a key"), "100%");
        assert!(decoded("%ff", Some("url")).is_err());
        assert!(decoded("%zz", Some("url")).is_err());
    }

    proptest! {
        #[test]
        fn every_key_below_a_prefix_lies_before_its_end(prefix in ".{1,200}", rest in ".{0,100}") {
            let key = format!("{prefix}{rest}");
            prop_assume!(key.len() <= KEY_BYTES_MAX);
            prop_assert!(key <= end_of(&prefix));
            prop_assert!(end_of(&prefix).len() <= KEY_BYTES_MAX);
        }

        #[test]
        fn encoded_keys_come_back(key in any::<String>()) {
            let encoded = cloakroom_signing::encode_component(&key);
            prop_assert_eq!(decode_key(encoded.clone(), Some("url")).expect("a key"), key.clone());
            prop_assert_eq!(decode_key(encoded, None).expect("a key"), key);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = decode_key(text.clone(), Some("url"));
            prop_assert!(decode_key(text, None).is_ok());
        }
    }
}
