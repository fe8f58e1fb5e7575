//! Listing the objects of a bucket, in both versions of the operation.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::ports::objects::{ListOptions, ObjectList};

use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::request::Query;
use crate::response::{self, S3Response, xml_time};
use crate::xml::write::XmlWriter;

/// The most entries of a page, and as many as there are if nothing is said.
const PAGE_ITEMS_MAX: u32 = 1000;
/// What stands before the key in a continuation token, so that anything else is told from it.
const TOKEN_VERSION: &[u8] = b"1:";

/// How texts are written: as they are, or percent-encoded so that any key survives XML.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    url: bool,
}

impl Encoding {
    /// Reads `encoding-type`.
    pub(crate) fn of(query: &Query<'_>) -> Result<Self, S3Error> {
        match query.get("encoding-type") {
            None | Some("") => Ok(Self { url: false }),
            Some(text) if text.eq_ignore_ascii_case("url") => Ok(Self { url: true }),
            Some(other) => Err(S3Error::invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                other,
            )),
        }
    }

    /// Writes a text.
    pub(crate) fn leaf(self, xml: &mut XmlWriter, name: &str, text: &str) {
        if self.url {
            xml.leaf(name, &cloakroom_signing::encode_path(text));
        } else {
            xml.leaf(name, text);
        }
    }

    /// Says so.
    pub(crate) fn declare(self, xml: &mut XmlWriter) {
        if self.url {
            xml.leaf("EncodingType", "url");
        }
    }
}

/// Reads a number of entries such as `max-keys`; more than a thousand are a thousand.
pub(crate) fn page_items(query: &Query<'_>, name: &'static str) -> Result<u32, S3Error> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else {
        return Ok(PAGE_ITEMS_MAX);
    };
    let number = text
        .parse::<i32>()
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| {
            S3Error::invalid_argument("Argument must be an integer between 0 and 2147483647", name, text)
        })?;
    Ok(number.min(PAGE_ITEMS_MAX))
}

struct Listing<'q> {
    prefix: &'q str,
    delimiter: &'q str,
    max_keys: u32,
    encoding: Encoding,
}

impl<'q> Listing<'q> {
    fn of(query: &'q Query<'_>) -> Result<Self, S3Error> {
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default(),
            delimiter: query.get("delimiter").unwrap_or_default(),
            max_keys: page_items(query, "max-keys")?,
            encoding: Encoding::of(query)?,
        })
    }

    async fn page(&self, x: &Exchange<'_>, after: Option<String>) -> Result<ObjectList, S3Error> {
        if self.max_keys == 0 {
            x.store().bucket(x.bucket()).await?;
            return Ok(ObjectList::default());
        }
        let options = ListOptions {
            prefix: self.prefix.to_owned(),
            delimiter: self.delimiter.to_owned(),
            after: after.filter(|after| !after.is_empty()),
            limit: self.max_keys,
        };
        Ok(x.store().list(x.bucket(), &options).await?)
    }

    fn write_question(&self, xml: &mut XmlWriter, bucket: &str) {
        xml.leaf("Name", bucket);
        if !self.delimiter.is_empty() {
            self.encoding.leaf(xml, "Delimiter", self.delimiter);
        }
        xml.value("MaxKeys", self.max_keys);
        self.encoding.declare(xml);
    }

    fn write_page(&self, xml: &mut XmlWriter, page: &ObjectList, owner: bool) {
        xml.value("IsTruncated", page.next.is_some());
        for object in &page.objects {
            xml.open("Contents");
            self.encoding.leaf(xml, "Key", &object.key);
            xml.leaf("LastModified", &xml_time(object.modified_at));
            xml.etag(&object.etag);
            xml.value("Size", object.size_bytes);
            if owner {
                xml.owner("Owner");
            }
            xml.raw("<StorageClass>STANDARD</StorageClass>");
            xml.close("Contents");
        }
        for prefix in &page.common_prefixes {
            xml.open("CommonPrefixes");
            self.encoding.leaf(xml, "Prefix", prefix);
            xml.close("CommonPrefixes");
        }
    }
}

