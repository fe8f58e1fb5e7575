"""S1, attachments of chat messages: the document's own lines, run as they stand but for host and token."""

import base64
import functools
import html
import http.server
import json
import re
import subprocess
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from conftest import Api
from instance import ENVIRONMENT, running, s3_client, token_of
from pairs import server as server_variable
from test_browser import Quiet, browse

CORPUS = Path(__file__).parent / "corpus"
MEDIA, IMAGES = CORPUS / "media", CORPUS / "images/good"
# The line of the document's section "Проверка работоспособности".
CURL = """\
curl http://localhost:8000/api/v1/attachments/presigned \\
  -H "Authorization: Bearer YOUR_TOKEN" \\
  -H "Idempotency-Key: $(uuidgen)" \\
  -H "Content-Type: application/json" \\
  -d '{"filename": "test.jpg", "content_type": "image/jpeg"}'
"""


class Chat:
    """A client of the document's three paths."""

    def __init__(self, server, token=None):
        self.api = server.api_url.rstrip("/")
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token or server.user_token}"

    def presigned(self, filename="test.jpg", content_type="image/jpeg", key=None, **more):
        return self.session.post(
            f"{self.api}/api/v1/attachments/presigned",
            json={"filename": filename, "content_type": content_type, **more},
            headers={"Idempotency-Key": key or str(uuid.uuid4())},
            timeout=30,
        )

    def confirm(self, attachment_id, **more):
        body = {"attachment_id": attachment_id, **more}
        return self.session.post(f"{self.api}/api/v1/attachments/confirm", json=body, timeout=30)

    def get(self, attachment_id):
        return self.session.get(f"{self.api}/api/v1/attachments/{attachment_id}", timeout=30)

    def attach(self, content, filename="test.jpg", content_type="image/jpeg", **more):
        """Presigned, sent, confirmed."""
        form = self.presigned(filename, content_type, **more).json()
        sent = send(form, content)
        assert sent.status_code == 200, sent.text
        return self.confirm(form["attachment_id"]).json()


def send(form, content, **headers):
    """Posts the form as a browser does: the fields in their order, the file last."""
    body = [(name, (None, value)) for name, value in form["fields"].items()]
    return requests.post(form["url"], files=[*body, ("file", ("test.jpg", content))], headers=headers, timeout=30)


def jpeg():
    return (IMAGES / "baseline-420.jpg").read_bytes()


def keys_of(server, prefix):
    """The object of that key and what stands beside it, but for the mark that it was removed."""
    found = s3_client(server).list_objects_v2(Bucket="attachments", Prefix=prefix)
    return [one["Key"] for one in found.get("Contents", []) if not one["Key"].endswith(".tomb.attr.json")]


@pytest.fixture(scope="session")
def chat(cloakroom):
    return Chat(cloakroom)


def shell(text):
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=True)
    return done.stdout


@pytest.mark.every_pair
def test_the_curl_lines_of_the_document(cloakroom, tmp_path):
    def as_it_stands(lines):
        lines = lines.replace("http://localhost:8000", cloakroom.api_url.rstrip("/"))
        return shell(lines.replace("YOUR_TOKEN", cloakroom.user_token))

    form = json.loads(as_it_stands(CURL))
    picture = tmp_path / "test.jpg"
    picture.write_bytes(jpeg())
    fields = " ".join(f"-F '{name}={value}'" for name, value in form["fields"].items())
    status = shell(f"curl -s -o /dev/null -w '%{{http_code}}' {fields} -F 'file=@{picture}' {form['url']}")
    assert status == "200"
    confirmed = json.loads(
        as_it_stands(
            'curl http://localhost:8000/api/v1/attachments/confirm -H "Authorization: Bearer YOUR_TOKEN" '
            f"""-H "Content-Type: application/json" -d '{{"attachment_id": "{form["attachment_id"]}"}}'"""
        )
    )
    assert confirmed["state"] == "ready"
    assert confirmed["storage_key"] == f"attachments/{confirmed['id']}/test.jpg"
    told = json.loads(
        as_it_stands(
            f"curl http://localhost:8000/api/v1/attachments/{confirmed['id']} "
            '-H "Authorization: Bearer YOUR_TOKEN"'
        )
    )
    for name in ("id", "user_id", "message_id", "filename", "content_type", "size_bytes", "storage_key", "metadata"):
        assert told[name] == confirmed[name]
    assert (told["filename"], told["content_type"], told["size_bytes"]) == ("test.jpg", "image/jpeg", len(jpeg()))
    assert str(uuid.UUID(told["id"])) == told["id"]
    assert told["created_at"].endswith("Z")
    assert "X-Amz-Signature=" in told["download_url"]
    assert requests.get(told["download_url"], timeout=30).content == jpeg()


