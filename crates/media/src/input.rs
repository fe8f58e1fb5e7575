//! The file under a budget: every read is bounded, counted and timed, so that no file can hold its reader.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::time::Instant;

use crate::{Error, Limits};

/// Read at a jump: a header and little else is wanted there.
const JUMP: usize = 4 * 1024;
/// Read where the last read ended: the file is being walked.
const WALK: usize = 64 * 1024;

pub(crate) struct Input<R> {
    reader: R,
    length: u64,
    buffer: Vec<u8>,
    start: u64,
    limits: Limits,
    elements: u64,
    bytes_read: u64,
    begun: Instant,
}

impl<R: Read + Seek> Input<R> {
    pub(crate) fn new(mut reader: R, limits: &Limits) -> Result<Self, Error> {
        let length = reader.seek(SeekFrom::End(0))?;
        Ok(Self {
            reader,
            length,
            buffer: Vec::with_capacity(WALK),
            start: 0,
            limits: limits.clone(),
            elements: 0,
            bytes_read: 0,
            begun: Instant::now(),
        })
    }

    /// The length of the file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Counts one box, element, page or frame, and stops when they are too many or take too long.
    pub(crate) fn count(&mut self) -> Result<(), Error> {
        self.elements += 1;
        if self.elements > self.limits.elements {
            return Err(Error::LimitExceeded {
                limit: "elements",
                value: self.limits.elements,
            });
        }
        if self.elements.is_multiple_of(256) {
            self.check_time()?;
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), Error> {
        if self.begun.elapsed() > self.limits.time {
            let value = u64::try_from(self.limits.time.as_millis()).unwrap_or(u64::MAX);
            return Err(Error::LimitExceeded {
                limit: "milliseconds",
                value,
            });
        }
        Ok(())
    }

    /// The bytes at `offset`, at most `wanted` of them, fewer at the end of the file. `wanted` is at most 64 KiB.
    pub(crate) fn peek(&mut self, offset: u64, wanted: usize) -> Result<&[u8], Error> {
        let wanted = wanted.min(WALK);
        let available = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(available);
        let end = self.start + self.buffer.len() as u64;
        let inside = offset >= self.start && offset + wanted as u64 <= end;
        if !inside {
            let walking = offset >= self.start && offset <= end && !self.buffer.is_empty();
            self.fill(offset, if walking { WALK } else { JUMP.max(wanted) })?;
        }
        let from = usize::try_from(offset - self.start)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        let to = from.saturating_add(wanted).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    fn fill(&mut self, offset: u64, size: usize) -> Result<(), Error> {
        self.check_time()?;
        self.buffer.resize(size, 0);
        self.start = offset;
        self.reader.seek(SeekFrom::Start(offset))?;
        let mut filled = 0;
        while filled < size {
            match self.reader.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(error.into());
                }
            }
        }
        self.buffer.truncate(filled);
        self.bytes_read += filled as u64;
        if self.bytes_read > self.limits.bytes_read {
            return Err(Error::LimitExceeded {
                limit: "bytes read",
                value: self.limits.bytes_read,
            });
        }
        Ok(())
    }

    /// Exactly `N` bytes at `offset`; a file that ends before them is malformed.
    pub(crate) fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], Error> {
        self.peek(offset, N)?.try_into().map_err(|_| Error::Malformed {
            message: "the file ends too early",
            offset: self.length,
        })
    }
}

/// The big-endian number of `N` bytes at `at`, or nothing where the bytes end before it.
macro_rules! reader {
    ($name:ident, $type:ty, $from:ident) => {
        pub(crate) fn $name(bytes: &[u8], at: usize) -> Option<$type> {
            const SIZE: usize = size_of::<$type>();
            let bytes = bytes.get(at..at.checked_add(SIZE)?)?;
            Some(<$type>::$from(bytes.try_into().ok()?))
        }
    };
}

reader!(be16, u16, from_be_bytes);
reader!(be32, u32, from_be_bytes);
reader!(be64, u64, from_be_bytes);
reader!(le16, u16, from_le_bytes);
reader!(le32, u32, from_le_bytes);
reader!(le64, u64, from_le_bytes);

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_peek_across_the_buffer_and_past_the_end_gives_what_is_there() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
        let mut input = Input::new(Cursor::new(&bytes), &Limits::default()).unwrap();
        for offset in [0_usize, 4_090, 4_096, 70_000, 69_999, 199_990, 5] {
            let expected = &bytes[offset..(offset + 20).min(bytes.len())];
            assert_eq!(input.peek(offset as u64, 20).unwrap(), expected, "at {offset}");
        }
        assert_eq!(input.peek(200_000, 4).unwrap(), b"");
        assert_eq!(input.peek(u64::MAX, 4).unwrap(), b"");
        assert!(matches!(
            input.array::<8>(199_995),
            Err(Error::Malformed { offset: 200_000, .. })
        ));
    }

    #[test]
    fn the_budget_of_bytes_ends_a_walk() {
        let limits = Limits {
            bytes_read: 10_000,
            ..Limits::default()
        };
        let mut input = Input::new(Cursor::new(vec![0; 100_000]), &limits).unwrap();
        let refused = (0..100).find_map(|i| input.peek(i * 1000, 10).err());
        assert_eq!(refused.map(|error| error.code()), Some("limit_exceeded"));
    }
}
