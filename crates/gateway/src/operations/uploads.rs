//! Listing the multipart uploads of a bucket that are under way.

use std::collections::BTreeSet;

use cloakroom_core::ports::objects::MultipartUpload;

use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::operations::list::{Encoding, page_items};
use crate::operations::multipart::kind_name;
use crate::response::{self, S3Response, xml_time};
use crate::xml::write::XmlWriter;

/// A page of uploads under way.
#[derive(Debug, Default)]
struct UploadPage<'u> {
    uploads: Vec<&'u MultipartUpload>,
    common_prefixes: BTreeSet<&'u str>,
    /// The last key or prefix of the page, and the last upload if it is that; with more behind it.
    next: Option<(&'u str, &'u str)>,
}

/// What to list, and from where on.
struct UploadQuestion<'q> {
    prefix: &'q str,
    delimiter: &'q str,
    key_marker: &'q str,
    upload_id_marker: &'q str,
    max_uploads: u32,
}

impl UploadQuestion<'_> {
    fn page<'u>(&self, uploads: &'u [MultipartUpload]) -> UploadPage<'u> {
        let mut page = UploadPage::default();
        let mut last = ("", "");
        for upload in uploads.iter().filter(|upload| self.is_behind_markers(upload)) {
            let folded = self.folded(&upload.key);
            if folded.is_some_and(|prefix| page.common_prefixes.contains(prefix) || prefix == self.key_marker)
            {
                continue;
            }
            if page.uploads.len() + page.common_prefixes.len() == self.max_uploads as usize {
                page.next = (self.max_uploads > 0).then_some(last);
                break;
            }
            last = if let Some(prefix) = folded {
                page.common_prefixes.insert(prefix);
                (prefix, "")
            } else {
                page.uploads.push(upload);
                (&upload.key, &upload.id)
            };
        }
        page
    }

    fn is_behind_markers(&self, upload: &MultipartUpload) -> bool {
        match upload.key.as_str().cmp(self.key_marker) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                !self.upload_id_marker.is_empty() && upload.id.as_str() > self.upload_id_marker
            }
            std::cmp::Ordering::Less => false,
        }
    }

    /// The common prefix that stands for the key, if the delimiter folds it.
    fn folded<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = key.strip_prefix(self.prefix)?;
        let at = rest.find(self.delimiter)?;
        Some(&key[..self.prefix.len() + at + self.delimiter.len()])
    }
}

/// ListMultipartUploads.
pub(crate) async fn list_uploads(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let parameter = |name| x.query.get(name).unwrap_or_default();
    let question = UploadQuestion {
        prefix: parameter("prefix"),
        delimiter: parameter("delimiter"),
        key_marker: parameter("key-marker"),
        upload_id_marker: parameter("upload-id-marker"),
        max_uploads: page_items(x.query, "max-uploads")?,
    };
    let encoding = Encoding::of(x.query)?;
    let uploads = x.store().multiparts(x.bucket(), question.prefix).await?;
    let page = question.page(&uploads);

    let mut xml = XmlWriter::root("ListMultipartUploadsResult");
    xml.leaf("Bucket", x.bucket());
    encoding.leaf(&mut xml, "KeyMarker", question.key_marker);
    xml.leaf("UploadIdMarker", question.upload_id_marker);
    if let Some((key, id)) = page.next {
        encoding.leaf(&mut xml, "NextKeyMarker", key);
        xml.leaf("NextUploadIdMarker", id);
    }
    encoding.leaf(&mut xml, "Prefix", question.prefix);
    if !question.delimiter.is_empty() {
        encoding.leaf(&mut xml, "Delimiter", question.delimiter);
    }
    encoding.declare(&mut xml);
    xml.value("MaxUploads", question.max_uploads);
    xml.value("IsTruncated", page.next.is_some());
    for upload in &page.uploads {
        xml.open("Upload");
        encoding.leaf(&mut xml, "Key", &upload.key);
        xml.leaf("UploadId", &upload.id);
        xml.owner("Initiator");
        xml.owner("Owner");
        xml.raw("<StorageClass>STANDARD</StorageClass>");
        xml.leaf("Initiated", &xml_time(upload.initiated_at));
        if let Some(algorithm) = upload.options.checksum {
            xml.leaf("ChecksumAlgorithm", algorithm.as_str());
            xml.leaf("ChecksumType", kind_name(upload.options.full_object_checksum));
        }
        xml.close("Upload");
    }
    for prefix in &page.common_prefixes {
        xml.open("CommonPrefixes");
        encoding.leaf(&mut xml, "Prefix", prefix);
        xml.close("CommonPrefixes");
    }
    xml.close("ListMultipartUploadsResult");
    Ok(response::xml(xml.finish()))
}

#[cfg(test)]
mod tests {
    use cloakroom_core::ports::objects::MultipartOptions;

    use super::*;

    #[test]
    fn pages_of_uploads_meet_without_gap_or_overlap() {
        let uploads: Vec<_> = [
            ("a/one", "1"),
            ("a/two", "2"),
            ("a/two", "3"),
            ("b", "4"),
            ("c/x", "5"),
        ]
        .map(|(key, id)| MultipartUpload {
            key: key.into(),
            id: id.into(),
            initiated_at: jiff::Timestamp::UNIX_EPOCH,
            options: MultipartOptions::default(),
        })
        .into();
        for (delimiter, expected) in [("", vec!["1", "2", "3", "4", "5"]), ("/", vec!["a/", "4", "c/"])] {
            for max_uploads in 1..=6 {
                let (mut seen, mut key_marker, mut upload_id_marker) =
                    (Vec::new(), String::new(), String::new());
                loop {
                    let question = UploadQuestion {
                        prefix: "",
                        delimiter,
                        key_marker: &key_marker,
                        upload_id_marker: &upload_id_marker,
                        max_uploads,
                    };
                    let page = question.page(&uploads);
                    let mut entries: Vec<(&str, &str)> = page
                        .uploads
                        .iter()
                        .map(|upload| (upload.key.as_str(), upload.id.as_str()))
                        .collect();
                    entries.extend(page.common_prefixes.iter().map(|prefix| (*prefix, *prefix)));
                    entries.sort_unstable();
                    seen.extend(entries.iter().map(|(_, name)| (*name).to_owned()));
                    let Some((key, id)) = page.next else { break };
                    (key_marker, upload_id_marker) = (key.to_owned(), id.to_owned());
                }
                assert_eq!(seen, expected, "{delimiter:?} {max_uploads}");
            }
        }
    }
}
