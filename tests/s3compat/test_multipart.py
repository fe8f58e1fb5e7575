"""Multipart uploads: parts, completion, copies into parts, listing, abortion."""

import base64
import hashlib

import pytest
import requests
from s3_refusal import assert_refused, refused
from sigv4 import authorize, canonical_query, object_url

KIB = 1024
MIB = 1024 * KIB
PART = 5 * MIB


def content_of(size, seed=b"content"):
    return hashlib.shake_256(seed).digest(size)


class Upload:
    """One multipart upload of the object `big`."""

    def __init__(self, s3, bucket, key="big", **options):
        self.s3 = s3
        self.where = {"Bucket": bucket, "Key": key}
        self.id = s3.create_multipart_upload(**self.where, **options)["UploadId"]
        self.parts = []

    def send(self, number, content, **options):
        part = self.s3.upload_part(**self.where, UploadId=self.id, PartNumber=number, Body=content, **options)
        self.parts.append({"PartNumber": number, "ETag": part["ETag"]})
        return part

    def send_all(self, content, size=PART):
        for number, offset in enumerate(range(0, len(content), size), 1):
            self.send(number, content[offset : offset + size])

    def copy(self, number, source, **options):
        part = self.s3.upload_part_copy(
            **self.where, UploadId=self.id, PartNumber=number, CopySource=source, **options
        )
        self.parts.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})

    def complete(self, parts=None):
        parts = self.parts if parts is None else parts
        return self.s3.complete_multipart_upload(
            **self.where, UploadId=self.id, MultipartUpload={"Parts": parts} if parts else {}
        )

    def abort(self):
        self.s3.abort_multipart_upload(**self.where, UploadId=self.id)

    def read(self, **options):
        return self.s3.get_object(**self.where, **options)["Body"].read()


@pytest.fixture
def upload(s3, bucket):
    return Upload(s3, bucket)


def test_content_headers_and_ranges(s3, bucket):
    upload = Upload(s3, bucket, ContentType="text/bla", Metadata={"foo": "bar"}, CacheControl="no-store")
    content = content_of(3 * PART + 3 * MIB)
    upload.send_all(content)
    with refused(404):
        s3.head_object(Bucket=bucket, Key="big")
    done = upload.complete()
    assert (done["Bucket"], done["Key"]) == (bucket, "big")
    assert bucket in done["Location"]
    answer = s3.get_object(Bucket=bucket, Key="big")
    assert answer["ETag"] == done["ETag"]
    assert answer["ETag"].strip('"').endswith("-4")
    assert (answer["ContentType"], answer["Metadata"], answer["CacheControl"]) == (
        "text/bla",
        {"foo": "bar"},
        "no-store",
    )
    assert answer["Body"].read() == content
    for step in (MIB - 1, 10_000_000):
        for offset in range(0, len(content), step):
            piece = upload.read(Range=f"bytes={offset}-{offset + step - 1}")
            assert piece == content[offset : offset + step]


def test_etag_is_made_of_the_parts_md5s(upload):
    """For clients that send Content-MD5 with each part, as rclone does, and check the whole afterwards."""
    contents = [content_of(PART), b"tail"]
    for number, content in enumerate(contents, 1):
        digest = hashlib.md5(content)
        etag = upload.send(number, content, ContentMD5=base64.b64encode(digest.digest()).decode())["ETag"]
        assert etag == f'"{digest.hexdigest()}"'
    digests = b"".join(hashlib.md5(content).digest() for content in contents)
    assert upload.complete()["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'


@pytest.mark.parametrize(
    "size",
    [1, PART, PART + 100 * KIB, PART + 600 * KIB, 2 * PART, 2 * PART + 100 * KIB],
    ids=lambda size: f"{size // KIB} KiB",
)
def test_sizes(upload, size):
    upload.send_all(content_of(size))
    upload.complete()
    assert upload.read() == content_of(size)


def test_completing_again_gives_the_same_answer(upload):
    upload.send_all(b"x")
    first = upload.complete()
    assert upload.complete()["ETag"] == first["ETag"]
    assert upload.read() == b"x"


@pytest.mark.parametrize("resent", [[1], [2], [1, 2, 3]])
def test_resent_part_replaces_the_first(upload, resent):
    content = content_of(2 * PART + MIB)
    for number in resent:
        upload.send(number, content_of(PART, b"abandoned"))
    upload.parts.clear()
    upload.send_all(content)
    upload.complete()
    assert upload.read() == content


def test_last_sent_wins_and_the_older_etag_is_refused(upload):
    upload.send(1, b"first")
    upload.send(1, b"second")
    with refused(400, "InvalidPart"):
        upload.complete(upload.parts[:1])
    upload.complete(upload.parts[1:])
    assert upload.read() == b"second"


def test_only_the_named_parts_are_joined(upload):
    for number in (1, 3, 7):
        upload.send(number, content_of(PART, str(number).encode()))
    upload.send(10_000, b"tail")
    upload.complete([upload.parts[0], upload.parts[2], upload.parts[3]])
    assert upload.read() == content_of(PART, b"1") + content_of(PART, b"7") + b"tail"


def test_overwrites_an_existing_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="big", Body=content_of(MIB), Metadata={"old": "x"})
    upload = Upload(s3, bucket)
    upload.send_all(content_of(PART + 5))
    assert upload.read() == content_of(MIB), "until it is complete"
    upload.complete()
    assert upload.read() == content_of(PART + 5)
    assert s3.head_object(Bucket=bucket, Key="big")["Metadata"] == {}


