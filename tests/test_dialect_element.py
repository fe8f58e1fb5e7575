"""The storage element (S3): its story as its document tells it, by a client of its own (requests alone)."""

import hashlib
import json
import os
import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from instance import running, token_of
from pairs import EMBEDDED, server

# The columns of the document's tables, as they stand in answers.
FILE_COLUMNS = {
    "file_id", "original_filename", "storage_filename", "file_size", "content_type", "created_at", "updated_at",
    "created_by_id", "created_by_username", "created_by_fullname", "description", "version", "storage_path", "checksum",
    "metadata_json",
}  # fmt: skip
CONFIG_COLUMNS = {
    "id", "current_mode", "mode_changed_at", "mode_changed_by", "is_master", "master_elected_at", "total_files",
    "total_size_bytes", "last_cache_rebuild",
}  # fmt: skip
WAL_COLUMNS = {
    "transaction_id", "operation_type", "status", "file_id", "operation_data", "error_message", "started_at",
    "completed_at", "duration_ms", "user_id",
}  # fmt: skip


class StorageElement:
    """The document's API, and nothing else."""

    def __init__(self, base_url, token):
        self.url = f"{base_url.rstrip('/')}/api/v1"
        self.headers = {"Authorization": f"Bearer {token}"}

    def _ask(self, method, path, **options):
        return requests.request(method, self.url + path, headers=self.headers, timeout=60, **options)

    def upload(self, name, content, content_type="text/plain", **fields):
        return self._ask("POST", "/files/upload", files={"file": (name, content, content_type)}, data=fields)

    def search(self, **parameters):
        return self._ask("GET", "/files/search", params=parameters)

    def get(self, file_id):
        return self._ask("GET", f"/files/{file_id}")

    def download(self, file_id):
        """The bytes: the service says where they are."""
        answer = self._ask("GET", f"/files/{file_id}/download")
        return requests.get(answer.json()["download_url"], timeout=60) if answer.ok else answer

    def delete(self, file_id):
        return self._ask("DELETE", f"/files/{file_id}")

    def config(self):
        return self._ask("GET", "/admin/config")

    def mode(self, mode, **more):
        return self._ask("PUT", "/admin/mode", json={"mode": mode, **more})

    def cache(self, what, **options):
        return self._ask("POST", f"/admin/cache/{what}", json=options)

    def wal(self, **parameters):
        return self._ask("GET", "/admin/wal", params=parameters)

    def finished(self, started):
        """The operation when it is over."""
        assert started.status_code == 202, started.text
        deadline = time.monotonic() + 60
        while True:
            operation = self._ask("GET", f"/admin/operations/{started.json()['id']}").json()
            if operation["state"] not in ("waiting", "running"):
                return operation
            assert time.monotonic() < deadline, operation
            time.sleep(0.1)


def users(instance):
    return StorageElement(instance.api_url, instance.user_token), StorageElement(instance.api_url, instance.admin_token)


def refusal(answer):
    """What the document's errors carry."""
    body = answer.json()
    assert isinstance(body["message"], str) and isinstance(body["details"], dict), body
    return answer.status_code, body["error_code"]


def reached(element, mode, seconds=60):
    deadline = time.monotonic() + seconds
    while (config := element.config().json())["current_mode"] != mode:
        assert time.monotonic() < deadline, config
        time.sleep(0.1)
    return config


