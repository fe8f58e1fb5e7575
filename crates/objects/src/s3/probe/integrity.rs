//! Checksums: whether a wrong one is refused, and whether a right one is kept.

use http::Method;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::caller::{Caller, base64, pair, refused, seen};
use super::facts::Fact;
use super::findings::{Answer, Findings};

const BODY: &[u8] = b"checked\n";
const OTHER: &[u8] = b"another\n";

/// What an algorithm makes of a text.
type Checksum = fn(&[u8]) -> Vec<u8>;

/// The algorithms.
const ALGORITHMS: [(Fact, &str, Checksum); 4] = [
    (Fact::ChecksumCrc32, "x-amz-checksum-crc32", |text| {
        (crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, text) as u32)
            .to_be_bytes()
            .to_vec()
    }),
    (Fact::ChecksumCrc32c, "x-amz-checksum-crc32c", |text| {
        (crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, text) as u32)
            .to_be_bytes()
            .to_vec()
    }),
    (Fact::ChecksumCrc64Nvme, "x-amz-checksum-crc64nvme", |text| {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, text)
            .to_be_bytes()
            .to_vec()
    }),
    (Fact::ChecksumSha1, "x-amz-checksum-sha1", |text| {
        Sha1::digest(text).to_vec()
    }),
];
const SHA256: &str = "x-amz-checksum-sha256";

/// Asks about SHA-256, the one that we sign.
pub(super) async fn ask_briefly(caller: &Caller<'_>, findings: &mut Findings) {
    let verified = verifies(caller, SHA256, &Sha256::digest(OTHER)).await;
    findings.note(Fact::ChecksumSha256, verified);
    let key = caller.key("sha256");
    let right = base64(&Sha256::digest(BODY));
    let written = caller
        .call(Method::PUT, &key, &[], &[pair(SHA256, &*right)], BODY)
        .await;
    let mode = pair("x-amz-checksum-mode", "ENABLED");
    let looked = caller.call(Method::HEAD, &key, &[], &[mode], "").await;
    let shown = looked.as_ref().ok().and_then(|answer| answer.header(SHA256));
    findings.note(
        Fact::ChecksumsShown,
        Answer::when(shown == Some(&*right), || match shown {
            Some(_) => "another one is shown".to_owned(),
            None => format!("written with {}, none is shown", seen(&written)),
        }),
    );
}

/// Asks about all others.
pub(super) async fn ask(caller: &Caller<'_>, findings: &mut Findings) {
    let key = caller.key("unchecked");
    let written = caller.call(Method::PUT, &key, &[], &[], BODY).await;
    let mode = pair("x-amz-checksum-mode", "ENABLED");
    let looked = caller.call(Method::HEAD, &key, &[], &[mode], "").await;
    let headers = ALGORITHMS.iter().map(|(_, header, _)| *header).chain([SHA256]);
    let shown = looked
        .as_ref()
        .is_ok_and(|answer| headers.into_iter().any(|header| answer.header(header).is_some()));
    findings.note(
        Fact::ChecksumsComputed,
        Answer::when(shown, || {
            format!("written with {}, none is shown", seen(&written))
        }),
    );
    for (fact, header, digest) in ALGORITHMS {
        findings.note(fact, verifies(caller, header, &digest(OTHER)).await);
    }
    findings.note(
        Fact::ContentMd5,
        verifies(caller, "content-md5", &Md5::digest(OTHER)).await,
    );
}

/// Whether a body with somebody else's digest is refused. The signature covers the true body, so that nothing but the
/// header is wrong.
async fn verifies(caller: &Caller<'_>, header: &str, digest: &[u8]) -> Answer {
    let key = caller.key("checked");
    let wrong = [pair(header, base64(digest))];
    refused(&caller.call(Method::PUT, &key, &[], &wrong, BODY).await)
}
