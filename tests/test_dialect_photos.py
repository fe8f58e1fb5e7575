"""S4, the photos dialect: the document's bot as it stands, with nothing but its host and token, and the operator's scripts."""

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from datetime import datetime, timezone
from instance import ENVIRONMENT, ROOT, running
from pairs import Pair
from PIL import Image

BACKEND_SERVICE_TOKEN = "bot-" + uuid.uuid4().hex
SETTINGS = {"BACKEND_SERVICE_TOKEN": BACKEND_SERVICE_TOKEN}
DEADLINE = 60


def jpeg(colour=(200, 30, 30), size=(640, 480), exif=None):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", exif=exif or Image.Exif())
    return out.getvalue()


class Bot:
    """The complaint bot: it has a backend and a token, and no AWS credentials."""

    def __init__(self, backend, token=BACKEND_SERVICE_TOKEN):
        self.backend, self.headers = backend, {"Authorization": f"Bearer {token}"}

    def presign(self, complaint, photo, content_type="image/jpeg", **more):
        body = {"filename": "pothole.jpg", "content_type": content_type, "content_length": len(photo), **more}
        url = f"{self.backend}/api/v1/complaints/{complaint}/photos/presign"
        answer = requests.post(url, json=body, headers=self.headers, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def confirm(self, complaint, photo_id, **more):
        url = f"{self.backend}/api/v1/complaints/{complaint}/photos/confirm"
        return requests.post(url, json={"photo_id": photo_id, **more}, headers=self.headers, timeout=30)

    def photos(self, complaint, photo_id=None, method="GET"):
        url = f"{self.backend}/api/v1/complaints/{complaint}/photos" + (f"/{photo_id}" if photo_id else "")
        return requests.request(method, url, headers=self.headers, timeout=30)

    def wait(self, complaint, photo_id):
        deadline = time.monotonic() + DEADLINE
        while True:
            answer = self.photos(complaint, photo_id)
            answer.raise_for_status()
            photo = answer.json()
            if photo["s3_thumbnail_key"] or photo["status"] == "failed":
                return photo
            assert time.monotonic() < deadline, photo
            time.sleep(0.1)


@pytest.fixture(scope="module")
def server(pair, tmp_path_factory):
    with running(tmp_path_factory.mktemp("photos"), pair, SETTINGS) as server:
        yield server


@pytest.fixture
def bot(server):
    return Bot(server.api_url)


@pytest.fixture
def bucket(server):
    return bucket_client(server)


def bucket_client(server):
    return boto3.client(
        "s3",
        endpoint_url=server.s3_url,
        region_name=server.region,
        aws_access_key_id=server.access_key or os.environ.get("CLOAKROOM_TEST_S3_ACCESS_KEY"),
        aws_secret_access_key=server.secret_key or os.environ.get("CLOAKROOM_TEST_S3_SECRET_KEY"),
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def keys(client, name, prefix):
    return [item["Key"] for item in client.list_objects_v2(Bucket=name, Prefix=prefix).get("Contents", [])]


def admin(server, method, path, **more):
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    return requests.request(method, f"{server.api_url}{path}", headers=headers, timeout=60, **more)


@pytest.mark.every_pair
def test_bot_flow(server, bot, bucket):
    """presign -> PUT -> confirm -> poll GET until there is a thumbnail -> DELETE."""
    complaint, content = f"c-{uuid.uuid4().hex[:8]}", jpeg()
    ticket = bot.presign(complaint, content, checksum_sha256=hashlib.sha256(content).hexdigest())
    assert ticket["method"] == "PUT"
    assert 290 <= ticket["expires_in"] <= 300
    assert ticket["headers"]["Content-Type"] == "image/jpeg"
    put = requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30)
    assert put.status_code == 200, put.text

    confirmed = bot.confirm(complaint, ticket["photo_id"], metadata={"telegram_file_id": "AgACAgIAAx"})
    assert confirmed.status_code == 200, confirmed.text
    assert bot.confirm(complaint, ticket["photo_id"]).status_code == 200
    photo = bot.wait(complaint, ticket["photo_id"])
    assert (photo["status"], photo["width"], photo["height"]) == ("ready", 640, 480)
    assert photo["checksum_sha256"] == hashlib.sha256(content).hexdigest()
    assert photo["processed_at"] and photo["metadata"] == {"telegram_file_id": "AgACAgIAAx"}
    assert photo["s3_key"] == f"complaints/{complaint}/originals/{ticket['photo_id']}.jpg"
    assert photo["s3_thumbnail_key"].startswith(f"complaints/{complaint}/thumbnails/{ticket['photo_id']}.jpg.")
    assert photo["storage_provider"] in ("s3", "local")
    assert requests.get(photo["url"], timeout=30).content == content
    small = Image.open(io.BytesIO(requests.get(photo["thumbnail_url"], timeout=30).content))
    assert max(small.size) == 256
    listed = bot.photos(complaint).json()["photos"]
    assert [one["photo_id"] for one in listed] == [ticket["photo_id"]]

    assert len(keys(bucket, photo["bucket"], f"complaints/{complaint}/thumbnails/")) == 2
    assert bot.photos(complaint, ticket["photo_id"], "DELETE").status_code == 204
    assert bot.photos(complaint, ticket["photo_id"]).status_code == 404
    assert bot.photos(complaint).json()["photos"] == []
    deadline = time.monotonic() + DEADLINE
    while left := [key for key in keys(bucket, photo["bucket"], f"complaints/{complaint}/") if ".tomb." not in key]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    gone = admin(server, "GET", f"/api/v1/files/{ticket['photo_id']}")
    assert gone.status_code == 404, gone.text


def test_type_and_length_are_signed(bot):
    content = jpeg()
    ticket = bot.presign("77", content)
    wrong = {**ticket["headers"], "Content-Type": "image/png"}
    assert requests.put(ticket["upload_url"], data=content, headers=wrong, timeout=30).status_code == 403
    wrong = {**ticket["headers"], "Content-Length": str(len(content) - 1)}
    assert requests.put(ticket["upload_url"], data=content[:-1], headers=wrong, timeout=30).status_code == 403
    assert bot.confirm("77", ticket["photo_id"]).status_code == 409
    assert requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30).status_code == 200