PAGE = """<!doctype html><meta charset="utf-8"><title>chat</title><pre id="result"></pre>
<iframe name="answer"></iframe><script>
const api = '%(api)s/api/v1/attachments', token = '%(token)s'
const ask = async (method, path, body) => {
  const headers = { Authorization: `Bearer ${token}`, 'Idempotency-Key': crypto.randomUUID() }
  if (body) headers['Content-Type'] = 'application/json'
  return (await fetch(api + path, { method, headers, body: body && JSON.stringify(body) })).json()
}
// What a page without a framework does: a form with hidden fields and a file, submitted by the browser itself.
const submit = (presigned, file) => {
  const form = document.createElement('form')
  Object.assign(form, { method: 'post', enctype: 'multipart/form-data', action: presigned.url, target: 'answer' })
  for (const [name, value] of Object.entries(presigned.fields)) {
    form.append(Object.assign(document.createElement('input'), { type: 'hidden', name, value }))
  }
  const input = Object.assign(document.createElement('input'), { type: 'file', name: 'file' })
  const transfer = new DataTransfer()
  transfer.items.add(file)
  input.files = transfer.files
  form.append(input)
  document.body.append(form)
  form.submit()
}
// When the browser is done with it is known from the store alone.
const arrived = async (body) => {
  for (;;) {
    const answer = await ask('POST', '/confirm', body)
    if (answer.error_code !== 'upload_incomplete') return answer
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
const run = async () => {
  const bytes = Uint8Array.from(atob('%(jpeg)s'), (one) => one.charCodeAt(0))
  const file = new File([bytes], 'Фото.jpg', { type: 'image/jpeg' })
  const request = { filename: file.name, content_type: file.type }
  const result = {}
  const first = await ask('POST', '/presigned', request)
  submit(first, file)
  result.submitted = await arrived({ attachment_id: first.attachment_id, message_id: 12 })
  const second = await ask('POST', '/presigned', request)
  const data = new FormData()
  for (const [name, value] of Object.entries(second.fields)) data.append(name, value)
  data.append('file', file)
  const sent = await fetch(second.url, { method: 'POST', body: data })
  result.status = sent.status
  result.etag = sent.headers.get('etag')
  result.fetched = await ask('POST', '/confirm', { attachment_id: second.attachment_id })
  result.told = await ask('GET', `/${second.attachment_id}`)
  result.size = (await (await fetch(result.told.download_url)).arrayBuffer()).byteLength
  const picture = new Image()
  // Not `decode()`: virtual time does not wait for it.
  await new Promise((resolve, reject) => {
    Object.assign(picture, { onload: resolve, onerror: reject, src: result.told.download_url })
  })
  result.width = picture.naturalWidth
  return result
}
run().then((result) => JSON.stringify(result), (error) => JSON.stringify({ error: String(error) }))
  .then((text) => { document.getElementById('result').textContent = text; document.title = 'done' })
</script>"""