@pytest.mark.every_pair
def test_upload_search_get_download_delete(cloakroom):
    element, admin = users(cloakroom)
    content = f"quarter {uuid.uuid4()}".encode() * 1000
    word = f"w{uuid.uuid4().hex[:12]}"
    uploaded = element.upload(
        "Отчёт май.txt", content, description=f"Quarterly {word}", metadata=json.dumps({"year": 2026, "word": word})
    )
    assert uploaded.status_code == 201, uploaded.text
    body = uploaded.json()
    assert body.keys() >= FILE_COLUMNS
    # What is answered is verified: it can be downloaded at once.
    assert (body["state"], body["file_size"]) == ("ready", len(content))
    assert body["checksum"] == hashlib.sha256(content).hexdigest()
    assert body["original_filename"] == "Отчёт май.txt"
    assert body["metadata_json"] == {"year": 2026, "word": word}
    found = element.search(query=word)
    assert [file["file_id"] for file in found.json()["files"]] == [body["file_id"]], found.text
    assert element.search(q="отчет", **{"metadata.word": word}).json()["files"][0]["storage_path"] == body["storage_path"]
    got = element.get(body["file_id"])
    assert {name: got.json()[name] for name in FILE_COLUMNS} == {name: body[name] for name in FILE_COLUMNS}
    assert element.download(body["file_id"]).content == content

    stranger = StorageElement(cloakroom.api_url, token_of(cloakroom, f"s{uuid.uuid4().hex[:8]}"))
    assert refusal(stranger.get(body["file_id"])) == (404, "file_not_found")
    assert refusal(stranger.delete(body["file_id"])) == (404, "file_not_found")
    assert stranger.search(query=word).json()["files"] == []
    assert [file["file_id"] for file in admin.search(query=word).json()["files"]] == [body["file_id"]]

    created = admin.wal(file_id=body["file_id"], operation_type="FILE_CREATE").json()["transactions"]
    assert len(created) == 1 and created[0].keys() == WAL_COLUMNS
    assert (created[0]["status"], created[0]["file_id"]) == ("COMMITTED", body["file_id"])
    assert created[0]["duration_ms"] >= 0 and created[0]["started_at"] <= created[0]["completed_at"]

    assert element.delete(body["file_id"]).status_code == 204
    changed = admin.wal(file_id=body["file_id"], operation_type="FILE_UPDATE").json()["transactions"]
    assert changed and all(one["started_at"] <= one["completed_at"] for one in changed), changed
    assert element.search(query=word).json()["files"] == []
    assert not element.download(body["file_id"]).ok


def test_names_and_directories_tell_where_a_file_came_from(cloakroom):
    element, _ = users(cloakroom)
    username = jwt.decode(cloakroom.user_token, options={"verify_signature": False})["sub"]
    before = datetime.now(UTC)
    body = element.upload("Годовой  отчёт/v1?.pdf.txt".replace("/", "-"), b"abc").json()
    after = datetime.now(UTC)
    hours = {f"{at:%Y/%m/%d/%H}" for at in (before, after)}
    directory, name = body["storage_path"].rsplit("/", 1)
    assert directory in hours and name == body["storage_filename"]
    stem, said_by, timestamp, last = re.fullmatch(r"(.+)_([^_]+)_(\d{8}T\d{6})_([0-9a-f-]{36}\.txt)", name).groups()
    assert said_by == username and last == f"{body['file_id']}.txt" and stem.startswith("Годовой")
    assert not re.search(r"[/?\\ ]", name)
    long = element.upload(f"{'ж' * 115}.txt", b"abc").json()["storage_filename"]
    assert len(long) <= 200 and len(long.encode()) <= 255 and long.endswith(".txt")
    cut = element.upload(f"{'ж' * 400}.txt", b"abc")
    assert cut.status_code == 201, cut.text
    assert cut.json()["original_filename"] == f"{'ж' * 251}.txt" and len(cut.json()["storage_filename"]) <= 200


def test_attribute_files_stand_beside_the_bytes(own_cloakroom):
    element, _ = users(own_cloakroom)
    body = element.upload("a.txt", b"abc", description="Quarterly").json()
    objects = Path(own_cloakroom.data_dir) / "objects"
    directory = (objects / "documents" / body["storage_path"]).parent
    sidecars = [path for path in directory.glob("*.attr.json") if body["storage_filename"] in path.name]
    assert len(sidecars) == 1 and sidecars[0].stat().st_size <= 4096
    said = json.loads(sidecars[0].read_text())
    assert body["checksum"] in sidecars[0].read_text() and "Quarterly" in sidecars[0].read_text(), said
    # What does not fit into one is refused, with a clear error.
    large = element.upload("b.txt", b"abc", metadata=json.dumps({"text": "x" * 5000}))
    assert refusal(large) == (422, "metadata_too_large")