def test_what_is_no_photo_fails(bot):
    """The worker does not believe the client."""
    content = b"\xff\xd8\xff\xe0" + b"not a photo" * 50
    ticket = bot.presign("78", content)
    assert requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30).ok
    assert bot.confirm("78", ticket["photo_id"]).ok
    photo = bot.wait("78", ticket["photo_id"])
    assert photo["status"] == "failed" and photo["error"]["message"] and photo["url"] is None, photo


def test_idempotency(bot):
    content, key = jpeg(), uuid.uuid4().hex
    first, again = (bot.presign("79", content, idempotency_key=key) for _ in range(2))
    assert first["photo_id"] == again["photo_id"]


def test_storage_health_and_purge(server, bot):
    assert bot.photos("80").json()["photos"] == []
    for path in ("/api/v1/admin/storage-health", "/api/v1/admin/purge"):
        method = "GET" if "health" in path else "POST"
        assert requests.request(method, server.api_url + path, headers=bot.headers, timeout=30).status_code == 403
    health = admin(server, "GET", "/api/v1/admin/storage-health")
    assert health.status_code == 200, health.text
    assert health.json()["status"] == "healthy" and health.json()["denied"] == []
    for dry_run in (True, False):
        purged = admin(server, "POST", "/api/v1/admin/purge", json={"dry_run": dry_run})
        assert purged.status_code == 200 and purged.json()["state"] == "done", purged.text


def test_purge_respects_retention(pair, tmp_path):
    """What is in the trash stays until its time is over, whoever asks."""
    with running(tmp_path, pair, SETTINGS | {"CLOAKROOM_COLLECTIONS_PHOTOS_TRASH_FOR": "1h"}) as server:
        bot, content = Bot(server.api_url), jpeg()
        ticket = bot.presign("42", content)
        assert requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30).ok
        assert bot.confirm("42", ticket["photo_id"]).ok
        photo = bot.wait("42", ticket["photo_id"])
        assert bot.photos("42", ticket["photo_id"], "DELETE").status_code == 204
        purged = admin(server, "POST", "/api/v1/admin/purge")
        assert purged.json()["counts"].get("not_over") == 1, purged.text
        assert photo["s3_key"] in keys(bucket_client(server), photo["bucket"], "complaints/42/")
        restored = admin(server, "POST", f"/api/v1/files/{ticket['photo_id']}/restore")
        assert restored.ok and bot.photos("42", ticket["photo_id"]).json()["status"] == "ready"