def test_complete_without_parts(upload):
    with refused(400, "MalformedXML"):
        upload.complete([])


def test_too_small_parts(upload):
    upload.send_all(content_of(100 * KIB), size=10 * KIB)
    with refused(400, "EntityTooSmall"):
        upload.complete()
    with refused(404):
        upload.s3.head_object(**upload.where)


def test_part_that_was_never_sent(upload):
    etag = upload.send(1, b"\x00")["ETag"]
    with refused(400, "InvalidPart"):
        upload.complete([{"PartNumber": 9999, "ETag": etag}])


@pytest.mark.parametrize("etag", ["f" * 32, '"ffff"', "", "not an etag"])
def test_wrong_etag(upload, etag):
    upload.send(1, b"\x00")
    with refused(400, "InvalidPart"):
        upload.complete([{"PartNumber": 1, "ETag": etag}])
    with refused(404):
        upload.s3.head_object(**upload.where)


def test_etag_may_come_without_quotes(upload):
    etag = upload.send(1, b"x")["ETag"].strip('"')
    upload.complete([{"PartNumber": 1, "ETag": etag}])
    assert upload.read() == b"x"


def test_parts_out_of_order(upload):
    upload.send_all(content_of(PART + 1))
    with refused(400, "InvalidPartOrder"):
        upload.complete(upload.parts[::-1])
    with refused(400, "InvalidPartOrder"):
        upload.complete([upload.parts[0], upload.parts[0]])
    upload.complete()


@pytest.mark.parametrize("number", [0, 10_001, -1])
def test_part_number_out_of_range(upload, number):
    with refused(400, "InvalidArgument"):
        upload.send(number, b"x")


def test_upload_of_another_key(upload):
    """An upload id is good for its own key only."""
    other = upload.where | {"Key": "other"}
    with refused(404, "NoSuchUpload"):
        upload.s3.upload_part(**other, UploadId=upload.id, PartNumber=1, Body=b"x")
    upload.send(1, b"x")
    with refused(404, "NoSuchUpload"):
        upload.s3.complete_multipart_upload(
            **other, UploadId=upload.id, MultipartUpload={"Parts": upload.parts}
        )
    with refused(404, "NoSuchUpload"):
        upload.s3.list_parts(**other, UploadId=upload.id)
    with refused(404, "NoSuchUpload"):
        upload.s3.abort_multipart_upload(**other, UploadId=upload.id)
    upload.complete()


@pytest.mark.parametrize("upload_id", ["56788", "../../x", "ü", "a" * 3000])
def test_upload_that_is_none(s3, bucket, upload_id):
    where = {"Bucket": bucket, "Key": "big", "UploadId": upload_id}
    with refused(404, "NoSuchUpload"):
        s3.abort_multipart_upload(**where)
    with refused(404, "NoSuchUpload"):
        s3.upload_part(**where, PartNumber=1, Body=b"x")
    with refused(404, "NoSuchUpload"):
        s3.list_parts(**where)
    with refused(404, "NoSuchUpload"):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "x"}]})


def test_abort(upload):
    upload.send_all(content_of(PART + 1))
    upload.abort()
    assert "Uploads" not in upload.s3.list_multipart_uploads(Bucket=upload.where["Bucket"])
    with refused(404, "NoSuchUpload"):
        upload.abort()
    with refused(404, "NoSuchUpload"):
        upload.send(3, b"x")
    with refused(404, "NoSuchUpload"):
        upload.complete()
    with refused(404):
        upload.s3.head_object(**upload.where)


