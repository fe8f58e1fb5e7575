//! Every file of the corpus has the facts that ffprobe gives it (`tests/corpus/make_media.py`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cloakroom_media::{Limits, Media, inspect};
use serde_json::Value;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/media")
}

fn differences(found: &Media, expected: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, found: Value| {
        if found != expected[name] {
            differences.push(format!("{name}: found {found}, ffprobe says {}", expected[name]));
        }
    };
    compare("has_video", found.has_video.into());
    compare("has_audio", found.has_audio.into());
    compare("video_codec", found.video_codec.clone().into());
    compare("audio_codec", found.audio_codec.clone().into());
    compare("width", found.width.into());
    compare("height", found.height.into());
    compare("sample_rate", found.sample_rate.into());
    compare("channels", found.channels.into());
    let duration = expected["duration_seconds"].as_f64().unwrap();
    let apart = (found.duration_seconds.unwrap_or(-1.0) - duration).abs();
    if apart > 0.051 {
        differences.push(format!(
            "duration: found {:?}, ffprobe says {duration}",
            found.duration_seconds
        ));
    }
    // Matroska and Ogg give a nominal rate or none, ffprobe counts; where both are there they agree.
    if let (Some(found), Some(expected)) = (found.frame_rate, expected["frame_rate"].as_f64())
        && (found - expected).abs() > 0.11
    {
        differences.push(format!("frame rate: found {found}, ffprobe says {expected}"));
    }
    differences
}

#[test]
fn facts_are_those_of_ffprobe() {
    let expected: Value = serde_json::from_slice(&fs::read(corpus().join("expected.json")).unwrap()).unwrap();
    let expected = expected.as_object().unwrap();
    assert!(expected.len() >= 40, "the corpus is there");
    let mut wrong = Vec::new();
    for (name, facts) in expected {
        let file = File::open(corpus().join(name)).unwrap();
        match inspect(file, &Limits::default()) {
            Ok(media) => {
                let differences = differences(&media, facts);
                wrong.extend(
                    differences
                        .into_iter()
                        .map(|difference| format!("{name}: {difference}")),
                );
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What MP4 says of its frame rate, exactly.
#[test]
fn the_frame_rate_is_counted_from_the_samples() {
    for name in ["h264_aac.mp4", "fragmented.mp4", "hevc.mp4"] {
        let media = inspect(File::open(corpus().join(name)).unwrap(), &Limits::default()).unwrap();
        assert_eq!(media.frame_rate, Some(10.0), "{name}");
    }
}
