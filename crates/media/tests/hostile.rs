//! No bytes make the readers panic, hang or grow.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use cloakroom_media::{Error, Limits, Media, inspect};

const SLOWEST: Duration = Duration::from_secs(2);

/// A small generator (xorshift64*), so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

fn timed(what: &str, bytes: impl Read + Seek) -> Result<Media, Error> {
    let begun = Instant::now();
    let result = inspect(bytes, &Limits::default());
    assert!(begun.elapsed() < SLOWEST, "{what} took {:?}", begun.elapsed());
    if let Ok(media) = &result {
        assert!(
            media
                .duration_seconds
                .is_none_or(|seconds| seconds.is_finite() && seconds > 0.0),
            "{what}"
        );
        assert!(
            media.has_video || media.has_audio,
            "{what} has no track and is no error"
        );
    }
    result
}

/// Memory that this process had at most, in bytes (`VmHWM`).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/media");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "json"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(files.len() >= 40);
    files
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutated = bytes.to_vec();
    // Headers are where the decisions are: half of the mutations hit the first 2 KiB.
    let place = |random: &mut Random, length: usize| {
        let window = if random.below(2) == 0 {
            length.min(2048)
        } else {
            length
        };
        random.below(window)
    };
    for _ in 0..=random.below(8) {
        if mutated.is_empty() {
            break;
        }
        let at = place(random, mutated.len());
        match random.below(8) {
            0 => mutated[at] ^= 1 << random.below(8),
            1 => mutated[at] = random.below(256) as u8,
            2 => mutated.truncate(at),
            3 => {
                let end = (at + 4).min(mutated.len());
                mutated[at..end].fill([0, 0xFF, 0x7F, 0x80][random.below(4)]);
            }
            4 => {
                let end = (at + random.below(64)).min(mutated.len());
                drop(mutated.drain(at..end));
            }
            5 => {
                let from = place(random, mutated.len());
                let piece = mutated[from..(from + random.below(64)).min(mutated.len())].to_vec();
                mutated.splice(at..at, piece);
            }
            6 => {
                let end = (at + 8).min(mutated.len());
                mutated[at..end].fill(0xFF);
            }
            _ => {
                let value = [0_u32, 1, 7, 8, 9, 0x7FFF_FFFF, 0x8000_0000, u32::MAX][random.below(8)];
                let end = (at + 4).min(mutated.len());
                mutated[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]);
            }
        }
    }
    mutated
}

#[test]
fn mutated_files_end_in_facts_or_errors() {
    let rounds: usize = option_env!("CLOAKROOM_MUTATIONS").map_or(400, |rounds| rounds.parse().unwrap());
    let mut outcomes = [0_u32; 2];
    for (index, (name, bytes)) in corpus().iter().enumerate() {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1));
        for round in 0..rounds {
            let result = timed(
                &format!("{name}, mutation {round}"),
                Cursor::new(mutate(bytes, &mut random)),
            );
            outcomes[usize::from(result.is_err())] += 1;
        }
    }
    assert!(
        outcomes[0] > 1000 && outcomes[1] > 1000,
        "both happen: {outcomes:?}"
    );
    assert!(peak_memory() < 256 << 20, "{} MiB", peak_memory() >> 20);
}

#[test]
fn every_truncation_of_every_format_is_survived() {
    for (name, bytes) in corpus() {
        for length in (0..bytes.len().min(1500)).chain((1500..bytes.len()).step_by(211)) {
            drop(timed(
                &format!("{name}, {length} bytes"),
                Cursor::new(&bytes[..length]),
            ));
        }
    }
}

/// What the container says of its own length is believed: half a file is not passed on as a whole one.
#[test]
fn a_file_that_is_cut_off_is_malformed() {
    let names = [
        "faststart.mp4",
        "h264_flac.mkv",
        "vp9_opus.webm",
        "mjpeg_pcm.avi",
        "pcm16.wav",
        "vbr_xing.mp3",
        "vorbis.ogg",
    ];
    let files = corpus();
    for name in names {
        let (_, bytes) = files.iter().find(|(known, _)| known == name).unwrap();
        let whole = inspect(Cursor::new(bytes), &Limits::default());
        assert!(whole.is_ok(), "{name}: {whole:?}");
        // A frame of MP3 may be missing, and in so short a file that is a good part of it.
        let kept = if name == "vbr_xing.mp3" { 5 } else { 9 };
        let cut = &bytes[..bytes.len() * kept / 10];
        let found = inspect(Cursor::new(cut), &Limits::default());
        assert!(matches!(found, Err(Error::Malformed { .. })), "{name}: {found:?}");
    }
    let mut silent = files
        .iter()
        .find(|(name, _)| name == "pcm16.wav")
        .unwrap()
        .1
        .clone();
    // Channels and sample rate.
    silent[22..28].fill(0);
    let found = inspect(Cursor::new(silent), &Limits::default());
    assert!(matches!(found, Err(Error::Malformed { .. })), "{found:?}");
}

