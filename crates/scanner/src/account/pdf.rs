//! PDF (ISO 32000-1, 7.3.8): what stands between `stream` and `endstream`, where it is compressed with zlib.

use super::inflate::{Inflate, Progress};
use super::{Beyond, Content, Used};

const KEYWORD: &[u8] = b"stream";

#[derive(Debug)]
pub(super) struct Pdf {
    depth: u32,
    stage: Stage,
    /// The last bytes, for a keyword on the edge of two pieces.
    tail: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    Search,
    /// After the keyword: the end of its line and the first two bytes.
    Begin(Vec<u8>),
    Data(Box<(Inflate, Content)>),
}

impl Pdf {
    pub(super) fn new(depth: u32) -> Self {
        Self {
            depth,
            stage: Stage::Search,
            tail: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], used: &mut Used) -> Result<(), Beyond> {
        while !input.is_empty() {
            match &mut self.stage {
                Stage::Search => self.search(&mut input),
                Stage::Begin(_) => self.begin(&mut input, used)?,
                Stage::Data(data) => {
                    let (inflate, content) = &mut **data;
                    match inflate.push(&mut input, content, used)? {
                        Progress::More => {}
                        // A stream that is broken is read up to there, by others as well.
                        Progress::Ended | Progress::Broken => {
                            content.finish(used)?;
                            self.stage = Stage::Search;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn search(&mut self, input: &mut &[u8]) {
        // Across the edge first.
        let edge = self.tail.len();
        let mut window = std::mem::take(&mut self.tail);
        window.extend(input.iter().take(KEYWORD.len()));
        if edge > 0
            && let Some(at) = memchr::memmem::find(&window, KEYWORD)
            && at + KEYWORD.len() > edge
        {
            *input = &input[at + KEYWORD.len() - edge..];
            self.stage = Stage::Begin(Vec::new());
            return;
        }
        if let Some(at) = memchr::memmem::find(input, KEYWORD) {
            *input = &input[at + KEYWORD.len()..];
            self.stage = Stage::Begin(Vec::new());
            return;
        }
        let keep = KEYWORD.len() - 1;
        if input.len() >= keep {
            self.tail = input[input.len() - keep..].to_vec();
        } else {
            self.tail = window[window.len().saturating_sub(keep)..].to_vec();
        }
        *input = &[];
    }

    /// Of a stream that is compressed the first two bytes are known (RFC 1950, 2.2).
    fn begin(&mut self, input: &mut &[u8], used: &mut Used) -> Result<(), Beyond> {
        let Stage::Begin(first) = &mut self.stage else {
            return Ok(());
        };
        while let Some((byte, rest)) = input.split_first() {
            if first.is_empty() && matches!(byte, b'\r' | b'\n' | b' ') {
                *input = rest;
                continue;
            }
            first.push(*byte);
            *input = rest;
            if first.len() < 2 {
                continue;
            }
            let zlib =
                first[0] & 0x8F == 8 && (u32::from(first[0]) * 256 + u32::from(first[1])).is_multiple_of(31);
            let first = std::mem::take(first);
            if zlib {
                let mut content = used.begin(self.depth)?;
                let mut inflate = Inflate::new(true);
                let progress = inflate.push(&mut &first[..], &mut content, used)?;
                if progress == Progress::More {
                    self.stage = Stage::Data(Box::new((inflate, content)));
                    return Ok(());
                }
            }
            self.stage = Stage::Search;
            self.tail = first;
            return Ok(());
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, used: &mut Used) -> Result<(), Beyond> {
        match &mut self.stage {
            Stage::Data(data) => data.1.finish(used),
            Stage::Search | Stage::Begin(_) => Ok(()),
        }
    }
}