@pytest.mark.every_pair
def test_a_browser_submits_the_form(cloakroom, pair, tmp_path):
    told = {"api": cloakroom.api_url.rstrip("/"), "token": cloakroom.user_token}
    told["jpeg"] = base64.b64encode(jpeg()).decode()
    (tmp_path / "index.html").write_text(PAGE % told, encoding="utf-8")
    handler = functools.partial(Quiet, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dom = browse(f"http://127.0.0.1:{server.server_port}/", tmp_path / "profile")
    server.shutdown()
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    result = json.loads(html.unescape(found[1]))
    assert "error" not in result, result
    assert result["status"] == 200
    if pair.tells_the_etag_of_forms:
        assert result["etag"], "the store exposes the ETag to the page"
    for way in ("submitted", "fetched"):
        assert (result[way]["state"], result[way]["filename"]) == ("ready", "Фото.jpg"), result[way]
        assert result[way]["size_bytes"] == len(jpeg())
    assert result["submitted"]["message_id"] == 12
    assert result["size"] == len(jpeg())
    assert result["width"] > 0


def test_the_form_is_limited_by_the_store(chat):
    before = datetime.now(UTC)
    form = chat.presigned().json()
    after = datetime.now(UTC)
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    assert ["content-length-range", 1, 100 * 1024 * 1024] in policy["conditions"]
    assert {"Content-Type": "image/jpeg"} in policy["conditions"]
    assert form["expires_in"] == 600
    ends = datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00"))
    assert (ends - before).total_seconds() > 599 and (ends - after).total_seconds() <= 600
    assert form["fields"]["success_action_status"] == "200"
    assert form["fields"]["key"].startswith("staging/")
    for change in ({"Content-Type": "text/html"}, {"key": "attachments/mine/test.jpg"}, {"success_action_status": "201"}):
        changed = form | {"fields": form["fields"] | change}
        assert send(changed, jpeg()).status_code == 403, change
    declared = chat.presigned(size_bytes=3).json()
    assert send(declared, b"four").status_code == 400


def test_the_same_key_gives_the_same_attachment(chat):
    key = str(uuid.uuid4())
    first, again = chat.presigned(key=key), chat.presigned(key=key)
    assert first.json()["attachment_id"] == again.json()["attachment_id"]
    other = chat.presigned(filename="other.jpg", key=key)
    assert (other.status_code, other.json()["error_code"]) == (422, "idempotency_key_reused")


SAMPLES = {
    "image/jpeg": IMAGES / "baseline-420.jpg",
    "image/png": IMAGES / "grey.png",
    "image/gif": IMAGES / "animated.gif",
    "image/webp": IMAGES / "lossless.webp",
    "video/mp4": MEDIA / "faststart.mp4",
    "video/webm": MEDIA / "vp9_opus.webm",
    "audio/mpeg": MEDIA / "cbr.mp3",
    "audio/ogg": MEDIA / "vorbis.ogg",
    "audio/opus": MEDIA / "opus.opus",
    "application/pdf": CORPUS / "documents/plain.pdf",
}


@pytest.mark.parametrize("content_type", SAMPLES)
def test_the_types_of_the_document_come_in(chat, content_type):
    sample = SAMPLES[content_type]
    told = chat.attach(sample.read_bytes(), sample.name, content_type)
    assert told["state"] == "ready", told
    assert requests.get(told["download_url"], timeout=30).content == sample.read_bytes()


@pytest.mark.parametrize("content_type", ["application/x-msdownload", "text/html", "image/svg+xml", "application/zip"])
def test_another_type_is_refused_by_name(chat, content_type):
    refused = chat.presigned("a.bin", content_type)
    assert refused.status_code == 415
    assert f"Content type {content_type} is not allowed" in refused.json()["message"]


def test_a_file_that_is_not_what_it_says_is_not_served(chat):
    told = chat.attach(b"<script>alert(1)</script>" * 10)
    assert (told["state"], told["download_url"]) == ("failed", None)
    assert told["error"]["code"]


def test_strangers_learn_nothing(chat, cloakroom, stranger_token):
    told = chat.attach(jpeg())
    stranger = Chat(cloakroom, stranger_token)
    foreign, missing = stranger.get(told["id"]), stranger.get(str(uuid.uuid4()))
    assert (foreign.status_code, missing.status_code) == (404, 404)
    assert foreign.json()["message"] == missing.json()["message"]
    assert stranger.confirm(told["id"]).status_code == 404
    assert requests.get(f"{chat.api}/attachments/{told['id']}/test.jpg", timeout=30).status_code == 404
    assert requests.post(f"{chat.api}/api/v1/attachments/presigned", json={}, timeout=30).status_code == 401
    # Nor of the bucket: it is not open to anybody.
    direct = told["download_url"].split("?")[0]
    assert requests.get(direct, timeout=30).status_code == 403


@pytest.mark.every_pair
def test_a_deleted_message_takes_bytes_and_rows_along(chat, cloakroom, pair):
    message = f"m-{uuid.uuid4()}"
    told = chat.attach(jpeg(), message_id=message)
    assert told["message_id"] == message
    api = Api(cloakroom, cloakroom.user_token)
    files = api.request("GET", f"/records/message/{message}/files").json()["files"]
    assert [one["file_id"] for one in files] == [told["id"]]
    # The owner's deletion goes to the trash for a week; an administrator's may be for good at once.
    administrator = Api(cloakroom, cloakroom.admin_token)
    deleted = administrator.request("DELETE", f"/records/message/{message}", params={"purge_now": 1})
    assert deleted.status_code == 204, deleted.text
    assert chat.get(told["id"]).status_code == 404
    deadline = time.monotonic() + 90
    while requests.get(told["download_url"], timeout=30).status_code != 404:
        assert time.monotonic() < deadline, "the bytes are still there"
        time.sleep(0.1)


def test_a_message_is_named_at_confirm_or_later(chat):
    form = chat.presigned().json()
    send(form, jpeg())
    assert chat.confirm(form["attachment_id"]).json()["message_id"] is None
    assert chat.confirm(form["attachment_id"], message_id=77).json()["message_id"] == 77
    assert chat.get(form["attachment_id"]).json()["message_id"] == 77


def test_what_no_message_names_is_cleaned_up(pair, tmp_path):
    # The shortest age that may be configured; in the document it is seven days.
    more = {"CLOAKROOM_COLLECTIONS_ATTACHMENTS_UNLINKED_FOR": "1m", "CLOAKROOM_WORKER_SWEEP_EVERY": "1s"}
    more |= {"CLOAKROOM_COLLECTIONS_ATTACHMENTS_TRASH_FOR": "1s"}
    with running(tmp_path, pair, more) as server:
        chat = Chat(server)
        linked, orphan = chat.attach(jpeg(), message_id=1), chat.attach(jpeg())
        deadline = time.monotonic() + 180
        while keys_of(server, orphan["storage_key"]):
            assert time.monotonic() < deadline, "the bytes are still there"
            time.sleep(0.2)
        assert chat.get(orphan["id"]).status_code == 404
        assert chat.get(linked["id"]).json()["state"] == "ready"


def test_downloads_lead_to_the_cdn(pair, tmp_path):
    with running(tmp_path, pair, {"CDN_URL": "https://cdn.yourcompany.com"}) as server:
        told = Chat(server).attach(jpeg())
        base = f"https://cdn.yourcompany.com/attachments/{told['id']}/test.jpg"
        assert told["download_url"].startswith(f"{base}?expires=")
        # What the network fetches from us.
        at_us = told["download_url"].replace("https://cdn.yourcompany.com", server.api_url.rstrip("/"))
        got = requests.get(at_us, timeout=30)
        assert (got.status_code, got.content) == (200, jpeg())
        assert got.headers["Cache-Control"].startswith("public, max-age=")
        part = requests.get(at_us, headers={"Range": "bytes=10-19"}, timeout=30)
        assert (part.status_code, part.content) == (206, jpeg()[10:20])
        assert requests.get(at_us.split("?")[0], timeout=30).status_code == 404
        assert requests.get(at_us[:-1] + ("0" if at_us[-1] != "0" else "1"), timeout=30).status_code == 403


@pytest.mark.every_pair
def test_public_read_by_choice(pair, tmp_path):
    more = {"CLOAKROOM_COLLECTIONS_ATTACHMENTS_VISIBILITY": "public-read"}
    with running(tmp_path, pair, more) as server:
        told = Chat(server).attach(jpeg())
        assert told["download_url"] == f"{server.api_url.rstrip('/')}/attachments/{told['id']}/test.jpg"
        assert requests.get(told["download_url"], timeout=30).content == jpeg()
        private = Api(server, server.user_token)
        ticket = private.sign(b"%PDF-1.4\n")
        private.put(ticket, b"%PDF-1.4\n")
        private.confirm(ticket["file_id"])
        private.wait_ready(ticket["file_id"])
        for path in (f"{ticket['file_id']}/report.pdf", f"{told['id']}/test.jpg.1.attr.json", f"{told['id']}/x.jpg"):
            for place in ("attachments", "api/v1/content"):
                answer = requests.get(f"{server.api_url.rstrip('/')}/{place}/{path}", timeout=30)
                assert answer.status_code == 404, path


def test_with_public_read_and_a_cdn_the_address_is_the_documents(pair, tmp_path):
    more = {"CLOAKROOM_COLLECTIONS_ATTACHMENTS_VISIBILITY": "public-read", "CDN_URL": "https://cdn.yourcompany.com"}
    with running(tmp_path, pair, more) as server:
        told = Chat(server).attach(jpeg())
        assert told["download_url"] == f"https://cdn.yourcompany.com/attachments/{told['id']}/test.jpg"


def test_health_in_the_words_of_the_document(cloakroom):
    answer = requests.get(f"{cloakroom.api_url.rstrip('/')}/health", timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "minio": "connected"})


