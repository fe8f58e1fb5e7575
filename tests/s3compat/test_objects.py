"""Objects: writing, metadata, response headers, deletion."""

import base64
import hashlib
import socket
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import requests
from s3_refusal import assert_refused, refused
from sigv4 import authorize, canonical_query, object_url


def read(s3, bucket, key, **options):
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def test_life_of_an_object(s3, bucket):
    for content in (b"bar", b"soup", b""):
        s3.put_object(Bucket=bucket, Key="foo", Body=content)
        assert read(s3, bucket, "foo") == content
        assert s3.head_object(Bucket=bucket, Key="foo")["ContentLength"] == len(content)
    s3.delete_object(Bucket=bucket, Key="foo")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="foo")


def test_etag_is_the_md5_of_a_simple_upload(s3, bucket):
    """What rclone, s3cmd and `aws s3 sync` users, and Ceph's suite, compare with."""
    put = s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    assert put["ETag"] == f'"{hashlib.md5(b"bar").hexdigest()}"'
    assert s3.head_object(Bucket=bucket, Key="foo")["ETag"] == put["ETag"]


def test_write_into_a_missing_bucket(s3, bucket):
    with refused(404, "NoSuchBucket"):
        s3.put_object(Bucket=f"{bucket}-gone", Key="foo", Body=b"x")


def test_error_carries_the_request_id_of_the_header(cloakroom, bucket):
    url = object_url(cloakroom, bucket, "nothing")
    answer = requests.get(url, headers=authorize(cloakroom, "GET", url), timeout=10)
    assert_refused(answer, 404, "NoSuchKey")
    document = ElementTree.fromstring(answer.content)
    assert document.findtext("RequestId") == answer.headers["x-amz-request-id"]
    assert document.findtext("Message")
    assert answer.headers["Content-Type"] == "application/xml"


def test_head_error_has_no_body(cloakroom, bucket):
    url = object_url(cloakroom, bucket, "nothing")
    answer = requests.head(url, headers=authorize(cloakroom, "HEAD", url), timeout=10)
    assert (answer.status_code, answer.content) == (404, b"")


def test_system_headers_are_kept(s3, bucket):
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    s3.put_object(
        Bucket=bucket,
        Key="foo",
        Body=b"bar",
        CacheControl="public, max-age=14400",
        Expires=expires,
        ContentType="text/x-test; charset=utf-8",
        ContentLanguage="de, fr",
        ContentEncoding="gzip",
        ContentDisposition="inline",
    )
    for answer in (s3.head_object(Bucket=bucket, Key="foo"), s3.get_object(Bucket=bucket, Key="foo")):
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers["cache-control"] == "public, max-age=14400"
        assert headers["content-type"] == "text/x-test; charset=utf-8"
        assert headers["content-language"] == "de, fr"
        assert headers["content-encoding"] == "gzip"
        assert headers["content-disposition"] == "inline"
        assert headers["expires"] == f"{expires:%a, %d %b %Y %H:%M:%S GMT}"


