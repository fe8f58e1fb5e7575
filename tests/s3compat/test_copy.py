"""CopyObject: sources, metadata directives, conditions."""

from datetime import UTC, datetime

import pytest
import requests
from s3_refusal import assert_refused, refused
from sigv4 import authorize, object_url

MIB = 1024 * 1024


@pytest.fixture
def source(s3, bucket):
    """The copied object: in the test's bucket, with metadata."""
    s3.put_object(
        Bucket=bucket,
        Key="source",
        Body=b"foo",
        ContentType="audio/ogg",
        Metadata={"key1": "one", "key2": "two"},
    )
    return {"Bucket": bucket, "Key": "source"}


def read(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("size", [0, 3, MIB])
def test_content_and_metadata_come_along(s3, bucket, size):
    s3.put_object(
        Bucket=bucket,
        Key="source",
        Body=bytes(size),
        ContentType="audio/ogg",
        Metadata={"key1": "one"},
        CacheControl="no-store",
        ContentDisposition="inline",
        ContentLanguage="de",
    )
    result = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    copy = s3.get_object(Bucket=bucket, Key="copy")
    assert result["CopyObjectResult"]["ETag"] == copy["ETag"]
    assert "LastModified" in result["CopyObjectResult"]
    assert copy["Body"].read() == bytes(size)
    assert (copy["ContentType"], copy["Metadata"]) == ("audio/ogg", {"key1": "one"})
    assert (copy["CacheControl"], copy["ContentDisposition"], copy["ContentLanguage"]) == (
        "no-store",
        "inline",
        "de",
    )


@pytest.mark.parametrize("size", [3, MIB])
def test_metadata_replaced(s3, bucket, size):
    s3.put_object(
        Bucket=bucket,
        Key="source",
        Body=bytes(size),
        ContentType="audio/ogg",
        Metadata={"key1": "one"},
        CacheControl="no-store",
    )
    s3.copy_object(
        Bucket=bucket,
        Key="copy",
        CopySource={"Bucket": bucket, "Key": "source"},
        MetadataDirective="REPLACE",
        ContentType="audio/mpeg",
        Metadata={"key3": "three"},
    )
    copy = s3.head_object(Bucket=bucket, Key="copy")
    assert (copy["ContentType"], copy["Metadata"]) == ("audio/mpeg", {"key3": "three"})
    assert "CacheControl" not in copy


def test_metadata_without_the_directive_is_ignored(s3, bucket, source):
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, Metadata={"new": "x"})
    assert s3.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"key1": "one", "key2": "two"}


def test_to_itself_only_with_a_change(s3, bucket, source):
    with refused(400, "InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="source", CopySource=source)
    s3.copy_object(
        Bucket=bucket, Key="source", CopySource=source, MetadataDirective="REPLACE", Metadata={"foo": "bar"}
    )
    answer = s3.get_object(Bucket=bucket, Key="source")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"foo", {"foo": "bar"})


def test_to_another_bucket_and_over_an_object(s3, bucket, source, new_bucket):
    elsewhere = new_bucket()
    s3.put_object(Bucket=elsewhere, Key="copy", Body=b"longer than the source", Metadata={"old": "x"})
    s3.copy(source, elsewhere, "copy")
    answer = s3.get_object(Bucket=elsewhere, Key="copy")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"foo", {"key1": "one", "key2": "two"})


def test_copy_outlives_its_source(s3, bucket, source):
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    s3.put_object(Bucket=bucket, Key="source", Body=b"changed")
    assert read(s3, bucket, "copy") == b"foo"
    s3.delete_object(Bucket=bucket, Key="source")
    assert read(s3, bucket, "copy") == b"foo"


