//! What a file is by its first bytes, as far as that decides how it is counted.

use super::Beyond;

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the scanner reads as it stands.
    Plain,
    Zip,
    Gzip,
    Tar,
    Pdf,
    /// An archive, an image of a disk or a compressed file that is not unpacked here.
    Other(&'static str),
}

/// Beginnings of what the scanner would have to unpack, or cannot.
const OTHERS: &[(&[u8], &str)] = &[
    (b"7z\xBC\xAF\x27\x1C", "7z"),
    (b"Rar!\x1A\x07", "rar"),
    (b"BZh", "bzip2"),
    (b"\xFD7zXZ\0", "xz"),
    (b"LZIP", "lzip"),
    (b"\x28\xB5\x2F\xFD", "zstd"),
    (b"\x04\x22\x4D\x18", "lz4"),
    (b"\x1F\x9D", "compress"),
    (b"\x1F\xA0", "compress"),
    (b"MSCF", "cab"),
    (b"ISc(", "InstallShield"),
    (b"ITSF", "chm"),
    (b"\x60\xEA", "arj"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"070707", "cpio"),
    (b"\xC7\x71", "cpio"),
    (b"\x71\xC7", "cpio"),
    (b"xar!", "xar"),
    (b"!<arch>\n", "ar"),
    (b"\xED\xAB\xEE\xDB", "rpm"),
    (b"EGGA", "egg"),
    (b"ALZ\x01", "alz"),
    (b"ZOO ", "zoo"),
    (b"CWS", "compressed flash"),
    (b"ZWS", "compressed flash"),
    (b"SZDD\x88\xF0", "szdd"),
    (b"MSWIM\0\0\0", "wim"),
    (b"KDMV", "vmdk"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"QFI\xFB", "qcow"),
    (b"hsqs", "squashfs"),
    (b"PK00PK", "split zip"),
    (b"PK\x07\x08PK", "split zip"),
];

/// Where ISO 9660 and UDF say what they are (ECMA-119, 8.1.2).
const VOLUME_AT: u64 = 32_769;
const VOLUMES: [&[u8]; 3] = [b"CD001", b"BEA01", b"NSR0"];

/// The kind of what begins with these bytes.
pub(super) fn of(head: &[u8]) -> Kind {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Kind::Zip;
    }
    if head.starts_with(b"\x1F\x8B") {
        return Kind::Gzip;
    }
    if super::tar::is_header(head) {
        return Kind::Tar;
    }
    for (beginning, name) in OTHERS {
        if head.starts_with(beginning) {
            return Kind::Other(name);
        }
    }
    if head
        .get(2..7)
        .is_some_and(|id| id.starts_with(b"-l") && id[4] == b'-')
    {
        return Kind::Other("lha");
    }
    if head.get(7..14) == Some(b"**ACE**") {
        return Kind::Other("ace");
    }
    // Seen by the values of a compressor with its usual settings (LZMA SDK, "lzma.txt").
    if head.starts_with(b"\x5D\0\0")
        && head
            .get(5..13)
            .is_some_and(|size| size == [0xFF; 8] || size[5..] == [0; 3])
    {
        return Kind::Other("lzma");
    }
    if memchr::memmem::find(&head[..head.len().min(1024)], b"%PDF-").is_some() {
        return Kind::Pdf;
    }
    Kind::Plain
}

/// What shows only further inside.
#[derive(Debug, Default)]
pub(super) struct Later {
    seen: u64,
    volume: Vec<u8>,
}

impl Later {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Beyond> {
        let end = VOLUME_AT + 5;
        if self.seen < end {
            let skip = VOLUME_AT.saturating_sub(self.seen).min(bytes.len() as u64) as usize;
            let wanted = 5 - self.volume.len();
            self.volume.extend(bytes[skip..].iter().take(wanted));
            if VOLUMES.iter().any(|id| self.volume.starts_with(id)) {
                return Err(Beyond::new("what is in a disk image is not counted"));
            }
        }
        self.seen += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_their_beginnings() {
        let table: [(&[u8], Kind); 9] = [
            (b"", Kind::Plain),
            (b"hello", Kind::Plain),
            (b"PK\x03\x04rest", Kind::Zip),
            (b"\x1F\x8B\x08", Kind::Gzip),
            (b"7z\xBC\xAF\x27\x1C\0\x04", Kind::Other("7z")),
            (b"Rar!\x1A\x07\x01\0", Kind::Other("rar")),
            (b"\x20\x30-lh5-rest", Kind::Other("lha")),
            (b"\xEF\xBB\xBF%PDF-1.7", Kind::Pdf),
            (b"\x89PNG\r\n\x1A\n", Kind::Plain),
        ];
        for (head, kind) in table {
            assert_eq!(of(head), kind, "{head:?}");
        }
    }

    #[test]
    fn a_disk_image_shows_itself_late() {
        let mut image = vec![0; 40_000];
        image[32_769..32_774].copy_from_slice(b"CD001");
        for size in [1, 7, 4_096, 40_000] {
            let mut later = Later::default();
            let outcome = image.chunks(size).try_for_each(|piece| later.push(piece));
            assert!(outcome.is_err(), "in pieces of {size}");
        }
        assert_eq!(Later::default().push(&vec![0; 40_000]), Ok(()));
    }
}
