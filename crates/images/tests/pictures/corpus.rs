//! Good pictures: facts as they were made, pixels as another program renders them, and nothing left of the metadata.

use cloakroom_images::{Facts, Fit, Limits, OutputFormat, Rendition, inspect, render};
use serde_json::Value;

use super::{names, psnr, read, rgb};

fn facts_of_corpus() -> serde_json::Map<String, Value> {
    serde_json::from_slice::<Value>(&read("facts.json"))
        .unwrap()
        .as_object()
        .unwrap()
        .clone()
}

fn rendition(side: u32, format: OutputFormat) -> Rendition {
    Rendition {
        name: "small".to_owned(),
        width: side,
        height: side,
        fit: Fit::Contain,
        format,
        quality: 85,
    }
}

#[test]
fn facts_are_known_from_the_headers() {
    let expected = facts_of_corpus();
    assert_eq!(names("good"), expected.keys().cloned().collect::<Vec<_>>());
    for (name, entry) in expected {
        let facts = inspect(&read(&format!("good/{name}")), &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(facts).unwrap(), entry["facts"], "{name}");
    }
}

#[test]
fn pixels_are_those_of_another_renderer() {
    let mut wrong = Vec::new();
    for (name, entry) in facts_of_corpus() {
        let Some(least) = entry["psnr"].as_f64() else {
            continue;
        };
        let rendered = render(
            &read(&format!("good/{name}")),
            &[rendition(96, OutputFormat::Png)],
            &Limits::default(),
        )
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (width, height, ours) = rgb(&rendered.pictures[0].bytes);
        let (expected_width, expected_height, theirs) = rgb(&read(&format!("expected/{name}.png")));
        assert_eq!((width, height), (expected_width, expected_height), "{name}");
        let found = psnr(&ours, &theirs);
        if found < least {
            wrong.push(format!("{name}: {found:.1} dB instead of {least}"));
        }
        assert_eq!(inspect_of(&rendered.facts), entry["facts"], "{name}");
        assert!(
            rendered
                .facts
                .placeholder
                .is_some_and(|placeholder| placeholder.len() >= 20),
            "{name}"
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn inspect_of(facts: &Facts) -> Value {
    serde_json::to_value(Facts {
        placeholder: None,
        ..facts.clone()
    })
    .unwrap()
}

#[test]
fn all_eight_orientations_look_the_same() {
    let upright = |name: &str, side| {
        let rendered = render(
            &read(name),
            &[rendition(side, OutputFormat::Png)],
            &Limits::default(),
        )
        .unwrap();
        rgb(&rendered.pictures[0].bytes)
    };
    for orientation in 1..=8 {
        let name = format!("good/orientation-{orientation}.jpg");
        let (_, _, pixels) = upright(&name, 96);
        let (_, _, expected) = rgb(&read(&format!("expected/orientation-{orientation}.jpg.png")));
        assert!(psnr(&pixels, &expected) > 34.0, "{name}");
    }
}

#[test]
fn every_output_format_shows_the_same_picture() {
    for name in [
        "baseline-420.jpg",
        "grey.jpg",
        "rgb-16.png",
        "lossy-turned.webp",
        "display-p3.jpg",
        "cmyk.jpg",
    ] {
        let mut renditions = vec![
            rendition(90, OutputFormat::Png),
            rendition(90, OutputFormat::Jpeg),
            rendition(90, OutputFormat::Webp),
            rendition(90, OutputFormat::Jpeg),
        ];
        renditions[3].quality = 95;
        let rendered = render(&read(&format!("good/{name}")), &renditions, &Limits::default()).unwrap();
        let (width, height, exact) = rgb(&rendered.pictures[0].bytes);
        for picture in &rendered.pictures[1..] {
            let again = render(
                &picture.bytes,
                &[rendition(90, OutputFormat::Png)],
                &Limits::default(),
            )
            .unwrap();
            let (again_width, again_height, pixels) = rgb(&again.pictures[0].bytes);
            assert_eq!((width, height), (again_width, again_height));
            let found = psnr(&exact, &pixels);
            assert!(found > 30.0, "{name} as {}: {found:.1} dB", picture.content_type);
        }
    }
}

/// The kinds of a file's segments or chunks.
fn parts(file: &[u8]) -> Vec<String> {
    let mut parts = Vec::new();
    if file.starts_with(b"\x89PNG") {
        let mut at = 8;
        while at + 8 <= file.len() {
            let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            parts.push(String::from_utf8_lossy(&file[at + 4..at + 8]).into_owned());
            at += length + 12;
        }
    } else if file.starts_with(b"RIFF") {
        let mut at = 12;
        while at + 8 <= file.len() {
            let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
            parts.push(String::from_utf8_lossy(&file[at..at + 4]).into_owned());
            at += 8 + length + length % 2;
        }
    } else {
        let mut at = 2;
        while file[at + 1] != 0xDA {
            parts.push(format!("{:X}", file[at + 1]));
            at += 2 + usize::from(u16::from_be_bytes(file[at + 2..at + 4].try_into().unwrap()));
        }
        assert!(file.ends_with(&[0xFF, 0xD9]));
    }
    parts
}

#[test]
fn no_metadata_is_handed_on() {
    let sources = [
        "orientation-6.jpg",
        "display-p3.jpg",
        "polyglot.jpg",
        "display-p3-turned.png",
        "lossy-turned.webp",
    ];
    for name in sources {
        let formats = [OutputFormat::Jpeg, OutputFormat::Png, OutputFormat::Webp];
        let renditions = formats.map(|format| rendition(64, format));
        let rendered = render(&read(&format!("good/{name}")), &renditions, &Limits::default()).unwrap();
        let allowed: [&[&str]; 3] = [&["E0", "DB", "C0", "C4"], &["IHDR", "IDAT", "IEND"], &["VP8 "]];
        for (picture, allowed) in rendered.pictures.iter().zip(allowed) {
            for part in parts(&picture.bytes) {
                assert!(
                    allowed.contains(&part.as_str()),
                    "{name}: {part} in {}",
                    picture.content_type
                );
            }
            for secret in ["Exif", "ICC", "GPS", "Camera", "secret", "PK\x03\x04"] {
                let found = picture
                    .bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{name}: {secret} in {}", picture.content_type);
            }
            assert!(
                !inspect(&picture.bytes, &Limits::default())
                    .unwrap()
                    .orientation_applied
            );
        }
    }
}

#[test]
fn alpha_is_kept_and_chooses_the_format() {
    for name in [
        "rgba.png",
        "lossy-alpha.webp",
        "lossless-alpha.webp",
        "transparent.gif",
        "alpha.tif",
        "alpha.bmp",
    ] {
        let bytes = read(&format!("good/{name}"));
        let rendered = render(&bytes, &[rendition(50, OutputFormat::Auto)], &Limits::default()).unwrap();
        assert_eq!(
            (rendered.pictures[0].extension, rendered.pictures[0].content_type),
            ("webp", "image/webp")
        );
        assert!(
            inspect(&rendered.pictures[0].bytes, &Limits::default())
                .unwrap()
                .has_alpha,
            "{name}"
        );
    }
    let rendered = render(
        &read("good/rgb.png"),
        &[rendition(50, OutputFormat::Auto)],
        &Limits::default(),
    )
    .unwrap();
    assert_eq!(
        (rendered.pictures[0].extension, rendered.pictures[0].content_type),
        ("jpg", "image/jpeg")
    );
}

#[test]
fn sizes_follow_the_fit() {
    let bytes = read("good/orientation-6.jpg"); // upright 163 x 253
    let fits = [
        (Fit::Contain, 100, 100),
        (Fit::Cover, 100, 100),
        (Fit::Fill, 100, 50),
        (Fit::Contain, 4000, 4000),
    ];
    let renditions = fits.map(|(fit, width, height)| Rendition {
        width,
        height,
        fit,
        ..rendition(0, OutputFormat::Jpeg)
    });
    let rendered = render(&bytes, &renditions, &Limits::default()).unwrap();
    let sizes: Vec<_> = rendered
        .pictures
        .iter()
        .map(|picture| (picture.width, picture.height))
        .collect();
    assert_eq!(sizes, [(64, 100), (100, 100), (100, 50), (163, 253)]);
    for (picture, size) in rendered.pictures.iter().zip(sizes) {
        let facts = inspect(&picture.bytes, &Limits::default()).unwrap();
        assert_eq!((facts.width, facts.height), size);
    }
}

#[test]
fn cover_shows_the_centre() {
    let bytes = read("good/rgb.png");
    let cover = Rendition {
        width: 40,
        height: 80,
        fit: Fit::Cover,
        ..rendition(0, OutputFormat::Png)
    };
    let rendered = render(
        &bytes,
        &[cover, rendition(108, OutputFormat::Png)],
        &Limits::default(),
    )
    .unwrap();
    let (_, _, cut) = rgb(&rendered.pictures[0].bytes);
    let (width, _, whole) = rgb(&rendered.pictures[1].bytes); // 108 x 80
    let left = (width - 40) / 2;
    let expected: Vec<u8> = whole
        .chunks(width * 3)
        .flat_map(|row| &row[left * 3..(left + 40) * 3])
        .copied()
        .collect();
    assert!(psnr(&cut, &expected) > 34.0);
}

#[test]
fn without_renditions_there_are_facts_and_placeholder() {
    let rendered = render(&read("good/cmyk.jpg"), &[], &Limits::default()).unwrap();
    assert!(rendered.pictures.is_empty() && rendered.facts.placeholder.is_some());
}
