"""A real browser on a page of another origin: sign, send a form and a PUT straight to the store, confirm, download."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest

pytestmark = pytest.mark.every_pair

PAGE = """<!doctype html><meta charset="utf-8"><title>upload</title><pre id="result"></pre><script>
const api = '%(api)s', token = '%(token)s'
const ask = async (method, path, body) => {
  const headers = { Authorization: `Bearer ${token}` }
  if (body) headers['Content-Type'] = 'application/json'
  const answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) })
  return answer.json()
}
const until = async (id) => {
  for (;;) {
    const file = await ask('GET', `/files/${id}`)
    if (['ready', 'failed'].includes(file.state)) return file
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
const run = async () => {
  const file = new File(['%%PDF-1.4\\n', 'from a browser'], 'Отчёт.pdf', { type: 'application/pdf' })
  const result = {}

  const form = new FormData()
  const posted = await ask('POST', '/uploads', { filename: file.name, content_type: file.type, method: 'post' })
  for (const [name, value] of Object.entries(posted.form_fields)) form.append(name, value)
  form.append('file', file)
  const sent = await fetch(posted.upload_url, { method: 'POST', body: form })
  await ask('POST', `/uploads/${posted.file_id}/confirm`)
  result.post = { status: sent.status, etag: sent.headers.get('etag'), file: await until(posted.file_id) }

  const request = { filename: file.name, content_type: file.type, size_bytes: file.size }
  const signed = await ask('POST', '/uploads', request)
  const put = await fetch(signed.upload_url, { method: 'PUT', headers: signed.headers, body: file })
  await ask('POST', `/uploads/${signed.file_id}/confirm`)
  result.put = { status: put.status, etag: put.headers.get('etag'), file: await until(signed.file_id) }

  const { download_url } = await ask('GET', `/files/${signed.file_id}/download`)
  result.bytes = await (await fetch(download_url)).text()
  return result
}
run().then((result) => JSON.stringify(result), (error) => JSON.stringify({ error: String(error) }))
  .then((text) => { document.getElementById('result').textContent = text; document.title = 'done' })
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def page(cloakroom, tmp_path):
    """The page's own origin: another port than the API and the store."""
    (tmp_path / "index.html").write_text(
        PAGE % {"api": f"{cloakroom.api_url}/api/v1", "token": cloakroom.user_token}, encoding="utf-8"
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def browse(url, profile, virtual_ms=600_000):
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is missing: apt-get install chromium"
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    command = [chromium, "--headless", "--no-sandbox", *quiet.split(), "--disable-sync", f"--user-data-dir={profile}"]
    # Virtual time runs ahead while nothing is under way, so the page is read when it is done. A page that asks every now and
    # then whether the worker is done takes a lot of it.
    command += [f"--virtual-time-budget={virtual_ms}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240).stdout


def test_a_page_of_another_origin_uploads_and_downloads(page, pair, tmp_path):
    dom = browse(page, tmp_path / "profile")
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    result = json.loads(html.unescape(found[1]))
    assert "error" not in result, result
    assert (result["post"]["status"], result["put"]["status"]) == (204, 200)
    for way in ("post", "put"):
        if way == "put" or pair.tells_the_etag_of_forms:
            assert result[way]["etag"], "the store exposes the ETag to the page"
        assert result[way]["file"]["state"] == "ready"
        assert result[way]["file"]["filename"] == "Отчёт.pdf"
    assert result["bytes"] == "%PDF-1.4\nfrom a browser"


def test_the_reference_page_shows_the_api(cloakroom, tmp_path):
    dom = browse(f"{cloakroom.api_url}/docs", tmp_path / "profile")
    assert "Sign an upload" in dom
    assert "[object " not in dom