def test_two_tokens_while_one_is_changed(pair, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("the-token-that-is-new the-token-that-was\n")
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home", pair, {"BACKEND_SERVICE_TOKEN_FILE": str(secret)}) as server:
        for token, status in {"the-token-that-is-new": 200, "the-token-that-was": 200, "the-token-that-is-ne": 401}.items():
            assert Bot(server.api_url, token).photos("1").status_code == status


@pytest.mark.parametrize("policy", ["canned", "custom"])
def test_cloudfront(pair, tmp_path, policy):
    """Downloads of photos are signed for the distribution as botocore signs them; everything else for the store."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    file = tmp_path / "cloudfront.pem"
    file.write_text(pem)
    (tmp_path / "home").mkdir()
    settings = SETTINGS | {
        "CLOAKROOM_DOWNLOADS_CLOUDFRONT_URL": "https://d111111abcdef8.cloudfront.net",
        "CLOAKROOM_DOWNLOADS_CLOUDFRONT_KEY_PAIR_ID": "K2JCJMDEHXQW5F",
        "CLOAKROOM_DOWNLOADS_CLOUDFRONT_PRIVATE_KEY_FILE": str(file),
        "CLOAKROOM_DOWNLOADS_CLOUDFRONT_POLICY": policy,
    }
    signer = CloudFrontSigner("K2JCJMDEHXQW5F", lambda message: key.sign(message, padding.PKCS1v15(), hashes.SHA1()))
    with running(tmp_path / "home", pair, settings) as server:
        bot, content = Bot(server.api_url), jpeg()
        ticket = bot.presign("42", content)
        assert requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30).ok
        assert bot.confirm("42", ticket["photo_id"]).ok
        photo = bot.wait("42", ticket["photo_id"])
        until = datetime.fromisoformat(photo["url_expires_at"].replace("Z", "+00:00"))
        assert 2700 <= (until - datetime.now(timezone.utc)).total_seconds() <= 3600
        for url, place in ((photo["url"], photo["s3_key"]), (photo["thumbnail_url"], photo["s3_thumbnail_key"])):
            assert url.startswith(f"https://d111111abcdef8.cloudfront.net/{place}?response-content-disposition=")
            plain = re.split(r"&(?:Expires|Policy)=", url)[0]
            if policy == "canned":
                assert url == signer.generate_presigned_url(plain, date_less_than=until)
            else:
                start = datetime.fromtimestamp(until.timestamp() - 3600 - 300, timezone.utc)
                wanted = signer.build_policy(plain, until, start)
                assert url == signer.generate_presigned_url(plain, policy=wanted)
    assert pem.splitlines()[1] not in (tmp_path / "home/log").read_text(errors="replace")


CEPH = Pair("sqlite", "ceph")


def test_originals_and_thumbnails_are_encrypted(tmp_path):
    """SSE-KMS, with the key that is configured, for what the bot sends and for what is made of it."""
    key = os.environ["CLOAKROOM_TEST_S3_KMS_KEY_ID"]
    settings = SETTINGS | {"CLOAKROOM_S3_ENCRYPTION": "aws:kms", "CLOAKROOM_S3_KMS_KEY_ID": key}
    with running(tmp_path, CEPH, settings) as server:
        bot, content = Bot(server.api_url), jpeg()
        ticket = bot.presign("42", content)
        assert ticket["headers"]["x-amz-server-side-encryption"] == "aws:kms"
        plain = {name: value for name, value in ticket["headers"].items() if "encryption" not in name}
        assert requests.put(ticket["upload_url"], data=content, headers=plain, timeout=30).status_code == 403
        assert requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30).ok
        assert bot.confirm("42", ticket["photo_id"]).ok
        photo = bot.wait("42", ticket["photo_id"])
        thumbnails = [one["s3_key"] for one in photo["thumbnails"]]
        assert photo["storage_provider"] == "s3" and len(thumbnails) == 2
        client = bucket_client(server)
        standing = keys(client, photo["bucket"], "complaints/42/")
        assert {photo["s3_key"], *thumbnails} < set(standing)
        for stands in standing:
            head = client.head_object(Bucket=photo["bucket"], Key=stands)
            assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key), stands
        assert requests.get(photo["url"], timeout=30).content == content


@pytest.mark.parametrize(
    ("operation", "permission"),
    [("put", "s3:PutObject"), ("get", "s3:GetObject"), ("list", "s3:ListBucket"), ("delete", "s3:DeleteObject")],
)
def test_the_denied_permission_is_named(tmp_path, operation, permission):
    """An incident: somebody's bucket policy takes a permission away."""
    with running(tmp_path, CEPH, SETTINGS) as server:
        client = bucket_client(server)
        name = Bot(server.api_url).presign("42", jpeg())["bucket"]
        places = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
        deny = {"Effect": "Deny", "Principal": "*", "Action": permission, "Resource": places}
        client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
        try:
            health = admin(server, "GET", "/api/v1/admin/storage-health")
        finally:
            client.delete_bucket_policy(Bucket=name)
        assert health.status_code == 503, health.text
        place = places[0] if operation == "list" else places[1]
        assert health.json()["denied"] == [f"{permission} on {place}"], health.text
        [bucket] = [one for one in health.json()["buckets"] if one["bucket"] == name]
        [denied] = {one["permission"] for one in bucket["operations"] if one["error"] == "access_denied"}
        assert denied == permission and not bucket["healthy"]


def migrate(server, directory, *more, **options):
    command = [sys.executable, ROOT / "scripts/migrate_local_to_s3.py", "--storage-dir", directory, *more]
    environment = ENVIRONMENT | {"CLOAKROOM_URL": server.api_url, "BACKEND_SERVICE_TOKEN": BACKEND_SERVICE_TOKEN}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False, **options)


