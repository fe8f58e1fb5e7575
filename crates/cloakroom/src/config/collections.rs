//! The fields of a `[collections.NAME]` table, and what must hold between them.

mod images;

use cloakroom_core::collection::{Collection, OBJECT_BYTES_MAX, ScanOversize, Visibility};
use cloakroom_core::key::KeyTemplate;
use cloakroom_core::media::MediaType;
use cloakroom_core::upload::UploadMethod;
use cloakroom_signing::PRESIGN_EXPIRES_SECONDS_MAX;
use jiff::SignedDuration;

use super::values::{BucketName, Period, Raw, Size, Value};

/// One field of a `[collections.NAME]` table.
#[derive(Debug)]
pub struct Field {
    /// Its name in the table.
    pub name: &'static str,
    /// What may be written.
    pub kind: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Reads a value into the collection.
    pub set: fn(&mut Collection, &Raw) -> Result<(), String>,
    /// The collection's value, as one would write it.
    pub show: fn(&Collection) -> String,
}

const MEDIA_TYPES: &str = "a list of media types such as image/jpeg or image/*";
const EXTENSIONS: &str = "a list of file name endings such as jpg";
const NAMES: &str = "a list of processor names";

/// Every field there is.
pub const FIELDS: &[Field] = &[
    Field {
        name: "description",
        kind: String::KIND,
        doc: "What the collection is for, in a sentence.",
        set: |collection, raw| set(&mut collection.description, String::read(raw)),
        show: |collection| collection.description.clone(),
    },
    Field {
        name: "store",
        kind: String::KIND,
        doc: "The store that its objects live in: `main`, or one of `[stores.NAME]`. Where this is not set, the one that has its bucket.",
        set: |collection, raw| set(&mut collection.store, String::read(raw)),
        show: |collection| collection.store.clone(),
    },
    Field {
        name: "bucket",
        kind: BucketName::KIND,
        doc: "The bucket that its objects live in; made when it is absent.",
        set: |collection, raw| set(&mut collection.bucket, BucketName::read(raw).map(|name| name.0)),
        show: |collection| collection.bucket.clone(),
    },
    Field {
        name: "key_template",
        kind: "a path with placeholders, among them {uuid} or {file_id}",
        doc: "How the keys of its objects are spelled. Placeholders: {year} {month} {day} {hour} {stem} {username} {timestamp} {uuid} {file_id} {ext} {collection} {record_id}.",
        set: |collection, raw| set(&mut collection.key_template, read_template(raw)),
        show: |collection| collection.key_template.as_str().to_owned(),
    },
    Field {
        name: "content_types",
        kind: MEDIA_TYPES,
        doc: "Media types that it takes. Empty: every type.",
        set: |collection, raw| set(&mut collection.content_types, read_each(raw, media_type)),
        show: |collection| collection.content_types.join(","),
    },
    Field {
        name: "extensions",
        kind: EXTENSIONS,
        doc: "File name endings that it takes. Empty: every name.",
        set: |collection, raw| set(&mut collection.extensions, read_each(raw, extension)),
        show: |collection| collection.extensions.join(","),
    },
    Field {
        name: "size_max",
        kind: Size::KIND,
        doc: "Largest file, at most 5TiB. Above 5GiB only multipart uploads are signed.",
        set: |collection, raw| set(&mut collection.size_bytes_max, read_size(raw)),
        show: |collection| Size(collection.size_bytes_max).show(),
    },
    Field {
        name: "size_min",
        kind: Size::KIND,
        doc: "Smallest file; 0 takes empty files.",
        set: |collection, raw| set(&mut collection.size_bytes_min, read_size(raw)),
        show: |collection| Size(collection.size_bytes_min).show(),
    },
    Field {
        name: "default_method",
        kind: "put, post or multipart",
        doc: "How to upload when the client does not say.",
        set: |collection, raw| set(&mut collection.default_method, read_method(raw)),
        show: |collection| collection.default_method.as_str().to_owned(),
    },
    Field {
        name: "upload_expires",
        kind: Period::KIND,
        doc: "How long a signed upload may be used, at most 7d.",
        set: |collection, raw| set(&mut collection.upload_expires_seconds, read_expiry(raw)),
        show: |collection| show_seconds(u64::from(collection.upload_expires_seconds)),
    },
    Field {
        name: "download_expires",
        kind: Period::KIND,
        doc: "How long a signed download may be used, at most 7d.",
        set: |collection, raw| set(&mut collection.download_expires_seconds, read_expiry(raw)),
        show: |collection| show_seconds(u64::from(collection.download_expires_seconds)),
    },
    Field {
        name: "trash_for",
        kind: Period::KIND,
        doc: "How long a deleted file can be restored.",
        set: |collection, raw| {
            set(
                &mut collection.trash_seconds,
                Period::read(raw).map(Period::seconds),
            )
        },
        show: |collection| show_seconds(collection.trash_seconds),
    },
    Field {
        name: "unconfirmed_for",
        kind: Period::KIND,
        doc: "How long after its URL ended an upload that nobody confirmed is kept. Empty: `uploads.grace`.",
        set: |collection, raw| set(&mut collection.retention.unconfirmed_seconds, read_period(raw)),
        show: |collection| show_period(collection.retention.unconfirmed_seconds),
    },
    Field {
        name: "temporary",
        kind: bool::KIND,
        doc: "Keep uploads that nobody confirmed for 1h alone, unless `unconfirmed_for` says otherwise.",
        set: |collection, raw| set(&mut collection.retention.temporary, bool::read(raw)),
        show: |collection| collection.retention.temporary.to_string(),
    },
    Field {
        name: "unlinked_for",
        kind: Period::KIND,
        doc: "Age at which a ready file that hangs on no record goes to the trash. Empty: never.",
        set: |collection, raw| set(&mut collection.retention.unlinked_seconds, read_period(raw)),
        show: |collection| show_period(collection.retention.unlinked_seconds),
    },
    Field {
        name: "expire_after",
        kind: Period::KIND,
        doc: "Age at which a file goes to the trash. Empty: never.",
        set: |collection, raw| set(&mut collection.retention.expire_seconds, read_period(raw)),
        show: |collection| show_period(collection.retention.expire_seconds),
    },
    Field {
        name: "archive_after",
        kind: Period::KIND,
        doc: "Age at which a ready file moves to `archive_bucket`. Empty: only when an operator asks for it.",
        set: |collection, raw| set(&mut collection.retention.archive_seconds, read_period(raw)),
        show: |collection| show_period(collection.retention.archive_seconds),
    },
    Field {
        name: "archive_bucket",
        kind: BucketName::KIND,
        doc: "The bucket that archived files move to; made when it is absent. Empty: there is no archive.",
        set: |collection, raw| {
            let bucket = Option::<BucketName>::read(raw).map(|name| name.map(|name| name.0));
            set(&mut collection.retention.archive_bucket, bucket)
        },
        show: |collection| collection.retention.archive_bucket.clone().unwrap_or_default(),
    },
    Field {
        name: "auto_confirm",
        kind: bool::KIND,
        doc: "Confirm an upload as soon as the complete object is seen, without waiting for the client.",
        set: |collection, raw| set(&mut collection.auto_confirm, bool::read(raw)),
        show: |collection| collection.auto_confirm.to_string(),
    },
    Field {
        name: "verify_content_type",
        kind: bool::KIND,
        doc: "Refuse a file whose bytes are not what its content type says.",
        set: |collection, raw| set(&mut collection.verify_content_type, bool::read(raw)),
        show: |collection| collection.verify_content_type.to_string(),
    },
    Field {
        name: "success_action_status",
        kind: "200, 201 or 204",
        doc: "Status that a successful form upload answers with.",
        set: |collection, raw| set(&mut collection.success_action_status, read_status(raw)),
        show: |collection| collection.success_action_status.to_string(),
    },
    Field {
        name: "visibility",
        kind: "private or public-read",
        doc: "Who may read the bytes of a ready file: who is allowed to, with a signed address; or with `public-read` everybody, without a token, at `/api/v1/content/{file_id}/{filename}`. Buckets stay closed either way.",
        set: |collection, raw| set(&mut collection.visibility, read_visibility(raw)),
        show: |collection| collection.visibility.as_str().to_owned(),
    },
    Field {
        name: "scan",
        kind: "required or off",
        doc: "Whether the virus scanner must have looked at a file before anybody may read it. Where this is not set: `required` if there is a `scan.address`.",
        set: |collection, raw| set(&mut collection.scan.required, read_scan(raw)),
        show: |collection| {
            if collection.scan.required {
                "required"
            } else {
                "off"
            }
            .to_owned()
        },
    },
    Field {
        name: "scan_oversize",
        kind: "quarantine or refuse",
        doc: "What becomes of a file that the scanner cannot look at whole: it is larger than `scan.stream_max`, or holds more than the scanner unpacks. `refuse`: it fails.",
        set: |collection, raw| set(&mut collection.scan.oversize, read_oversize(raw)),
        show: |collection| collection.scan.oversize.as_str().to_owned(),
    },
    Field {
        name: "processors",
        kind: NAMES,
        doc: "Processors that run on verified files, in order.",
        set: |collection, raw| set(&mut collection.processors, Vec::read(raw)),
        show: |collection| collection.processors.join(","),
    },
    Field {
        name: "required_processors",
        kind: NAMES,
        doc: "Processors whose failure fails the file.",
        set: |collection, raw| set(&mut collection.required_processors, Vec::read(raw)),
        show: |collection| collection.required_processors.join(","),
    },
    Field {
        name: "thumbnails",
        kind: "a list of sizes such as 256, 1024x768 or 512x512:cover",
        doc: "Pictures that the processor `image` makes of every image: the box in pixels, and how the picture gets into it (`contain`, `cover`, `fill`). At most 8, at most 4096 pixels on a side.",
        set: |collection, raw| set(&mut collection.images.thumbnails, images::thumbnails(raw)),
        show: |collection| {
            let thumbnails = collection.images.thumbnails.iter();
            thumbnails.map(ToString::to_string).collect::<Vec<_>>().join(",")
        },
    },
    Field {
        name: "thumbnail_format",
        kind: "auto, jpeg, webp or png",
        doc: "What thumbnails are written as, and variants that say nothing else. `auto`: JPEG, or where there is alpha a format that keeps it.",
        set: |collection, raw| set(&mut collection.images.format, images::format(raw)),
        show: |collection| collection.images.format.as_str().to_owned(),
    },
    Field {
        name: "thumbnail_quality",
        kind: "a number from 1 to 100",
        doc: "How good thumbnails are, and variants that say nothing else. PNG knows no quality.",
        set: |collection, raw| set(&mut collection.images.quality, images::quality(raw)),
        show: |collection| collection.images.quality.to_string(),
    },
    Field {
        name: "variants",
        kind: bool::KIND,
        doc: "Whether other pictures of an image can be had through signed URLs (`POST /files/{file_id}/variants`).",
        set: |collection, raw| set(&mut collection.images.variants, bool::read(raw)),
        show: |collection| collection.images.variants.to_string(),
    },
    Field {
        name: "variants_max",
        kind: "a number from 1 to 1000",
        doc: "How many variants of one file are kept; then the oldest gives way, once it is older than `download_expires`.",
        set: |collection, raw| set(&mut collection.images.variants_max, images::variants_max(raw)),
        show: |collection| collection.images.variants_max.to_string(),
    },
];

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn read_template(raw: &Raw) -> Result<KeyTemplate, String> {
    KeyTemplate::parse(&String::read(raw)?).map_err(|error| error.to_string())
}