def test_errors_carry_message_code_and_details(cloakroom):
    element, admin = users(cloakroom)
    nobody = str(uuid.uuid4())
    assert refusal(element.get(nobody)) == (404, "file_not_found")
    assert refusal(element.config()) == (403, "insufficient_permissions")
    assert refusal(StorageElement(cloakroom.api_url, "nonsense").get(nobody)) == (401, "invalid_token")
    assert refusal(admin.mode("ro")) == (409, "invalid_storage_mode")
    assert refusal(element.upload("a.txt", b"abc", checksum="0" * 64)) == (422, "checksum_mismatch")
    key = (Path(cloakroom.data_dir) / "keys/dev-private.pem").read_text()
    header = jwt.get_unverified_header(cloakroom.admin_token)
    claims = jwt.decode(cloakroom.admin_token, options={"verify_signature": False})

    def signed(**changes):
        token = jwt.encode(claims | changes, key, algorithm="RS256", headers={"kid": header["kid"]})
        return StorageElement(cloakroom.api_url, token).config()

    assert signed().status_code == 200
    named = StorageElement(
        cloakroom.api_url,
        jwt.encode(
            claims | {"sub": f"u{uuid.uuid4().hex[:8]}", "role": "user", "preferred_username": "artur", "name": "Artur Иванов"},
            key,
            algorithm="RS256",
            headers={"kid": header["kid"]},
        ),
    )
    body = named.upload("a.txt", b"abc").json()
    assert (body["created_by_username"], body["created_by_fullname"]) == ("artur", "Artur Иванов")
    assert "_artur_" in body["storage_filename"]
    # Text fields come before the file, which is streamed.
    parts = [("file", ("a.txt", b"abc", "text/plain")), ("description", (None, "too late"))]
    late = requests.post(f"{element.url}/files/upload", files=parts, headers=element.headers, timeout=30)
    assert refusal(late) == (400, "malformed_body")
    assert refusal(signed(exp=int(time.time()) - 1)) == (401, "token_expired")
    assert refusal(signed(type="refresh")) == (401, "invalid_token")
    assert refusal(signed(nbf=int(time.time()) + 300)) == (401, "invalid_token")
    assert refusal(signed(role="operator")) == (403, "insufficient_permissions")
    for algorithm, secret in (("HS256", "x" * 32), ("none", None)):
        forged = jwt.encode(claims, secret, algorithm=algorithm)
        assert refusal(StorageElement(cloakroom.api_url, forged).config()) == (401, "invalid_token")


@pytest.mark.every_pair
def test_mode_transitions(tmp_path, pair):
    with running(tmp_path, pair, {"STORAGE_MODE": "rw", "S3_PRESIGN_EXPIRY_SECONDS_UPLOAD": "2"}) as instance:
        element, admin = users(instance)
        kept = element.upload("a.txt", b"abc").json()
        # rw: nothing is deleted.
        assert refusal(element.delete(kept["file_id"])) == (409, "invalid_storage_mode")
        config = admin.config().json()
        assert config.keys() >= CONFIG_COLUMNS and "secret" not in json.dumps(config)
        assert (config["current_mode"], config["total_files"], config["total_size_bytes"]) == ("rw", 1, 3)
        assert refusal(admin.mode("ar")) == (409, "invalid_storage_mode")
        assert refusal(element.mode("ro")) == (403, "insufficient_permissions")
        # ro: reading alone.
        assert admin.mode("ro").status_code == 200
        assert refusal(element.upload("b.txt", b"abc")) == (409, "invalid_storage_mode")
        config = reached(admin, "ro")
        assert element.download(kept["file_id"]).content == b"abc"
        assert refusal(element.delete(kept["file_id"])) == (409, "invalid_storage_mode")
        # Back to rw with a confirmation.
        assert refusal(admin.mode("rw")) == (409, "confirmation_required")
        changed = admin.mode("rw", confirm=True).json()
        admin_id = jwt.decode(instance.admin_token, options={"verify_signature": False})["sub"]
        assert (changed["current_mode"], changed["mode_changed_by"]) == ("rw", admin_id)
        assert changed["mode_changed_at"] > config["mode_changed_at"]
        assert element.upload("b.txt", b"abc").status_code == 201
        # ar: an archive, whose contents are not read.
        admin.mode("ro")
        reached(admin, "ro")
        assert admin.mode("ar").json()["current_mode"] == "ar"
        assert element.get(kept["file_id"]).status_code == 200
        archived = element.download(kept["file_id"])
        assert refusal(archived) == (409, "archived_file") and archived.json()["details"]
        assert refusal(admin.mode("rw", confirm=True)) == (409, "invalid_storage_mode")
        changes = admin.wal(operation_type="MODE_CHANGE", status="COMMITTED").json()["transactions"]
        assert [change["operation_data"]["mode"] for change in changes][:1] == ["ar"] and len(changes) >= 4
        # One process, so it is the master.
        deadline = time.monotonic() + 60
        while not (config := admin.config().json())["is_master"]:
            assert time.monotonic() < deadline, config
            time.sleep(0.1)
        assert config["master_elected_at"]