def test_the_health_check_of_the_documents_container(cloakroom):
    shell(f"curl -f {cloakroom.s3_url.rstrip('/')}/minio/health/live")
    for method in ("PUT", "DELETE", "POST"):
        probe = requests.request(method, f"{cloakroom.s3_url.rstrip('/')}/minio/health/live", timeout=30)
        assert probe.status_code in (403, 405)


def test_every_upload_is_counted(pair, tmp_path):
    with running(tmp_path, pair) as server:
        chat = Chat(server)

        def told_by_metrics():
            return requests.get(f"{server.api_url.rstrip('/')}/metrics", timeout=30).text

        # Nobody's alert on a rate waits for the first upload.
        assert "\nattachments_uploads_total 0\n" in told_by_metrics()
        assert "\nattachments_upload_size_bytes_count 0\n" in told_by_metrics()
        for _ in range(3):
            told = chat.attach(jpeg())
        chat.confirm(told["id"])
        metrics = told_by_metrics()
        assert "\nattachments_uploads_total 3\n" in metrics
        assert "\n# TYPE attachments_upload_size_bytes histogram\n" in f"\n{metrics}"
        assert "\nattachments_upload_size_bytes_count 3\n" in metrics
        assert f"\nattachments_upload_size_bytes_sum {3 * len(jpeg())}\n" in metrics


