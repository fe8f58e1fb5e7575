"""Thumbnails and variants, from a real picture to the bytes that a browser gets."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import Api
from instance import running, token_of

WIDTH, HEIGHT = 400, 300
SETTINGS = {
    # As most collections have it: what was deleted can be restored.
    "CLOAKROOM_COLLECTIONS_PHOTOS_TRASH_FOR": "1h",
    "CLOAKROOM_COLLECTIONS_PHOTOS_VARIANTS_MAX": "5",
    "CLOAKROOM_COLLECTIONS_PHOTOS_THUMBNAILS": "64,128x32:cover",
}


def png(width, height):
    """A picture with a left half in red and a right half in blue, written by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    half = width // 2
    row = b"\0" + b"\xff\0\0" * half + b"\0\0\xff" * (width - half)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")


def size_of_png(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def upload(api, content, name="half.png"):
    ticket = api.sign(content, filename=name, content_type="image/png", collection="photos")
    assert api.put(ticket, content).ok
    assert api.confirm(ticket["file_id"]).ok
    return api.wait_ready(ticket["file_id"])


def sign(api, file_id, **what):
    answer = api.request("POST", f"/files/{file_id}/variants", json=what)
    assert answer.ok, answer.text
    return answer.json()


def fetch(url, **options):
    """As a browser does it: with nothing but the address."""
    return requests.get(url, timeout=60, **options)


@pytest.mark.every_pair
def test_pictures_of_a_photo(tmp_path, pair):
    with running(tmp_path, pair, SETTINGS) as server:
        api = Api(server, token_of(server, "ann"))
        file = upload(api, png(WIDTH, HEIGHT))
        assert (file["facts"]["width"], file["facts"]["height"]) == (WIDTH, HEIGHT)
        thumbnails = {one["name"]: one for one in file["derivatives"]}
        assert set(thumbnails) == {"thumbnail-64", "thumbnail-128x32-cover"}, file["derivatives"]
        sizes = {name: (one["width"], one["height"]) for name, one in thumbnails.items()}
        assert sizes == {"thumbnail-64": (64, 48), "thumbnail-128x32-cover": (128, 32)}
        small = api.session.get(thumbnails["thumbnail-64"]["url"] + "?redirect=1", timeout=30)
        assert small.ok and len(small.content) == thumbnails["thumbnail-64"]["size_bytes"]

        for what, size in [
            ({"w": 100}, (100, 75)),
            ({"h": 30}, (40, 30)),
            ({"w": 100, "h": 100, "fit": "cover"}, (100, 100)),
            # Never larger than it is, unless it is stretched.
            ({"w": 4000}, (WIDTH, HEIGHT)),
            ({"w": 500, "h": 10, "fit": "fill"}, (500, 10)),
        ]:
            signed = sign(api, file["file_id"], format="png", **what)
            answer = fetch(signed["url"])
            assert answer.ok, answer.text
            assert answer.headers["Content-Type"] == "image/png"
            assert answer.headers["Content-Disposition"].startswith("inline")
            assert size_of_png(answer.content) == size, what
            # Made once: the same bytes from the same address.
            first, again = (fetch(signed["url"], allow_redirects=False) for _ in range(2))
            assert first.status_code == again.status_code == 302
            assert first.headers["Location"] == again.headers["Location"]
            assert fetch(signed["url"]).content == answer.content
        shown = api.request("GET", f"/files/{file['file_id']}").json()["derivatives"]
        assert sum(one["name"].startswith("variant-") for one in shown) == 5

        full = fetch(sign(api, file["file_id"], w=7)["url"])
        assert (full.status_code, full.json()["error_code"]) == (429, "too_many_variants")
        assert int(full.headers["Retry-After"]) > 3000


@pytest.mark.every_pair
def test_a_url_is_good_for_what_was_signed(tmp_path, pair):
    with running(tmp_path, pair, SETTINGS) as server:
        api = Api(server, token_of(server, "ann"))
        file = upload(api, png(WIDTH, HEIGHT))
        url = sign(api, file["file_id"], w=50, format="jpeg")["url"]
        for changed in [url.replace("w=50", "w=51"), url.replace("quality=80", "quality=81"), url[:-1] + "x", url.split("&sig")[0]]:
            answer = fetch(changed)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "invalid_signature"), changed
        with ThreadPoolExecutor(50) as crowd:
            answers = list(crowd.map(lambda _: fetch(url, allow_redirects=False), range(100)))
        assert {answer.status_code for answer in answers} == {302}
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert fetch(url).content[:3] == b"\xff\xd8\xff"

        stranger = Api(server, token_of(server, "bob"))
        assert stranger.request("POST", f"/files/{file['file_id']}/variants", json={"w": 50}).status_code == 404
        assert api.request("DELETE", f"/files/{file['file_id']}").status_code == 204
        gone = fetch(url)
        assert (gone.status_code, gone.json()["error_code"]) == (409, "file_not_ready")
        assert api.request("POST", f"/files/{file['file_id']}/restore").ok
        assert fetch(url).ok
