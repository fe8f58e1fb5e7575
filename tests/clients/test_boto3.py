"""boto3 with the SDK's own defaults (aws-chunked bodies with CRC trailers included) against the embedded endpoint."""

import base64
import hashlib
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
from s3_refusal import assert_refused, refused
from sigv4 import object_url, presign

MIB = 1024 * 1024


def read(s3, bucket, key, **options):
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def test_put_get_head_delete(s3, bucket):
    put = s3.put_object(
        Bucket=bucket,
        Key="a/report.pdf",
        Body=b"hello",
        ContentType="application/pdf",
        ContentDisposition='attachment; filename="r.pdf"',
        CacheControl="no-store",
        Metadata={"origin": "scanner"},
    )
    head = s3.head_object(Bucket=bucket, Key="a/report.pdf")
    assert head["ETag"] == put["ETag"]
    assert head["ContentLength"] == 5
    assert head["ContentType"] == "application/pdf"
    assert head["ContentDisposition"] == 'attachment; filename="r.pdf"'
    assert head["CacheControl"] == "no-store"
    assert head["Metadata"] == {"origin": "scanner"}
    assert abs(head["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert read(s3, bucket, "a/report.pdf") == b"hello"

    s3.delete_object(Bucket=bucket, Key="a/report.pdf")
    s3.delete_object(Bucket=bucket, Key="a/report.pdf")
    with refused(404):
        s3.head_object(Bucket=bucket, Key="a/report.pdf")


def test_copy(s3, bucket, new_bucket):
    s3.put_object(
        Bucket=bucket, Key="from here+ü", Body=b"x" * 1000, ContentType="text/csv", Metadata={"a": "b"}
    )
    elsewhere = new_bucket()
    copied = s3.copy_object(Bucket=elsewhere, Key="to", CopySource={"Bucket": bucket, "Key": "from here+ü"})[
        "CopyObjectResult"
    ]
    head = s3.head_object(Bucket=elsewhere, Key="to")
    assert head["ETag"] == copied["ETag"]
    assert (head["ContentType"], head["Metadata"]) == ("text/csv", {"a": "b"})
    assert read(s3, elsewhere, "to") == b"x" * 1000


def test_list_pages_and_folders(s3, bucket):
    keys = sorted(f"{folder}/{n:02}" for folder in ("a", "b", "c") for n in range(5)) + ["top"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode()), keys))

    pages = list(
        s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
    )
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    assert [page["KeyCount"] for page in pages] == [4, 4, 4, 4]

    level = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [prefix["Prefix"] for prefix in level["CommonPrefixes"]] == ["a/", "b/", "c/"]
    assert [entry["Key"] for entry in level["Contents"]] == ["top"]
    assert level["Contents"][0]["Size"] == 3


def test_managed_transfer_is_multipart(s3, bucket, tmp_path):
    content = hashlib.shake_256(b"30 MiB").digest(30 * MIB)
    (tmp_path / "source").write_bytes(content)
    s3.upload_file(
        str(tmp_path / "source"),
        bucket,
        "big.bin",
        ExtraArgs={"ContentType": "image/tiff", "Metadata": {"k": "v"}},
    )
    head = s3.head_object(Bucket=bucket, Key="big.bin")
    assert head["ETag"].strip('"').endswith("-4"), "8 MiB parts"
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (
        30 * MIB,
        "image/tiff",
        {"k": "v"},
    )
    s3.download_file(bucket, "big.bin", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize(
    ("wanted", "expected", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-999", b"89", "bytes 8-9/10"),
        ("bytes=-999", b"0123456789", "bytes 0-9/10"),
    ],
)
def test_ranges(s3, bucket, wanted, expected, content_range):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    answer = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (answer["Body"].read(), answer["ContentRange"]) == (expected, content_range)


def test_conditional_reads_and_writes(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one", IfNoneMatch="*")["ETag"]
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfMatch='"0123"')
    with refused(304):
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)
    with refused(412):
        s3.head_object(Bucket=bucket, Key="k", IfMatch='"0123"')
    assert read(s3, bucket, "k", IfMatch=etag) == b"one"
    s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfMatch=etag)
    assert read(s3, bucket, "k") == b"two"


def test_one_of_many_racing_creators_wins(s3, bucket):
    def create(n):
        try:
            s3.put_object(Bucket=bucket, Key="k", Body=str(n).encode(), IfNoneMatch="*")
        except s3.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict")
            return None
        return str(n).encode()

    with ThreadPoolExecutor(8) as pool:
        winners = [won for won in pool.map(create, range(16)) if won is not None]
    assert len(winners) == 1
    assert read(s3, bucket, "k") == winners[0]