def test_the_cache_is_rebuilt_from_attribute_files(tmp_path):
    with running(tmp_path) as instance:
        element, admin = users(instance)
        uploaded = [
            element.upload(f"report-{n}.txt", b"abc" * n, description="Quarterly", metadata='{"n":%d}' % n).json()
            for n in (1, 2)
        ]
        before = element.search(query="quarterly").json()["files"]
        assert admin.config().json()["last_cache_rebuild"] is None
    # The whole table is a cache: without it, everything comes back from the attribute files.
    for database in Path(instance.data_dir).glob("cloakroom.db*"):
        database.unlink()
    with running(tmp_path) as instance:
        element, admin = users(instance)
        assert element.search(query="quarterly").json()["files"] == []
        rebuilt = admin.finished(admin.cache("rebuild"))
        assert rebuilt["state"] == "done", rebuilt
        after = element.search(query="quarterly").json()["files"]
        # A row that comes back is a change, and says so.
        same = FILE_COLUMNS - {"version", "updated_at"}
        by_id = lambda files: {file["file_id"]: {name: file[name] for name in same} for file in files}  # noqa: E731
        assert by_id(after) == by_id(before) and len(after) == 2
        assert element.download(uploaded[1]["file_id"]).content == b"abcabc"
        config = admin.config().json()
        assert config["last_cache_rebuild"] == rebuilt["finished_at"]
        assert (config["total_files"], config["total_size_bytes"]) == (2, 9)
        verified = admin.finished(admin.cache("verify", deep=True))
        assert verified["state"] == "done", verified
        wal = admin.wal(operation_type="CACHE_REBUILD").json()["transactions"]
        assert [entry["status"] for entry in wal] == ["COMMITTED"]
        # Damage is found.
        damaged = next(path for path in Path(instance.data_dir).rglob("*report-2*.txt") if path.is_file())
        damaged.write_bytes(b"xyzxyz")
        verified = admin.finished(admin.cache("verify", deep=True))
        assert sum(verified["counts"].values()) > 0, verified
        assert refusal(element.cache("rebuild")) == (403, "insufficient_permissions")


def test_service_information_health_and_metrics(cloakroom):
    base = cloakroom.api_url
    info = requests.get(f"{base}/", timeout=30).json()
    assert info["name"] and info["version"]
    assert requests.get(f"{base}/health/live", timeout=30).json()["status"] == "ok"
    ready = requests.get(f"{base}/health/ready", timeout=30)
    assert ready.status_code == 200 and ready.json()["stores"][0]["mode"] == "edit"
    assert "cloakroom_files" in requests.get(f"{base}/metrics", timeout=30).text


def test_the_reference_is_there_in_debug_mode_alone_where_that_is_chosen(tmp_path):
    settings = {"CLOAKROOM_SERVER_DOCS": "debug"}
    for debug, status in (("false", 404), ("true", 200)):
        home = tmp_path / debug
        home.mkdir()
        with running(home, EMBEDDED, settings | {"DEBUG": debug}) as instance:
            assert requests.get(f"{instance.api_url}/docs", timeout=30).status_code == status


