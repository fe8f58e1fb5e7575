"""Conditional reads, writes and ranges of an object."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from s3_refusal import assert_refused, refused
from sigv4 import authorize, object_url

BEFORE = datetime(1994, 10, 29, 19, 43, 31, tzinfo=UTC)
AFTER = datetime(2100, 10, 29, 19, 43, 31, tzinfo=UTC)


@pytest.fixture
def etag(s3, bucket):
    """The ETag of the object `foo`, which holds `bar`."""
    return s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")["ETag"]


def conditions(options, etag):
    return {name: etag if value == "its etag" else value for name, value in options.items()}


@pytest.mark.parametrize("operation", ["get_object", "head_object"])
@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"IfMatch": "its etag"}, 200),
        ({"IfMatch": "*"}, 200),
        ({"IfMatch": '"ABCORZ"'}, 412),
        ({"IfNoneMatch": "its etag"}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfNoneMatch": '"ABCORZ"'}, 200),
        ({"IfNoneMatch": "ABCORZ"}, 200),
        ({"IfModifiedSince": BEFORE}, 200),
        ({"IfUnmodifiedSince": BEFORE}, 412),
        ({"IfUnmodifiedSince": AFTER}, 200),
        # RFC 9110, section 13.2.2: an ETag condition takes the place of the date condition beside it.
        ({"IfMatch": "its etag", "IfUnmodifiedSince": BEFORE}, 200),
        ({"IfNoneMatch": '"ABCORZ"', "IfModifiedSince": AFTER}, 200),
        ({"IfNoneMatch": "its etag", "IfModifiedSince": BEFORE}, 304),
        ({"IfMatch": '"ABCORZ"', "IfUnmodifiedSince": AFTER}, 412),
    ],
)
def test_reads(s3, bucket, etag, operation, options, status):
    read = getattr(s3, operation)
    if status == 200:
        assert read(Bucket=bucket, Key="foo", **conditions(options, etag))["ContentLength"] == 3
        return
    code = "PreconditionFailed" if status == 412 and operation == "get_object" else None
    with refused(status, code):
        read(Bucket=bucket, Key="foo", **conditions(options, etag))


def test_not_modified_since_it_was_written(s3, bucket, etag):
    written = s3.head_object(Bucket=bucket, Key="foo")["LastModified"]
    with refused(304):
        s3.get_object(Bucket=bucket, Key="foo", IfModifiedSince=written)
    s3.get_object(Bucket=bucket, Key="foo", IfUnmodifiedSince=written)
    with refused(412, "PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key="foo", IfUnmodifiedSince=written - timedelta(seconds=1))
    s3.get_object(Bucket=bucket, Key="foo", IfModifiedSince=written - timedelta(seconds=1))


def test_not_modified_has_an_etag_and_no_body(cloakroom, bucket, etag):
    url = object_url(cloakroom, bucket, "foo")
    answer = requests.get(url, headers=authorize(cloakroom, "GET", url) | {"If-None-Match": etag}, timeout=10)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert "Last-Modified" in answer.headers


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"If-None-Match": '"x", {etag}'}, 304),
        ({"If-None-Match": "W/{etag}"}, 304),
        ({"If-Match": '"x", {etag}'}, 200),
        ({"If-Match": "{bare}"}, 200),
        ({"If-Modified-Since": "not a date"}, 200),
        ({"If-Unmodified-Since": "not a date"}, 200),
    ],
)
def test_forms_of_a_condition(cloakroom, bucket, etag, header, status):
    url = object_url(cloakroom, bucket, "foo")
    header = {name: value.format(etag=etag, bare=etag.strip('"')) for name, value in header.items()}
    answer = requests.get(url, headers=authorize(cloakroom, "GET", url) | header, timeout=10)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("exists", "options", "status", "code"),
    [
        (True, {"IfMatch": "its etag"}, 200, None),
        (True, {"IfMatch": "*"}, 200, None),
        (True, {"IfMatch": '"ABCORZ"'}, 412, "PreconditionFailed"),
        (False, {"IfMatch": "*"}, 412, "PreconditionFailed"),
        (False, {"IfMatch": '"ABCORZ"'}, 412, "PreconditionFailed"),
        (True, {"IfNoneMatch": '"ABCORZ"'}, 200, None),
        (True, {"IfNoneMatch": "its etag"}, 412, "PreconditionFailed"),
        (False, {"IfNoneMatch": "*"}, 200, None),
        (True, {"IfNoneMatch": "*"}, 412, "PreconditionFailed"),
    ],
)
def test_writes(s3, bucket, exists, options, status, code):
    etag = s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")["ETag"] if exists else None
    options = conditions(options, etag)
    if status == 200:
        s3.put_object(Bucket=bucket, Key="foo", Body=b"zar", **options)
        assert s3.get_object(Bucket=bucket, Key="foo")["Body"].read() == b"zar"
        return
    with refused(status, code):
        s3.put_object(Bucket=bucket, Key="foo", Body=b"zar", **options)
    if exists:
        assert s3.get_object(Bucket=bucket, Key="foo")["Body"].read() == b"bar"
    else:
        with refused(404, "NoSuchKey"):
            s3.get_object(Bucket=bucket, Key="foo")


@pytest.mark.parametrize("options", [{"IfMatch": '"ABCORZ"'}, {"IfNoneMatch": "*"}])
def test_completing_a_multipart_upload(s3, bucket, etag, options):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="foo")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="foo", UploadId=upload, PartNumber=1, Body=b"zar")["ETag"]
    request = {
        "Bucket": bucket,
        "Key": "foo",
        "UploadId": upload,
        "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part}]},
    }
    with refused(412, "PreconditionFailed"):
        s3.complete_multipart_upload(**request, **options)
    assert s3.get_object(Bucket=bucket, Key="foo")["Body"].read() == b"bar"
    s3.complete_multipart_upload(**request, IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="foo")["Body"].read() == b"zar"


CONTENT = b"testcontent"


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=4-7", (4, 7)),
        ("bytes=4-", (4, 10)),
        ("bytes=-7", (4, 10)),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-10", (10, 10)),
        ("bytes=5-1000", (5, 10)),
        ("bytes=-1000", (0, 10)),
        ("bytes=-1", (10, 10)),
    ],
)
@pytest.mark.parametrize("operation", ["get_object", "head_object"])
def test_range(s3, bucket, operation, wanted, span):
    s3.put_object(Bucket=bucket, Key="foo", Body=CONTENT)
    answer = getattr(s3, operation)(Bucket=bucket, Key="foo", Range=wanted)
    first, last = span
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-range"] == f"bytes {first}-{last}/11"
    assert answer["ContentLength"] == last - first + 1
    assert answer["AcceptRanges"] == "bytes"
    if operation == "get_object":
        assert answer["Body"].read() == CONTENT[first : last + 1]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (CONTENT, "bytes=40-50"),
        (CONTENT, "bytes=11-"),
        (CONTENT, "bytes=-0"),
        (b"", "bytes=40-50"),
        (b"", "bytes=0-0"),
        (b"", "bytes=0-"),
    ],
)
def test_range_that_cannot_be_satisfied(cloakroom, s3, bucket, content, wanted):
    s3.put_object(Bucket=bucket, Key="foo", Body=content)
    url = object_url(cloakroom, bucket, "foo")
    answer = requests.get(url, headers=authorize(cloakroom, "GET", url) | {"Range": wanted}, timeout=10)
    assert_refused(answer, 416, "InvalidRange")
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize(
    "wanted", ["bytes=7-4", "bytes=a-b", "bytes=", "lines=1-2", "4-7", "bytes=--1", "bytes=1-2-3"]
)
def test_range_that_is_none_gives_everything(s3, bucket, wanted):
    """RFC 9110, section 14.2: a Range field that does not parse is ignored."""
    s3.put_object(Bucket=bucket, Key="foo", Body=CONTENT)
    answer = s3.get_object(Bucket=bucket, Key="foo", Range=wanted)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["Body"].read() == CONTENT


def test_large_range(s3, bucket):
    content = bytes(range(256)) * 32 * 1024
    s3.put_object(Bucket=bucket, Key="foo", Body=content)
    answer = s3.get_object(Bucket=bucket, Key="foo", Range=f"bytes=3145728-{5 * 1024 * 1024 - 1}")
    assert answer["Body"].read() == content[3145728 : 5 * 1024 * 1024]


def test_if_range(cloakroom, s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="foo", Body=CONTENT)["ETag"]
    modified = f"{s3.head_object(Bucket=bucket, Key='foo')['LastModified']:%a, %d %b %Y %H:%M:%S GMT}"
    url = object_url(cloakroom, bucket, "foo")
    for validator, status in [
        (etag, 206),
        ('"other"', 200),
        (f"W/{etag}", 200),
        ("Sat, 29 Oct 1994 19:43:31 GMT", 200),
        (modified, 206),
    ]:
        headers = authorize(cloakroom, "GET", url) | {"Range": "bytes=0-3", "If-Range": validator}
        answer = requests.get(url, headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (status, CONTENT[:4] if status == 206 else CONTENT), (
            validator
        )


def test_several_ranges(cloakroom, s3, bucket):
    """S3 answers them whole; RFC 9110 allows that or a multipart/byteranges of exactly those."""
    s3.put_object(Bucket=bucket, Key="foo", Body=CONTENT)
    url = object_url(cloakroom, bucket, "foo")
    answer = requests.get(
        url, headers=authorize(cloakroom, "GET", url) | {"Range": "bytes=0-1,4-6"}, timeout=10
    )
    if answer.status_code == 200:
        assert answer.content == CONTENT
    else:
        assert answer.status_code == 206
        assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
        assert b"bytes 0-1/11\r\n" in answer.content
        assert b"\r\n\r\nte\r\n" in answer.content
        assert b"\r\n\r\ncon\r\n" in answer.content