def test_migrate_local_to_s3(server, bot, tmp_path):
    storage = tmp_path / "storage"
    complaints = [f"m-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    photos = {
        f"{complaints[0]}/a.jpg": jpeg((1, 2, 3)),
        f"complaints/{complaints[1]}/originals/b.jpg": jpeg((4, 5, 6)),
        f"{complaints[0]}/c.jpg": b"\xff\xd8\xff\xe0 broken",
    }
    others = {f"complaints/{complaints[1]}/thumbnails/b.jpg": b"made anew", "readme.txt": b"no photo"}
    for name, content in (photos | others).items():
        (storage / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / name).write_bytes(content)
    wrong = migrate(server, storage, "--bucket", "another-bucket")
    assert wrong.returncode != 0 and "complaint-photos" in wrong.stderr + wrong.stdout
    for moved in (3, 0):
        done = migrate(server, storage, "--bucket", "complaint-photos")
        assert done.returncode == 1 and f"not moved: {complaints[0]}/c.jpg" in done.stderr, done
        if not moved:
            assert "0 photos moved, 2 were there, 1 not moved" in done.stdout, done.stdout
    (storage / f"{complaints[0]}/c.jpg").unlink()
    done = migrate(server, storage, "--bucket", "complaint-photos")
    assert (done.returncode, done.stderr) == (0, ""), done
    rows = list(csv.DictReader((tmp_path / "storage.migrated.csv").open()))
    assert {row["path"] for row in rows} == {f"{complaints[0]}/a.jpg", f"complaints/{complaints[1]}/originals/b.jpg"}
    for row in rows:
        content = (storage / row["path"]).read_bytes()
        photo = bot.photos(row["complaint_id"], row["photo_id"]).json()
        assert photo["s3_key"] == row["s3_key"] and photo["status"] == "ready"
        assert photo["storage_provider"] == row["storage_provider"]
        assert photo["checksum_sha256"] == row["checksum_sha256"] == hashlib.sha256(content).hexdigest()
        assert requests.get(photo["url"], timeout=30).content == content
