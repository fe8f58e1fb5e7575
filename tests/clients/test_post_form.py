"""A browser's upload form (POST policy): every kind of condition, and what follows success."""

import base64
import json
from xml.etree import ElementTree

import pytest
import requests
from browser_form import policy, send, send_signed
from s3_refusal import assert_refused, refused
from sigv4 import expiration, post_form

KEY = {"key": "foo.txt"}


def assert_nothing_stored(s3, bucket):
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        ({"Content-Type": "image/png"}, "image/png", "image/pngx"),
        (["eq", "$Content-Type", "image/png"], "image/png", "Image/png"),
        (["starts-with", "$Content-Type", "image/"], "image/png", "text/image/"),
        (["starts-with", "$Content-Type", ""], "anything/at-all", None),
        ({"Cache-Control": "no-store"}, "no-store", "public"),
        ({"Content-Disposition": "inline"}, "inline", "attachment"),
        ({"x-amz-meta-owner": "u1"}, "u1", "u2"),
        (["starts-with", "$x-amz-meta-owner", "u"], "u1", "root"),
        ({"success_action_status": "200"}, "200", "201"),
    ],
)
def test_conditions(cloakroom, s3, bucket, condition, good, bad):
    name = condition[1].removeprefix("$") if isinstance(condition, list) else next(iter(condition))
    if bad is not None:
        answer = send_signed(cloakroom, bucket, policy(bucket, condition), KEY | {name: bad})
        assert_refused(answer, 403, "AccessDenied")
        answer = send_signed(cloakroom, bucket, policy(bucket, condition), KEY)
        assert_refused(answer, 403, "AccessDenied")
    assert_nothing_stored(s3, bucket)
    answer = send_signed(cloakroom, bucket, policy(bucket, condition), KEY | {name: good})
    assert answer.status_code in (200, 204), answer.text
    headers = s3.head_object(Bucket=bucket, Key="foo.txt")["ResponseMetadata"]["HTTPHeaders"]
    assert headers.get(name.lower(), good) == good


@pytest.mark.parametrize(
    ("condition", "key"),
    [
        ({"key": "foo.txt"}, "foo.txtx"),
        (["eq", "$key", "foo.txt"], "Foo.txt"),
        (["starts-with", "$key", "dir/"], "foo.txt"),
    ],
)
def test_condition_on_the_key(cloakroom, s3, bucket, condition, key):
    document = policy(bucket, conditions=[{"bucket": bucket}, condition])
    assert_refused(send_signed(cloakroom, bucket, document, {"key": key}), 403, "AccessDenied")
    assert_nothing_stored(s3, bucket)


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [
        (0, 400, "EntityTooSmall"),
        (9, 400, "EntityTooSmall"),
        (10, 204, None),
        (20, 204, None),
        (21, 400, "EntityTooLarge"),
        (3_000_000, 400, "EntityTooLarge"),
    ],
)
def test_size_range(cloakroom, s3, bucket, size, status, code):
    document = policy(bucket, ["content-length-range", 10, 20])
    answer = send_signed(cloakroom, bucket, document, KEY, content=b"x" * size)
    if status == 204:
        assert answer.status_code == 204, answer.text
        assert s3.head_object(Bucket=bucket, Key="foo.txt")["ContentLength"] == size
    else:
        assert_refused(answer, status, code)
        assert_nothing_stored(s3, bucket)


def test_expired(cloakroom, s3, bucket):
    assert_refused(send_signed(cloakroom, bucket, policy(bucket, seconds=-1), KEY), 403, "AccessDenied")
    assert_nothing_stored(s3, bucket)


@pytest.mark.parametrize(
    ("wanted", "status"), [(None, 204), ("200", 200), ("201", 201), ("204", 204), ("404", 204)]
)
def test_success_status(cloakroom, s3, bucket, wanted, status):
    fields = KEY | ({"success_action_status": wanted} if wanted else {})
    conditions = [["starts-with", "$success_action_status", ""]] if wanted else []
    answer = send_signed(cloakroom, bucket, policy(bucket, *conditions), fields)
    assert answer.status_code == status, answer.text
    etag = s3.head_object(Bucket=bucket, Key="foo.txt")["ETag"]
    assert answer.headers["ETag"] == etag
    if status != 201:
        assert answer.content == b""
        return
    document = ElementTree.fromstring(answer.content)
    assert document.tag == "PostResponse"
    assert [document.findtext(name) for name in ("Bucket", "Key", "ETag")] == [bucket, "foo.txt", etag]
    assert document.findtext("Location").endswith("foo.txt")


