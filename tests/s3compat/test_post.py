"""Browser uploads: the cases of Ceph's suite that concern the policy document and the form's fields."""

import base64
import hashlib
from datetime import UTC, datetime

import pytest
import requests
from browser_form import policy, send, send_signed
from s3_refusal import assert_refused
from sigv4 import expiration, post_form, sign

ACL = {"acl": "private"}
TYPE = ["starts-with", "$Content-Type", "text/plain"]
SIZE = ["content-length-range", 0, 1024]
FIELDS = {"key": "foo.txt", "acl": "private", "Content-Type": "text/plain"}


def read(s3, bucket, key="foo.txt"):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_authenticated(cloakroom, s3, bucket):
    answer = send_signed(cloakroom, bucket, policy(bucket, ACL, TYPE, SIZE), FIELDS)
    assert answer.status_code == 204, answer.text
    assert read(s3, bucket) == b"bar"
    assert s3.head_object(Bucket=bucket, Key="foo.txt")["ContentType"] == "text/plain"


def test_without_a_content_type(cloakroom, s3, bucket):
    answer = send_signed(cloakroom, bucket, policy(bucket, SIZE), {"key": "foo.txt"})
    assert answer.status_code == 204, answer.text
    assert read(s3, bucket) == b"bar"


def test_anonymous_is_refused(cloakroom, s3, bucket):
    assert_refused(send(cloakroom, bucket, FIELDS), 403, "AccessDenied")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_larger_than_any_buffer(cloakroom, s3, bucket):
    content = b"foo" * 1024 * 1024
    document = policy(bucket, ["content-length-range", 0, 5 * 1024 * 1024])
    assert send_signed(cloakroom, bucket, document, {"key": "foo.txt"}, content=content).status_code == 204
    assert read(s3, bucket) == content


def test_content_that_looks_like_a_boundary(cloakroom, s3, bucket):
    content = b'\r\n--\r\n--boundary\r\nContent-Disposition: form-data; name="key"\r\n\r\nother\r\n--' * 2000
    assert (
        send_signed(cloakroom, bucket, policy(bucket), {"key": "foo.txt"}, content=content).status_code == 204
    )
    assert read(s3, bucket) == content


def test_ignored_field(cloakroom, bucket):
    answer = send_signed(cloakroom, bucket, policy(bucket), {"key": "foo.txt", "x-ignore-foo": "bar"})
    assert answer.status_code == 204, answer.text


def test_names_are_case_insensitive(cloakroom, s3, bucket):
    conditions = [
        {"bUcKeT": bucket},
        ["StArTs-WiTh", "$KeY", "foo"],
        {"AcL": "private"},
        ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"],
        SIZE,
    ]
    fields = post_form(cloakroom, policy(bucket, conditions=conditions), {"kEy": "foo.txt", "aCl": "private"})
    fields = {
        {"policy": "pOLICy", "x-amz-signature": "X-Amz-Signature"}.get(k, k): v for k, v in fields.items()
    }
    answer = send(cloakroom, bucket, fields | {"Content-Type": "text/plain"})
    assert answer.status_code == 204, answer.text
    assert read(s3, bucket) == b"bar"


def test_escaped_dollar(cloakroom, s3, bucket):
    conditions = [{"bucket": bucket}, ["starts-with", "$key", "\\$foo"]]
    answer = send_signed(cloakroom, bucket, policy(bucket, conditions=conditions), {"key": "\\$foo.txt"})
    assert answer.status_code == 204, answer.text
    assert read(s3, bucket, "\\$foo.txt") == b"bar"


def test_user_metadata(cloakroom, s3, bucket):
    document = policy(bucket, ["starts-with", "$x-amz-meta-foo", "bar"])
    fields = {"key": "foo.txt", "x-amz-meta-foo": "barclamp"}
    assert send_signed(cloakroom, bucket, document, fields).status_code == 204
    assert s3.head_object(Bucket=bucket, Key="foo.txt")["Metadata"] == {"foo": "barclamp"}
    assert_refused(send_signed(cloakroom, bucket, document, {"key": "foo.txt"}), 403, "AccessDenied")
    document = policy(bucket, ["eq", "$x-amz-meta-foo", ""])
    assert_refused(send_signed(cloakroom, bucket, document, fields), 403, "AccessDenied")


