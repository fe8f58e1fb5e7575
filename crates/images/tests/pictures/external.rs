//! AVIF and HEIC: measured here, decoded by programs of the system.

use std::path::Path;

use cloakroom_images::{
    Error, Fit, Format, Limits, OutputFormat, Rendition, external_decoders, inspect, render, render_external,
};

use super::{read, rgb};

fn rendition() -> Rendition {
    Rendition {
        name: String::new(),
        width: 64,
        height: 64,
        fit: Fit::Contain,
        format: OutputFormat::Png,
        quality: 80,
    }
}

#[test]
fn what_is_not_decoded_says_what_to_install() {
    for (name, package) in [("plain.avif", "libavif-bin"), ("plain.heic", "libheif-examples")] {
        match render(&read(&format!("good/{name}")), &[rendition()], &Limits::default()) {
            Err(error @ Error::Unsupported { .. }) => assert!(error.to_string().contains(package), "{error}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn command_lines_name_both_files() {
    for format in [Format::Avif, Format::Heic] {
        let decoders = external_decoders(format);
        assert!(decoders.len() >= 2);
        for decoder in decoders {
            let arguments = decoder.arguments(Path::new("/in/a b.avif"), Path::new("/out/x.png"));
            assert!(arguments.contains(&"/in/a b.avif".into()) && arguments.contains(&"/out/x.png".into()));
        }
    }
    assert!(external_decoders(Format::Png).is_empty());
}

/// A program's output is turned here if the program does not, and the facts are the original's.
#[test]
fn decoded_elsewhere_and_turned_here() {
    let original = read("good/turned.avif");
    let facts = inspect(&original, &Limits::default()).unwrap();
    assert_eq!(
        (facts.width, facts.height, facts.format),
        (112, 151, Format::Avif)
    );
    let unturned = read("good/rgb.png"); // 151 x 112
    let rendered = render_external(&original, &unturned, false, &[rendition()], &Limits::default()).unwrap();
    assert_eq!(
        (rendered.pictures[0].width, rendered.pictures[0].height),
        (47, 64)
    );
    assert_eq!(
        (rendered.facts.width, rendered.facts.height, rendered.facts.format),
        (112, 151, Format::Avif)
    );

    let upright = render(&unturned, &[rendition()], &Limits::default()).unwrap();
    let (width, height, pixels) = rgb(&upright.pictures[0].bytes);
    let (_, _, turned) = rgb(&rendered.pictures[0].bytes);
    // A quarter clockwise: the lower left corner comes to the upper left.
    assert_eq!(turned[..3], pixels[(height - 1) * width * 3..][..3]);
    // A program that turned it after all, or that did not against expectation, is seen by the size of what it made.
    let again = render_external(&original, &unturned, true, &[rendition()], &Limits::default()).unwrap();
    assert_eq!(again, rendered);
    let upright = Rendition {
        width: 151,
        height: 151,
        ..rendition()
    };
    let turned = render_external(&original, &unturned, false, &[upright], &Limits::default()).unwrap();
    let kept = render_external(
        &original,
        &turned.pictures[0].bytes,
        false,
        &[rendition()],
        &Limits::default(),
    );
    assert_eq!(
        (kept.unwrap().pictures[0].width, rendered.pictures[0].width),
        (47, 47)
    );
}
