"""`cloakroom mirror`: a backup of a running instance, and the way back."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import requests
from conftest import Api
from instance import ENVIRONMENT, program, running, s3_client
from pairs import fresh_settings


def command(*arguments, settings, data_dir):
    words = [program(), *arguments, "--data-dir", data_dir]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=ENVIRONMENT | settings)


def mirror(directory, *options, settings, data_dir):
    done = command("mirror", directory, "--json", *options, settings=settings, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stored(api, filename, content, **more):
    more = {"collection": "files", "content_type": "application/octet-stream"} | more
    ticket = api.sign(content, filename=filename, **more)
    assert api.put(ticket, content).ok
    assert api.confirm(ticket["file_id"]).ok
    return api.wait_ready(ticket["file_id"])


def holding(data_dir, content):
    """Files of a local store with these bytes."""
    paths = (path for path in (Path(data_dir) / "objects").rglob("*") if path.is_file())
    return [path for path in paths if path.stat().st_size == len(content) and path.read_bytes() == content]


def empty(server, bucket):
    store = s3_client(server)
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            store.delete_object(Bucket=bucket, Key=item["Key"])


@pytest.mark.every_pair
def test_an_instance_comes_back_from_its_mirror(pair, tmp_path):
    homes = [tmp_path / name for name in ("first", "second")]
    for home in homes:
        home.mkdir()
    settings = fresh_settings(pair)
    backup = tmp_path / "attachments-20261121"
    content = os.urandom(200_000)
    with running(homes[0], pair, settings) as server:
        api = Api(server, server.user_token)
        first = stored(api, "a.bin", content, record={"type": "message", "id": "5"})
        api.request("PUT", "/records/message/5", json={"payload": {"text": "hello"}})
        begun = mirror(backup, settings=settings, data_dir=server.data_dir)
        assert begun["copied"] == begun["objects"] > 2 and begun["damaged"] == []
        assert len(holding(backup, content)) == 1
        again = mirror(backup, settings=settings, data_dir=server.data_dir)
        # Notes of ours go by themselves.
        assert again["copied"] == 0 and 2 < again["objects"] <= begun["objects"]
        second = stored(api, "b.bin", b"later")
        later = mirror(backup, settings=settings, data_dir=server.data_dir)
        assert 0 < later["copied"] < later["objects"]
        summary = json.loads((backup / "mirror.json").read_text())
        assert summary["objects"] == later["objects"] and summary["finished_at"]
        # All of it is lost.
        if pair.store == "ceph":
            empty(server, settings["S3_BUCKET"])
    if pair.database == "postgres":
        settings["CLOAKROOM_DATABASE_TABLE_PREFIX"] += "b"
    restored = mirror(backup, "--restore", settings=settings, data_dir=homes[1] / "data")
    assert restored["objects"] >= later["objects"] and restored["copied"] > 2
    rebuilt = command("rebuild", settings=settings, data_dir=homes[1] / "data")
    assert rebuilt.returncode == 0, rebuilt.stderr
    with running(homes[1], pair, settings) as server:
        # Another development instance has other keys; the owner is the same.
        api = Api(server, server.user_token)
        for before, bytes_before in ((first, content), (second, b"later")):
            file = api.request("GET", f"/files/{before['file_id']}").json()
            assert {name: file[name] for name in ("state", "filename", "checksum_sha256", "record")} == {
                "state": "ready",
                "filename": before["filename"],
                "checksum_sha256": before["checksum_sha256"],
                "record": before["record"],
            }
            url = api.request("GET", f"/files/{before['file_id']}/download").json()["download_url"]
            assert requests.get(url, timeout=30).content == bytes_before
        assert api.request("GET", "/records/message/5").json()["payload"] == {"text": "hello"}


def test_a_mirror_is_pruned_and_looks_at_every_byte_when_told(tmp_path):
    backup = tmp_path / "backup"
    with running(tmp_path, more={"CLOAKROOM_COLLECTIONS_FILES_TRASH_FOR": "0s"}) as server:
        api = Api(server, server.user_token)
        contents = (b"a" * 100_000, b"b" * 100_000)
        files = [stored(api, "x.bin", content) for content in contents]
        mirror(backup, settings={}, data_dir=server.data_dir)
        (kept,), (gone,) = (holding(backup, content) for content in contents)
        assert api.request("DELETE", f"/files/{files[1]['file_id']}").status_code == 204
        deadline = time.monotonic() + 60
        while holding(server.data_dir, contents[1]):
            assert time.monotonic() < deadline, "not purged"
            time.sleep(0.1)
        assert mirror(backup, settings={}, data_dir=server.data_dir)["pruned"] == 0 and gone.exists()
        assert mirror(backup, "--prune", settings={}, data_dir=server.data_dir)["pruned"] > 0
        assert kept.exists() and not gone.exists()
        # A bit of the backup rots.
        kept.write_bytes(b"c" + contents[0][1:])
        assert mirror(backup, settings={}, data_dir=server.data_dir)["copied"] == 0
        assert mirror(backup, "--deep", settings={}, data_dir=server.data_dir)["copied"] == 1
        assert kept.read_bytes() == contents[0]


def test_what_is_no_mirror_and_no_instance_is_refused(tmp_path):
    for arguments in (["mirror", tmp_path / "backup"], ["mirror", tmp_path / "backup", "--restore"]):
        done = command(*arguments, settings={}, data_dir=tmp_path / "none")
        assert done.returncode == 2 and str(tmp_path) in done.stderr, done.stderr
        assert not (tmp_path / "backup").exists() and not (tmp_path / "none").exists()