def test_the_log_says_what_the_document_says(pair, tmp_path):
    with running(tmp_path, pair, {"CLOAKROOM_LOG_FORMAT": "json"}) as server:
        chat = Chat(server)
        told = chat.attach(jpeg(), size_bytes=len(jpeg()))
        failed = chat.attach(b"no picture at all")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    said = [line.get("message") for line in lines]
    assert f"Upload started: test.jpg, size: {len(jpeg())}" in said
    assert f"Upload completed: {told['id']}" in said
    assert any(text and text.startswith("Upload failed: ") for text in said), failed


def test_the_tenth_form_of_a_minute_is_the_last(pair, tmp_path):
    with running(tmp_path, pair, {"CLOAKROOM_LIMITS_SIGN_PER_ADDRESS": "10/min"}) as server:
        users = [Chat(server, token_of(server, f"user-{number}")) for number in range(3)]
        begun, answers = time.monotonic(), []
        while not answers or answers[-1].status_code == 200:
            answers.append(users[len(answers) % 3].presigned())
        # Every six seconds there is room for another one; a busy machine may take that long.
        assert 10 <= len(answers) - 1 <= 10 + (time.monotonic() - begun) // 6
        assert answers[-1].status_code == 429
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_lifetime_size_and_types_are_configured(pair, tmp_path):
    more = {
        "CLOAKROOM_COLLECTIONS_ATTACHMENTS_UPLOAD_EXPIRES": "30m",
        "CLOAKROOM_COLLECTIONS_ATTACHMENTS_SIZE_MAX": "1KiB",
        "CLOAKROOM_COLLECTIONS_ATTACHMENTS_CONTENT_TYPES": "text/plain",
    }
    with running(tmp_path, pair, more) as server:
        chat = Chat(server)
        form = chat.presigned("a.txt", "text/plain").json()
        assert (form["expires_in"], form["max_size_bytes"]) == (1800, 1024)
        large = send(form, b"x" * 1025)
        assert (large.status_code, "EntityTooLarge" in large.text) == (400, True)
        assert chat.presigned().status_code == 415


