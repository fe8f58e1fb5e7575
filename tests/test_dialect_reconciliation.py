"""S2, MAT-80: the document's own clients against the running program. Its browser flow as it stands, in Chromium; its PUT
shape and its integration scenario (task 14) in Python."""

import concurrent.futures
import functools
import hashlib
import html
import http.client
import http.server
import io
import json
import re
import subprocess
import threading
import time
import urllib.parse
import uuid
import zipfile
from datetime import UTC, datetime

import pytest
import requests
from instance import ENVIRONMENT, program
from test_browser import browse

# "Frontend Client Flow" of the document, to the letter.
FLOW = """
// 1. USER SELECTS FILE IN UI
const handleFileSelect = async (file: File) => {
  try {
    // 2. REQUEST PRESIGNED URL FROM BACKEND
    const presignResponse = await fetch('/api/files/sign_upload', {
      method: 'POST',
      headers: {
        'Authorization': `Bearer ${authToken}`,
        'Content-Type': 'application/json'
      },
      body: JSON.stringify({
        filename: file.name,
        file_type: 'source',  // or 'comparison'
        reconciliation_id: currentReconciliationId  // optional
      })
    });

    const presignData = await presignResponse.json();

    // 3. UPLOAD DIRECTLY TO MINIO/S3 USING PRESIGNED URL
    const formData = new FormData();

    // Add all form fields from presigned response (ORDER MATTERS!)
    Object.entries(presignData.form_fields).forEach(([key, value]) => {
      formData.append(key, value as string);
    });

    // File must be last!
    formData.append('file', file);

    const uploadResponse = await fetch(presignData.upload_url, {
      method: 'POST',
      body: formData
      // No auth header needed - signature is in form fields
    });

    if (!uploadResponse.ok) {
      throw new Error('Upload failed');
    }

    // 4. CONFIRM UPLOAD WITH BACKEND (triggers processing)
    const confirmResponse = await fetch('/api/files/confirm', {
      method: 'POST',
      headers: {
        'Authorization': `Bearer ${authToken}`,
        'Content-Type': 'application/json'
      },
      body: JSON.stringify({
        file_id: presignData.file_id,
        object_name: presignData.object_name,
        bucket_name: presignData.bucket_name,
        reconciliation_id: currentReconciliationId,  // optional, can link later
        metadata: {
          original_filename: file.name,
          size: file.size,
          type: file.type
        }
      })
    });

    const confirmData = await confirmResponse.json();

    // 5. POLL FOR PROCESSING STATUS (optional)
    pollFileStatus(confirmData.file_ingestion_id);

  } catch (error) {
    console.error('Upload error:', error);
  }
};

// Optional: Poll for file processing status
const pollFileStatus = async (fileIngestionId: string) => {
  const interval = setInterval(async () => {
    const response = await fetch(`/api/files/${fileIngestionId}/status`, {
      headers: { 'Authorization': `Bearer ${authToken}` }
    });

    const data = await response.json();

    if (data.status === 'ready' || data.status === 'failed') {
      clearInterval(interval);
      // Update UI accordingly
    }
  }, 2000);
};
"""

# Around the flow: what it takes for granted, and a window.fetch that writes down what was said.
PAGE = """<!doctype html><meta charset="utf-8"><title>upload</title><pre id="result"></pre><script>
const authToken = '%(token)s', currentReconciliationId = %(reconciliation)s
const said = [], tell = () => {
  document.getElementById('result').textContent = JSON.stringify(said)
  document.title = 'done'
}
console.error = (...words) => { said.push({ error: words.map(String).join(' ') }); tell() }
const reallyFetch = window.fetch.bind(window)
window.fetch = async (url, options) => {
  const answer = await reallyFetch(url, options)
  const text = await answer.clone().text()
  said.push({ url, method: options.method ?? 'GET', status: answer.status, text, fields: options.body instanceof FormData ? [...options.body.keys()] : null })
  if (/"status":"(ready|failed)"/.test(text)) tell()
  return answer
}
%(flow)s
handleFileSelect(new File([%(content)s], '%(filename)s', { type: '%(type)s' }))
</script>"""

CSV = b"date,amount,description\n2026-01-01,5.00,coffee\n2026-01-02,7.50,cake\n"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def without_types(typescript):
    """JavaScript: what a browser is given of it."""
    return typescript.replace("(file: File)", "(file)").replace(" as string", "").replace("Id: string)", "Id)")


