#!/usr/bin/env python3
"""Moves the photos of a backend that kept them in a directory into Cloakroom, and so into its bucket.

    export CLOAKROOM_URL=https://files.example.org BACKEND_SERVICE_TOKEN=...
    scripts/migrate_local_to_s3.py --storage-dir ./storage --bucket complaint-photos

Files are looked for as `<complaint>/<name>` or `complaints/<complaint>/[originals/]<name>`, or as --pattern says; thumbnails
are left out, for they are made anew. Each file is signed with its SHA-256 and size, sent straight to the store, confirmed,
and in the end compared with what Cloakroom measured. The photo of a file has always the same id (it follows from path and
checksum), so the same command again goes on where an interrupted one stopped, and does nothing once it is done.

What the rows of the application must say afterwards stands in the mapping (--map): path, complaint, photo_id,
storage_provider (`s3` or `local`, as Cloakroom keeps it), s3_key and SHA-256 of every file, as CSV. A data directory of an embedded Cloakroom is moved by `cloakroom import --from-embedded`.

Needs Python 3.10 and nothing else. Exit codes: 0 everything is there and verified, 1 something is not, 2 wrong usage.
"""

import argparse
import csv
import hashlib
import http.client
import json
import mimetypes
import os
import re
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

PATTERN = r"(?:complaints/)?(?P<complaint>[^/]+)/(?:originals/)?(?P<name>[^/]+)"
PHOTOS = {"image/jpeg", "image/png", "image/webp", "image/heic"}
ON_ITS_WAY = {"confirmed", "processing"}
ATTEMPTS = 5
mimetypes.add_type("image/heic", ".heic")
mimetypes.add_type("image/webp", ".webp")


class Refused(Exception):
    """An answer that is not the one that was hoped for."""

    def __init__(self, status, body):
        self.status = status
        self.code = body.get("error_code") if isinstance(body, dict) else None
        message = body.get("message") if isinstance(body, dict) else body
        super().__init__(f"{status} {message}")


@dataclass
class Photo:
    path: Path
    relative: str
    complaint: str
    content_type: str
    sha256: str = ""
    photo_id: str = ""
    storage_provider: str = ""
    s3_key: str = ""