fn read_each(raw: &Raw, read: fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let items = Vec::<String>::read(raw)?;
    items
        .iter()
        .map(|item| read(item).ok_or_else(|| format!("holds {item:?}, which is not one")))
        .collect()
}

pub(super) fn media_type(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    match text.strip_suffix("/*") {
        Some("*") => Some(text),
        // A pattern is legal when it would be with a subtype.
        Some(kind) => MediaType::parse(&format!("{kind}/x"))
            .ok()
            .filter(|_| !kind.contains('/'))
            .map(|_| text),
        None => MediaType::parse(&text).ok().map(|kind| kind.as_str().to_owned()),
    }
}

fn extension(text: &str) -> Option<String> {
    let text = text.trim_start_matches('.').to_lowercase();
    let legal = !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    legal.then_some(text)
}

fn read_size(raw: &Raw) -> Result<u64, String> {
    let size = Size::read(raw)?;
    if size.0 > OBJECT_BYTES_MAX {
        return Err("must be at most 5TiB, the largest object of S3".to_owned());
    }
    Ok(size.0)
}

fn read_method(raw: &Raw) -> Result<UploadMethod, String> {
    // A stream comes to an endpoint of its own, so it is never the method of a signature.
    UploadMethod::parse(&String::read(raw)?)
        .filter(|method| *method != UploadMethod::Stream)
        .ok_or_else(|| "must be put, post or multipart".to_owned())
}

