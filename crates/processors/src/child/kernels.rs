//! What our own processors do, in the child: each kernel is asked, and its answer put into the words of facts.

use std::io::BufReader;

use cloakroom_documents::{Document, Office};
use cloakroom_images::Picture;
use cloakroom_media::Media;
use serde_json::{Map, Value, json};

use super::Stdin;
use crate::outcome::{Answer, Failure, Made, Unmade, code};
use crate::task::{DocumentTask, ImageTask, TableTask};

/// What a kernel's error means. Its codes say which of the files' faults it is; reading is none of them.
fn refused(code: &'static str, message: String) -> Failure {
    match code {
        "read_failed" | "unreadable_file" => Failure::Unavailable(message),
        _ => Failure::rejected(code, sentence(&message)),
    }
}

/// A sentence for people out of an error's text.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    let text: String = first.into_iter().flatten().chain(letters).collect();
    if text.ends_with('.') {
        text
    } else {
        format!("{text}.")
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(mut object) = value else {
        return Map::new();
    };
    // What is not known is not said.
    object.retain(|_, value| !value.is_null());
    object
}

fn found(facts: Value) -> Answer {
    Answer {
        facts: object(facts),
        ..Answer::default()
    }
}

pub(super) fn image(task: &ImageTask, input: &mut Stdin) -> Result<Answer, Failure> {
    let error = |error: cloakroom_images::Error| refused(error.code(), error.to_string());
    let limits = cloakroom_images::Limits::default();
    let bytes = input.read_whole()?;
    let rendered = match task.decoded {
        None => cloakroom_images::render(&bytes, &task.renditions, &limits),
        Some(decoded) => {
            let at = usize::try_from(decoded.original_bytes)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let (original, by_another) = bytes.split_at(at);
            let upright = decoded.applies_orientation;
            cloakroom_images::render_external(original, by_another, upright, &task.renditions, &limits)
        }
    };
    let rendered = match rendered {
        Ok(rendered) => rendered,
        // The picture may be fine: what its headers say is known all the same.
        Err(unsupported @ cloakroom_images::Error::Unsupported { .. }) => {
            let Ok(facts) = cloakroom_images::inspect(&bytes, &limits) else {
                return Err(error(unsupported));
            };
            let mut answer = found(said(&facts)?);
            let reason = sentence(&unsupported.to_string());
            answer.unmade = task
                .renditions
                .iter()
                .map(|rendition| unmade(&rendition.name, &reason))
                .collect();
            return Ok(answer);
        }
        Err(broken) => return Err(error(broken)),
    };
    let mut answer = found(said(&rendered.facts)?);
    answer.made = rendered.pictures.into_iter().map(made).collect();
    Ok(answer)
}

fn unmade(name: &str, error: &str) -> Unmade {
    Unmade {
        name: name.to_owned(),
        error: error.to_owned(),
    }
}

fn made(picture: Picture) -> Made {
    Made {
        name: picture.name,
        extension: picture.extension.to_owned(),
        content_type: picture.content_type.to_owned(),
        width: Some(picture.width),
        height: Some(picture.height),
        bytes: picture.bytes.into(),
    }
}

pub(super) fn table(task: &TableTask, input: &mut Stdin) -> Result<Answer, Failure> {
    let error = |error: cloakroom_tables::Error| refused(error.code(), error.to_string());
    match task {
        TableTask::Delimited { delimiter } => {
            let options = cloakroom_tables::Options {
                delimiter: *delimiter,
                ..cloakroom_tables::Options::default()
            };
            let table = cloakroom_tables::inspect_delimited(input, &options).map_err(error)?;
            Ok(found(said(&table)?))
        }
        TableTask::Workbook => {
            let limits = cloakroom_tables::Limits::default();
            let kind = cloakroom_tables::recognise(&mut *input, &limits).map_err(error)?;
            let kind = kind.ok_or_else(|| Failure::rejected("malformed_file", "The file is no workbook."))?;
            let workbook = cloakroom_tables::inspect_workbook(input, kind, &limits).map_err(error)?;
            let mut answer = found(said(&workbook)?);
            // As of any table: what clients say of theirs is compared with it.
            let rows: u64 = workbook.sheets.iter().map(|sheet| sheet.row_count).sum();
            answer.facts.insert("row_count".to_owned(), rows.into());
            if let Some(first) = workbook.sheets.first() {
                answer
                    .facts
                    .insert("columns".to_owned(), first.columns.clone().into());
            }
            Ok(answer)
        }
    }
}

fn said(facts: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(facts).map_err(|error| Failure::rejected(code::CRASHED, error.to_string()))
}

/// The picture of a document's first page.
const PREVIEW: &str = "preview";

pub(super) fn document(task: &DocumentTask, input: &mut Stdin) -> Result<Answer, Failure> {
    let error = |error: cloakroom_documents::Error| refused(error.code(), error.to_string());
    let limits = cloakroom_documents::Limits::default();
    // Zip archives, and the compound files of before.
    if input.begins_with(b"PK\x03\x04")? || input.begins_with(&[0xd0, 0xcf, 0x11, 0xe0])? {
        let office = cloakroom_documents::recognise_office(BufReader::new(input));
        return office.map(|office| found(office_facts(office))).map_err(error);
    }
    let bytes = input.read_whole()?;
    let document = match cloakroom_documents::inspect(bytes, &limits) {
        Ok(document) => document,
        // It is what its owner made it; nobody else can look into it, and neither can we.
        Err(cloakroom_documents::Error::Encrypted) => {
            let mut answer = found(json!({"encrypted": true}));
            answer
                .unmade
                .push(unmade(PREVIEW, "The document needs a password."));
            return Ok(answer);
        }
        Err(broken) => return Err(error(broken)),
    };
    let mut answer = found(document_facts(&document));
    match cloakroom_documents::preview(&document, task.preview_side, &limits).map_err(error) {
        Ok(preview) => answer.made.push(Made {
            name: PREVIEW.to_owned(),
            extension: "png".to_owned(),
            content_type: "image/png".to_owned(),
            width: Some(preview.width),
            height: Some(preview.height),
            bytes: preview.png.into(),
        }),
        Err(failure) if task.preview_required => return Err(failure),
        Err(failure) => answer.unmade.push(unmade(PREVIEW, &failure.to_string())),
    }
    Ok(answer)
}

fn document_facts(document: &Document) -> Value {
    json!({
        "format": "pdf",
        "page_count": document.page_count,
        "encrypted": document.encrypted,
        "title": document.title,
        "author": document.author,
        "page_width": document.page_width,
        "page_height": document.page_height,
    })
}

fn office_facts(office: Office) -> Value {
    json!({
        "document_type": office.media_type,
        "encrypted": office.encrypted,
        "macros": office.macros,
    })
}

pub(super) fn media(input: &mut Stdin) -> Result<Answer, Failure> {
    let limits = cloakroom_media::Limits::default();
    let media = cloakroom_media::inspect(input, &limits);
    media
        .map(|media| found(media_facts(&media)))
        .map_err(|error| refused(error.code(), error.to_string()))
}

fn media_facts(media: &Media) -> Value {
    json!({
        "format": media.format.name(),
        "duration_seconds": media.duration_seconds,
        "width": media.width,
        "height": media.height,
        "has_video": media.has_video,
        "has_audio": media.has_audio,
        "video_codec": media.video_codec,
        "audio_codec": media.audio_codec,
        "sample_rate": media.sample_rate,
        "channels": media.channels,
        "frame_rate": media.frame_rate,
    })
}
