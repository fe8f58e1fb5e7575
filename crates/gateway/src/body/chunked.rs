//! The `aws-chunked` framing: chunks that may be signed one by one, and trailers that may be signed too.
//!
//! S3 API, "Signature calculations for the Authorization header: transferring payload in multiple chunks". Data is passed
//! on before its chunk's signature is known: the store makes nothing visible until the whole body is verified, and a
//! chunk need not fit into memory.

use bytes::{Buf as _, Bytes};
use cloakroom_core::ports::objects::BodyError;
use cloakroom_signing::{ChunkChain, PayloadHash};
use sha2::{Digest as _, Sha256};

use super::checksums::{Verification, malformed_trailer};
use super::incomplete;
use crate::error::body_error;

/// The longest line before a chunk or among the trailers, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// The most trailers: checksum and signature, and some to spare.
const TRAILERS_MAX: usize = 8;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `<size in hex>[;chunk-signature=<signature>]`.
    Size,
    Data,
    /// The line end after the data.
    DataEnd,
    Trailers,
    Done,
}

/// Takes the framing off, whatever pieces it comes in.
pub(crate) struct ChunkDecoder {
    state: State,
    line: Vec<u8>,
    chunk_left: u64,
    decoded_left: u64,
    has_trailer: bool,
    signed: Option<SignedChunks>,
    trailers: Vec<(String, String)>,
}

struct SignedChunks {
    chain: ChunkChain,
    chunk: Sha256,
    signature: Vec<u8>,
}

impl ChunkDecoder {
    /// A decoder for a body of `decoded_bytes`; `chain` verifies the chunks where they are signed.
    pub(crate) fn new(payload: PayloadHash, chain: Option<ChunkChain>, decoded_bytes: u64) -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            chunk_left: 0,
            decoded_left: decoded_bytes,
            has_trailer: payload.has_trailer(),
            signed: chain.map(|chain| SignedChunks {
                chain,
                chunk: Sha256::new(),
                signature: Vec::new(),
            }),
            trailers: Vec::new(),
        }
    }

    /// The next piece of data out of `input`; `None` when all of that is consumed.
    pub(crate) fn next(
        &mut self,
        input: &mut Bytes,
        verification: &mut Verification,
    ) -> Result<Option<Bytes>, BodyError> {
        while !input.is_empty() {
            match self.state {
                State::Size => {
                    if let Some(line) = self.take_line(input)? {
                        self.begin_chunk(&line)?;
                    }
                }
                State::Data => {
                    let wanted = usize::try_from(self.chunk_left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    let data = input.split_to(wanted);
                    self.chunk_left -= data.len() as u64;
                    if let Some(signed) = &mut self.signed {
                        signed.chunk.update(&data);
                    }
                    if self.chunk_left == 0 {
                        self.verify_chunk()?;
                        self.state = State::DataEnd;
                    }
                    return Ok(Some(data));
                }
                State::DataEnd => {
                    if let Some(line) = self.take_line(input)? {
                        if !line.is_empty() {
                            return Err(malformed());
                        }
                        self.state = State::Size;
                    }
                }
                State::Trailers => {
                    if let Some(line) = self.take_line(input)? {
                        self.take_trailer(&line, verification)?;
                    }
                }
                State::Done => return Err(malformed()),
            }
        }
        Ok(None)
    }

    /// The input has ended.
    pub(crate) fn finish(&mut self, verification: &mut Verification) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            // Some clients leave out the last empty line. All that was promised must have come all the same.
            State::Trailers if self.line.is_empty() => self.end_trailers(verification),
            _ => Err(incomplete()),
        }
    }

    /// Collects a line across pieces; gives it, without its line end, once it is whole.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, BodyError> {
        let end = input.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(input.len());
        if self.line.len() + taken > LINE_BYTES_MAX {
            return Err(malformed());
        }
        self.line.extend_from_slice(&input[..taken]);
        input.advance(taken);
        if end.is_none() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        if !line.ends_with(b"\r\n") {
            return Err(malformed());
        }
        line.truncate(line.len() - 2);
        Ok(Some(line))
    }

    fn begin_chunk(&mut self, line: &[u8]) -> Result<(), BodyError> {
        let line = std::str::from_utf8(line).map_err(|_| malformed())?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| digits)
            .ok_or_else(malformed)?;
        self.decoded_left = self.decoded_left.checked_sub(size).ok_or_else(wrong_length)?;
        self.chunk_left = size;
        if let Some(signed) = &mut self.signed {
            let signature = extension.strip_prefix("chunk-signature=").ok_or_else(malformed)?;
            signed.signature = signature.as_bytes().to_vec();
        }
        self.state = State::Data;
        if size == 0 {
            if self.decoded_left != 0 {
                return Err(wrong_length());
            }
            self.verify_chunk()?;
            self.state = State::Trailers;
        }
        Ok(())
    }

    fn verify_chunk(&mut self) -> Result<(), BodyError> {
        let Some(signed) = &mut self.signed else {
            return Ok(());
        };
        let digest = signed.chunk.finalize_reset().into();
        signed
            .chain
            .verify_chunk(&digest, &signed.signature)
            .map_err(|error| body_error(&error))
    }

    fn take_trailer(&mut self, line: &[u8], verification: &mut Verification) -> Result<(), BodyError> {
        if line.is_empty() {
            return self.end_trailers(verification);
        }
        let line = std::str::from_utf8(line).map_err(|_| malformed_trailer())?;
        let (name, value) = line.split_once(':').ok_or_else(malformed_trailer)?;
        if !self.has_trailer || self.trailers.len() == TRAILERS_MAX {
            return Err(malformed_trailer());
        }
        let blank = [' ', '\t'];
        self.trailers.push((
            name.trim_matches(blank).to_ascii_lowercase(),
            value.trim_matches(blank).to_owned(),
        ));
        Ok(())
    }

    /// Verifies the signature of the trailers, then hands them over.
    fn end_trailers(&mut self, verification: &mut Verification) -> Result<(), BodyError> {
        let is_signature = |(name, _): &(String, String)| name == TRAILER_SIGNATURE;
        if let Some(signed) = self.signed.as_mut().filter(|_| self.has_trailer) {
            let at = self
                .trailers
                .iter()
                .position(is_signature)
                .ok_or_else(malformed_trailer)?;
            let (_, signature) = self.trailers.remove(at);
            let trailers: Vec<_> = self
                .trailers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            signed
                .chain
                .verify_trailer(&trailers, signature.as_bytes())
                .map_err(|error| body_error(&error))?;
        }
        for (name, value) in &self.trailers {
            verification.trailer(name, value)?;
        }
        self.state = State::Done;
        Ok(())
    }
}

