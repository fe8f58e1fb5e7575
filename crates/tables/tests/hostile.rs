//! Damaged and oversized input: an answer always, in little time and memory.

use std::io::{Cursor, Read};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use cloakroom_tables::{Kind, Limits, Options, inspect_delimited, inspect_workbook, recognise};

/// A generator of numbers that is the same everywhere (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("64 bits") % bound.max(1)
    }
}

/// Changes, removes, repeats or cuts off some bytes.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    const SIGNS: [u8; 12] = [0, 0xFF, b'"', b',', b'\n', b'\r', b'<', b'>', b'&', 0x80, 1, 0x7F];
    for _ in 0..=numbers.below(6) {
        if bytes.is_empty() {
            return;
        }
        let place = numbers.below(bytes.len());
        let end = (place + numbers.below(40)).min(bytes.len());
        match numbers.below(6) {
            0 => bytes[place] = SIGNS[numbers.below(SIGNS.len())],
            1 => bytes[place] ^= 1 << numbers.below(8),
            2 => drop(bytes.drain(place..end)),
            3 => {
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            4 => bytes[place..end].fill(0xFF),
            _ => bytes.truncate(bytes.len() - numbers.below(bytes.len() / 4 + 1)),
        }
    }
}

#[test]
fn damaged_files_give_an_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/tables");
    let mut numbers = Numbers(0x5EED_0005);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end != "json"))
        .collect();
    files.sort();
    let rounds = 60;
    let limits = Limits::default();
    for path in files {
        let original = fs::read(&path).expect("the file is read");
        for round in 0..rounds {
            let mut bytes = original.clone();
            damage(&mut bytes, &mut numbers);
            let begun = Instant::now();
            let options = Options {
                strict: round % 2 == 0,
                ..Options::default()
            };
            drop(inspect_delimited(&*bytes, &options));
            for kind in [Kind::Xlsx, Kind::Ods, Kind::Xls] {
                drop(inspect_workbook(Cursor::new(&bytes), kind, &limits));
            }
            drop(recognise(Cursor::new(&bytes), &limits));
            let spent = begun.elapsed();
            assert!(
                spent < Duration::from_secs(2),
                "{}, round {round}: {spent:?}",
                path.display()
            );
        }
    }
}

/// A text as long as wanted that is nowhere kept.
struct Endless {
    row: Vec<u8>,
    at: usize,
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = &self.row[self.at..];
        let count = from
            .len()
            .min(buffer.len())
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer[..count].copy_from_slice(&from[..count]);
        self.at = (self.at + count) % self.row.len();
        self.left -= count as u64;
        Ok(count)
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("the peak is told");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

/// The peak that is measured is the process's: it may be raised by the other tests, but not by a table.
#[test]
fn memory_does_not_grow_with_the_text() {
    let rows: [&[u8]; 4] = [
        b"1,\"a note\nof two lines\",2.50,2026-01-01\n",
        b"one row and one field without an end ",
        b"\"quoted, \"\"always\"\"\n",
        b",",
    ];
    for row in rows {
        let quiet = Endless {
            row: row.to_vec(),
            at: 0,
            left: 1 << 20,
        };
        drop(inspect_delimited(quiet, &Options::default()));
        let before = peak_kib();
        let text = Endless {
            row: row.to_vec(),
            at: 0,
            left: 256 << 20,
        };
        drop(inspect_delimited(
            text,
            &Options {
                strict: false,
                ..Options::default()
            },
        ));
        let grown = peak_kib() - before;
        // The other tests of this file run meanwhile and have files of a megabyte in hand.
        assert!(
            grown < 24 << 10,
            "{grown} KiB for {:?}",
            String::from_utf8_lossy(row)
        );
    }
}