fn read_expiry(raw: &Raw) -> Result<u32, String> {
    let seconds = Period::read(raw)?.seconds();
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=PRESIGN_EXPIRES_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| "must be from 1s to 7d, the longest life of a signature".to_owned())
}

fn read_status(raw: &Raw) -> Result<u16, String> {
    match u32::read(raw)? {
        200 => Ok(200),
        201 => Ok(201),
        204 => Ok(204),
        other => Err(format!("must be 200, 201 or 204, not {other}")),
    }
}

fn read_visibility(raw: &Raw) -> Result<Visibility, String> {
    match String::read(raw)?.as_str() {
        "private" => Ok(Visibility::Private),
        "public-read" => Ok(Visibility::PublicRead),
        other => Err(format!("must be private or public-read, not {other:?}")),
    }
}

fn read_scan(raw: &Raw) -> Result<bool, String> {
    match String::read(raw)?.as_str() {
        "required" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("must be required or off, not {other:?}")),
    }
}

fn read_oversize(raw: &Raw) -> Result<ScanOversize, String> {
    match String::read(raw)?.as_str() {
        "quarantine" => Ok(ScanOversize::Quarantine),
        "refuse" => Ok(ScanOversize::Refuse),
        other => Err(format!("must be quarantine or refuse, not {other:?}")),
    }
}

