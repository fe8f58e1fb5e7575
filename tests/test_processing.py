"""Processing, from the outside: what is found and made of files, what becomes of bad ones, and processors of one's own."""

import base64
import json
import re
import secrets
import shutil
import struct
import threading
import time
import zlib
from http.server import HTTPServer

import pytest
import requests
from conftest import Api
from instance import ROOT, running, token_of

CORPUS = ROOT / "tests/corpus"
GUIDE = (ROOT / "docs/guides/own-processors.md").read_text()
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def upload(api, content, **options):
    """Uploads and confirms; returns the file's id."""
    ticket = api.sign(content, **options)
    assert api.put(ticket, content).ok
    confirmed = api.confirm(ticket["file_id"])
    assert confirmed.ok, confirmed.text
    return ticket["file_id"]


def photo(api, content, filename="photo.jpg", content_type="image/jpeg", **more):
    record = {"type": "complaint", "id": secrets.token_hex(8)}
    return upload(api, content, collection="photos", filename=filename, content_type=content_type, record=record, **more)


def table(api, content, filename="rows.csv", content_type="text/csv", **more):
    record = {"type": "reconciliation", "id": secrets.token_hex(8)}
    return upload(
        api, content, collection="reconciliation", filename=filename, content_type=content_type, record=record, **more
    )


def derivatives(file):
    return {derivative["name"]: derivative for derivative in file["derivatives"]}


def derivative_bytes(api, file_id, name):
    answer = api.request("GET", f"/files/{file_id}/derivatives/{name}")
    assert answer.ok, answer.text
    fetched = requests.get(answer.json()["download_url"], timeout=30)
    assert fetched.ok, fetched.text
    return fetched