class Frontend(http.server.BaseHTTPRequestHandler):
    """Serves the page and passes `/api` on, as the proxy in front of an application does."""

    page, api = "", ""

    def do_GET(self):
        if self.path.startswith("/api/"):
            return self.forward()
        self.answer(200, "text/html", self.page.encode())

    def do_POST(self):
        self.forward()

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        told = requests.request(self.command, self.api + self.path, headers=kept, data=body or None, timeout=30)
        self.answer(told.status_code, told.headers["Content-Type"], told.content)

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def frontend(cloakroom, tmp_path):
    """Runs the flow with a file; gives back what was said, in order."""
    handler = type("Handler", (Frontend,), {"api": cloakroom.api_url.rstrip("/")})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(content, filename="transactions.csv", kind="text/csv", reconciliation=None):
        handler.page = PAGE % {
            "token": cloakroom.user_token,
            "reconciliation": "undefined" if reconciliation is None else f"'{reconciliation}'",
            "flow": without_types(FLOW),
            "content": f"new Uint8Array({list(content)})",
            "filename": filename,
            "type": kind,
        }
        # The flow asks every two seconds, and virtual time does not wait for the worker: it needs many of them.
        dom = browse(f"http://127.0.0.1:{server.server_port}/", tmp_path / "profile", virtual_ms=3_600_000)
        found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
        assert found and found[1], dom[-2000:]
        return json.loads(html.unescape(found[1]))

    yield run
    server.shutdown()