/// A period of at least a minute, or none.
fn read_period(raw: &Raw) -> Result<Option<u64>, String> {
    let seconds = Option::<Period>::read(raw)?.map(Period::seconds);
    if seconds.is_some_and(|seconds| seconds < 60) {
        return Err("must be at least 1m".to_owned());
    }
    Ok(seconds)
}

fn show_period(seconds: Option<u64>) -> String {
    seconds.map(show_seconds).unwrap_or_default()
}

fn show_seconds(seconds: u64) -> String {
    Period(SignedDuration::from_secs(
        i64::try_from(seconds).unwrap_or(i64::MAX),
    ))
    .show()
}

/// Whether a collection may have this name: it stands in addresses, keys and the environment.
pub fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// What must hold between the fields of a collection: pairs of field name and message.
pub fn contradictions(collection: &Collection, known_processors: &[&str]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if collection.size_bytes_min > collection.size_bytes_max {
        let max = Size(collection.size_bytes_max).show();
        found.push(("size_min", format!("must be at most size_max, which is {max}")));
    }
    let retention = &collection.retention;
    match &retention.archive_bucket {
        None if retention.archive_seconds.is_some() => {
            found.push(("archive_after", "needs an archive_bucket".to_owned()));
        }
        Some(bucket) if *bucket == collection.bucket => {
            found.push((
                "archive_bucket",
                "must be another bucket than that of the collection".to_owned(),
            ));
        }
        _ => {}
    }
    if let (Some(archive), Some(expire)) = (retention.archive_seconds, retention.expire_seconds)
        && archive >= expire
    {
        found.push(("archive_after", "must be less than expire_after".to_owned()));
    }
    found.extend(images::contradictions(&collection.images, &collection.processors));
    for name in &collection.processors {
        if !known_processors.contains(&name.as_str()) {
            let known = if known_processors.is_empty() {
                "none".to_owned()
            } else {
                known_processors.join(", ")
            };
            found.push(("processors", format!("names {name:?}; this version has {known}")));
        }
    }
    for name in &collection.required_processors {
        if !collection.processors.contains(name) {
            found.push((
                "required_processors",
                format!("names {name:?}, which is not among its processors"),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use cloakroom_core::collection::Retention;
    use cloakroom_worker::processors::BUILT_IN;

    use super::*;
    use crate::config::presets::{DEFAULT_BUCKET, presets};

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn set_field(collection: &mut Collection, name: &str, raw: &Raw) -> Result<(), String> {
        let field = FIELDS.iter().find(|field| field.name == name).expect("a field");
        (field.set)(collection, raw)
    }

    #[test]
    fn presets_pass_their_own_checks() {
        for preset in presets() {
            assert!(is_name(&preset.name));
            assert_eq!(contradictions(&preset, BUILT_IN), [], "{}", preset.name);
            let mut copy = Collection::new(&preset.name, DEFAULT_BUCKET);
            for field in FIELDS {
                let shown = (field.show)(&preset);
                (field.set)(&mut copy, &text(&shown))
                    .unwrap_or_else(|e| panic!("{}.{}: {e}", preset.name, field.name));
            }
            assert_eq!(
                copy, preset,
                "every field is in the table, and reads back what it shows"
            );
        }
    }

    #[test]
    fn bad_values_are_refused() {
        let table = [
            ("bucket", text("A")),
            ("key_template", text("{stem}")),
            ("content_types", text("image")),
            ("content_types", text("a/b/*")),
            ("extensions", text("tar.gz")),
            ("size_max", text("6TiB")),
            ("default_method", text("stream")),
            ("default_method", text("ftp")),
            ("upload_expires", text("8d")),
            ("upload_expires", text("0s")),
            ("success_action_status", Raw::Integer(302)),
            ("visibility", text("public")),
            ("auto_confirm", text("maybe")),
            ("processors", Raw::Integer(1)),
            ("unconfirmed_for", text("1s")),
            ("expire_after", text("soon")),
            ("archive_bucket", text("A")),
        ];
        for (name, raw) in table {
            let mut collection = Collection::new("x", "bucket");
            assert!(
                set_field(&mut collection, name, &raw).is_err(),
                "{name} = {raw:?}"
            );
            assert_eq!(
                collection,
                Collection::new("x", "bucket"),
                "a refused value changes nothing"
            );
        }
    }

    #[test]
    fn spellings_are_normalised() {
        let mut collection = Collection::new("x", "bucket");
        set_field(&mut collection, "extensions", &text(".JPG, png")).expect("legal");
        set_field(&mut collection, "content_types", &text("Image/*,*/*,text/CSV")).expect("legal");
        assert_eq!(collection.extensions, ["jpg", "png"]);
        assert_eq!(collection.content_types, ["image/*", "*/*", "text/csv"]);
    }

    #[test]
    fn an_archive_is_elsewhere_and_before_the_end() {
        let fields = |archive_bucket: Option<&str>, archive, expire| -> Vec<_> {
            let retention = Retention {
                archive_bucket: archive_bucket.map(str::to_owned),
                archive_seconds: archive,
                expire_seconds: expire,
                ..Retention::default()
            };
            let collection = Collection {
                retention,
                ..Collection::new("x", "bucket")
            };
            let found = contradictions(&collection, &[]);
            found.into_iter().map(|found| found.0).collect()
        };
        assert_eq!(fields(Some("cold"), Some(60), Some(61)), [""; 0]);
        assert_eq!(fields(None, Some(60), None), ["archive_after"]);
        assert_eq!(fields(Some("bucket"), None, None), ["archive_bucket"]);
        assert_eq!(fields(Some("cold"), Some(60), Some(60)), ["archive_after"]);
    }

    #[test]
    fn contradictions_are_named() {
        let collection = Collection {
            size_bytes_min: 10,
            size_bytes_max: 5,
            processors: vec!["image".into(), "magic".into()],
            required_processors: vec!["scan".into()],
            ..Collection::new("x", "bucket")
        };
        let fields: Vec<_> = contradictions(&collection, &["image"])
            .into_iter()
            .map(|found| found.0)
            .collect();
        assert_eq!(fields, ["size_min", "processors", "required_processors"]);
    }
}