def png(width, height, rows=b"\x00"):
    """A PNG that says it is this large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_photo_gets_size_placeholder_and_thumbnails(api):
    rows = b"".join(b"\x00" + bytes([200, row % 256, 40]) * 600 for row in range(300))
    content = png(600, 300, rows)
    file_id = photo(api, content, "photo.png", "image/png", metadata={"width": 640, "height": 300})
    file = api.wait_ready(file_id)
    facts = file["facts"]
    assert (facts["width"], facts["height"], facts["format"]) == (600, 300, "png")
    assert facts["mismatches"] == [{"field": "width", "declared": 640, "found": 600}]
    assert 5 <= len(base64.b64decode(facts["placeholder"])) <= 30
    made = derivatives(file)
    assert (made["thumbnail-256"]["width"], made["thumbnail-256"]["height"]) == (256, 128)
    # Never enlarged.
    assert made["thumbnail-1024"]["width"] == 600
    fetched = derivative_bytes(api, file_id, "thumbnail-256")
    assert fetched.headers["content-type"] == "image/jpeg"
    assert fetched.content.startswith(b"\xff\xd8\xff")


def test_what_is_no_photo_fails(api):
    good = (CORPUS / "images/good/baseline-420.jpg").read_bytes()
    for content in (good[:200], good[: len(good) // 2][:400], b"\xff\xd8\xff\xe0" + secrets.token_bytes(1000)):
        file = api.wait_failed(photo(api, content))
        assert file["error"]["code"] == "malformed_file", file["error"]
    # 10 gigapixels, in a hundred bytes.
    file = api.wait_failed(photo(api, png(100_000, 100_000), "bomb.png", "image/png"))
    assert file["error"]["code"] == "limit_exceeded", file["error"]
    # And life goes on.
    api.wait_ready(photo(api, good))


def test_a_table_is_counted_as_it_is_written(api):
    content = b'name,note\r\n"Ann","two\r\nlines"\r\n"Bob","a ""quote"", and a comma"\r\n'
    file = api.wait_ready(table(api, content, metadata={"row_count": 3, "columns": ["name", "note"]}))
    facts = file["facts"]
    assert facts["row_count"] == 2
    assert facts["columns"] == ["name", "note"]
    assert facts["delimiter"] == ","
    # The worker's value wins, and the other is flagged (S2).
    assert facts["mismatches"] == [{"field": "row_count", "declared": 3, "found": 2}]


def test_a_malformed_table_fails_with_its_line(api):
    file = api.wait_failed(table(api, b'a,b\n1,2\n3,"never closed\n'))
    assert file["error"]["code"] == "malformed_file"
    assert "Line 3" in file["error"]["message"]
    file = api.wait_failed(table(api, b"a,b\n1,2\n1,2,3\n"))
    assert "Line 3" in file["error"]["message"]


def test_a_workbook_is_counted(api):
    content = (CORPUS / "tables/blank-cells.xlsx").read_bytes()
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    file = api.wait_settled(table(api, content, "rows.xlsx", kind))
    assert file["state"] == "ready", file["error"]
    assert isinstance(file["facts"]["sheets"], list)


def test_a_document_gets_pages_and_a_preview(api):
    content = (CORPUS / "documents/plain.pdf").read_bytes()
    file_id = upload(api, content)
    file = api.wait_ready(file_id)
    assert file["facts"]["page_count"] == 3
    assert derivatives(file)["preview"]["width"] == 1024
    assert derivative_bytes(api, file_id, "preview").content.startswith(b"\x89PNG")


def test_a_broken_document_is_kept_with_the_reason(api):
    """No collection requires previews of documents: what its owner keeps is theirs to judge."""
    file = api.wait_ready(upload(api, b"%PDF-1.7\nnothing of a document"))
    assert derivatives(file)["document"]["error"]


def test_sound_has_a_duration(api):
    content = (CORPUS / "media/aac.m4a").read_bytes()
    file = api.wait_ready(upload(api, content, filename="a.m4a", content_type="audio/mp4"))
    assert file["facts"]["duration_seconds"] == pytest.approx(1.3, abs=0.1)


@pytest.mark.parametrize("installed", [True, False])
def test_a_video_gets_a_poster_where_ffmpeg_is(installed, tmp_path, pair):
    if installed:
        assert shutil.which("ffmpeg", path="/usr/local/bin:/usr/bin:/bin"), "install ffmpeg: see install-test-env"
    video = (CORPUS / "media/h264_aac.mp4").read_bytes()
    with running(tmp_path, pair, {"CLOAKROOM_PROCESSING_SYSTEM_DECODERS": str(installed).lower()}) as server:
        api = Api(server, token_of(server, "ann"))
        file_id = upload(api, video, filename="a.mp4", content_type="video/mp4")
        file = api.wait_ready(file_id, 60)
        poster = derivatives(file).get("poster", {})
        if installed:
            assert derivative_bytes(api, file_id, "poster").content.startswith(b"\xff\xd8\xff"), poster
        else:
            assert "ffmpeg" in poster["error"]


@pytest.mark.parametrize("installed", [True, False])
def test_what_only_the_system_decodes(installed, tmp_path, pair):
    """AVIF and HEIC: with a decoder of the system as any other picture, without one still measured, and never failed."""
    pictures = [path for path in (CORPUS / "images/good").iterdir() if path.suffix in (".avif", ".heic")]
    assert pictures
    with running(tmp_path, pair, {"CLOAKROOM_PROCESSING_SYSTEM_DECODERS": str(installed).lower()}) as server:
        api = Api(server, token_of(server, "ann"))
        for path in pictures:
            kind = f"image/{path.suffix[1:]}"
            file_id = upload(api, path.read_bytes(), filename=path.name, content_type=kind)
            file = api.wait_ready(file_id, 60)
            assert file["facts"]["width"] > 0, path.name
            thumbnail = derivatives(file)["thumbnail-256"]
            if installed:
                assert not thumbnail.get("error"), (path.name, thumbnail)
                assert file["facts"]["placeholder"]
            else:
                assert "cannot be decoded here" in thumbnail["error"]


def example(number):
    """The guide's own examples."""
    return re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[number]


def configured(home, text):
    path = home / "processors.toml"
    path.write_text(text)
    return {"CLOAKROOM_CONFIG": str(path)}


def text_file(api, content):
    return upload(api, content, collection="letters", filename="letter.txt", content_type="text/plain")


def assert_counts_words(api):
    file_id = text_file(api, b"Dear Ann,\nit is cold here.\n")
    file = api.wait_ready(file_id)
    assert file["facts"]["words"] == 6
    assert derivative_bytes(api, file_id, "first-line").content == b"Dear Ann,"


