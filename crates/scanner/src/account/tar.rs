//! tar (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

use super::{Beyond, Content, Gather, Used};

const BLOCK: usize = 512;
/// Longest extended header that is read, in bytes.
const EXTENDED_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Tar {
    depth: u32,
    gather: Gather,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Header,
    /// A member, with what is left of it.
    Member(Content, u64, Padding),
    /// An extended header of this size.
    Extended(usize, Padding),
    Skip(u64),
    /// After the first block of zeros.
    End,
}

/// Bytes up to the next block.
type Padding = u64;

fn irregular() -> Beyond {
    Beyond::new("a tar file in it is irregular")
}

/// Whether a header begins here: it has a check sum of its own.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.get(..BLOCK) else {
        return false;
    };
    let Some(said) = number(&block[148..156]) else {
        return false;
    };
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    // A block of zeros sums up to eight spaces, and says nothing.
    sum == said && said != 256
}

/// A number: octal digits, or binary with its highest bit set (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7F);
        for byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return Some(value);
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8).ok()
}

impl Tar {
    pub(super) fn new(depth: u32) -> Self {
        Self {
            depth,
            gather: Gather::default(),
            stage: Stage::Header,
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], used: &mut Used) -> Result<(), Beyond> {
        while !input.is_empty() {
            self.step(&mut input, used)?;
        }
        Ok(())
    }

    fn step(&mut self, input: &mut &[u8], used: &mut Used) -> Result<(), Beyond> {
        let next = match &mut self.stage {
            Stage::End => {
                if input.iter().any(|byte| *byte != 0) {
                    return Err(irregular());
                }
                *input = &[];
                return Ok(());
            }
            Stage::Header => {
                if !self.gather.fill(input, BLOCK) {
                    return Ok(());
                }
                let header = self.gather.take();
                if header.iter().all(|byte| *byte == 0) {
                    Stage::End
                } else {
                    self.begin(&header, used)?
                }
            }
            Stage::Member(content, left, padding) => {
                let taken = (input.len() as u64).min(*left) as usize;
                let (bytes, rest) = input.split_at(taken);
                *input = rest;
                *left -= taken as u64;
                content.push(bytes, used)?;
                if *left > 0 {
                    return Ok(());
                }
                content.finish(used)?;
                Stage::Skip(*padding)
            }
            Stage::Extended(size, padding) => {
                if !self.gather.fill(input, *size) {
                    return Ok(());
                }
                let text = self.gather.take();
                // It would say another size than the header that follows, or put a file together out of pieces.
                let changes = [&b" size="[..], b" GNU.sparse"];
                if changes
                    .iter()
                    .any(|word| memchr::memmem::find(&text, word).is_some())
                {
                    return Err(irregular());
                }
                Stage::Skip(*padding)
            }
            Stage::Skip(left) => {
                let taken = (input.len() as u64).min(*left);
                *input = &input[taken as usize..];
                *left -= taken;
                if *left > 0 {
                    return Ok(());
                }
                Stage::Header
            }
        };
        self.stage = next;
        Ok(())
    }

    fn begin(&self, header: &[u8], used: &mut Used) -> Result<Stage, Beyond> {
        if !is_header(header) {
            return Err(irregular());
        }
        let size = number(&header[124..136]).ok_or_else(irregular)?;
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        match header[156] {
            b'0' | 0 | b'7' => {
                let mut content = used.begin(self.depth)?;
                if size == 0 {
                    content.finish(used)?;
                    return Ok(Stage::Header);
                }
                Ok(Stage::Member(content, size, padding))
            }
            // Links, devices and directories have no bytes, whatever is said.
            b'1'..=b'6' if size == 0 => Ok(Stage::Header),
            b'x' | b'g' | b'L' | b'K' if size <= EXTENDED_BYTES_MAX => {
                Ok(Stage::Extended(size as usize, padding))
            }
            _ => Err(irregular()),
        }
    }

    pub(super) fn finish(&self) -> Result<(), Beyond> {
        match self.stage {
            Stage::End | Stage::Skip(0) => Ok(()),
            // Some writers leave the blocks of zeros out.
            Stage::Header if self.gather.0.is_empty() => Ok(()),
            _ => Err(irregular()),
        }
    }
}
