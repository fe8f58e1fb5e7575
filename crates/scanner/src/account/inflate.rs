//! DEFLATE (RFC 1951), with or without the wrapping of zlib (RFC 1950), into a content that is counted.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Beyond, Content, Used};

const OUT_BYTES: usize = 32 * 1024;

/// A stream of DEFLATE under way.
#[derive(Debug)]
pub(super) struct Inflate {
    stream: Decompress,
    out: Box<[u8]>,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It wants more.
    More,
    /// It has ended; what follows it was left.
    Ended,
    /// It is none, or it is broken.
    Broken,
}

impl Inflate {
    pub(super) fn new(zlib: bool) -> Self {
        Self {
            stream: Decompress::new(zlib),
            out: vec![0; OUT_BYTES].into_boxed_slice(),
        }
    }

    /// Bytes read and written so far.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.stream.total_in(), self.stream.total_out())
    }

    /// Unpacks what there is into `content`.
    pub(super) fn push(
        &mut self,
        input: &mut &[u8],
        content: &mut Content,
        used: &mut Used,
    ) -> Result<Progress, Beyond> {
        loop {
            let (read_before, written_before) = self.sizes();
            let outcome = self
                .stream
                .decompress(input, &mut self.out, FlushDecompress::None);
            let (read, written) = self.sizes();
            *input = &input[(read - read_before) as usize..];
            let made = (written - written_before) as usize;
            content.push(&self.out[..made], used)?;
            match outcome {
                Ok(Status::StreamEnd) => return Ok(Progress::Ended),
                Err(_) => return Ok(Progress::Broken),
                Ok(Status::Ok | Status::BufError) if made == 0 && read == read_before => {
                    return Ok(Progress::More);
                }
                Ok(Status::Ok | Status::BufError) => {}
            }
        }
    }
}