def test_success_redirect(cloakroom, s3, bucket):
    target = "http://app.example/done"
    document = policy(bucket, ["eq", "$success_action_redirect", target])
    answer = send_signed(cloakroom, bucket, document, KEY | {"success_action_redirect": target})
    assert answer.status_code == 303, answer.text
    etag = s3.head_object(Bucket=bucket, Key="foo.txt")["ETag"].strip('"')
    assert answer.headers["Location"] == f"{target}?bucket={bucket}&key=foo.txt&etag=%22{etag}%22"


@pytest.mark.parametrize("filename", ["photo.jpg", "кот и пёс.png", "a+b&c%20.txt"])
def test_key_from_the_file_name(cloakroom, s3, bucket, filename):
    answer = send_signed(cloakroom, bucket, policy(bucket), {"key": "foo/${filename}"}, filename=filename)
    assert answer.status_code == 204, answer.text
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [f"foo/{filename}"]


def test_field_outside_the_policy(cloakroom, s3, bucket):
    answer = send_signed(cloakroom, bucket, policy(bucket), KEY | {"x-amz-meta-role": "admin"})
    assert_refused(answer, 403, "AccessDenied")
    assert_nothing_stored(s3, bucket)


def test_fields_after_the_file_are_ignored(cloakroom, s3, bucket):
    answer = send_signed(
        cloakroom,
        bucket,
        policy(bucket),
        KEY,
        after=[("x-amz-meta-late", "x"), ("key", "foo-late"), ("submit", "Upload")],
    )
    assert answer.status_code == 204, answer.text
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["foo.txt"]
    assert s3.head_object(Bucket=bucket, Key="foo.txt")["Metadata"] == {}


def test_without_a_file(cloakroom, s3, bucket):
    assert_refused(send_signed(cloakroom, bucket, policy(bucket), KEY, content=None), 400, "InvalidArgument")
    assert_nothing_stored(s3, bucket)


def test_form_cut_short(cloakroom, s3, bucket):
    request = requests.Request(
        "POST",
        f"{cloakroom.s3_url.rstrip('/')}/{bucket}",
        files=[(name, (None, value)) for name, value in post_form(cloakroom, policy(bucket), KEY).items()]
        + [("file", ("foo.txt", b"bar" * 1000))],
    ).prepare()
    body = request.body[:-100]
    headers = {"Content-Type": request.headers["Content-Type"]}
    answer = requests.post(request.url, data=body, headers=headers, timeout=10)
    assert answer.status_code == 400, answer.text
    assert_nothing_stored(s3, bucket)


def widen(fields):
    """The same form with a policy that allows everything."""
    wide = json.dumps({"expiration": expiration(600), "conditions": [["starts-with", "$key", ""]]})
    return fields | {"policy": base64.b64encode(wide.encode()).decode()}


@pytest.mark.parametrize(
    "tamper",
    [
        widen,
        lambda fields: fields | {"x-amz-signature": "0" * 64},
        lambda fields: fields | {"x-amz-signature": ""},
        lambda fields: fields | {"x-amz-credential": fields["x-amz-credential"].replace("/s3/", "/sts/")},
        lambda fields: fields | {"x-amz-credential": "NOBODY" + fields["x-amz-credential"]},
        lambda fields: fields | {"x-amz-date": "20200101T000000Z"},
        lambda fields: fields | {"x-amz-algorithm": "AWS4-HMAC-SHA1"},
        lambda fields: fields | {"policy": "not base64!"},
        lambda fields: {name: value for name, value in fields.items() if name != "policy"},
        lambda fields: {name: value for name, value in fields.items() if name != "x-amz-signature"},
        lambda fields: {name: value for name, value in fields.items() if name != "x-amz-credential"},
    ],
    ids=[
        "other policy",
        "wrong signature",
        "empty signature",
        "other service",
        "unknown key",
        "other date",
        "other algorithm",
        "policy not base64",
        "no policy",
        "no signature",
        "no credential",
    ],
)
def test_tampered_form(cloakroom, s3, bucket, tamper):
    answer = send(cloakroom, bucket, tamper(post_form(cloakroom, policy(bucket), KEY)))
    assert answer.status_code in (400, 403), f"{answer.status_code}: {answer.text}"
    assert_nothing_stored(s3, bucket)


def test_form_for_another_bucket(cloakroom, s3, bucket, new_bucket):
    other = new_bucket()
    assert_refused(send_signed(cloakroom, other, policy(bucket), KEY), 403, "AccessDenied")
    assert_nothing_stored(s3, other)
    with refused(404):
        s3.head_object(Bucket=other, Key="foo.txt")