def test_content_type_defaults_to_bytes(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    assert s3.head_object(Bucket=bucket, Key="foo")["ContentType"] == "binary/octet-stream"


def test_response_headers_can_be_overridden(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", ContentType="text/plain")
    answer = s3.get_object(
        Bucket=bucket,
        Key="foo",
        ResponseCacheControl="no-cache",
        ResponseContentDisposition="bla",
        ResponseContentEncoding="aaa",
        ResponseContentLanguage="esperanto",
        ResponseContentType="foo/bar",
        ResponseExpires=datetime(2030, 1, 2, tzinfo=UTC),
    )["ResponseMetadata"]["HTTPHeaders"]
    assert answer["cache-control"] == "no-cache"
    assert answer["content-disposition"] == "bla"
    assert answer["content-encoding"] == "aaa"
    assert answer["content-language"] == "esperanto"
    assert answer["content-type"] == "foo/bar"
    assert answer["expires"] == "Wed, 02 Jan 2030 00:00:00 GMT"
    assert s3.head_object(Bucket=bucket, Key="foo")["ContentType"] == "text/plain"


@pytest.mark.parametrize("value", ["mymeta", "", "with spaces  inside", 'a,b;c="d"', "x" * 1800])
def test_metadata(s3, bucket, value):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": "old", "gone": "y"})
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": value})
    assert s3.get_object(Bucket=bucket, Key="foo")["Metadata"] == {"meta1": value}


def test_metadata_goes_with_an_overwrite(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": "bar"})
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    assert s3.get_object(Bucket=bucket, Key="foo")["Metadata"] == {}


def test_metadata_names_are_lower_case(cloakroom, s3, bucket):
    url = object_url(cloakroom, bucket, "foo")
    headers = authorize(cloakroom, "PUT", url, headers={"X-Amz-Meta-MixedCase": "Value"})
    assert requests.put(url, data=b"x", headers=headers, timeout=10).status_code == 200
    assert s3.head_object(Bucket=bucket, Key="foo")["Metadata"] == {"mixedcase": "Value"}


def test_unicode_metadata_survives_as_bytes(cloakroom, bucket):
    """HTTP headers are bytes: UTF-8 sent raw is UTF-8 received."""
    url = object_url(cloakroom, bucket, "foo")
    # `requests` sends header text as Latin-1, so this is the UTF-8 of "Größe" on the wire.
    on_the_wire = "Größe".encode().decode("latin-1")
    signed = authorize(cloakroom, "PUT", url, headers={"x-amz-meta-meta1": "Größe"})
    signed["x-amz-meta-meta1"] = on_the_wire
    answer = requests.put(url, data=b"x", headers=signed, timeout=10)
    assert answer.status_code == 200, answer.text
    head = requests.head(url, headers=authorize(cloakroom, "HEAD", url), timeout=10)
    assert head.headers["x-amz-meta-meta1"] == on_the_wire


def test_metadata_above_two_kilobytes_is_refused(s3, bucket):
    with refused(400, "MetadataTooLarge"):
        s3.put_object(Bucket=bucket, Key="foo", Body=b"x", Metadata={"a": "x" * 1500, "b": "y" * 1500})


@pytest.mark.parametrize("value", [b"\x04w", b"h\x04", b"h\x04w"])
def test_control_characters_in_metadata_are_refused(cloakroom, s3, bucket, value):
    """Sent by hand: no HTTP library lets them through."""
    parts = urlsplit(cloakroom.s3_url)
    request = (
        b"PUT /%s/foo HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\nx-amz-meta-meta1: %s\r\n\r\n"
        % (bucket.encode(), parts.netloc.encode(), value)
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        status = connection.recv(4096).split(b" ")[1]
    assert status in (b"400", b"403")
    with refused(404):
        s3.head_object(Bucket=bucket, Key="foo")


@pytest.mark.parametrize("kind", ["100-continue refused", "100-continue accepted"])
def test_expect_continue(cloakroom, s3, bucket, kind):
    """The verdict comes before the body: 403 without a signature, 100 with one."""
    url = object_url(cloakroom, bucket, "foo")
    parts = urlsplit(url)
    headers = {"Host": parts.netloc, "Content-Length": "5", "Expect": "100-continue"}
    if kind.endswith("accepted"):
        headers |= authorize(cloakroom, "PUT", url)
    head = f"PUT {parts.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(head.encode())
        verdict = connection.recv(4096)
        if kind.endswith("refused"):
            assert verdict.startswith(b"HTTP/1.1 403 ")
            return
        assert verdict.startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert read(s3, bucket, "foo") == b"hello"


def test_upload_without_a_length_is_refused(cloakroom, s3, bucket):
    url = object_url(cloakroom, bucket, "foo")
    answer = requests.put(
        url, data=iter([b"hel", b"lo"]), headers=authorize(cloakroom, "PUT", url), timeout=10
    )
    assert_refused(answer, 411, "MissingContentLength")
    with refused(404):
        s3.head_object(Bucket=bucket, Key="foo")


def test_interrupted_upload_leaves_nothing(cloakroom, s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"before")
    url = object_url(cloakroom, bucket, "foo")
    parts = urlsplit(url)
    headers = authorize(cloakroom, "PUT", url) | {"Host": parts.netloc, "Content-Length": "1000000"}
    head = f"PUT {parts.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"x" * 1000)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)
    assert read(s3, bucket, "foo") == b"before"


@pytest.mark.parametrize(
    "case", ["signed payload differs", "bad md5 header", "md5 differs", "bad payload header"]
)
def test_body_that_is_not_the_signed_one(cloakroom, s3, bucket, case):
    digest = hashlib.sha256(b"other").hexdigest()
    headers, payload, code = {
        "signed payload differs": ({}, digest, "XAmzContentSHA256Mismatch"),
        "bad md5 header": ({"content-md5": "not base64"}, None, "InvalidDigest"),
        "md5 differs": ({"content-md5": base64.b64encode(bytes(16)).decode()}, None, "BadDigest"),
        "bad payload header": ({}, "not-a-digest", None),
    }[case]
    url = object_url(cloakroom, bucket, "foo")
    signed = authorize(
        cloakroom, "PUT", url, headers=headers, payload_hash=payload or hashlib.sha256(b"hello").hexdigest()
    )
    assert_refused(requests.put(url, data=b"hello", headers=signed, timeout=10), 400, code)
    with refused(404):
        s3.head_object(Bucket=bucket, Key="foo")


def test_request_signed_too_long_ago(cloakroom, bucket):
    url = object_url(cloakroom, bucket, "foo")
    for minutes in (-16, 16):
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        answer = requests.get(url, headers=authorize(cloakroom, "GET", url, at=at), timeout=10)
        assert_refused(answer, 403, "RequestTimeTooSkewed")


@pytest.mark.parametrize(
    "authorization", ["", "nonsense", "AWS key:signature", "AWS4-HMAC-SHA256 Credential=x", "Bearer x"]
)
def test_malformed_authorization(cloakroom, bucket, authorization):
    url = object_url(cloakroom, bucket, "foo")
    headers = authorize(cloakroom, "GET", url) | {"Authorization": authorization}
    answer = requests.get(url, headers=headers, timeout=10)
    assert answer.status_code in (400, 403), answer.text


@pytest.mark.parametrize("quiet", [False, True])
def test_delete_many(s3, bucket, quiet):
    names = ["key0", "key1", "a/b c+ü", "<&>"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    request = {"Objects": [{"Key": name} for name in [*names, "never was"]], "Quiet": quiet}
    for _ in range(2):
        answer = s3.delete_objects(Bucket=bucket, Delete=request)
        assert "Errors" not in answer
        deleted = sorted(entry["Key"] for entry in answer.get("Deleted", []))
        assert deleted == ([] if quiet else sorted([*names, "never was"]))
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_delete_at_most_a_thousand(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key-0", Body=b"x")
    objects = [{"Key": f"key-{n}"} for n in range(1001)]
    with refused(400, "MalformedXML"):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert len(s3.delete_objects(Bucket=bucket, Delete={"Objects": objects[:1000]})["Deleted"]) == 1000


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<Delete>",
        b"<Delete></Delete>",
        b"<Other/>",
        b"\xff",
        b"<Delete><Object></Object></Delete>",
        b'<!DOCTYPE d [<!ENTITY a "k">]><Delete><Object><Key>&a;</Key></Object></Delete>',
    ],
)
def test_malformed_delete_document(cloakroom, bucket, document):
    url, query = f"{cloakroom.s3_url.rstrip('/')}/{bucket}", {"delete": ""}
    headers = {"content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    signed = authorize(cloakroom, "POST", url, headers=headers, query=query)
    answer = requests.post(f"{url}?{canonical_query(query)}", data=document, headers=signed, timeout=10)
    assert answer.status_code == 400, answer.text


def test_delete_only_what_matches(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="foo", Body=b"x")["ETag"]
    with refused(412, "PreconditionFailed"):
        s3.delete_object(Bucket=bucket, Key="foo", IfMatch='"0123"')
    assert read(s3, bucket, "foo") == b"x"
    s3.delete_object(Bucket=bucket, Key="foo", IfMatch=etag)
    with refused(404):
        s3.head_object(Bucket=bucket, Key="foo")


def test_object_attributes(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", ChecksumAlgorithm="SHA256")
    answer = s3.get_object_attributes(
        Bucket=bucket, Key="foo", ObjectAttributes=["ETag", "ObjectSize", "StorageClass", "Checksum"]
    )
    assert answer["ETag"] == put["ETag"].strip('"')
    assert (answer["ObjectSize"], answer["StorageClass"]) == (3, "STANDARD")
    assert answer["Checksum"]["ChecksumSHA256"] == put["ChecksumSHA256"]


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PROPFIND"])
def test_unknown_method(cloakroom, bucket, method):
    url = object_url(cloakroom, bucket, "foo")
    answer = requests.request(method, url, headers=authorize(cloakroom, method, url), timeout=10)
    assert answer.status_code in (400, 405), answer.text
