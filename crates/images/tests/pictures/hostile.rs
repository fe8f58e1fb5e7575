//! Hostile pictures: each ends in its error, soon.

use std::time::{Duration, Instant};

use cloakroom_images::{Error, Fit, Limit, Limits, OutputFormat, Rendition, inspect, render};
use serde_json::Value;

use super::{names, read};

const SMALL: fn() -> Rendition = || Rendition {
    name: String::new(),
    width: 256,
    height: 256,
    fit: Fit::Contain,
    format: OutputFormat::Auto,
    quality: 80,
};

#[test]
fn each_ends_in_its_error() {
    let codes: Value = serde_json::from_slice(&read("hostile.json")).unwrap();
    for name in names("hostile") {
        let bytes = read(&format!("hostile/{name}"));
        let begun = Instant::now();
        let error = render(&bytes, &[SMALL()], &Limits::default()).expect_err(&name);
        assert_eq!(error.code(), codes[&name].as_str().unwrap(), "{name}: {error}");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{name} took {:?}",
            begun.elapsed()
        );
        let _ = inspect(&bytes, &Limits::default());
    }
}

#[test]
fn limits_are_told() {
    let limited = |name: &str, limits: &Limits| match render(&read(name), &[SMALL()], limits) {
        Err(Error::LimitExceeded {
            limit,
            value,
            allowed,
        }) => (limit, value, allowed),
        other => panic!("{name}: {other:?}"),
    };
    let limits = Limits {
        pixels: 10_000,
        ..Limits::default()
    };
    assert_eq!(
        limited("good/rgb.png", &limits),
        (Limit::Pixels, 151 * 112, 10_000)
    );
    let limits = Limits {
        side: 200,
        ..Limits::default()
    };
    assert_eq!(limited("good/grey.jpg", &limits), (Limit::Side, 253, 200));
    let limits = Limits {
        frames: 2,
        ..Limits::default()
    };
    assert_eq!(limited("good/animated.gif", &limits), (Limit::Frames, 3, 2));
    assert_eq!(limited("good/animated.webp", &limits), (Limit::Frames, 3, 2));
    let limits = Limits {
        scans: 3,
        ..Limits::default()
    };
    assert_eq!(limited("good/progressive-420.jpg", &limits), (Limit::Scans, 4, 3));
    let limits = Limits {
        profile_bytes: 100,
        ..Limits::default()
    };
    assert_eq!(limited("good/display-p3.jpg", &limits).0, Limit::Profile);
    assert_eq!(limited("good/display-p3-turned.png", &limits).0, Limit::Profile);
    let limits = Limits {
        memory_bytes: 5_000,
        ..Limits::default()
    };
    for name in [
        "rgb.png",
        "interlaced.png",
        "lossless.webp",
        "progressive-444.jpg",
        "rgb.bmp",
    ] {
        assert_eq!(
            limited(&format!("good/{name}"), &limits).0,
            Limit::Memory,
            "{name}"
        );
    }
}

/// Every beginning of every good file: an error or, where only its end is missing, a picture.
#[test]
fn cut_off_anywhere() {
    for name in names("good") {
        let bytes = read(&format!("good/{name}"));
        for part in 0..40 {
            let _ = render(&bytes[..bytes.len() * part / 40], &[SMALL()], &Limits::default());
            let _ = inspect(&bytes[..part.min(bytes.len())], &Limits::default());
        }
        if bytes.starts_with(&[0xFF, 0xD8]) && bytes.len() > 2000 {
            assert!(
                render(&bytes[..bytes.len() / 2], &[SMALL()], &Limits::default()).is_err(),
                "{name}"
            );
        }
    }
}
