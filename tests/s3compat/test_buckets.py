"""Buckets: creation, naming rules, listing, deletion."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests
from botocore import UNSIGNED
from botocore.config import Config
from instance import s3_client
from s3_refusal import assert_refused, refused
from sigv4 import authorize


def test_created_bucket_is_listed(s3, new_bucket):
    names = {new_bucket() for _ in range(3)}
    buckets = s3.list_buckets()["Buckets"]
    assert names <= {entry["Name"] for entry in buckets}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert all(entry["CreationDate"] > yesterday for entry in buckets)


def test_head(s3, bucket):
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    with refused(404):
        s3.head_bucket(Bucket=f"{bucket}-gone")


def test_location(s3, bucket):
    assert "LocationConstraint" in s3.get_bucket_location(Bucket=bucket)
    with refused(404, "NoSuchBucket"):
        s3.get_bucket_location(Bucket=f"{bucket}-gone")


def test_cors(s3, bucket):
    """What a preflight is answered, as the API says it."""
    (rule,) = s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    assert rule["AllowedOrigins"] == ["*"] and rule["AllowedHeaders"] == ["*"]
    assert {"PUT", "POST", "GET"} <= set(rule["AllowedMethods"]) and "etag" in rule["ExposeHeaders"]
    with refused(404, "NoSuchBucket"):
        s3.get_bucket_cors(Bucket=f"{bucket}-gone")


def test_delete(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused(409, "BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    for gone in (s3.delete_bucket, s3.list_objects, s3.list_objects_v2, s3.list_multipart_uploads):
        with refused(404, "NoSuchBucket"):
            gone(Bucket=bucket)


def test_creating_a_bucket_again_keeps_its_objects(s3, bucket):
    """The owner's second creation succeeds in us-east-1 and is a named conflict elsewhere; it never empties."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=bucket)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


@pytest.mark.parametrize("suffix", [".dots.inside", "-dashes-inside", "0123456789"])
def test_good_names(s3, new_bucket, suffix):
    name = new_bucket() + suffix
    s3.create_bucket(Bucket=name)
    s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize("length", [60, 61, 62, 63])
def test_long_names(s3, new_bucket, length):
    name = new_bucket().ljust(length, "a")
    s3.create_bucket(Bucket=name)
    assert "Contents" not in s3.list_objects_v2(Bucket=name)
    s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "aa",
        "a" * 64,
        "foo_bar",
        "_foo",
        "foo-",
        "-foo",
        "foo..bar",
        "foo.-bar",
        "foo-.bar",
        "Foo",
        ".foo",
        "192.168.5.123",
    ],
)
def test_bad_names(cloakroom, name):
    """Sent past the SDK, which refuses most of them itself."""
    url = f"{cloakroom.s3_url.rstrip('/')}/{name}"
    answer = requests.put(url, headers=authorize(cloakroom, "PUT", url), timeout=10)
    assert_refused(answer, 400, "InvalidBucketName")


def test_unknown_credentials(cloakroom, bucket):
    stranger = s3_client(replace(cloakroom, access_key="NOBODYSKEY"))
    with refused(403, "InvalidAccessKeyId"):
        stranger.list_buckets()
    impostor = s3_client(replace(cloakroom, secret_key="guessed"))
    with refused(403, "SignatureDoesNotMatch"):
        impostor.list_buckets()
    with refused(403, "SignatureDoesNotMatch"):
        impostor.put_object(Bucket=bucket, Key="k", Body=b"x")


def test_nothing_is_open_to_the_anonymous(cloakroom, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    anonymous = s3_client(cloakroom, config=Config(signature_version=UNSIGNED))
    attempts = [
        lambda: anonymous.list_objects(Bucket=bucket),
        lambda: anonymous.list_objects_v2(Bucket=bucket),
        lambda: anonymous.get_object(Bucket=bucket, Key="k"),
        lambda: anonymous.get_object(Bucket=bucket, Key="nothing"),
        lambda: anonymous.put_object(Bucket=bucket, Key="k", Body=b"y"),
        lambda: anonymous.delete_object(Bucket=bucket, Key="k"),
        lambda: anonymous.create_multipart_upload(Bucket=bucket, Key="k"),
        lambda: anonymous.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]}),
    ]
    for attempt in attempts:
        with refused(403, "AccessDenied"):
            attempt()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