def test_upload_into_a_missing_bucket(s3, bucket):
    with refused(404, "NoSuchBucket"):
        s3.create_multipart_upload(Bucket=f"{bucket}-gone", Key="big")


def test_list_uploads(s3, bucket):
    open_uploads = [Upload(s3, bucket, key) for key in ("a/one", "a/two", "a/two", "b")]
    listed = s3.list_multipart_uploads(Bucket=bucket)
    assert [entry["Key"] for entry in listed["Uploads"]] == ["a/one", "a/two", "a/two", "b"]
    assert {entry["UploadId"] for entry in listed["Uploads"]} == {upload.id for upload in open_uploads}
    assert all(
        {"Initiated", "Owner", "Initiator", "StorageClass"} <= entry.keys() for entry in listed["Uploads"]
    )

    folders = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in folders["CommonPrefixes"]] == ["a/"]
    assert [entry["Key"] for entry in folders["Uploads"]] == ["b"]
    inside = s3.list_multipart_uploads(Bucket=bucket, Prefix="a/t")
    assert [entry["Key"] for entry in inside["Uploads"]] == ["a/two", "a/two"]

    seen, marker = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1, **marker)
        seen += [entry["UploadId"] for entry in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert seen == [entry["UploadId"] for entry in listed["Uploads"]]


def test_list_parts(upload):
    for number in (1, 2, 5, 9):
        upload.send(number, b"x" * number)
    where = upload.where | {"UploadId": upload.id}
    listed = upload.s3.list_parts(**where)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [
        (1, 1),
        (2, 2),
        (5, 5),
        (9, 9),
    ]
    assert [part["ETag"] for part in listed["Parts"]] == [part["ETag"] for part in upload.parts]
    assert (listed["IsTruncated"], listed["MaxParts"]) == (False, 1000)

    first = upload.s3.list_parts(**where, MaxParts=2)
    assert [part["PartNumber"] for part in first["Parts"]] == [1, 2]
    assert (first["IsTruncated"], first["NextPartNumberMarker"]) == (True, 2)
    rest = upload.s3.list_parts(**where, PartNumberMarker=2)
    assert [part["PartNumber"] for part in rest["Parts"]] == [5, 9]


def test_open_uploads_do_not_show_as_objects(upload):
    upload.send(1, b"x")
    assert "Contents" not in upload.s3.list_objects_v2(Bucket=upload.where["Bucket"])


def test_bucket_with_only_open_uploads(s3, new_bucket):
    """They do not keep a bucket from being deleted, and go with it."""
    bucket = new_bucket()
    Upload(s3, bucket).send(1, b"x")
    s3.delete_bucket(Bucket=bucket)
    with refused(404, "NoSuchBucket"):
        s3.list_multipart_uploads(Bucket=bucket)


@pytest.fixture(scope="module")
def source(s3, new_bucket):
    """An object to copy parts from: 12 MiB."""
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="source", Body=content_of(12 * MIB))
    return {"Bucket": bucket, "Key": "source"}


@pytest.mark.parametrize("size", [1, PART, PART + 100 * KIB, 2 * PART, 2 * PART + 600 * KIB])
def test_copied_parts(upload, source, size):
    for number, offset in enumerate(range(0, size, PART), 1):
        upload.copy(number, source, CopySourceRange=f"bytes={offset}-{min(offset + PART, size) - 1}")
    upload.complete()
    assert upload.read() == content_of(12 * MIB)[:size]


def test_copied_part_without_a_range(upload, source):
    upload.copy(1, source)
    upload.complete()
    assert upload.read() == content_of(12 * MIB)


@pytest.mark.parametrize("key", [" ", "_", "__", "?versionId"])
def test_copied_part_with_a_special_name(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=b"special")
    upload = Upload(s3, bucket)
    upload.copy(1, {"Bucket": bucket, "Key": key}, CopySourceRange="bytes=0-0")
    upload.complete()
    assert upload.read() == b"s"