# CRC-32C, CRC-64/NVME of "123456789": the check values of the catalogue of CRC algorithms.
CHECKSUMS = {
    "CRC32": zlib.crc32(b"123456789").to_bytes(4, "big"),
    "CRC32C": bytes.fromhex("e3069283"),
    "CRC64NVME": bytes.fromhex("ae8b14860a799888"),
    "SHA1": hashlib.sha1(b"123456789").digest(),
    "SHA256": hashlib.sha256(b"123456789").digest(),
}


@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_checksum_is_kept_and_a_wrong_one_refused(s3, bucket, algorithm):
    field = f"Checksum{algorithm}"
    right = base64.b64encode(CHECKSUMS[algorithm]).decode()
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"123456789", **{field: right})
    assert answer[field] == right
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[field], head["ChecksumType"]) == (right, "FULL_OBJECT")

    wrong = base64.b64encode(bytes(len(CHECKSUMS[algorithm]))).decode()
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="never", Body=b"123456789", **{field: wrong})
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="never")


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksum_computed_by_the_sdk(s3, bucket, algorithm):
    """The SDK sends it in the trailer of an aws-chunked body, and checks it when it reads."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"123456789", ChecksumAlgorithm=algorithm)
    answer = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert answer["Body"].read() == b"123456789"
    assert answer[f"Checksum{algorithm}"] == base64.b64encode(CHECKSUMS[algorithm]).decode()
    assert "aws-chunked" not in answer.get("ContentEncoding", "")


def test_wrong_md5_is_refused(s3, bucket):
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=base64.b64encode(bytes(16)).decode())
    with refused(404):
        s3.head_object(Bucket=bucket, Key="k")


def test_error_codes(s3, bucket):
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="nothing")
    for missing in (s3.get_object, s3.put_object, s3.delete_object):
        with refused(404, "NoSuchBucket"):
            missing(Bucket=f"{bucket}-gone", Key="k")
    with refused(404, "NoSuchUpload"):
        s3.upload_part(Bucket=bucket, Key="k", PartNumber=1, UploadId="nothing", Body=b"x")


ODD_KEYS = [
    "n",
    "n/b",
    "n/b/",
    "e//f/./g",
    "../x",
    "./y",
    "..",
    "/rooted",
    "trailing/",
    "a b+c&d=e?f#g%2Fh",
    "quo\"te'<tag>",
    "back\\slash",
    "~tilde-._",
    "Größe/Ωμέγα/日本語/ё/🦀",
    "e\u0301",
    "\u00e9",
    "Case",
    "case",
    ".attr.json",
    "k.attr.json",
    "1" * 1024,
    "ж" * 512,
    "d/" * 500 + "leaf",
]


def test_odd_keys_live_side_by_side(s3, bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"length": str(len(key))})
    listed = [
        entry["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 5}
        )
        for entry in page["Contents"]
    ]
    assert listed == sorted(ODD_KEYS, key=str.encode), "in the order of their UTF-8 bytes"
    for key in ODD_KEYS:
        assert read(s3, bucket, key) == key.encode(), key
    s3.delete_object(Bucket=bucket, Key="n")
    assert read(s3, bucket, "n/b") == b"n/b"
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ODD_KEYS]})
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("key", ["1" * 1025, "ж" * 513])
def test_key_above_1024_bytes_is_refused(s3, bucket, key):
    with refused(400, "KeyTooLongError"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")


def test_presigned_put_and_get(s3_v4, bucket):
    params = {"Bucket": bucket, "Key": "ü ber/+.txt", "ContentType": "text/plain", "ContentLength": 5}
    url = s3_v4.generate_presigned_url("put_object", Params=params)
    answer = requests.put(url, data=b"hello", headers={"Content-Type": "text/plain"}, timeout=10)
    assert answer.status_code == 200, answer.text
    url = s3_v4.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": "ü ber/+.txt",
            "ResponseContentDisposition": "attachment; filename*=UTF-8''%C3%BC.txt",
        },
    )
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%BC.txt"


def test_presigned_post(s3_v4, bucket):
    form = s3_v4.generate_presigned_post(
        bucket,
        "uploads/${filename}",
        Fields={"Content-Type": "image/png"},
        Conditions=[{"Content-Type": "image/png"}, ["content-length-range", 1, 100]],
    )
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("кот.png", b"meow")}, timeout=10)
    assert answer.status_code == 204, answer.text
    assert s3_v4.head_object(Bucket=bucket, Key="uploads/кот.png")["ContentType"] == "image/png"


def put_ticket(server, bucket, **options):
    headers = {"content-type": "text/plain", "content-length": "5"}
    return presign(server, "PUT", object_url(server, bucket, "ticket"), headers=headers, **options)


def test_untampered_ticket_is_good(cloakroom, s3, bucket):
    answer = requests.put(
        put_ticket(cloakroom, bucket), data=b"hello", headers={"Content-Type": "text/plain"}, timeout=10
    )
    assert answer.status_code == 200, answer.text
    assert read(s3, bucket, "ticket") == b"hello"


# What the holder of a presigned PUT for 5 bytes of text/plain may try: name → how the request differs.
TAMPERED = {
    "other key": {"url": lambda url: url.replace("/ticket?", "/victim?")},
    "key inside it": {"url": lambda url: url.replace("/ticket?", "/ticket/x?")},
    "other bucket": {"url": lambda url: url.replace("/test-", "/tesu-", 1)},
    "read instead": {"method": "GET", "body": None},
    "delete instead": {"method": "DELETE", "body": None},
    "larger body": {"body": b"hello!"},
    "smaller body": {"body": b"hell"},
    "other type": {"headers": {"Content-Type": "text/html"}},
    "no type": {"headers": {"Content-Type": None}},
    "copy of another object": {"headers": {"x-amz-copy-source": "/{bucket}/victim"}, "body": b""},
    "unsigned metadata": {"headers": {"x-amz-meta-role": "admin"}},
    "unsigned acl": {"headers": {"x-amz-acl": "public-read"}},
    "unsigned checksum header": {"headers": {"x-amz-checksum-crc32": "NhCmhg=="}},
    "added query parameter": {"url": lambda url: url + "&uploads="},
    "added harmless parameter": {"url": lambda url: url + "&x=1"},
    "versioned": {"url": lambda url: url + "&versionId=null"},
    "parameter given twice": {"url": lambda url: url + "&X-Amz-Expires=600"},
    "longer life": {"url": lambda url: url.replace("X-Amz-Expires=300", "X-Amz-Expires=900")},
    "fewer signed headers": {
        "url": lambda url: url.replace("content-length%3Bcontent-type%3Bhost", "host"),
    },
    "no signature": {"url": lambda url: url.partition("&X-Amz-Signature")[0]},
    "wrong signature": {"url": lambda url: url[:-4] + ("0000" if url[-4:] != "0000" else "1111")},
    "empty signature": {"url": lambda url: url.partition("&X-Amz-Signature")[0] + "&X-Amz-Signature="},
    "unknown access key": {"url": lambda url: url.replace("X-Amz-Credential=", "X-Amz-Credential=X")},
    "other region": {"url": lambda url: url.replace("%2Fs3%2Faws4_request", "x%2Fs3%2Faws4_request")},
    "other service": {"url": lambda url: url.replace("%2Fs3%2Faws4_request", "%2Fsts%2Faws4_request")},
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_ticket_is_refused(cloakroom, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="victim", Body=b"secret")
    change = TAMPERED[name]
    url = change.get("url", lambda url: url)(put_ticket(cloakroom, bucket))
    headers = {"Content-Type": "text/plain"} | change.get("headers", {})
    headers = {key: value and value.format(bucket=bucket) for key, value in headers.items()}
    answer = requests.request(
        change.get("method", "PUT"), url, data=change.get("body", b"hello"), headers=headers, timeout=10
    )
    assert answer.status_code in (400, 403), f"{answer.status_code}: {answer.text}"
    assert b"secret" not in answer.content
    with refused(404):
        s3.head_object(Bucket=bucket, Key="ticket")
    assert read(s3, bucket, "victim") == b"secret"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"at": datetime.now(UTC) - timedelta(hours=1), "expires": 300}, 403, "AccessDenied"),
        ({"at": datetime.now(UTC) + timedelta(hours=1)}, 403, None),
        ({"expires": 604801}, 403, None),
        ({"expires": 0}, 403, None),
        ({"expires": -1}, 403, None),
        ({"expires": "soon"}, 403, None),
        ({"expires": ""}, 403, None),
    ],
    ids=["expired", "not yet", "above seven days", "no time at all", "negative", "not a number", "empty"],
)
def test_ticket_at_the_wrong_time(cloakroom, s3, bucket, options, status, code):
    url = put_ticket(cloakroom, bucket, **options)
    answer = requests.put(url, data=b"hello", headers={"Content-Type": "text/plain"}, timeout=10)
    assert_refused(answer, status, code)
    with refused(404):
        s3.head_object(Bucket=bucket, Key="ticket")


def test_signature_version_2_is_refused(s3, bucket):
    """What boto3 presigns for a foreign endpoint unless it is told `s3v4`."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert "AWSAccessKeyId=" in url
    answer = requests.get(url, timeout=10)
    assert answer.status_code in (400, 403), answer.text