@pytest.mark.parametrize("key", [" ", "_", "foo?bar", "?versionId", "a+b%20c&d", "ü/日本", "e//f", 'q"<>'])
def test_special_source_names(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert read(s3, bucket, "copy") == key.encode()
    s3.copy_object(Bucket=bucket, Key=f"x{key}", CopySource={"Bucket": bucket, "Key": "copy"})
    assert read(s3, bucket, f"x{key}") == key.encode()


@pytest.mark.parametrize(
    "form", ["/{bucket}/a%20b", "{bucket}/a%20b", "%2F{bucket}%2Fa%20b", "/{bucket}/a b"]
)
def test_forms_of_the_source_header(cloakroom, s3, bucket, form):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"foo")
    url = object_url(cloakroom, bucket, "copy")
    headers = authorize(cloakroom, "PUT", url, headers={"x-amz-copy-source": form.format(bucket=bucket)})
    answer = requests.put(url, headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    assert read(s3, bucket, "copy") == b"foo"


@pytest.mark.parametrize(
    "form", ["", "/", "{bucket}", "/{bucket}/", "{bucket}/../other", "%ff%fe/x", "{bucket}/%zz"]
)
def test_malformed_source_header(cloakroom, bucket, form):
    url = object_url(cloakroom, bucket, "copy")
    headers = authorize(cloakroom, "PUT", url, headers={"x-amz-copy-source": form.format(bucket=bucket)})
    answer = requests.put(url, headers=headers, timeout=10)
    assert answer.status_code in (400, 404), f"{answer.status_code}: {answer.text}"


def test_missing_source(s3, bucket):
    with refused(404, "NoSuchBucket"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": f"{bucket}-fake", "Key": "source"})
    with refused(404, "NoSuchKey"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "nothing"})
    with refused(404, "NoSuchBucket"):
        s3.copy_object(Bucket=f"{bucket}-fake", Key="copy", CopySource={"Bucket": bucket, "Key": "nothing"})


def test_invalid_directive(cloakroom, s3, bucket, source):
    url = object_url(cloakroom, bucket, "copy")
    headers = {"x-amz-copy-source": f"/{bucket}/source", "x-amz-metadata-directive": "KEEP"}
    answer = requests.put(url, headers=authorize(cloakroom, "PUT", url, headers=headers), timeout=10)
    assert_refused(answer, 400, "InvalidArgument")


BEFORE = datetime(1994, 10, 29, 19, 43, 31, tzinfo=UTC)
AFTER = datetime(2100, 10, 29, 19, 43, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({"CopySourceIfMatch": "its etag"}, True),
        ({"CopySourceIfMatch": "ABCORZ"}, False),
        ({"CopySourceIfNoneMatch": "ABCORZ"}, True),
        ({"CopySourceIfNoneMatch": "its etag"}, False),
        ({"CopySourceIfModifiedSince": BEFORE}, True),
        ({"CopySourceIfUnmodifiedSince": AFTER}, True),
        ({"CopySourceIfUnmodifiedSince": BEFORE}, False),
        ({"CopySourceIfMatch": "its etag", "CopySourceIfUnmodifiedSince": BEFORE}, True),
    ],
)
def test_conditions_on_the_source(s3, bucket, source, options, passes):
    etag = s3.head_object(**source)["ETag"]
    options = {name: etag if value == "its etag" else value for name, value in options.items()}
    if passes:
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, **options)
        assert read(s3, bucket, "copy") == b"foo"
        return
    with refused(412, "PreconditionFailed"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, **options)
    with refused(404):
        s3.head_object(Bucket=bucket, Key="copy")


def test_conditions_on_the_destination(s3, bucket, source):
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="copy", Body=b"kept")
    with refused(412, "PreconditionFailed"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, IfMatch='"0123"')
    assert read(s3, bucket, "copy") == b"kept"


def test_multipart_object_copies_whole(s3, bucket):
    upload = s3.create_multipart_upload(
        Bucket=bucket, Key="source", Metadata={"foo": "bar"}, ContentType="text/bla"
    )
    parts = []
    for number, content in enumerate((b"a" * 5 * MIB, b"b" * MIB), 1):
        part = s3.upload_part(
            Bucket=bucket, Key="source", UploadId=upload["UploadId"], PartNumber=number, Body=content
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(
        Bucket=bucket, Key="source", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}
    )
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    copy = s3.get_object(Bucket=bucket, Key="copy")
    assert copy["Body"].read() == b"a" * 5 * MIB + b"b" * MIB
    assert (copy["ContentType"], copy["Metadata"]) == ("text/bla", {"foo": "bar"})