@pytest.mark.parametrize(
    ("replaced", "status"),
    [
        ({"expiration": "2100-01-01 00:00:00.123456+00:00"}, 400),
        ({"expiration": "tomorrow"}, 400),
        ({"expiration": 4102444800}, 400),
        ({"expiration": None}, 400),
        ({"expiration": None, "EXPIRATION": expiration(600)}, 400),
        ({"expiration": expiration(-6000)}, 403),
        ({"conditions": None}, 400),
        ({"conditions": None, "CONDITIONS": [["starts-with", "$key", "foo"]]}, 400),
        ({"conditions": {"key": "foo.txt"}}, 400),
        ({"conditions": "all"}, 400),
    ],
)
def test_policy_document(cloakroom, s3, bucket, replaced, status):
    answer = send_signed(cloakroom, bucket, policy(bucket, **replaced), {"key": "foo.txt"})
    assert_refused(answer, status, "AccessDenied" if status == 403 else None)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        [],
        ["content-length-range", 0],
        ["content-length-range", -1, 0],
        ["content-length-range", "a", "b"],
        ["content-length-range", 10, 5],
        ["starts-with", "$key"],
        ["starts-with", "key", "foo"],
        ["matches", "$key", "foo"],
        {"a": "b", "c": "d"},
        7,
    ],
    ids=repr,
)
def test_malformed_condition(cloakroom, s3, bucket, condition):
    answer = send_signed(cloakroom, bucket, policy(bucket, condition), {"key": "foo.txt"})
    assert_refused(answer, 400)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"null", b"\xff", b'"policy"', b"[" * 10000])
def test_policy_that_is_none(cloakroom, s3, bucket, document):
    """Signed rightly, so that it is the document that is looked at."""
    at = datetime.now(UTC)
    fields = post_form(cloakroom, policy(bucket), {"key": "foo.txt"}, at=at)
    encoded = base64.b64encode(document).decode()
    answer = send(
        cloakroom, bucket, fields | {"policy": encoded, "x-amz-signature": sign(cloakroom, at, encoded)}
    )
    assert answer.status_code == 400, f"{answer.status_code}: {answer.text}"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("missing", ["the bucket", "the key"])
def test_policy_must_cover_bucket_and_key(cloakroom, s3, bucket, missing):
    conditions = {"the bucket": [["starts-with", "$key", "foo"]], "the key": [{"bucket": bucket}]}[missing]
    answer = send_signed(cloakroom, bucket, policy(bucket, conditions=conditions), {"key": "foo.txt"})
    assert_refused(answer, 403, "AccessDenied")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_no_key_in_the_form(cloakroom, bucket):
    answer = send_signed(cloakroom, bucket, policy(bucket, conditions=[{"bucket": bucket}]), {})
    assert_refused(answer, 400, "InvalidArgument")


def test_too_many_bytes_before_the_file(cloakroom, s3, bucket):
    document = policy(bucket, ["starts-with", "$x-amz-meta-long", ""])
    fields = {"key": "foo.txt", "x-amz-meta-long": "x" * 1_000_000}
    answer = send_signed(cloakroom, bucket, document, fields)
    assert answer.status_code == 400, answer.text
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(("content", "status"), [(b"bar", 204), (b"rab", 400)])
def test_checksum_field(cloakroom, s3, bucket, content, status):
    digest = base64.b64encode(hashlib.sha256(b"bar").digest()).decode()
    document = policy(bucket, ["starts-with", "$x-amz-checksum-sha256", ""])
    fields = {"key": "foo.txt", "x-amz-checksum-sha256": digest}
    answer = send_signed(cloakroom, bucket, document, fields, content=content)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=" + "x" * 5000,
    ],
)
def test_body_that_is_no_form(cloakroom, bucket, content_type):
    url = f"{cloakroom.s3_url.rstrip('/')}/{bucket}"
    answer = requests.post(url, data=b"--x\r\nkey=foo", headers={"Content-Type": content_type}, timeout=10)
    assert 400 <= answer.status_code < 500, answer.text


def test_missing_bucket(cloakroom, bucket):
    gone = f"{bucket}-gone"
    assert_refused(send_signed(cloakroom, gone, policy(gone), {"key": "foo.txt"}), 404, "NoSuchBucket")
