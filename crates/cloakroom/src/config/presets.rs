//! The collections that ship with the program: the limits, types and key layouts of the founding documents.

use cloakroom_core::collection::{Collection, Retention};
use cloakroom_core::image::ImagePolicy;
use cloakroom_core::key::KeyTemplate;
use cloakroom_core::upload::UploadMethod;

/// Bucket of collections that name none.
pub const DEFAULT_BUCKET: &str = "cloakroom";

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The collections that are there without any configuration, with the limits of the founding documents.
pub fn presets() -> Vec<Collection> {
    vec![
        files(),
        artifacts(),
        attachments(),
        documents(),
        photos(),
        reconciliation(),
        reports(),
        temp(),
    ]
}

/// What a collection inherits: the preset of its name, else the defaults of every collection.
pub fn inherited(name: &str) -> Collection {
    presets()
        .into_iter()
        .find(|preset| preset.name == name)
        .unwrap_or_else(|| Collection::new(name, DEFAULT_BUCKET))
}

fn preset(name: &str, bucket: &str, description: &str, key_template: &str) -> Collection {
    Collection {
        description: description.to_owned(),
        // Every template of this page is read by a test; the fallback is never taken.
        key_template: KeyTemplate::parse(key_template).unwrap_or_default(),
        ..Collection::new(name, bucket)
    }
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn thumbnails(sizes: &[&str]) -> ImagePolicy {
    ImagePolicy {
        thumbnails: sizes.iter().filter_map(|size| size.parse().ok()).collect(),
        ..ImagePolicy::default()
    }
}

fn files() -> Collection {
    Collection {
        size_bytes_max: 100 * GIB,
        ..preset(
            "files",
            DEFAULT_BUCKET,
            "Anything.",
            "{collection}/{year}/{month}/{day}/{uuid}/{stem}.{ext}",
        )
    }
}

/// S0: files that a session made, PDF first.
fn artifacts() -> Collection {
    Collection {
        processors: texts(&["document"]),
        // What is no document was not made well: better said now than when the user opens it.
        required_processors: texts(&["document"]),
        content_types: texts(&["application/pdf"]),
        extensions: texts(&["pdf"]),
        size_bytes_max: 100 * MIB,
        size_bytes_min: 1,
        ..preset(
            "artifacts",
            "artifacts",
            "Documents that the application made for a user.",
            "artifacts/{record_id}/{file_id}.{ext}",
        )
    }
}

/// S1: forms for ten minutes, 100 MB, the types of its validation section.
fn attachments() -> Collection {
    Collection {
        processors: texts(&["image", "media", "document"]),
        // What breaks its format, or bursts when it is opened, is not passed on to the others in the room.
        required_processors: texts(&["image", "media", "document"]),
        images: thumbnails(&["256"]),
        content_types: texts(&[
            "image/jpeg",
            "image/png",
            "image/gif",
            "image/webp",
            "video/mp4",
            "video/webm",
            "audio/mpeg",
            "audio/ogg",
            "audio/opus",
            "application/pdf",
        ]),
        size_bytes_max: 100 * MIB,
        size_bytes_min: 1,
        default_method: UploadMethod::Post,
        upload_expires_seconds: 10 * 60,
        success_action_status: 200,
        // "Deletes files without linked messages that are older than 7 days."
        retention: Retention {
            unlinked_seconds: Some(7 * 24 * 60 * 60),
            ..Retention::default()
        },
        ..preset(
            "attachments",
            "attachments",
            "Attachments of chat messages.",
            "attachments/{file_id}/{stem}.{ext}",
        )
    }
}

/// S2: CSV and XLSX to 100 MB, one hour to upload, two to download.
fn reconciliation() -> Collection {
    Collection {
        processors: texts(&["table"]),
        // A table that cannot be read cannot be reconciled: the file fails, with the line.
        required_processors: texts(&["table"]),
        content_types: texts(&[
            "text/csv",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ]),
        extensions: texts(&["csv", "xlsx"]),
        size_bytes_max: 100 * MIB,
        size_bytes_min: 1,
        // Its browser flow sends a form; whoever knows type and size before is given a PUT by the dialect.
        default_method: UploadMethod::Post,
        upload_expires_seconds: 60 * 60,
        download_expires_seconds: 2 * 60 * 60,
        // "Archive completed reconciliation files after 30 days."
        retention: Retention {
            archive_seconds: Some(30 * DAY_SECONDS),
            archive_bucket: Some("reconciliation-archive".to_owned()),
            ..Retention::default()
        },
        ..preset(
            "reconciliation",
            "reconciliation-files",
            "Tables to reconcile.",
            "{record_id}/{username}/{timestamp}_{uuid}.{ext}",
        )
    }
}

/// S2: what the application makes out of reconciled tables.
fn reports() -> Collection {
    Collection {
        size_bytes_max: 100 * MIB,
        download_expires_seconds: 2 * 60 * 60,
        ..preset(
            "reports",
            "reconciliation-reports",
            "Reports of reconciliations.",
            "{record_id}/{timestamp}_{uuid}.{ext}",
        )
    }
}

/// S2: what is wanted for an hour alone. Its time counts from the end of the upload's URL, never before.
fn temp() -> Collection {
    Collection {
        size_bytes_max: 100 * MIB,
        upload_expires_seconds: 60 * 60,
        trash_seconds: 60 * 60,
        retention: Retention {
            temporary: true,
            expire_seconds: Some(2 * 60 * 60),
            ..Retention::default()
        },
        ..preset(
            "temp",
            "temp-uploads",
            "Files that are wanted for an hour alone.",
            "temp/{username}/{timestamp}_{uuid}.{ext}",
        )
    }
}

/// S3: any file, in directories by the hour, with names that tell where a file came from.
fn documents() -> Collection {
    Collection {
        processors: texts(&["document", "image", "table", "media"]),
        images: thumbnails(&["256"]),
        ..preset(
            "documents",
            "documents",
            "Documents of the archive.",
            "{year}/{month}/{day}/{hour}/{stem}_{username}_{timestamp}_{uuid}.{ext}",
        )
    }
}

/// S4: five minutes to upload, an hour to download. The document gives no size; 50 MiB holds a photo of any phone. It has
/// thumbnails made, and does not say how large: one for lists, one for looking at.
fn photos() -> Collection {
    Collection {
        processors: texts(&["image"]),
        // What cannot be read as a photo is none.
        required_processors: texts(&["image"]),
        images: ImagePolicy {
            variants: true,
            ..thumbnails(&["256", "1024"])
        },
        content_types: texts(&["image/jpeg", "image/png", "image/webp", "image/heic"]),
        size_bytes_max: 50 * MIB,
        size_bytes_min: 1,
        upload_expires_seconds: 5 * 60,
        // "DELETE": the document's photos are gone when they are deleted.
        trash_seconds: 0,
        ..preset(
            "photos",
            "complaint-photos",
            "Photos of complaints.",
            "complaints/{record_id}/originals/{file_id}.{ext}",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_hold_what_the_documents_say() {
        let by_name = |name: &str| inherited(name);
        assert_eq!(
            by_name("photos").key_template.as_str(),
            "complaints/{record_id}/originals/{file_id}.{ext}"
        );
        assert_eq!(by_name("photos").upload_expires_seconds, 300);
        assert_eq!(by_name("photos").trash_seconds, 0);
        assert_eq!(by_name("photos").bucket, "complaint-photos");
        let photos = by_name("photos").images;
        let thumbnails: Vec<_> = photos.thumbnails.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(thumbnails, ["thumbnail-256", "thumbnail-1024"]);
        assert!(photos.variants && !by_name("files").images.variants);
        assert_eq!(by_name("photos").required_processors, ["image"]);
        assert_eq!(by_name("reconciliation").required_processors, ["table"]);
        assert_eq!(by_name("attachments").required_processors.len(), 3);
        // An archive keeps what it is given.
        assert!(by_name("documents").required_processors.is_empty());
        for preset in presets() {
            let known = |name: &String| cloakroom_worker::processors::BUILT_IN.contains(&name.as_str());
            assert!(preset.processors.iter().all(known), "{}", preset.name);
        }
        assert_eq!(by_name("reconciliation").upload_expires_seconds, 3600);
        assert_eq!(by_name("reconciliation").download_expires_seconds, 7200);
        assert_eq!(by_name("reconciliation").extensions, ["csv", "xlsx"]);
        let tables = by_name("reconciliation");
        assert_eq!(tables.success_action_status, 204);
        assert_eq!(tables.default_method, UploadMethod::Post);
        assert_eq!(tables.retention.archive_seconds, Some(30 * 24 * 60 * 60));
        assert_eq!(
            tables.retention.archive_bucket.as_deref(),
            Some("reconciliation-archive")
        );
        let buckets = ["reconciliation", "reports", "temp"].map(|name| by_name(name).bucket);
        assert_eq!(
            buckets,
            ["reconciliation-files", "reconciliation-reports", "temp-uploads"]
        );
        assert_eq!(by_name("temp").retention.unconfirmed(86_400), 3600);
        assert_eq!(by_name("temp").retention.expire_seconds, Some(7200));
        assert_eq!(by_name("attachments").success_action_status, 200);
        assert_eq!(by_name("attachments").default_method, UploadMethod::Post);
        assert_eq!(by_name("attachments").content_types.len(), 10);
        let week = Some(7 * 24 * 60 * 60);
        assert_eq!(by_name("attachments").retention.unlinked_seconds, week);
        assert_eq!(by_name("photos").retention, Retention::default());
        assert_eq!(
            by_name("documents").key_template.as_str(),
            "{year}/{month}/{day}/{hour}/{stem}_{username}_{timestamp}_{uuid}.{ext}"
        );
        assert_eq!(by_name("files").size_bytes_max, 100 * GIB);
        assert_eq!(by_name("mine").bucket, DEFAULT_BUCKET);
        // Only `files` uses the fallback's own template.
        let fallback = presets()
            .iter()
            .filter(|p| p.key_template == KeyTemplate::default())
            .count();
        assert_eq!(fallback, 1);
    }
}