def test_a_program_of_ones_own(tmp_path, pair):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "words.py").write_text(example(0))
    (scripts / "spy.py").write_text(
        "import json, os, pathlib, socket\n"
        "def allowed(deed):\n"
        "    try:\n        deed()\n        return True\n"
        "    except OSError:\n        return False\n"
        "request = json.load(open(os.environ['CLOAKROOM_REQUEST']))\n"
        "print(json.dumps({'facts': {'spy': {\n"
        f"    'data': allowed(lambda: os.listdir({str(tmp_path / 'data')!r})),\n"
        "    'passwords': allowed(lambda: open('/etc/passwd').read()),\n"
        "    'network': allowed(lambda: socket.socket()),\n"
        "    'parent': allowed(lambda: open(f'/proc/{os.getppid()}/environ').read()),\n"
        "    'told': request['collection'] + ' ' + request['processor'],\n"
        "    'environment': sorted(os.environ)}}}))\n"
    )
    (scripts / "broken.py").write_text("raise SystemExit(3)\n")
    settings = configured(
        tmp_path,
        "".join(
            f'[processors.{name}]\ncommand = ["/usr/bin/python3", "{scripts}/{name}.py"]\ncontent_types = ["text/*"]\n'
            for name in ("words", "spy", "broken")
        )
        + '[collections.letters]\nprocessors = ["words", "spy", "broken"]\nrequired_processors = ["words"]\n'
        + '[collections.strict]\nprocessors = ["broken"]\nrequired_processors = ["broken"]\n',
    )
    with running(tmp_path, pair, settings) as server:
        api = Api(server, token_of(server, "ann"))
        assert_counts_words(api)
        refused = api.wait_failed(text_file(api, b" \n"))
        assert refused["error"] == {"code": "no_words", "message": "There is no word in it."}
        file = api.wait_ready(text_file(api, b"a b"))
        spy = file["facts"]["spy"]
        assert not (spy["data"] or spy["passwords"] or spy["network"] or spy["parent"]), spy
        assert spy["told"] == "letters spy"
        assert not [name for name in spy["environment"] if "SECRET" in name or "KEY" in name or "URL" in name]
        assert "ended with code 3" in derivatives(file)["broken"]["error"]
        strict = upload(api, b"a", collection="strict", filename="a.txt", content_type="text/plain")
        assert api.wait_failed(strict)["error"]["code"] == "processor_failed"
    left = list((tmp_path / "data/processing").iterdir())
    assert left == [], "directories of runs stay"


def test_an_endpoint_of_ones_own(tmp_path, pair):
    servers = []

    class Remembered(HTTPServer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            servers.append(self)

    code = compile(example(1).replace("HTTPServer(ADDRESS", "Remembered(ADDRESS"), "the guide", "exec")
    names = {"SECRET": SECRET, "ADDRESS": ("127.0.0.1", 0), "Remembered": Remembered}
    threading.Thread(target=exec, args=(code, names), daemon=True).start()
    deadline = time.monotonic() + 30
    while not servers:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    settings = configured(
        tmp_path,
        f'[processors.words]\nurl = "http://127.0.0.1:{servers[0].server_port}/"\nallow_private = true\n'
        '[collections.letters]\nprocessors = ["words"]\nrequired_processors = ["words"]\n',
    ) | {"CLOAKROOM_PROCESSORS_WORDS_SECRET": SECRET}
    try:
        with running(tmp_path, pair, settings) as server:
            assert_counts_words(Api(server, token_of(server, "ann")))
        assert SECRET not in (tmp_path / "log").read_text()
    finally:
        servers[0].shutdown()


def hostile():
    files = [path for path in sorted(CORPUS.rglob("*")) if path.is_file() and path.suffix != ".json"]
    assert len(files) > 50
    return files


TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".pdf": "application/pdf",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".mp4": "video/mp4",
    ".mp3": "audio/mpeg",
}


def test_every_file_of_the_corpora_settles_and_the_worker_lives_on(api):
    """Good and hostile ones through the whole service: a verdict for each, and none from a broken processor."""
    waiting = {}
    for path in hostile():
        kind = TYPES.get(path.suffix)
        content = path.read_bytes()
        if kind is None or not content:
            continue
        waiting[upload(api, content, filename=path.name, content_type=kind)] = path
    crashed = []
    for file_id, path in waiting.items():
        file = api.wait_settled(file_id, 120)
        errors = [file.get("error") or {}] + file["derivatives"]
        said = json.dumps([error.get("code") or error.get("error") for error in errors])
        if "broke on it" in said or "processing_crashed" in said or "more than" in said and "memory" in said:
            crashed.append((path.name, said))
    assert crashed == []
    good = (CORPUS / "images/good/baseline-420.jpg").read_bytes()
    api.wait_ready(photo(api, good))