/// ListObjects.
pub(crate) async fn list_objects(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let listing = Listing::of(x.query)?;
    let marker = x.query.get("marker").unwrap_or_default();
    let page = listing.page(x, Some(marker.to_owned())).await?;
    let mut xml = XmlWriter::root("ListBucketResult");
    listing.write_question(&mut xml, x.bucket());
    // botocore decodes all of version 1 but this, so it comes as it was sent.
    xml.leaf("Prefix", listing.prefix);
    listing.encoding.leaf(&mut xml, "Marker", marker);
    // Without a delimiter the last key is the next marker, and S3 leaves it to the client to see that.
    if let Some(next) = page.next.as_deref().filter(|_| !listing.delimiter.is_empty()) {
        listing.encoding.leaf(&mut xml, "NextMarker", next);
    }
    listing.write_page(&mut xml, &page, true);
    xml.close("ListBucketResult");
    Ok(response::xml(xml.finish()))
}

/// ListObjectsV2.
pub(crate) async fn list_objects_v2(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let listing = Listing::of(x.query)?;
    let token = x.query.get("continuation-token");
    let start_after = x.query.get("start-after");
    let after = match token.filter(|token| !token.is_empty()) {
        Some(token) => Some(key_of_token(token)?),
        None => start_after.map(str::to_owned),
    };
    let page = listing.page(x, after).await?;
    let mut xml = XmlWriter::root("ListBucketResult");
    listing.write_question(&mut xml, x.bucket());
    listing.encoding.leaf(&mut xml, "Prefix", listing.prefix);
    xml.value("KeyCount", page.objects.len() + page.common_prefixes.len());
    if let Some(token) = token {
        xml.leaf("ContinuationToken", token);
    }
    if let Some(next) = &page.next {
        xml.leaf("NextContinuationToken", &token_of_key(next));
    }
    if let Some(start_after) = start_after {
        listing.encoding.leaf(&mut xml, "StartAfter", start_after);
    }
    let owner = x
        .query
        .get("fetch-owner")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    listing.write_page(&mut xml, &page, owner);
    xml.close("ListBucketResult");
    Ok(response::xml(xml.finish()))
}

fn token_of_key(key: &str) -> String {
    URL_SAFE_NO_PAD.encode([TOKEN_VERSION, key.as_bytes()].concat())
}

fn key_of_token(token: &str) -> Result<String, S3Error> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes.strip_prefix(TOKEN_VERSION)?.to_vec()).ok())
        .ok_or_else(|| {
            S3Error::invalid_argument(
                "The continuation token provided is incorrect",
                "continuation-token",
                token,
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_ours_or_refused() {
        for key in ["k", "ü/日本\n", ""] {
            assert_eq!(
                key_of_token(&token_of_key(key)).map_err(|error| error.code),
                Ok(key.to_owned())
            );
        }
        for token in ["not ours", "bm90IG91cnM", "MTr_", "=", "é"] {
            assert_eq!(
                key_of_token(token).map_err(|error| error.code),
                Err("InvalidArgument"),
                "{token}"
            );
        }
    }

    #[test]
    fn numbers_of_entries_have_bounds() {
        let items = |raw: &str| {
            let query = Query::parse(Some(raw)).expect("valid");
            page_items(&query, "max-keys").map_err(|error| error.code)
        };
        assert_eq!(items(""), Ok(1000));
        assert_eq!(items("max-keys=0"), Ok(0));
        assert_eq!(items("max-keys=5000"), Ok(1000));
        for text in ["blah", "-1", "1.5", "%2B1", "2147483648", "99999999999999999999"] {
            assert_eq!(
                items(&format!("max-keys={text}")),
                Err("InvalidArgument"),
                "{text}"
            );
        }
    }
}