class MatchBot:
    """Task 7 to 9 as a Python client calls them."""

    def __init__(self, server, token, prefix=""):
        self.base = server.api_url.rstrip("/") + prefix
        self.headers = {"Authorization": f"Bearer {token}"}

    def sign(self, **request):
        request = {"filename": "transactions.csv", "file_type": "source", **request}
        return requests.post(f"{self.base}/files/sign_upload", json=request, headers=self.headers, timeout=30)

    def confirm(self, **request):
        return requests.post(f"{self.base}/files/confirm", json=request, headers=self.headers, timeout=30)

    def status(self, file_id):
        answer = requests.get(f"{self.base}/files/{file_id}/status", headers=self.headers, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def settled(self, file_id, seconds=60):
        deadline = time.monotonic() + seconds
        while (told := self.status(file_id))["status"] not in ("ready", "failed"):
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        return told

    def put(self, content, **request):
        """Signs as task 7 does and sends the bytes as the answer says."""
        request = {"content_type": "text/csv", "file_size_bytes": len(content), **request}
        signed = self.sign(**request)
        assert signed.ok, signed.text
        signed = signed.json()
        sent = requests.put(signed["upload_url"], data=content, headers=signed["headers"], timeout=30)
        assert sent.status_code == 200, sent.text
        return signed


@pytest.fixture(scope="module")
def matchbot(cloakroom):
    return MatchBot(cloakroom, cloakroom.user_token)


def workbook():
    """A small XLSX, by hand: a header and three rows."""
    cell = "<c t='inlineStr'><is><t>{}</t></is></c>".format
    rows = [("date", "amount")] + [(f"2026-01-0{n}", n) for n in range(1, 4)]
    sheet = "".join(f"<row>{''.join(cell(value) for value in row)}</row>" for row in rows)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f"<Types xmlns='{package}/content-types'>"
        "<Default Extension='rels' ContentType='application/vnd.openxmlformats-package.relationships+xml'/>"
        "<Override PartName='/xl/workbook.xml' ContentType='application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml'/>"
        "<Override PartName='/xl/worksheets/sheet1.xml' ContentType='application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml'/></Types>",
        "_rels/.rels": f"<Relationships xmlns='{package}/relationships'><Relationship Id='r1' Type='{relations}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<workbook xmlns='{main}' xmlns:r='{relations}'><sheets><sheet name='Tab' sheetId='1' r:id='r1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships xmlns='{package}/relationships'><Relationship Id='r1' Type='{relations}/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
        "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{main}'><sheetData>{sheet}</sheetData></worksheet>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


@pytest.mark.every_pair
def test_the_browser_flow_of_the_document_runs_as_it_stands(frontend, cloakroom):
    reconciliation = str(uuid.uuid4())
    said = frontend(CSV, reconciliation=reconciliation)
    assert all("error" not in one for one in said), said
    sign, upload, confirm, *polls = said
    signed = json.loads(sign["text"])
    fields = signed["form_fields"]
    assert sign["url"] == "/api/files/sign_upload" and sign["status"] == 200
    assert set(signed) >= {"upload_url", "form_fields", "file_id", "object_name", "bucket_name", "expires_at"}
    assert next(iter(fields)) == "key" and fields["key"] == signed["object_name"]
    assert {"policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"} <= {n.lower() for n in fields}
    assert upload["fields"] == [*fields, "file"]
    assert (upload["method"], upload["status"]) == ("POST", 204)
    assert json.loads(confirm["text"]) == {
        "status": "confirmed",
        "file_ingestion_id": signed["file_id"],
        "file_id": signed["file_id"],
        "processing_status": "queued",
    }
    assert polls[-1]["url"] == f"/api/files/{signed['file_id']}/status"
    last = json.loads(polls[-1]["text"])
    assert (last["status"], last["row_count"], last["error"]) == ("ready", 2, None)
    assert last["reconciliation_id"] == reconciliation
    assert last["mismatches"] == []


def test_the_browser_flow_links_later(frontend, matchbot):
    said = frontend(CSV)
    assert all("error" not in one for one in said), said
    file_id = json.loads(said[0]["text"])["file_id"]
    assert matchbot.status(file_id)["reconciliation_id"] is None
    reconciliation = str(uuid.uuid4())
    assert matchbot.confirm(file_id=file_id, reconciliation_id=reconciliation).ok
    assert matchbot.status(file_id)["reconciliation_id"] == reconciliation


def test_the_browser_flow_uploads_a_workbook(frontend):
    said = frontend(workbook(), filename="Book 1.xlsx", kind=XLSX)
    assert all("error" not in one for one in said), said
    last = json.loads(said[-1]["text"])
    assert (last["status"], last["row_count"]) == ("ready", 3), last


def test_a_table_that_cannot_be_read_fails_in_the_browser_flow(frontend):
    said = frontend(b'a,b\n"never closed,2\n')
    last = json.loads(said[-1]["text"])
    assert last["status"] == "failed" and last["error"] == last["error_message"] and last["error"], last


def test_an_empty_file_is_refused_by_the_store_and_the_flow_says_upload_failed(frontend):
    said = frontend(b"")
    assert [one.get("status") for one in said[:2]] == [200, 400]
    assert said[-1] == {"error": "Upload error: Error: Upload failed"}


@pytest.mark.every_pair
def test_the_integration_scenario_of_task_14(cloakroom, s3, capsys):
    """Seven steps and their times. `s3` stands for the operator's own look into the store."""
    matchbot = MatchBot(cloakroom, cloakroom.user_token)
    native = {"Authorization": f"Bearer {cloakroom.user_token}"}
    reconciliation, times = str(uuid.uuid4()), {}
    content = b"date,amount,description\n" + b"2026-01-01,5.00,coffee and cake\n" * 1000

    def timed(name, call):
        begun = time.perf_counter()
        answer = call()
        took = (time.perf_counter() - begun) * 1000
        times[name] = min(took, times.get(name, took))
        return answer

    # 1. Request presigned upload URL.
    request = {"content_type": "text/csv", "file_size_bytes": len(content), "reconciliation_id": reconciliation}
    before = datetime.now(UTC)
    signed = timed("sign", lambda: matchbot.sign(**request)).json()
    after = datetime.now(UTC)
    assert signed["method"] == "PUT"
    assert signed["headers"] == {"Content-Type": "text/csv", "Content-Length": str(len(content))}
    expires_at = datetime.fromisoformat(signed["expires_at"].replace("Z", "+00:00"))
    assert (expires_at - before).total_seconds() > 3599 and (expires_at - after).total_seconds() <= 3601, "an hour"
    # 2. Upload file using presigned URL.
    sent = timed("upload", lambda: requests.put(signed["upload_url"], data=content, headers=signed["headers"], timeout=30))
    assert sent.status_code == 200, sent.text
    # 3. Confirm upload.
    claims = {
        "columns": ["date", "amount", "description"],
        "row_count": 1000,
        "file_hash": hashlib.sha256(content).hexdigest(),
    }
    confirm = functools.partial(matchbot.confirm, file_id=signed["file_id"], reconciliation_id=reconciliation, metadata=claims)
    confirmed = timed("confirm", confirm)
    assert confirmed.json()["processing_status"] == "queued", confirmed.text
    told = timed("process", lambda: matchbot.settled(confirmed.json()["file_ingestion_id"]))
    assert told["status"] == "ready" and told["mismatches"] == [], told
    assert (told["row_count"], told["columns"], told["file_size_bytes"]) == (1000, claims["columns"], len(content))
    assert (told["filename"], told["error_message"]) == ("transactions.csv", None)
    assert told["uploaded_at"] <= told["processed_at"]
    # The quickest counts: a busy machine may hold one of them up.
    for _ in range(2):
        assert timed("sign", lambda: matchbot.sign(**request)).ok and timed("confirm", confirm).ok
    # 4. Verify file exists in the store.
    if cloakroom.access_key:
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=signed["bucket_name"])["Contents"]]
        assert any(signed["file_id"] in key and key.endswith(".csv") for key in keys), keys
    # 5. Request download URL.
    download = f"{cloakroom.api_url}/api/v1/files/{signed['file_id']}/download"
    url = timed("sign download", lambda: requests.get(download, headers=native, timeout=30)).json()
    assert 1.4 * 3600 < _seconds_until(url["expires_at"]) <= 7201, "two hours"
    # 6. Download and verify file content.
    got = timed("download", lambda: requests.get(url["download_url"], timeout=30))
    assert got.content == content
    assert "transactions.csv" in got.headers["Content-Disposition"]
    # 7. Clean up.
    file = f"{cloakroom.api_url}/api/v1/files/{signed['file_id']}"
    assert requests.delete(file, headers=native, timeout=30).status_code == 204
    assert matchbot.status(signed["file_id"])["status"] == "failed"
    with capsys.disabled():
        print("\n  " + ", ".join(f"{name} {took:.0f} ms" for name, took in times.items()))
    assert times["sign"] < 2000 and times["confirm"] < 2000


