//! Archives made by hand, regular and not.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// The test file of the antivirus industry, put together at run time so that no scanner finds it in here.
pub fn eicar() -> Vec<u8> {
    [
        r"X5O!P%@AP[4\PZX54(P^)7CC)7}$",
        "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
    ]
    .concat()
    .into_bytes()
}

/// So many bytes that compress to nothing, and EICAR after them.
pub fn eicar_after(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    content.extend(eicar());
    content
}

pub fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

pub fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

/// An entry as it is written; the defaults are right.
#[derive(Clone)]
pub struct Entry {
    pub name: &'static str,
    pub method: u16,
    pub flags: u16,
    pub packed: Vec<u8>,
    pub size: u32,
    /// What the directory says, where it says something else.
    pub directory_size: Option<u32>,
    pub directory_method: Option<u16>,
    pub gap: Vec<u8>,
}

impl Entry {
    pub fn stored(name: &'static str, content: &[u8]) -> Self {
        Self {
            name,
            method: 0,
            flags: 0,
            packed: content.to_vec(),
            size: content.len() as u32,
            directory_size: None,
            directory_method: None,
            gap: Vec::new(),
        }
    }

    pub fn deflated(name: &'static str, content: &[u8]) -> Self {
        Self {
            method: 8,
            packed: deflated(content),
            ..Self::stored(name, content)
        }
    }

    /// With its sizes after its data, as streaming writers do.
    pub fn streamed(name: &'static str, content: &[u8]) -> Self {
        Self {
            flags: 1 << 3,
            ..Self::deflated(name, content)
        }
    }
}

fn put(out: &mut Vec<u8>, numbers: &[(u32, usize)]) {
    for (value, width) in numbers {
        out.extend(&value.to_le_bytes()[..*width]);
    }
}

/// An archive of these entries. Check sums are not what anybody here looks at.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    zip_with(entries, &[])
}

pub fn zip_with(entries: &[Entry], comment: &[u8]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = out.len() as u32;
        let packed = entry.packed.len() as u32;
        let streamed = entry.flags & (1 << 3) != 0;
        let said = |size: u32| if streamed { 0 } else { size };
        let (method, flags) = (u32::from(entry.method), u32::from(entry.flags));
        let name = entry.name.len() as u32;
        put(
            &mut out,
            &[
                (0x0403_4B50, 4),
                (20, 2),
                (flags, 2),
                (method, 2),
                (0, 4),
                (crc(entry), 4),
            ],
        );
        put(
            &mut out,
            &[(said(packed), 4), (said(entry.size), 4), (name, 2), (0, 2)],
        );
        out.extend(entry.name.as_bytes());
        out.extend(&entry.packed);
        if streamed {
            put(
                &mut out,
                &[(0x0807_4B50, 4), (crc(entry), 4), (packed, 4), (entry.size, 4)],
            );
        }
        out.extend(&entry.gap);
        let method = entry.directory_method.map_or(method, u32::from);
        let size = entry.directory_size.unwrap_or(entry.size);
        put(
            &mut directory,
            &[
                (0x0201_4B50, 4),
                (20, 2),
                (20, 2),
                (flags, 2),
                (method, 2),
                (0, 4),
                (crc(entry), 4),
            ],
        );
        put(
            &mut directory,
            &[
                (packed, 4),
                (size, 4),
                (name, 2),
                (0, 2),
                (0, 2),
                (0, 2),
                (0, 2),
                (0, 4),
                (at, 4),
            ],
        );
        directory.extend(entry.name.as_bytes());
    }
    let (at, count) = (out.len() as u32, entries.len() as u32);
    let size = directory.len() as u32;
    out.extend(directory);
    put(
        &mut out,
        &[
            (0x0605_4B50, 4),
            (0, 2),
            (0, 2),
            (count, 2),
            (count, 2),
            (size, 4),
            (at, 4),
        ],
    );
    put(&mut out, &[(comment.len() as u32, 2)]);
    out.extend(comment);
    out
}

fn crc(entry: &Entry) -> u32 {
    let content = match entry.method {
        8 => {
            let mut content = Vec::new();
            std::io::copy(
                &mut flate2::read::DeflateDecoder::new(&entry.packed[..]),
                &mut content,
            )
            .map_or(Vec::new(), |_| content)
        }
        _ => entry.packed.clone(),
    };
    let mut crc = flate2::Crc::new();
    crc.update(&content);
    crc.sum()
}

/// A tar of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        out.extend(tar_header(name, content.len(), b'0'));
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn tar_header(name: &str, size: usize, kind: u8) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[257..263].copy_from_slice(b"ustar\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A PDF with one compressed stream. Nobody here looks at its cross-reference table.
pub fn pdf(content: &[u8]) -> Vec<u8> {
    let packed = zlib(content);
    let mut out = format!(
        "%PDF-1.7\n1 0 obj\n<< /Length {} /Filter /FlateDecode >>\nstream\r\n",
        packed.len()
    )
    .into_bytes();
    out.extend(packed);
    out.extend(b"\nendstream\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n");
    out
}
