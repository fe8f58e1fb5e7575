"""I3: kill the program at any moment; every confirmed file is still there, with the right bytes, and nothing is left over."""

import hashlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import requests
from conftest import Api
from instance import Cloakroom, running, start

KILLS = 6


class Client(threading.Thread):
    """Uploads one file after the other until the server dies; remembers what was acknowledged."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.random, self.confirmed = server, random.Random(seed), {}

    def run(self):
        api = Api(self.server, self.server.user_token)
        while True:
            content = self.random.randbytes(self.random.choice([0, 10, 5_000, 300_000]))
            method = self.random.choice(["put", "post", "put"])
            try:
                ticket = api.sign(
                    content, collection="files", filename="a.bin", content_type="application/octet-stream", method=method
                )
                if api.put(ticket, content).ok and api.confirm(ticket["file_id"]).status_code == 200:
                    self.confirmed[ticket["file_id"]] = hashlib.sha256(content).hexdigest()
            except (requests.RequestException, AssertionError):
                return


def test_confirmed_files_survive_kill_9(tmp_path):
    confirmed, chance = {}, random.Random(7)
    for round_number in range(KILLS):
        process, ready_file = start(tmp_path, {})
        server = Cloakroom.read(ready_file)
        clients = [Client(server, round_number * 10 + number) for number in range(4)]
        for client in clients:
            client.start()
        # Long enough that files are under way in every state when the blow comes.
        enough = chance.randint(3, 25)
        deadline = time.monotonic() + 60
        while sum(len(client.confirmed) for client in clients) < enough:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(chance.uniform(0.001, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for client in clients:
            client.join(30)
            confirmed.update(client.confirmed)
    assert len(confirmed) >= KILLS * 3

    (tmp_path / "ready.json").unlink()
    with running(tmp_path) as server:
        api = Api(server, server.user_token)
        for file_id, sha256 in confirmed.items():
            file = api.wait_ready(file_id, seconds=60)
            assert file["checksum_sha256"] == sha256
            url = api.request("GET", f"/files/{file_id}/download").json()["download_url"]
            assert hashlib.sha256(requests.get(url, timeout=30).content).hexdigest() == sha256
        assert_nothing_left_over(Path(server.data_dir), api)


def assert_nothing_left_over(data_dir, api):
    """Every stored object belongs to a file that is there, and no half-written file stands anywhere."""
    listed, cursor = {}, None
    while True:
        page = api.request("GET", "/files", params={"limit": 1000, **({"cursor": cursor} if cursor else {})}).json()
        listed.update({file["file_id"]: file["state"] for file in page["files"]})
        cursor = page["next_cursor"]
        if not cursor:
            break
    for path in (data_dir / "objects").rglob("*"):
        relative = path.relative_to(data_dir / "objects")
        if not path.is_file() or relative.parts[0].startswith("."):
            assert not path.is_file() or ".tmp" not in relative.parts, f"half-written {relative}"
            continue
        if relative.parts[1] == "_cloakroom":
            # The bucket's mode, and records.
            continue
        owner = next((file_id for file_id in listed if file_id in str(relative)), None)
        assert owner, f"{relative} belongs to nobody"
        if "staging" in relative.parts:
            assert listed[owner] in ("pending", "uploading", "uploaded"), f"{relative} of a {listed[owner]} file"
