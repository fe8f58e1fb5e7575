//! The account alone: what is regular and within the limits passes, everything else does not.

use cloakroom_scanner::account::{Account, Beyond, Limits};
use proptest::prelude::*;

use crate::archives::{Entry, deflated, eicar_after, gzip, pdf, tar, tar_header, zip, zip_with, zlib};

const MIB: usize = 1024 * 1024;

fn count_with(limits: Limits, bytes: &[u8], piece: usize) -> Result<(), Beyond> {
    let mut account = Account::new(limits);
    for piece in bytes.chunks(piece) {
        account.push(piece)?;
    }
    account.finish()
}

fn count(bytes: &[u8]) -> Result<(), Beyond> {
    count_with(Limits::default(), bytes, 64 * 1024)
}

/// Counts in several ways of cutting it up, which all must say the same.
fn verdict(bytes: &[u8]) -> Result<(), String> {
    let whole = count(bytes).map_err(Beyond::into_reason);
    for piece in [1, 3, 511, 4_096] {
        if bytes.len() / piece < 200_000 {
            let pieces = count_with(Limits::default(), bytes, piece).map_err(Beyond::into_reason);
            assert_eq!(pieces, whole, "in pieces of {piece}");
        }
    }
    whole
}

#[test]
fn what_is_regular_passes() {
    let text = b"hello ".repeat(1_000);
    let office = [
        Entry::deflated("[Content_Types].xml", &text),
        Entry::stored("word/media/a.png", &text),
    ];
    let mut two_members = gzip(&text);
    two_members.extend(gzip(b"more"));
    let mut padded = gzip(&text);
    padded.extend([0; 100]);
    let mut named_gzip = b"\x1F\x8B\x08\x1E\0\0\0\0\0\x03\x04\0abcdname\0comment\0\x12\x34".to_vec();
    named_gzip.extend(deflated(&text));
    named_gzip.extend([0; 8]);
    let mut with_folder = tar_header("folder/", 0, b'5');
    with_folder.extend(tar(&[("a", &text), ("empty", b"")]));
    let table: [(&str, Vec<u8>); 18] = [
        ("nothing", Vec::new()),
        ("text", text.clone()),
        ("zeros", vec![0; MIB]),
        ("an office file", zip(&office)),
        ("an empty zip", zip(&[])),
        ("a zip with a comment", zip_with(&office, b"made by hand")),
        (
            "a streamed zip",
            zip(&[Entry::streamed("a", &text), Entry::streamed("b", b"")]),
        ),
        ("a zip in a zip", zip(&[Entry::deflated("a.zip", &zip(&office))])),
        (
            "an empty entry",
            zip(&[Entry::stored("empty", b""), Entry::deflated("b", b"")]),
        ),
        ("gzip", gzip(&text)),
        ("gzip of nothing", gzip(b"")),
        ("gzip of two members", two_members),
        ("padded gzip", padded),
        ("gzip with all fields", named_gzip),
        ("tar", tar(&[("a", &text), ("b", b"x")])),
        ("tar with a folder", with_folder),
        ("tar.gz", gzip(&tar(&[("a", &text), ("b.zip", &zip(&office))]))),
        ("pdf", pdf(&text)),
    ];
    for (name, bytes) in table {
        assert_eq!(verdict(&bytes), Ok(()), "{name}");
    }
}

#[test]
fn what_is_beyond_the_limits_does_not_pass() {
    let member = eicar_after(25 * MIB);
    let three = [0; 3].map(|_| Entry::deflated("a", &vec![0; 24 * MIB]));
    let many: Vec<Entry> = (0..10_001).map(|_| Entry::stored("a", b"x")).collect();
    let mut nested = zip(&[Entry::stored("a", b"x")]);
    for _ in 0..8 {
        nested = zip(&[Entry::deflated("a.zip", &nested)]);
    }
    let mut wrapped = b"x".to_vec();
    for _ in 0..9 {
        wrapped = gzip(&wrapped);
    }
    let table = [
        ("a large member", zip(&[Entry::deflated("a", &member)])),
        ("a large streamed member", zip(&[Entry::streamed("a", &member)])),
        ("a large gzip", gzip(&member)),
        (
            "a large gzip in a zip",
            zip(&[Entry::stored("a.gz", &gzip(&member))]),
        ),
        ("a large stream of a pdf", pdf(&member)),
        (
            "a large zip in a pdf",
            pdf(&zip(&[Entry::deflated("a", &member)])),
        ),
        ("a total", zip(&[&three[..], &three[..1]].concat())),
        ("many files", zip(&many)),
        ("deep zips", nested),
        ("deep gzips", wrapped),
    ];
    for (name, bytes) in table {
        assert!(verdict(&bytes).is_err(), "{name}");
    }
    assert_eq!(verdict(&zip(&three)), Ok(()));
    assert!(Limits::default().admit(25 * MIB as u64).is_ok());
    assert!(Limits::default().admit(25 * MIB as u64 + 1).is_err());
}