def _seconds_until(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime.now(UTC)).total_seconds()


def test_what_the_worker_finds_counts_and_the_difference_is_told(matchbot):
    signed = matchbot.put(CSV)
    claims = {"columns": ["date", "sum", "description"], "row_count": 1000}
    assert matchbot.confirm(file_id=signed["file_id"], metadata=claims).ok
    told = matchbot.settled(signed["file_id"])
    assert (told["status"], told["row_count"]) == ("ready", 2)
    assert {one["field"]: one["found"] for one in told["mismatches"]} == {
        "columns": ["date", "amount", "description"],
        "row_count": 2,
    }


def test_errors_of_the_scenario(matchbot, stranger_token, cloakroom):
    # Before the bytes are there, other bytes than were announced, bytes with another hash.
    signed = matchbot.sign(content_type="text/csv", file_size_bytes=len(CSV)).json()
    early = matchbot.confirm(file_id=signed["file_id"])
    assert (early.status_code, early.json()["error_code"]) == (409, "upload_incomplete")
    longer = requests.put(signed["upload_url"], data=CSV + b"x", headers={"Content-Type": "text/csv"}, timeout=30)
    assert longer.status_code in (400, 403), longer.text
    other = requests.put(signed["upload_url"], data=CSV, headers=signed["headers"] | {"Content-Type": "text/html"}, timeout=30)
    assert other.status_code == 403, other.text
    sent = matchbot.put(CSV)
    assert matchbot.confirm(file_id=sent["file_id"], metadata={"file_hash": "0" * 64}).status_code in (200, 422)
    # Somebody else's file and reconciliation.
    stranger = MatchBot(cloakroom, stranger_token)
    assert stranger.confirm(file_id=sent["file_id"]).status_code == 404
    reconciliation = str(uuid.uuid4())
    assert matchbot.sign(reconciliation_id=reconciliation).ok
    assert stranger.sign(reconciliation_id=reconciliation).status_code == 404
    assert requests.post(f"{matchbot.base}/files/sign_upload", json={}, timeout=30).status_code == 401


