//! Every document of the corpus has the facts that pdfinfo gives it, or that it was made with
//! (`tests/corpus/make_documents.py`), and a preview that is the right way up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use cloakroom_documents::{Limits, Preview, inspect, preview, recognise_office};
use serde_json::Value;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/corpus/documents")
        .join(name)
}

fn expected(kind: &str) -> serde_json::Map<String, Value> {
    let all: Value = serde_json::from_slice(&fs::read(corpus("expected.json")).unwrap()).unwrap();
    all[kind].as_object().unwrap().clone()
}

#[test]
fn facts_are_those_of_pdfinfo() {
    let expected = expected("pdf");
    assert!(expected.len() >= 25, "the corpus is there");
    let mut wrong = Vec::new();
    for (name, facts) in expected {
        let mut compare = |field: &str, found: Value| {
            let close = found
                .as_f64()
                .zip(facts[field].as_f64())
                .is_some_and(|(a, b)| (a - b).abs() < 0.01);
            if found != facts[field] && !close {
                wrong.push(format!(
                    "{name}: {field}: found {found}, expected {}",
                    facts[field]
                ));
            }
        };
        match inspect(fs::read(corpus(&name)).unwrap(), &Limits::default()) {
            Ok(document) => {
                compare("page_count", document.page_count.into());
                compare("encrypted", document.encrypted.into());
                compare("title", document.title.into());
                compare("author", document.author.into());
                compare("page_width", document.page_width.into());
                compare("page_height", document.page_height.into());
                compare("error", Value::Null);
            }
            Err(error) => compare("error", error.code().into()),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn office_documents_are_told_apart_by_their_containers() {
    let expected = expected("office");
    assert!(expected.len() >= 20, "the corpus is there");
    for (name, facts) in expected {
        let office = recognise_office(File::open(corpus(&name)).unwrap()).unwrap();
        assert_eq!(office.media_type, facts["media_type"], "{name}");
        assert_eq!(office.encrypted, facts["encrypted"], "{name}");
        assert_eq!(office.macros, facts["macros"], "{name}");
    }
    let refused = recognise_office(Cursor::new(b"%PDF-1.4")).unwrap_err();
    assert_eq!(refused.code(), "unsupported_format");
}

fn preview_of(name: &str, longest_side: u32) -> (Preview, Pixels) {
    let limits = Limits::default();
    let document = inspect(fs::read(corpus(name)).unwrap(), &limits).unwrap();
    let preview = preview(&document, longest_side, &limits).unwrap();
    let pixels = Pixels::decode(&preview);
    (preview, pixels)
}

struct Pixels {
    width: usize,
    samples: Vec<u8>,
    channels: usize,
}

impl Pixels {
    fn decode(preview: &Preview) -> Self {
        let mut reader = png::Decoder::new(Cursor::new(&preview.png)).read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut samples).unwrap();
        assert_eq!((frame.width, frame.height), (preview.width, preview.height));
        Self {
            width: frame.width as usize,
            samples,
            channels: frame.color_type.samples(),
        }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let start = (y * self.width + x) * self.channels;
        let pixel = &self.samples[start..start + self.channels];
        if self.channels == 1 {
            [pixel[0]; 3]
        } else {
            [pixel[0], pixel[1], pixel[2]]
        }
    }
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];

/// The page has a red corner at its lower left and a blue one at its upper right, before it is turned clockwise.
#[test]
fn pages_are_turned_and_cropped() {
    let (preview, pixels) = preview_of("upright.pdf", 200);
    assert_eq!((preview.width, preview.height), (200, 100));
    assert_eq!(
        [pixels.at(5, 95), pixels.at(195, 5), pixels.at(5, 5)],
        [RED, BLUE, WHITE]
    );

    let (preview, pixels) = preview_of("rotated_90.pdf", 200);
    assert_eq!((preview.width, preview.height), (100, 200));
    assert_eq!(
        [pixels.at(5, 5), pixels.at(95, 195), pixels.at(95, 5)],
        [RED, BLUE, WHITE]
    );

    let (_, pixels) = preview_of("rotated_180.pdf", 200);
    assert_eq!(
        [pixels.at(195, 5), pixels.at(5, 95), pixels.at(5, 5)],
        [RED, BLUE, WHITE]
    );

    let (_, pixels) = preview_of("rotated_270.pdf", 200);
    assert_eq!(
        [pixels.at(95, 195), pixels.at(5, 5), pixels.at(5, 195)],
        [RED, BLUE, WHITE]
    );

    let (_, pixels) = preview_of("inherited.pdf", 200);
    assert_eq!([pixels.at(5, 5), pixels.at(95, 195)], [RED, BLUE]);

    // The crop box leaves the lower left quarter, at twice the scale.
    let (preview, pixels) = preview_of("cropped.pdf", 200);
    assert_eq!((preview.width, preview.height), (200, 100));
    assert_eq!(
        [pixels.at(35, 65), pixels.at(195, 5), pixels.at(45, 95)],
        [RED, WHITE, WHITE]
    );

    let (_, pixels) = preview_of("offset.pdf", 200);
    assert_eq!([pixels.at(5, 95), pixels.at(25, 95)], [RED, WHITE]);
}

#[test]
fn sizes_are_those_asked_for_whatever_the_page_has() {
    for (name, expected) in [
        ("huge_page.pdf", (256, 256)),
        ("zero_page.pdf", (181, 256)),
        ("plain.pdf", (256, 128)),
        ("reversed_box.pdf", (256, 128)),
    ] {
        let (preview, _) = preview_of(name, 256);
        assert_eq!((preview.width, preview.height), expected, "{name}");
    }
    let (preview, _) = preview_of("plain.pdf", u32::MAX);
    assert_eq!(
        preview.width,
        Limits::default().preview_side,
        "no larger than the limit"
    );
    let (preview, _) = preview_of("plain.pdf", 0);
    assert_eq!((preview.width, preview.height), (1, 1));
}

#[test]
fn text_and_images_are_drawn_also_in_encrypted_documents() {
    for name in [
        "plain.pdf",
        "encrypted_rc4_40.pdf",
        "encrypted_aes_256.pdf",
        "linearized.pdf",
        "no_xref.pdf",
    ] {
        let (preview, pixels) = preview_of(name, 400);
        let dark = pixels.samples.iter().filter(|sample| **sample < 100).count();
        assert!(
            dark > 200,
            "{name} has {dark} dark samples in {} bytes",
            preview.png.len()
        );
        assert_eq!(pixels.channels, 1, "black text on white needs no colour");
    }
    let (_, pixels) = preview_of("image.pdf", 200);
    let (left, right) = (pixels.at(10, 50), pixels.at(190, 50));
    assert!(
        left[0] < 40 && right[0] > 200 && left[2].abs_diff(128) < 8,
        "a gradient: {left:?} {right:?}"
    );
}