@pytest.mark.parametrize("place", ["api", "s3"])
def test_pages_of_the_configured_origin_may_use_it(pair, tmp_path, place):
    origin = "http://localhost:5173"
    more = {"CLOAKROOM_SERVER_CORS_ORIGINS": origin, "CLOAKROOM_S3_CORS_ORIGINS": origin}
    with running(tmp_path, pair, more) as server:
        url = f"{server.api_url}/api/v1/attachments/presigned" if place == "api" else f"{server.s3_url}/attachments"
        wanted = "content-type,authorization" + (",x-whatever" if place == "s3" else "")
        for method in ("GET", "POST", "PUT"):
            asks = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
            allowed = requests.options(url, headers={"Origin": origin} | asks, timeout=30)
            assert allowed.ok and allowed.headers["Access-Control-Allow-Origin"] in (origin, "*"), method
            assert method in allowed.headers["Access-Control-Allow-Methods"]
            headers = allowed.headers["Access-Control-Allow-Headers"].lower()
            assert headers == "*" or all(name in headers for name in wanted.split(","))
            refused = requests.options(url, headers={"Origin": "http://evil.example"} | asks, timeout=30)
            assert "Access-Control-Allow-Origin" not in refused.headers
        if place == "s3":
            sent = send(Chat(server).presigned().json(), jpeg(), Origin=origin)
            assert "etag" in sent.headers["Access-Control-Expose-Headers"].lower()


def aws(server, command):
    keys = f"AWS_ACCESS_KEY_ID={server.access_key} AWS_SECRET_ACCESS_KEY={server.secret_key}"
    program = Path(__file__).resolve().parent.parent / ".venv/bin/aws"
    shell(f"{keys} {program} --region {server.region} --endpoint-url {server.s3_url} {command}")


def test_a_mirror_in_a_dated_folder_is_a_backup(pair, tmp_path):
    homes = [tmp_path / name for name in ("first", "second", "backup")]
    for home in homes:
        home.mkdir()
    buckets = ("attachments", "cloakroom")
    with running(homes[0], pair) as server:
        told = Chat(server).attach(jpeg(), message_id=5)
        for bucket in buckets:
            aws(server, f's3 sync s3://{bucket} "{homes[2]}/{bucket}-$(date +%Y%m%d)" --exclude "staging/*"')
    folder = next(homes[2].glob("attachments-*"))
    assert re.fullmatch(r"attachments-\d{8}", folder.name)
    assert (folder / told["storage_key"]).read_bytes() == jpeg()
    with running(homes[1], pair) as server:
        for bucket in buckets:
            aws(server, f's3 sync "{next(homes[2].glob(f"{bucket}-*"))}" s3://{bucket}')
        administrator = Api(server, server.admin_token)
        begun = administrator.request("POST", "/admin/operations", json={"kind": "rebuild"}).json()
        deadline = time.monotonic() + 60
        while administrator.request("GET", f"/admin/operations/{begun['id']}").json()["state"] != "done":
            assert time.monotonic() < deadline, "not rebuilt"
            time.sleep(0.1)
        restored = Chat(server).get(told["id"]).json()
        for name in ("id", "message_id", "filename", "size_bytes", "storage_key", "created_at", "state"):
            assert restored[name] == told[name]
        assert requests.get(restored["download_url"], timeout=30).content == jpeg()


@pytest.mark.every_pair
def test_the_variables_of_the_document(pair, tmp_path):
    """`.env` as in the document, with its bucket."""
    more = {"S3_BUCKET": f"attachments-{uuid.uuid4().hex[:8]}"} if pair.store == "ceph" else {"S3_BUCKET": "attachments"}
    with running(tmp_path, pair, more) as server:
        told = Chat(server).attach(jpeg())
        assert f"/{more['S3_BUCKET']}/" in told["download_url"]


def test_the_environment_of_the_document_in_a_dotenv_file(tmp_path):
    """Its variables by their names, against an S3 service."""
    bucket = f"attachments-{uuid.uuid4().hex[:8]}"
    keys = {"S3_ENDPOINT_URL": server_variable("S3_ENDPOINT"), "S3_BUCKET": bucket}
    keys |= {f"S3_{name}": server_variable(f"S3_{name}") for name in ("ACCESS_KEY", "SECRET_KEY")}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in keys.items()))
    # The region is the test server's own; the document has none.
    with running(tmp_path, more={"S3_REGION": server_variable("S3_REGION")}) as server:
        told = Chat(server).attach(jpeg())
        assert told["download_url"].startswith(f"{keys['S3_ENDPOINT_URL'].rstrip('/')}/{bucket}/attachments/")
        assert requests.get(told["download_url"], timeout=30).content == jpeg()
