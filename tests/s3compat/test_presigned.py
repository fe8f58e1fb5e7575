"""Presigned URLs as Ceph's suite uses them: plain reads and writes, and lifetimes at the edge."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from s3_refusal import assert_refused, refused
from sigv4 import object_url, presign


@pytest.fixture
def url(cloakroom, s3, bucket):
    """The unsigned URL of the object `foo`, which holds `bar`."""
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    return object_url(cloakroom, bucket, "foo")


@pytest.mark.parametrize("expires", [1000, 100_000, 604_800])
def test_good(cloakroom, url, expires):
    answer = requests.get(presign(cloakroom, "GET", url, expires=expires), timeout=10)
    assert (answer.status_code, answer.content) == (200, b"bar")


@pytest.mark.parametrize("expires", [0, -7, 604_801, 609_901])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_lifetime_out_of_range(cloakroom, url, method, expires):
    answer = requests.request(method, presign(cloakroom, method, url, expires=expires), data=b"x", timeout=10)
    assert answer.status_code == 403, answer.text


def test_the_last_second_counts(cloakroom, url):
    now = datetime.now(UTC)
    fresh = presign(cloakroom, "GET", url, expires=600, at=now - timedelta(seconds=540))
    assert requests.get(fresh, timeout=10).status_code == 200
    stale = presign(cloakroom, "GET", url, expires=600, at=now - timedelta(seconds=601))
    assert_refused(requests.get(stale, timeout=10), 403, "AccessDenied")


def test_one_url_one_method(cloakroom, url):
    signed = presign(cloakroom, "GET", url)
    for method in ("PUT", "DELETE", "POST"):
        answer = requests.request(method, signed, data=b"x", timeout=10)
        assert answer.status_code in (400, 403), f"{method}: {answer.text}"
    assert requests.get(signed, timeout=10).content == b"bar"


def test_head_needs_its_own(cloakroom, url):
    assert requests.head(presign(cloakroom, "HEAD", url), timeout=10).headers["Content-Length"] == "3"
    assert requests.head(presign(cloakroom, "GET", url), timeout=10).status_code == 403


def test_reads_may_be_ranged_and_conditional(cloakroom, url):
    """Only `x-amz-*` headers must be signed; a browser or a player may add Range and If-None-Match."""
    signed = presign(cloakroom, "GET", url)
    answer = requests.get(signed, headers={"Range": "bytes=1-"}, timeout=10)
    assert (answer.status_code, answer.content) == (206, b"ar")
    answer = requests.get(signed, headers={"If-None-Match": answer.headers["ETag"]}, timeout=10)
    assert answer.status_code == 304


def test_put_and_delete(cloakroom, s3, bucket, url):
    assert requests.put(presign(cloakroom, "PUT", url), data=b"new", timeout=10).status_code == 200
    assert s3.get_object(Bucket=bucket, Key="foo")["Body"].read() == b"new"
    assert requests.delete(presign(cloakroom, "DELETE", url), timeout=10).status_code == 204
    with refused(404):
        s3.head_object(Bucket=bucket, Key="foo")


def test_put_with_signed_metadata(cloakroom, s3, bucket, url):
    headers = {"x-amz-meta-origin": "scanner", "if-none-match": "*"}
    new = url.replace("/foo", "/new")
    signed = presign(cloakroom, "PUT", new, headers=headers)
    assert requests.put(signed, data=b"x", timeout=10).status_code == 403, "the signed headers are missing"
    assert requests.put(signed, data=b"x", headers=headers, timeout=10).status_code == 200
    assert s3.head_object(Bucket=bucket, Key="new")["Metadata"] == {"origin": "scanner"}
    assert_refused(requests.put(signed, data=b"y", headers=headers, timeout=10), 412, "PreconditionFailed")


def test_parts_of_a_multipart_upload(cloakroom, s3, bucket, url):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="foo")["UploadId"]
    signed = presign(cloakroom, "PUT", url, query={"partNumber": 1, "uploadId": upload})
    answer = requests.put(signed, data=b"part", timeout=10)
    assert answer.status_code == 200, answer.text
    other = signed.replace("partNumber=1", "partNumber=2")
    assert_refused(requests.put(other, data=b"part", timeout=10), 403, "SignatureDoesNotMatch")
    parts = [{"PartNumber": 1, "ETag": answer.headers["ETag"]}]
    s3.complete_multipart_upload(Bucket=bucket, Key="foo", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="foo")["Body"].read() == b"part"


def test_missing_object_and_bucket(cloakroom, bucket):
    url = object_url(cloakroom, bucket, "nothing")
    assert_refused(requests.get(presign(cloakroom, "GET", url), timeout=10), 404, "NoSuchKey")
    url = object_url(cloakroom, f"{bucket}-gone", "nothing")
    assert_refused(requests.get(presign(cloakroom, "GET", url), timeout=10), 404, "NoSuchBucket")


def test_two_kinds_of_credentials_at_once(cloakroom, url):
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=0"}
    answer = requests.get(presign(cloakroom, "GET", url), headers=headers, timeout=10)
    assert_refused(answer, 400, "InvalidArgument")