def test_many_at_once(matchbot):
    def one(number):
        content = b"a,b\n" + b"1,2\n" * number
        signed = matchbot.put(content)
        assert matchbot.confirm(file_id=signed["file_id"]).ok
        told = matchbot.settled(signed["file_id"])
        return told["status"], told["row_count"] == number, signed["object_name"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = list(pool.map(one, range(1, 33)))
    assert {(status, right) for status, right, _ in done} == {("ready", True)}
    assert len({name for _, _, name in done}) == 32


def test_every_state_of_the_document_is_seen(matchbot, cloakroom):
    """pending, uploading, uploaded, confirmed or processing, ready; `failed` is seen in the browser flow."""
    content = b"a,b\n" + b"1,2\n" * 50_000
    signed = matchbot.sign(content_type="text/csv", file_size_bytes=len(content)).json()
    file_id, seen = signed["file_id"], []

    def until(*states):
        deadline = time.monotonic() + 90
        while (told := matchbot.status(file_id))["status"] not in states:
            assert time.monotonic() < deadline, told
            time.sleep(0.02)
        seen.append(told["status"])
        return told

    assert until("pending")["uploaded_at"] is None
    url = urllib.parse.urlsplit(signed["upload_url"])
    sending = http.client.HTTPConnection(url.netloc, timeout=30)
    sending.putrequest("PUT", f"{url.path}?{url.query}")
    for name, value in signed["headers"].items():
        sending.putheader(name, value)
    sending.endheaders(content[:100_000])
    assert until("uploading")["processing_status"] is None
    sending.send(content[100_000:])
    assert sending.getresponse().status == 200
    assert until("uploaded")["uploaded_at"] is not None
    native = f"{cloakroom.api_url}/api/v1/files/{file_id}"
    before = requests.get(native, headers=matchbot.headers, timeout=30).json()
    assert matchbot.confirm(file_id=file_id).ok
    until("confirmed", "processing", "ready")
    until("ready")
    after = requests.get(native, headers=matchbot.headers, timeout=30).json()
    assert before["created_at"] == after["created_at"] and before["updated_at"] < after["updated_at"]
    assert after["checksum_sha256"] == hashlib.sha256(content).hexdigest()
    timeline = requests.get(f"{native}/timeline", headers=matchbot.headers, timeout=30).json()
    states = [event["state"] for event in timeline["events"]]
    assert states == ["pending", "uploading", "uploaded", "confirmed", "processing", "ready"]


def test_the_native_status_carries_the_fields_and_the_stream_too(matchbot, cloakroom):
    signed = matchbot.put(CSV)
    assert matchbot.confirm(file_id=signed["file_id"]).ok
    matchbot.settled(signed["file_id"])
    url = f"{cloakroom.api_url}/api/v1/files/{signed['file_id']}/status"
    native = requests.get(url, headers=matchbot.headers, timeout=30).json()
    assert native["state"] == native["status"] == "ready" and native["row_count"] == 2
    stream = requests.get(url, headers=matchbot.headers | {"Accept": "text/event-stream"}, timeout=30).text
    assert '"row_count":2' in stream


@pytest.mark.every_pair
def test_the_openapi_document_has_every_path_once(cloakroom):
    document = requests.get(f"{cloakroom.api_url}/openapi.json", timeout=30).json()
    for prefix in ("", "/api", "/api/v1"):
        assert "post" in document["paths"][f"{prefix}/files/sign_upload"]
        assert "post" in document["paths"][f"{prefix}/files/confirm"]
        assert "get" in document["paths"][f"{prefix}/files/{{file_id}}/status"]
    assert "get" in document["paths"]["/health/storage"]
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_retries_and_connection_are_configured_by_their_names(tmp_path):
    """RETRY_CONFIG of task 11 and the variables of task 2, with their defaults."""

    def shown(**environment):
        command = [program(), "config", "show"]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=30)
        return done.stdout + done.stderr

    def value(text, key):
        line = next(line for line in text.splitlines() if re.match(rf"{re.escape(key)}\s", line))
        return line.split()[1]

    usual = shown()
    for key, expected in {
        "retry.max_attempts": "3",
        "retry.initial_delay": "1s",
        "retry.max_delay": "30s",
        "retry.exponential_base": "2",
        "retry.jitter": "true",
        "s3.region": "us-east-1",
        "collections.reconciliation.bucket": "reconciliation-files",
    }.items():
        assert value(usual, key) == expected, key
    said = shown(
        MINIO_ENDPOINT="minio:9000",
        MINIO_ACCESS_KEY="matchbot",
        MINIO_SECRET_KEY="a-secret-of-matchbot",
        MINIO_SECURE="False",
        MINIO_REGION="eu-west-1",
        MINIO_BUCKET_RECONCILIATION="tables",
        CLOAKROOM_RETRY_MAX_ATTEMPTS="5",
    )
    assert value(said, "s3.region") == "eu-west-1" and value(said, "collections.reconciliation.bucket") == "tables"
    assert "minio:9000" in value(said, "s3.endpoint") and value(said, "retry.max_attempts") == "5"
    assert "a-secret-of-matchbot" not in said
    wrong = shown(MINIO_SECURE="perhaps")
    assert "MINIO_SECURE" in wrong, wrong