def test_the_log_file_rotates_and_its_lines_have_the_obligatory_fields(tmp_path):
    log = tmp_path / "element.log"
    settings = {"CLOAKROOM_LOG_FILE": str(log), "CLOAKROOM_LOG_FILE_MAX": "8KiB", "CLOAKROOM_LOG_FILES_KEPT": "5"}
    with running(tmp_path, EMBEDDED, settings) as instance:
        element, _ = users(instance)
        trace = uuid.uuid4().hex
        traced = element.headers | {"traceparent": f"00-{trace}-{'b' * 16}-01", "X-Request-Id": "the-traced-one"}
        for _ in range(200):
            element.search(query="x")
        requests.get(f"{element.url}/files/search", headers=traced, timeout=30)
    files = sorted(tmp_path.glob("element.log*"))
    assert [path.name for path in files] == ["element.log"] + [f"element.log.{n}" for n in range(1, 6)]
    assert all(path.stat().st_size <= 8192 for path in files)
    lines = [json.loads(line) for path in reversed(files) for line in path.read_text().splitlines()]
    for line in lines:
        assert line.keys() >= {"timestamp", "level", "logger", "module", "function", "line", "message"}, line
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)
    answered = next(line for line in lines if line.get("request_id") == "the-traced-one" and "status" in line)
    assert answered["trace_id"] == trace and re.fullmatch("[0-9a-f]{16}", answered["span_id"])
    assert answered["user_id"] == jwt.decode(instance.user_token, options={"verify_signature": False})["sub"]


def test_a_yaml_file_configures(tmp_path):
    yaml = "storage:\n  mode: rw\nserver:\n  docs: never\ncollections:\n  documents:\n    size_max: 1KiB\n"
    (tmp_path / "cloakroom.yaml").write_text(yaml)
    with running(tmp_path) as instance:
        element, admin = users(instance)
        assert admin.config().json()["current_mode"] == "rw"
        assert requests.get(f"{instance.api_url}/docs", timeout=30).status_code == 404
        assert refusal(element.upload("a.txt", b"x" * 2000)) == (413, "file_too_large")
    # The environment is stronger.
    with running(tmp_path, EMBEDDED, {"CLOAKROOM_SERVER_DOCS": "always"}) as instance:
        assert requests.get(f"{instance.api_url}/docs", timeout=30).status_code == 200


def redis(*words):
    """One question to Redis, answered with a text, a number or a list of texts."""
    address = urlsplit(server("REDIS_URL"))

    def read(stream):
        kind, rest = (line := stream.readline())[:1], line[1:].strip()
        if kind == b"$":
            return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [read(stream) for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest.decode()

    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        encoded = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in map(str.encode, words))
        connection.sendall(b"*%d\r\n%s" % (len(words), encoded))
        with connection.makefile("rb") as stream:
            return read(stream)


def test_processes_are_found_in_redis(tmp_path):
    prefix = f"t{uuid.uuid4().hex[:12]}"
    settings = {
        "REDIS_URL": server("REDIS_URL"),
        "CLOAKROOM_DATABASE_TABLE_PREFIX": prefix,
        "CLOAKROOM_REDIS_ANNOUNCE_TTL": "15s",
        "CLOAKROOM_STORE_CAPACITY": "2GiB",
    }
    with running(tmp_path, EMBEDDED, settings) as instance:
        user, admin = users(instance)
        user.upload("a.txt", b"abc")
        deadline = time.monotonic() + 90
        while True:
            keys = redis("KEYS", f"{prefix}:nodes:*")
            said = [json.loads(redis("GET", key) or "{}") for key in keys]
            master = admin.config().json()["master"]
            if said and said[0].get("is_master") and said[0]["total_files"] == 1 and master:
                break
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        assert len(said) == 1 and keys == [f"{prefix}:nodes:{said[0]['id']}"] == [f"{prefix}:nodes:{master}"]
        assert (said[0]["url"], said[0]["mode"]) == (instance.api_url, "edit")
        assert said[0]["total_size_bytes"] == 3 and said[0]["stores"][0]["name"] == "main"
        assert said[0]["stores"][0]["capacity_bytes"] == 2 << 30 and said[0]["updated_at"]
        assert 0 < redis("PTTL", keys[0]) <= 15_000
    # A process that ended in order is gone at once.
    assert redis("KEYS", f"{prefix}:nodes:*") == []


def test_uploads_are_streamed(own_cloakroom):
    """Many at once, larger than what is held of them in memory."""
    element, _ = users(own_cloakroom)
    content = os.urandom(1 << 20) * 32

    def resident():
        status = Path(f"/proc/{own_cloakroom.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024

    element.upload("warm.bin", content[: 1 << 20], "application/octet-stream")
    before = resident()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: element.upload(f"{n}.bin", content, "application/octet-stream"), range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert resident() - before < 2 * len(content)