@pytest.mark.parametrize("wanted", ["bytes=0-99999999", "bytes=99999999-99999999", "bytes=2-1", "bytes=5-"])
def test_copied_range_that_the_source_does_not_have(upload, source, wanted):
    """Refused as out of range; unlike a read, the copy of a part is never cut to what is there."""
    with pytest.raises(upload.s3.exceptions.ClientError) as raised:
        upload.copy(1, source, CopySourceRange=wanted)
    response = raised.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] in (400, 416)
    assert response["Error"]["Code"] in ("InvalidRange", "InvalidArgument")


@pytest.mark.parametrize(
    "wanted", ["0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5"]
)
def test_improper_copied_range(upload, source, wanted):
    with refused(400, "InvalidArgument"):
        upload.copy(1, source, CopySourceRange=wanted)


def test_copied_part_from_nowhere(upload, source):
    with refused(404, "NoSuchKey"):
        upload.copy(1, source | {"Key": "nothing"})
    with refused(404, "NoSuchBucket"):
        upload.copy(1, source | {"Bucket": "no-such-bucket-anywhere"})


def test_copied_part_under_a_condition(upload, source):
    etag = upload.s3.head_object(**source)["ETag"]
    with refused(412, "PreconditionFailed"):
        upload.copy(1, source, CopySourceIfMatch='"0123"')
    with refused(412, "PreconditionFailed"):
        upload.copy(1, source, CopySourceIfNoneMatch=etag)
    upload.copy(1, source, CopySourceIfMatch=etag, CopySourceRange="bytes=0-1")
    upload.complete()
    assert upload.read() == content_of(12 * MIB)[:2]


def test_reading_by_part_number(upload):
    content = content_of(2 * PART + 7)
    upload.send_all(content)
    etag = upload.complete()["ETag"]
    for number in (1, 2, 3):
        piece = content[(number - 1) * PART : number * PART]
        answer = upload.s3.get_object(**upload.where, PartNumber=number)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["Body"].read() == piece
        head = upload.s3.head_object(**upload.where, PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"], head["ETag"]) == (len(piece), 3, etag)
    with refused(400, "InvalidPart"):
        upload.s3.get_object(**upload.where, PartNumber=4)


def test_reading_a_simple_object_by_part_number(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"body")
    answer = s3.get_object(Bucket=bucket, Key="foo", PartNumber=1)
    assert (answer["Body"].read(), answer["ResponseMetadata"]["HTTPStatusCode"]) == (b"body", 206)
    assert "PartsCount" not in answer
    with refused(400, "InvalidPart"):
        s3.get_object(Bucket=bucket, Key="foo", PartNumber=2)
    with refused(400, "InvalidRequest"):
        s3.get_object(Bucket=bucket, Key="foo", PartNumber=1, Range="bytes=0-1")


def test_wrong_part_checksum(upload):
    with refused(400, "BadDigest"):
        upload.send(1, b"x", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    with refused(400, "BadDigest"):
        upload.send(1, b"x", ChecksumCRC32="AAAAAA==")
    assert "Parts" not in upload.s3.list_parts(**upload.where, UploadId=upload.id)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_composite_checksum(s3, bucket, algorithm):
    upload = Upload(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="COMPOSITE")
    field = f"Checksum{algorithm}"
    for number, content in enumerate((content_of(PART), b"tail"), 1):
        part = upload.send(number, content, ChecksumAlgorithm=algorithm)
        upload.parts[-1][field] = part[field]
    done = upload.complete()
    assert done[field].endswith("-2")
    assert s3.head_object(**upload.where, ChecksumMode="ENABLED")[field] == done[field]


def test_full_object_checksum(s3, bucket):
    upload = Upload(s3, bucket, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    upload.send(1, b"123456789", ChecksumAlgorithm="CRC32")
    assert upload.complete()["ChecksumCRC32"] == "y/Q5Jg=="
    assert s3.head_object(**upload.where, ChecksumMode="ENABLED")["ChecksumType"] == "FULL_OBJECT"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<CompleteMultipartUpload>",
        b"<CompleteMultipartUpload/>",
        b"<Other/>",
        b"\xff\xfe",
        b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>y</ETag></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    ],
)
def test_malformed_completion(cloakroom, upload, document):
    upload.send(1, b"x")
    url = object_url(cloakroom, upload.where["Bucket"], upload.where["Key"])
    query = {"uploadId": upload.id}
    headers = authorize(cloakroom, "POST", url, query=query)
    answer = requests.post(f"{url}?{canonical_query(query)}", data=document, headers=headers, timeout=10)
    assert_refused(answer, 400, "MalformedXML")
    upload.complete()