/// A body that is not framed as it says.
fn malformed() -> BodyError {
    BodyError {
        code: "InvalidRequest",
        message: "The body is not well-formed aws-chunked.".to_owned(),
    }
}

/// The chunks are not as long as `x-amz-decoded-content-length`.
fn wrong_length() -> BodyError {
    BodyError {
        code: "IncompleteBody",
        message: "The chunks do not add up to the number of bytes in x-amz-decoded-content-length."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_signing::{Credentials, OutgoingRequest, Region, Signer};
    use http::{HeaderMap, HeaderValue, Method};
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const CONTENT: &[u8] = b"123456789";
    const TRAILER: (&str, &str) = ("x-amz-checksum-crc32", "y/Q5Jg==");

    fn chain() -> ChunkChain {
        let signer = Signer::new(Credentials::new("AKID", "secret"), Region::default());
        let request = OutgoingRequest {
            method: &Method::PUT,
            url: "http://localhost/b/k",
            headers: &[],
            payload: PayloadHash::SignedChunksTrailer,
            now: Timestamp::UNIX_EPOCH,
        };
        signer.sign_headers(&request).expect("valid").chunk_chain()
    }

    /// Frames the content in two chunks, with a trailer where the payload has one.
    fn frame(payload: PayloadHash) -> Vec<u8> {
        let mut chain = chain();
        let mut out = Vec::new();
        for chunk in [&CONTENT[..4], &CONTENT[4..], b""] {
            out.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
            if payload.has_signed_chunks() {
                out.extend_from_slice(b";chunk-signature=");
                out.extend_from_slice(chain.sign_chunk(&Sha256::digest(chunk).into()).as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(chunk);
            if !chunk.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
        }
        if payload.has_trailer() {
            out.extend_from_slice(format!("{}:{}\r\n", TRAILER.0, TRAILER.1).as_bytes());
            if payload.has_signed_chunks() {
                let signature = chain.sign_trailer(&[TRAILER]);
                out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn decode(payload: PayloadHash, length: u64, body: &[u8], step: usize) -> Result<Vec<u8>, &'static str> {
        let mut headers = HeaderMap::new();
        if payload.has_trailer() {
            headers.insert("x-amz-trailer", HeaderValue::from_static(TRAILER.0));
        }
        let mut verification = Verification::new(&headers, payload).map_err(|error| error.code)?;
        let signed = payload.has_signed_chunks().then(chain);
        let mut decoder = ChunkDecoder::new(payload, signed, length);
        let mut out = Vec::new();
        for piece in body.chunks(step) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(data) = decoder
                .next(&mut input, &mut verification)
                .map_err(|error| error.code)?
            {
                verification.update(&data);
                out.extend_from_slice(&data);
            }
        }
        decoder.finish(&mut verification).map_err(|error| error.code)?;
        verification.complete();
        verification.finish().map_err(|error| error.code)?;
        Ok(out)
    }

    const PAYLOADS: [PayloadHash; 3] = [
        PayloadHash::SignedChunks,
        PayloadHash::SignedChunksTrailer,
        PayloadHash::UnsignedChunksTrailer,
    ];

    #[test]
    fn bodies_come_out_whatever_the_pieces() {
        for payload in PAYLOADS {
            let body = frame(payload);
            for step in 1..=body.len() {
                assert_eq!(
                    decode(payload, 9, &body, step).as_deref(),
                    Ok(CONTENT),
                    "{payload:?} {step}"
                );
            }
            let short = &body[..body.len() - 2];
            if payload.has_trailer() {
                assert_eq!(
                    decode(payload, 9, short, 7).as_deref(),
                    Ok(CONTENT),
                    "without the last empty line"
                );
            }
        }
    }

    #[test]
    fn any_cut_and_any_change_is_refused() {
        for payload in PAYLOADS {
            let body = frame(payload);
            for length in 0..body.len() - 2 {
                assert!(
                    decode(payload, 9, &body[..length], 5).is_err(),
                    "{payload:?} cut at {length}"
                );
            }
            for at in 0..body.len() {
                let mut changed = body.clone();
                changed[at] ^= 1;
                assert!(
                    decode(payload, 9, &changed, 64).is_err(),
                    "{payload:?} changed at {at}"
                );
            }
            let longer = [body.as_slice(), b"x"].concat();
            assert_eq!(decode(payload, 9, &longer, 64), Err("InvalidRequest"));
            assert_eq!(decode(payload, 8, &body, 64), Err("IncompleteBody"));
            assert_eq!(decode(payload, 10, &body, 64), Err("IncompleteBody"));
        }
    }

    #[test]
    fn unsigned_chunks_do_not_pass_for_signed_ones() {
        let unsigned = frame(PayloadHash::UnsignedChunksTrailer);
        assert_eq!(
            decode(PayloadHash::SignedChunksTrailer, 9, &unsigned, 64),
            Err("InvalidRequest")
        );
        let chunks_only = frame(PayloadHash::SignedChunks);
        assert_eq!(
            decode(PayloadHash::SignedChunksTrailer, 9, &chunks_only, 64),
            Err("MalformedTrailerError")
        );
        let with_trailer = frame(PayloadHash::SignedChunksTrailer);
        assert_eq!(
            decode(PayloadHash::SignedChunks, 9, &with_trailer, 64),
            Err("MalformedTrailerError")
        );
    }

    #[test]
    fn lines_are_bounded() {
        let endless = "a:".repeat(LINE_BYTES_MAX);
        let many = "0\r\n".to_owned() + &"a:b\r\n".repeat(TRAILERS_MAX + 1) + "\r\n";
        for body in [
            &endless,
            &many,
            "9999999999999999999\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "\r\n",
            "1\na\r\n0\r\n\r\n",
        ] {
            assert!(decode(PayloadHash::UnsignedChunksTrailer, 9, body.as_bytes(), 100).is_err());
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in any::<Vec<u8>>(), close in "[0-9a-f;:=\r\nx-]{0,60}", step in 1..9_usize) {
            for payload in PAYLOADS {
                let _ = decode(payload, 9, &bytes, step);
                let _ = decode(payload, 9, close.as_bytes(), step);
            }
        }
    }
}