/// FLAC and Ogg have a checksum over every byte of their sound: no cut and no flipped bit in it gets through.
#[test]
fn damage_that_a_checksum_shows_is_malformed() {
    let names = [
        "mono.flac",
        "piped.flac",
        "vorbis.ogg",
        "opus.opus",
        "flac.ogg",
        "chained.ogg",
    ];
    let files = corpus();
    for name in names {
        let (_, bytes) = files.iter().find(|(known, _)| known == name).unwrap();
        let whole = inspect(Cursor::new(bytes), &Limits::default()).unwrap();
        let malformed = |bytes: &[u8], what: &str| {
            let found = inspect(Cursor::new(bytes), &Limits::default());
            assert!(
                matches!(found, Err(Error::Malformed { .. })),
                "{name}, {what}: {found:?}"
            );
        };
        for at in (bytes.len() / 2..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            malformed(&flipped, &format!("a bit of byte {at}"));
            // Ogg may end with any page.
            if !bytes[at..].starts_with(b"OggS") {
                malformed(&bytes[..at], &format!("cut at {at}"));
            }
        }
        // What people's programs append is no damage.
        let mut tagged = bytes.clone();
        tagged.extend(b"TAG");
        tagged.resize(bytes.len() + 128, b' ');
        let found = inspect(Cursor::new(tagged), &Limits::default()).unwrap();
        assert_eq!(found, whole, "{name} with a tag");
    }
}

/// Every byte of zeros after a right checksum has a right checksum again: a frame that never ends, and might at each byte.
#[test]
fn a_frame_that_might_end_at_every_byte_is_given_up() {
    let (_, head) = corpus()
        .into_iter()
        .find(|(name, _)| name == "piped.flac")
        .unwrap();
    let mut file = Sparse {
        head,
        tail: Vec::new(),
        length: 20 << 30,
        at: 0,
        read: 0,
    };
    let media = timed("a frame of zeros", &mut file).unwrap();
    assert!(media.has_audio && file.read > 1 << 20, "{} bytes read", file.read);
}

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend(body);
    bytes
}

#[test]
fn boxes_without_number_are_given_up() {
    let mut bytes = boxed(*b"ftyp", b"isom\0\0\0\0");
    // Eight million empty boxes.
    bytes.extend(boxed(*b"free", b"").repeat(8 << 20));
    let refused = timed("empty boxes", Cursor::new(bytes)).unwrap_err();
    assert_eq!(refused.code(), "limit_exceeded");
}

#[test]
fn boxes_in_boxes_are_not_followed() {
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        bytes = boxed(*b"moov", &bytes[..bytes.len().min(160_000)]);
    }
    assert_eq!(
        timed("nested boxes", Cursor::new(bytes)).unwrap_err().code(),
        "malformed_file"
    );
}

#[test]
fn tables_that_claim_more_than_there_is_are_not_believed() {
    let (_, mut bytes) = corpus()
        .into_iter()
        .find(|(name, _)| name == "h264_aac.mp4")
        .unwrap();
    for table in [b"stts", b"elst"] {
        let at = bytes.windows(4).position(|window| window == table).unwrap();
        bytes[at + 8..at + 12].fill(0xFF);
    }
    let media = timed("endless tables", Cursor::new(bytes)).unwrap();
    assert_eq!((media.width, media.frame_rate), (Some(64), None));
}