#[test]
fn what_is_irregular_does_not_pass() {
    let good = Entry::deflated("a", b"hello hello hello");
    let whole = zip(std::slice::from_ref(&good));
    let changed = |change: fn(&mut Entry)| {
        let mut entry = good.clone();
        change(&mut entry);
        zip(&[entry])
    };
    let mut prefixed = b"PK\x03\x04".to_vec();
    prefixed.extend(&whole);
    let mut followed = whole.clone();
    followed.extend(&whole);
    let mut gzip_and_more = gzip(b"hello");
    gzip_and_more.extend(b"more");
    let mut sparse = tar_header("sparse", 512, b'S');
    sparse.extend([0; 1536]);
    let mut resized = tar_header("pax", 12, b'x');
    resized.extend(b"12 size=999\n");
    resized.resize(1024, 0);
    resized.extend(tar(&[("a", b"x")]));
    let mut tar_and_more = tar(&[("a", b"x")]);
    tar_and_more.extend(b"more");
    let table: [(&str, Vec<u8>); 24] = [
        ("encrypted", changed(|e| e.flags = 1)),
        ("bzip2 in a zip", changed(|e| e.method = 12)),
        ("lzma in a zip", changed(|e| e.method = 14)),
        ("a header that lies", changed(|e| e.size = 3)),
        ("a directory that lies", changed(|e| e.directory_size = Some(3))),
        (
            "a directory with another method",
            changed(|e| e.directory_method = Some(0)),
        ),
        ("a gap", changed(|e| e.gap = vec![0; 8])),
        ("a broken entry", changed(|e| e.packed = vec![0xFF; 20])),
        ("cut off", whole[..whole.len() - 1].to_vec()),
        ("without a directory", whole[..40].to_vec()),
        ("something before", prefixed),
        ("something after", followed),
        (
            "two ends",
            zip_with(std::slice::from_ref(&good), b"PK\x05\x06 again"),
        ),
        ("gzip and more", gzip_and_more),
        ("gzip cut off", gzip(b"hello")[..12].to_vec()),
        ("a sparse file", sparse),
        ("a size from elsewhere", resized),
        ("tar and more", tar_and_more),
        ("tar cut off", tar(&[("a", &[1; 600])])[..700].to_vec()),
        ("7z", b"7z\xBC\xAF\x27\x1C\0\x04".to_vec()),
        ("rar", b"Rar!\x1A\x07\x01\0".to_vec()),
        ("xz", b"\xFD7zXZ\0\0\x04".to_vec()),
        ("bzip2", b"BZh91AY&SY".to_vec()),
        (
            "7z in a zip",
            zip(&[Entry::stored("a.7z", b"7z\xBC\xAF\x27\x1C\0\x04")]),
        ),
    ];
    for (name, bytes) in table {
        assert!(verdict(&bytes).is_err(), "{name}");
    }
}

#[test]
fn a_bomb_is_given_up_early() {
    // A gigabyte of zeros, in a megabyte.
    let bomb = zip(&[Entry::deflated("bomb", &vec![0; 1 << 30])]);
    let mut account = Account::new(Limits::default());
    let unpacked = bomb.chunks(4_096).take_while(|piece| account.push(piece).is_ok());
    // A fortieth of it is within the limits.
    let taken = unpacked.count() * 4_096;
    assert!(taken < bomb.len() / 10, "{taken} of {}", bomb.len());
    assert!(count(&bomb).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever comes in: an answer, and the same one however it is cut up.
    #[test]
    fn damage_is_answered(
        which in 0..5_usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        piece in 1..300_usize,
    ) {
        let text = b"some text to pack, some text to pack".repeat(20);
        let mut bytes = match which {
            0 => zip(&[Entry::deflated("a", &text), Entry::streamed("b", &text), Entry::stored("c", &text)]),
            1 => gzip(&tar(&[("a", &text)])),
            2 => tar(&[("a", &text), ("b", &text)]),
            3 => pdf(&text),
            _ => zlib(&text),
        };
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let whole = count(&bytes);
        prop_assert_eq!(count_with(Limits::default(), &bytes, piece), whole);
    }
}
