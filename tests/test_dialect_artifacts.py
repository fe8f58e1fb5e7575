"""S0, "Stage 9.3": its runbook and its smoke script against the program, and what its document promises beside them."""

import json
import os
import queue
import re
import shlex
import subprocess
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from instance import ENVIRONMENT, ROOT, program, running, token_of
from pairs import Pair
from toxics import Proxy

DEBUG = {"DEBUG": "1"}
SCRIPT = ROOT / "scripts/smoke-stage9.3.sh"


def call(server, token, method, path, **options):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, server.api_url + path, headers=headers, timeout=60, **options)


def events(home):
    """The lines of the log that are events, by name."""
    found = {}
    # What the program is just writing is not yet a line.
    for line in (home / "log").read_text(errors="replace").rpartition("\n")[0].splitlines():
        if not line.startswith("{"):
            continue
        line = json.loads(line)
        fields = line | line.get("fields", {})
        found.setdefault(fields.get("event"), []).append(fields)
    return found


@pytest.fixture(scope="module")
def debugging(tmp_path_factory):
    """An instance with DEBUG=1, and where it lives."""
    home = tmp_path_factory.mktemp("artifacts")
    with running(home, more=DEBUG) as server:
        yield server, home


def test_smoke_in_one_command(tmp_path):
    environment = ENVIRONMENT | {"CLOAKROOM_BIN": str(program()), "TMPDIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([SCRIPT], env=environment, cwd="/", capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "PASS  stage 9.3"
        for step in ("/health/s3", "mock OTP", "offer accepted", "test PDF", "%PDF", "/me/files"):
            assert step in done.stdout, done.stdout
    # Nothing is left behind, and nothing runs on.
    assert list(tmp_path.iterdir()) == []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in process.read_bytes()
        except OSError:
            pass


def test_smoke_says_when_it_fails(tmp_path):
    environment = ENVIRONMENT | {"CLOAKROOM_BIN": "/bin/false", "TMPDIR": str(tmp_path)}
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "FAIL" in done.stdout, done.stdout
    assert list(tmp_path.iterdir()) == []


def test_smoke_is_not_configured_from_outside(tmp_path):
    """Whatever the caller's shell says of databases and stores must not be touched."""
    foreign = {
        "DATABASE_URL": "postgres://ann:hush@127.0.0.1:1/none",
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "CLOAKROOM_SERVER_LISTEN": "127.0.0.1:1",
    }
    environment = ENVIRONMENT | foreign | {"CLOAKROOM_BIN": str(program()), "TMPDIR": str(tmp_path)}
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_line_of_the_runbook(debugging):
    """`curl -s http://localhost:8000/health/s3 | python3 -m json.tool`, but for the host."""
    server, _ = debugging
    line = "curl -s http://localhost:8000/health/s3 | python3 -m json.tool"
    line = line.replace("http://localhost:8000", shlex.quote(server.api_url))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["ok"] is True and body["bucket"] == "artifacts" and body["endpoint"] == server.s3_url
    assert body["bucket_exists"] is True, "DEBUG=1 looks at the bucket"
    assert server.access_key not in done.stdout and server.secret_key not in done.stdout


def test_the_session_of_the_page(debugging, tmp_path):
    """`docs/dialects/artifacts.md`, "By hand": its lines as they stand, but for the host."""
    server, _ = debugging
    page = (ROOT / "docs/dialects/artifacts.md").read_text()
    by_hand = page[page.index("## By hand") : page.index("## Where things are kept")]
    _, first, second = re.findall(r"^```bash\n(.*?)^```", by_hand, re.M | re.S)
    lines = (first + second).replace("http://localhost:8000", server.api_url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "%PDF" in done.stdout.splitlines() and '"doc_id": "doc-1"' in done.stdout
    assert (tmp_path / "test.pdf").read_bytes()[:4] == b"%PDF"
    # The last line uploaded a file for the artifact that was put before it.
    file = json.loads(done.stdout.splitlines()[-1])
    assert file["collection"] == "artifacts" and file["record"]["type"] == "artifact", file


def test_rows_hold_no_bytes_of_files(tmp_path):
    with running(tmp_path, more=DEBUG) as server:
        ann = token_of(server, "ann")
        made = call(server, ann, "POST", "/debug/s3/put-test-pdf", json={"doc_id": "in-the-row"}).json()
        content = requests.get(made["download_url"], timeout=30).content
        mark = content[content.index(b"Td (") : content.index(b") Tj")]
        rows = b"".join(path.read_bytes() for path in Path(server.data_dir).glob("*.db*"))
        assert b"in-the-row" in rows and made["object_key"].encode() in rows
        assert mark not in rows and b"%PDF" not in rows


def test_health_is_shallow_without_debug(cloakroom):
    body = requests.get(f"{cloakroom.api_url}/health/s3", timeout=30).json()
    assert body == {
        "ok": True,
        "bucket": "artifacts",
        "endpoint": cloakroom.s3_url,
        "presign_endpoint": cloakroom.s3_url,
        "region": cloakroom.region,
        "credentials": True,
    }


def test_nothing_for_debugging_without_debug(cloakroom):
    for path in ("/debug/s3/put-test-pdf", "/auth/otp/request", "/auth/otp/verify"):
        answer = call(cloakroom, cloakroom.user_token, "POST", path, json={"phone": "+79990001122", "code": "1"})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "route_not_found"), path


def sign_in(server, phone):
    """As the document's smoke does: a code is asked for, and given back."""
    asked = requests.post(f"{server.api_url}/auth/otp/request", json={"phone": phone}, timeout=30)
    assert asked.ok, asked.text
    signed_in = requests.post(
        f"{server.api_url}/auth/otp/verify", json={"phone": phone, "code": asked.json()["code"]}, timeout=30
    )
    assert signed_in.ok, signed_in.text
    return signed_in.json()


def test_the_pipeline_of_the_document(debugging, tmp_path):
    server, home = debugging
    ann, bob = sign_in(server, "+79990000001"), sign_in(server, "+79990000002")
    token = ann["access_token"]
    assert call(server, None, "POST", "/debug/s3/put-test-pdf").status_code == 401
    assert call(server, token, "POST", "/offer/accept").json()["accepted"] is True
    made = call(server, token, "POST", "/debug/s3/put-test-pdf", json={"session_id": ann["session_id"], "doc_id": "d-1"})
    assert made.status_code == 201, made.text
    made = made.json()

    # The URL works without any of our credentials, and what it gives is a PDF for others too.
    got = requests.get(made["download_url"], timeout=30)
    assert got.ok and got.content[:4] == b"%PDF" and len(got.content) == made["size_bytes"]
    assert got.headers["Content-Type"] == "application/pdf"
    (tmp_path / "test.pdf").write_bytes(got.content)
    told = subprocess.run(["pdfinfo", tmp_path / "test.pdf"], capture_output=True, text=True, timeout=30)
    assert told.returncode == 0 and told.stderr == "" and re.search(r"^Pages: +1$", told.stdout, re.M), told

    # The artifact and its session are records.
    artifact = call(server, token, "GET", f"/api/v1/records/artifact/{made['artifact_id']}").json()
    assert artifact["parent"] == {"type": "session", "id": ann["session_id"]}
    assert (artifact["meta"]["type"], artifact["meta"]["format"], artifact["meta"]["doc_id"]) == ("test_pdf", "pdf", "d-1")
    assert artifact["payload"]
    session = call(server, token, "GET", f"/api/v1/records/session/{ann['session_id']}").json()
    assert session["owner"] == ann["user_id"] == "+79990000001"

    mine = call(server, token, "GET", "/me/files").json()["files"]
    assert [file["file_id"] for file in mine] == [made["file_id"]] and mine[0]["doc_id"] == "d-1"
    assert {"bucket", "object_key", "content_type", "size_bytes", "created_at", "updated_at"} <= set(mine[0])
    download = call(server, token, "GET", f"/files/{made['file_id']}/download").json()
    assert requests.get(download["download_url"], timeout=30).content == got.content
    assert datetime.fromisoformat(download["expires_at"]) > datetime.now(timezone.utc)

    # Nobody else gets anything, and learns nothing.
    other = bob["access_token"]
    assert call(server, other, "GET", "/me/files").json()["files"] == []
    foreign = call(server, other, "GET", f"/files/{made['file_id']}/download")
    missing = call(server, other, "GET", "/files/01890a5d-ac96-774b-bcce-b302099a8057/download")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["message"] == missing.json()["message"]
    theirs = call(server, other, "POST", "/debug/s3/put-test-pdf", json={"session_id": ann["session_id"]})
    assert theirs.status_code == 404
    for path in ("/me/files", f"/files/{made['file_id']}/download"):
        assert call(server, None, "GET", path).status_code == 401
    # A signature is for one object: another key under it is refused.
    forged = made["download_url"].replace(made["file_id"], made["artifact_id"])
    assert forged != made["download_url"] and requests.get(forged, timeout=30).status_code == 403

    def logged(event):
        return [entry for entry in events(home)[event] if entry.get("file_id") == made["file_id"]]

    assert len(logged("s3_upload_start")) == len(logged("s3_upload_ok")) == len(logged("file_created")) == 1
    created = logged("file_created")[0]
    assert (created["artifact_id"], created["file_size"]) == (made["artifact_id"], made["size_bytes"])
    presigned = [entry for entry in logged("file_presigned") if entry.get("operation") == "download"]
    assert len(presigned) == 2 and presigned[0]["user_id"] == "+79990000001"
    assert len(logged("s3_presign_ok")) == 2
    text = (home / "log").read_text()
    for part in ("X-Amz-Signature", "X-Amz-Credential", urlsplit(made["download_url"]).query, token):
        assert part not in text


@pytest.mark.every_pair
def test_a_pdf_on_every_pair(tmp_path, pair):
    with running(tmp_path, pair, DEBUG) as server:
        ann = token_of(server, "ann")
        made = call(server, ann, "POST", "/debug/s3/put-test-pdf", json={"doc_id": "d"})
        assert made.status_code == 201, made.text
        made = made.json()
        assert requests.get(made["download_url"], timeout=30).content[:4] == b"%PDF"
        query = parse_qs(urlsplit(made["download_url"]).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        # More than one file, with and without a doc_id, in one list.
        second = call(server, ann, "POST", "/debug/s3/put-test-pdf").json()
        files = call(server, ann, "GET", "/me/files").json()["files"]
        assert [(file["file_id"], file.get("doc_id")) for file in files] == [
            (second["file_id"], None),
            (made["file_id"], "d"),
        ]
        first = call(server, ann, "GET", "/me/files?limit=1").json()
        rest = call(server, ann, "GET", f"/me/files?limit=1&cursor={first['next_cursor']}").json()
        assert [file["file_id"] for file in first["files"] + rest["files"]] == [file["file_id"] for file in files]
        health = requests.get(f"{server.api_url}/health/s3", timeout=30).json()
        assert health["ok"] is True and health["bucket_exists"] is True
        assert health["bucket"] == made["bucket"]


def test_urls_are_signed_for_the_presign_endpoint(tmp_path):
    """`S3_ENDPOINT` is what the service calls; the URL is for `S3_PRESIGN_ENDPOINT`, and no other host may be put in."""
    upstream = urlsplit(os.environ["CLOAKROOM_TEST_S3_ENDPOINT"])
    proxy = Proxy((upstream.hostname, upstream.port))
    public = f"http://127.0.0.1:{proxy.port}"
    try:
        with running(tmp_path, Pair("sqlite", "ceph"), DEBUG | {"S3_PRESIGN_ENDPOINT": public}) as server:
            # The service itself does not go through what clients use.
            proxy.set("refuse")
            made = call(server, token_of(server, "ann"), "POST", "/debug/s3/put-test-pdf").json()
            proxy.set(None)
            url = made["download_url"]
            assert url.startswith(f"{public}/{made['bucket']}/")
            assert requests.get(url, timeout=30).content[:4] == b"%PDF"
            moved = url.replace(public, f"{upstream.scheme}://{upstream.netloc}")
            assert requests.get(moved, timeout=30).status_code == 403
            health = requests.get(f"{server.api_url}/health/s3", timeout=30).json()
            assert health["presign_endpoint"] == public
            assert health["endpoint"] == os.environ["CLOAKROOM_TEST_S3_ENDPOINT"]
    finally:
        proxy.close()


def test_uploads_wait_for_the_offer(tmp_path):
    with running(tmp_path, more=DEBUG | {"CLOAKROOM_UPLOADS_OFFER": "2026-11"}) as server:
        ann = token_of(server, "ann")
        refused = call(server, ann, "POST", "/debug/s3/put-test-pdf")
        assert (refused.status_code, refused.json()["error_code"]) == (403, "offer_not_accepted")
        # What was begun for it is gone again.
        assert call(server, ann, "GET", "/me/files").json()["files"] == []
        accepted = call(server, ann, "POST", "/offer/accept", json={"version": "2026-11"}).json()
        assert accepted["accepted"] is True and accepted["version"] == "2026-11"
        assert call(server, ann, "POST", "/debug/s3/put-test-pdf").status_code == 201
        assert call(server, token_of(server, "bob"), "POST", "/debug/s3/put-test-pdf").status_code == 403


class Receiver:
    """What alerts are posted to; answers with the statuses that it was told, then with 200."""

    def __init__(self):
        self.seen, self.statuses = queue.Queue(), queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Content-Type"] == "application/json"
                receiver.seen.put(body)
                try:
                    status = receiver.statuses.get_nowait()
                except queue.Empty:
                    status = 200
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts?token=alert-hush"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def until(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def upload_during_an_outage(home, settings, after):
    """Runs an instance whose store goes away, sends it a file, and hands the answer to `after`."""
    upstream = urlsplit(os.environ["CLOAKROOM_TEST_S3_ENDPOINT"])
    proxy = Proxy((upstream.hostname, upstream.port))
    settings = DEBUG | {"S3_ENDPOINT": f"http://127.0.0.1:{proxy.port}", "CLOAKROOM_S3_REQUEST_TIMEOUT": "15s"} | settings
    try:
        with running(home, Pair("sqlite", "ceph"), settings) as server:
            ann = token_of(server, "ann")
            assert call(server, ann, "POST", "/debug/s3/put-test-pdf").status_code == 201
            proxy.set("refuse")
            answer = call(server, ann, "POST", "/api/v1/files", files={"file": ("a.txt", b"x")})
            after(answer)
            proxy.set(None)
    finally:
        proxy.close()


def test_an_upload_error_is_an_alert(tmp_path):
    receiver = Receiver()
    # The first attempt to tell it fails: it is tried again.
    receiver.statuses.put(500)

    def after(answer):
        assert answer.status_code == 503, answer.text
        alerts = [receiver.seen.get(timeout=90), receiver.seen.get(timeout=90)]
        assert alerts[0] == alerts[1]
        alert = alerts[0]
        assert (alert["service"], alert["alert"], alert["severity"]) == ("cloakroom", "upload_error", "error")
        assert alert["details"]["collection"] == "files" and alert["details"]["file_id"]
        assert alert["message"] in alert["text"] and datetime.fromisoformat(alert["at"])
        until(lambda: "alert_sent" in events(tmp_path))

    try:
        upload_during_an_outage(tmp_path, {"ALERT_WEBHOOK_URL": receiver.url}, after)
    finally:
        receiver.close()
    log = events(tmp_path)
    assert log["s3_upload_error"] and log["alert_sent"][0]["alert"] == "upload_error"
    assert log["alert_error"][0]["reason"] == "answered 500"
    text = (tmp_path / "log").read_text()
    assert "alert-hush" not in text and receiver.url not in text


def test_an_alert_that_nobody_takes_stops_nothing(tmp_path):
    receiver = Receiver()
    receiver.close()

    def about_uploads(event):
        return [entry for entry in events(tmp_path).get(event, []) if entry["alert"] == "upload_error"]

    def after(answer):
        assert answer.status_code == 503 and answer.elapsed.total_seconds() < 30
        until(lambda: about_uploads("alert_lost"))
        assert [entry["attempt"] for entry in about_uploads("alert_error")] == [1, 2, 3]

    upload_during_an_outage(tmp_path, {"ALERT_WEBHOOK_URL": receiver.url}, after)
    text = (tmp_path / "log").read_text()
    assert "alert-hush" not in text and receiver.url not in text


def test_without_an_address_there_are_no_alerts(tmp_path):
    def after(answer):
        assert answer.status_code == 503

    upload_during_an_outage(tmp_path, {}, after)
    log = events(tmp_path)
    assert log["s3_upload_error"] and not any(name and name.startswith("alert_") for name in log)


@pytest.mark.parametrize(
    "url", ["http://example.com/hush", "https://10.0.0.1/hush", "https://ann:hush@example.com", "hush"]
)
def test_alerts_go_nowhere_private_unless_allowed(tmp_path, url):
    environment = ENVIRONMENT | {"ALERT_WEBHOOK_URL": url}
    done = subprocess.run(
        [program(), "config", "check"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "alerts.webhook_url" in said and "hush" not in said, said


def test_the_openapi_document_has_the_dialect(debugging):
    server, _ = debugging
    paths = requests.get(f"{server.api_url}/openapi.json", timeout=30).json()["paths"]
    for path, method in [
        ("/health/s3", "get"),
        ("/debug/s3/put-test-pdf", "post"),
        ("/files/{file_id}/download", "get"),
        ("/me/files", "get"),
        ("/offer/accept", "post"),
        ("/auth/otp/request", "post"),
        ("/auth/otp/verify", "post"),
    ]:
        assert paths[path][method]["operationId"].startswith("artifacts_"), path