#[test]
fn elements_in_elements_and_endless_clusters_are_given_up() {
    let (_, live) = corpus()
        .into_iter()
        .find(|(name, _)| name == "live.webm")
        .unwrap();
    let cluster = live
        .windows(4)
        .position(|window| window == [0x1F, 0x43, 0xB6, 0x75])
        .unwrap();
    let mut bytes = live[..cluster].to_vec();
    // A cluster of unknown size with ten million empty blocks.
    bytes.extend([
        0x1F, 0x43, 0xB6, 0x75, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    ]);
    bytes.extend([0xA3, 0x80].repeat(10 << 20));
    let media = timed("endless cluster", Cursor::new(bytes)).unwrap();
    assert_eq!(
        (media.has_video, media.duration_seconds),
        (true, None),
        "the tracks are known, the end is not"
    );
    // Segments in segments.
    let mut nested = live[..live
        .windows(4)
        .position(|w| w == [0x18, 0x53, 0x80, 0x67])
        .unwrap()]
        .to_vec();
    nested.extend(
        [
            0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        ]
        .repeat(100_000),
    );
    assert!(timed("nested segments", Cursor::new(nested)).is_err());
}

/// A file of many gigabytes that is not there: a head, and nothing but zeros up to its end.
struct Sparse {
    head: Vec<u8>,
    tail: Vec<u8>,
    length: u64,
    at: u64,
    read: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let tail_start = self.length - self.tail.len() as u64;
        let size = buffer
            .len()
            .min(usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX));
        for (index, byte) in buffer[..size].iter_mut().enumerate() {
            let at = self.at + index as u64;
            let head = usize::try_from(at).ok().and_then(|at| self.head.get(at));
            let tail = at
                .checked_sub(tail_start)
                .and_then(|at| self.tail.get(usize::try_from(at).ok()?));
            *byte = *head.or(tail).unwrap_or(&0);
        }
        self.at += size as u64;
        self.read += size as u64;
        Ok(size)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(back) => self.length.saturating_add_signed(back),
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

#[test]
fn a_movie_of_twenty_gigabytes_is_read_by_its_ends() {
    let (_, bytes) = corpus()
        .into_iter()
        .find(|(name, _)| name == "h264_aac.mp4")
        .unwrap();
    let movie = bytes.windows(4).position(|window| window == b"moov").unwrap() - 4;
    let length = 20 << 30;
    let tail = bytes[movie..].to_vec();
    let mut head = bytes[..32].to_vec();
    assert_eq!(&head[4..8], b"ftyp");
    let rest: u64 = length - head.len() as u64 - tail.len() as u64;
    head.extend([0, 0, 0, 1]);
    head.extend(b"mdat");
    head.extend(rest.to_be_bytes());
    let mut file = Sparse {
        head,
        tail,
        length,
        at: 0,
        read: 0,
    };
    let media = timed("twenty gigabytes", &mut file).unwrap();
    assert_eq!((media.width, media.height), (Some(64), Some(48)));
    assert!(file.read < 256 * 1024, "{} bytes read", file.read);
}

#[test]
fn a_tag_that_claims_the_whole_file_leaves_no_sound() {
    let mut bytes = b"ID3\x04\0\0\x7F\x7F\x7F\x7F".to_vec();
    bytes.resize(100_000, 0);
    assert_eq!(
        timed("endless tag", Cursor::new(bytes)).unwrap_err().code(),
        "malformed_file"
    );
    // Tag after tag after tag.
    let tags = b"ID3\x04\0\0\0\0\0\0".repeat(100_000);
    assert_eq!(
        timed("tags", Cursor::new(tags)).unwrap_err().code(),
        "malformed_file"
    );
}

#[test]
fn sync_words_without_frames_are_no_sound() {
    for byte in [0xFF, 0x00, 0x55] {
        let refused = timed("one byte", Cursor::new(vec![byte; 3 << 20])).unwrap_err();
        assert_eq!(refused.code(), "unsupported_format");
    }
}

#[test]
fn what_is_no_media_file_is_named() {
    for (bytes, name) in [
        (&b"FLV\x01\x05"[..], "Flash"),
        (b"#!AMR\n", "AMR"),
        (b"hello, world, this is text", "this file"),
    ] {
        let refused = timed(name, Cursor::new(bytes)).unwrap_err();
        assert_eq!(refused.code(), "unsupported_format");
        assert!(refused.to_string().contains(name), "{refused}");
    }
    assert_eq!(
        timed("nothing", Cursor::new(b"")).unwrap_err().code(),
        "malformed_file"
    );
    let picture = [&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], b"\0\0\0\x08mdat"].concat();
    assert!(
        timed("heic", Cursor::new(picture))
            .unwrap_err()
            .to_string()
            .contains("HEIF")
    );
}

/// A reader that fails is not a broken file.
#[test]
fn an_error_of_the_input_is_told_apart() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(1000)
        }
    }
    assert_eq!(
        inspect(Broken, &Limits::default()).unwrap_err().code(),
        "unreadable_file"
    );
}