def send(method, url, headers, body=None):
    """One request, tried again when the connection breaks or the server is busy."""
    address = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    target = address.path + (f"?{address.query}" if address.query else "")
    for attempt in range(ATTEMPTS):
        connection = kind(address.hostname, address.port, timeout=60)
        try:
            if isinstance(body, Path):
                with body.open("rb") as content:
                    connection.request(method, target, content, headers)
                    answer = connection.getresponse()
                    data = answer.read()
            else:
                connection.request(method, target, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            if answer.status not in (429, 500, 502, 503, 504) or attempt == ATTEMPTS - 1:
                return answer.status, data
            time.sleep(float(answer.getheader("Retry-After") or 2**attempt))
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(2**attempt)
        finally:
            connection.close()
    raise AssertionError("the last attempt returns or raises")


class Api:
    def __init__(self, url, token):
        self.url, self.token = url.rstrip("/"), token

    def call(self, method, path, body=None, headers=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **(headers or {})}
        status, data = send(method, self.url + path, headers, None if body is None else json.dumps(body))
        try:
            answer = json.loads(data) if data else None
        except ValueError:
            answer = data.decode(errors="replace")[:200]
        if status >= 300:
            raise Refused(status, answer)
        return answer

    def photos(self, photo, rest=""):
        return f"/api/v1/complaints/{urllib.parse.quote(photo.complaint, safe='')}/photos{rest}"


def find(directory, pattern):
    """The photos below a directory, and what is none."""
    photos, others = [], []
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        relative = path.relative_to(directory).as_posix()
        if "/thumbnails/" in f"/{relative}":
            continue
        match = pattern.fullmatch(relative)
        content_type = mimetypes.guess_type(path.name)[0]
        if match and content_type in PHOTOS:
            photos.append(Photo(path, relative, match["complaint"], content_type))
        else:
            others.append(relative)
    return photos, others


def digest(path):
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hash_of(content)


def hash_of(content):
    sha256 = hashlib.sha256()
    while block := content.read(1 << 20):
        sha256.update(block)
    return sha256.hexdigest()


def move(api, photo, bucket):
    """Signs, sends and confirms one photo, unless that was done before."""
    photo.sha256 = digest(photo.path)
    request = {
        "filename": photo.path.name,
        "content_type": photo.content_type,
        "content_length": photo.path.stat().st_size,
        "checksum_sha256": photo.sha256,
        "metadata": {"migrated_from": photo.relative},
    }
    for attempt in range(ATTEMPTS):
        key = hashlib.sha256(f"{photo.relative}\n{photo.sha256}\n{attempt}".encode()).hexdigest()
        try:
            ticket = api.call("POST", api.photos(photo, "/presign"), request, {"Idempotency-Key": key})
            break
        except Refused as refused:
            # Begun by a run long ago and never finished: that upload is over.
            if refused.code != "upload_expired" or attempt == ATTEMPTS - 1:
                raise
    if ticket["bucket"] != bucket:
        sys.exit(f"Cloakroom keeps photos in the bucket {ticket['bucket']}, not in {bucket}: see collections.photos.bucket")
    photo.photo_id, photo.s3_key = ticket["photo_id"], ticket["s3_key"]
    photo.storage_provider = ticket["storage_provider"]
    known = api.call("GET", api.photos(photo, f"/{photo.photo_id}"))
    if known["status"] == "ready" or known["status"] in ON_ITS_WAY:
        return False
    status, data = send("PUT", ticket["upload_url"], ticket["headers"], photo.path)
    if status >= 300:
        raise Refused(status, data.decode(errors="replace")[:200])
    api.call("POST", api.photos(photo, "/confirm"), {"photo_id": photo.photo_id})
    return True


def verify(api, photo, deadline):
    """What is wrong with a photo once it is processed; nothing when it is what was sent."""
    while True:
        known = api.call("GET", api.photos(photo, f"/{photo.photo_id}"))
        if known["status"] not in ON_ITS_WAY:
            break
        if time.monotonic() > deadline:
            return f"is still {known['status']}"
        time.sleep(0.2)
    if known["status"] != "ready":
        return f"is {known['status']}: {(known.get('error') or {}).get('message')}"
    if known["checksum_sha256"] != photo.sha256:
        return "has other bytes than here"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage-dir", type=Path, required=True, metavar="DIR", help="where the photos are")
    parser.add_argument("--bucket", required=True, help="the bucket that Cloakroom keeps photos in")
    parser.add_argument("--url", default=os.environ.get("CLOAKROOM_URL", "http://127.0.0.1:8000"), help="$CLOAKROOM_URL")
    parser.add_argument("--pattern", type=re.compile, default=re.compile(PATTERN), help="of relative paths, with a group `complaint`")
    parser.add_argument("--map", type=Path, metavar="FILE", help="write the mapping there (default: <storage-dir>.migrated.csv)")
    parser.add_argument("--wait", type=float, default=600, metavar="SECONDS", help="for processing, in all (default: 600)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be moved")
    args = parser.parse_args()
    token = os.environ.get("BACKEND_SERVICE_TOKEN") or os.environ.get("CLOAKROOM_TOKEN")
    if not args.storage_dir.is_dir():
        parser.error(f"{args.storage_dir} is no directory")
    if "complaint" not in args.pattern.groupindex:
        parser.error("--pattern needs a group (?P<complaint>...)")
    photos, others = find(args.storage_dir, args.pattern)
    for other in others:
        print(f"left out: {other}")
    if args.dry_run:
        print(f"{len(photos)} photos would be moved, {len(others)} files left out")
        return 0
    if not token:
        parser.error("set BACKEND_SERVICE_TOKEN")
    api, problems, moved = Api(args.url, token), {}, 0
    for photo in photos:
        try:
            moved += move(api, photo, args.bucket)
        except (Refused, OSError) as error:
            problems[photo.relative] = str(error)
    deadline = time.monotonic() + args.wait
    for photo in photos:
        if photo.relative not in problems and (problem := verify(api, photo, deadline)):
            problems[photo.relative] = problem
    arrived = [photo for photo in photos if photo.relative not in problems]
    mapping = args.map or args.storage_dir.with_name(args.storage_dir.name + ".migrated.csv")
    with mapping.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["path", "complaint_id", "photo_id", "storage_provider", "s3_key", "checksum_sha256"])
        for photo in arrived:
            rows.writerow([photo.relative, photo.complaint, photo.photo_id, photo.storage_provider, photo.s3_key, photo.sha256])
    for relative, problem in problems.items():
        print(f"not moved: {relative}: {problem}", file=sys.stderr)
    print(f"{moved} photos moved, {len(arrived) - moved} were there, {len(problems)} not moved; the mapping is {mapping}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
