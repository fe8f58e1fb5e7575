//! gzip (RFC 1952): members one after the other, which are one content.

use super::inflate::{Inflate, Progress};
use super::{Beyond, Content, Gather, Used};

const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const CHECK: u8 = 1 << 1;
/// Longest name or comment, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Gzip {
    content: Content,
    gather: Gather,
    stage: Stage,
    members: u32,
}

#[derive(Debug)]
enum Stage {
    /// The next member, or zeros up to the end.
    Start,
    ExtraLength(u8),
    Extra(u8, usize),
    Texts(u8),
    Check,
    Data(Inflate),
    Trailer,
    Padding,
}

fn irregular() -> Beyond {
    Beyond::new("a gzip file in it is irregular")
}

impl Gzip {
    pub(super) fn new(depth: u32, used: &mut Used) -> Result<Self, Beyond> {
        Ok(Self {
            content: used.begin(depth)?,
            gather: Gather::default(),
            stage: Stage::Start,
            members: 0,
        })
    }

    pub(super) fn push(&mut self, mut input: &[u8], used: &mut Used) -> Result<(), Beyond> {
        while !input.is_empty() {
            self.step(&mut input, used)?;
        }
        Ok(())
    }

    fn step(&mut self, input: &mut &[u8], used: &mut Used) -> Result<(), Beyond> {
        let next = match &mut self.stage {
            Stage::Padding => {
                if input.iter().any(|byte| *byte != 0) {
                    return Err(irregular());
                }
                *input = &[];
                return Ok(());
            }
            Stage::Start => {
                // Tapes and some writers fill up with zeros.
                if self.members > 0 && self.gather.0.is_empty() && input[0] == 0 {
                    self.stage = Stage::Padding;
                    return Ok(());
                }
                if !self.gather.fill(input, 10) {
                    return Ok(());
                }
                let header = self.gather.take();
                if header[..3] != [0x1F, 0x8B, 8] || header[3] & 0xE0 != 0 {
                    return Err(irregular());
                }
                self.members += 1;
                after_header(header[3])
            }
            Stage::ExtraLength(flags) => {
                if !self.gather.fill(input, 2) {
                    return Ok(());
                }
                Stage::Extra(*flags, usize::from(super::u16_at(&self.gather.take(), 0)))
            }
            Stage::Extra(flags, length) => {
                if !self.gather.fill(input, *length) {
                    return Ok(());
                }
                self.gather.take();
                after_extra(*flags)
            }
            Stage::Texts(flags) => {
                let end = input.iter().position(|byte| *byte == 0);
                let length = end.map_or(input.len(), |end| end + 1);
                self.gather.fill(input, self.gather.0.len() + length);
                if self.gather.0.len() > TEXT_BYTES_MAX {
                    return Err(irregular());
                }
                if end.is_none() {
                    return Ok(());
                }
                self.gather.take();
                // The name comes before the comment.
                let done = if *flags & NAME != 0 { NAME } else { COMMENT };
                after_extra(*flags & !done)
            }
            Stage::Check => {
                if !self.gather.fill(input, 2) {
                    return Ok(());
                }
                self.gather.take();
                Stage::Data(Inflate::new(false))
            }
            Stage::Data(inflate) => match inflate.push(input, &mut self.content, used)? {
                Progress::More => return Ok(()),
                Progress::Ended => Stage::Trailer,
                Progress::Broken => return Err(irregular()),
            },
            Stage::Trailer => {
                if !self.gather.fill(input, 8) {
                    return Ok(());
                }
                self.gather.take();
                Stage::Start
            }
        };
        self.stage = next;
        Ok(())
    }

    pub(super) fn finish(&mut self, used: &mut Used) -> Result<(), Beyond> {
        let whole = match self.stage {
            Stage::Start => self.gather.0.is_empty(),
            Stage::Padding => true,
            _ => false,
        };
        if !whole {
            return Err(irregular());
        }
        self.content.finish(used)
    }
}

fn after_header(flags: u8) -> Stage {
    if flags & EXTRA != 0 {
        Stage::ExtraLength(flags)
    } else {
        after_extra(flags)
    }
}

fn after_extra(flags: u8) -> Stage {
    if flags & (NAME | COMMENT) != 0 {
        Stage::Texts(flags)
    } else if flags & CHECK != 0 {
        Stage::Check
    } else {
        Stage::Data(Inflate::new(false))
    }
}
