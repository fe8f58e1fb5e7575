"""Two API nodes and two workers over PostgreSQL, Ceph RGW and Redis; a node and a worker are killed under load."""

import hashlib
import random
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import requests
from botocore.config import Config
from conftest import Api
from instance import STOP_DEADLINE, Cloakroom, assert_no_secret, start
from pairs import SCALED_OUT, fresh_settings, server

CLIENTS = 6
FILES_BEFORE_THE_BLOW = 12
FILES_AFTER_IT = 12
SETTLE_DEADLINE = 90


@dataclass
class Process:
    """One process of the service, and what it says of itself."""

    process: object
    home: Path
    server: Cloakroom | None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_DEADLINE) == 0, (self.home / "log").read_text()[-4000:]


class Cluster:
    """Nodes and workers that share a database, a bucket, and Redis."""

    def __init__(self, home):
        self.home, self.members = home, []
        self.settings = fresh_settings(SCALED_OUT) | {
            "REDIS_URL": server("REDIS_URL"),
            # What a killed worker held is taken over soon.
            "CLOAKROOM_WORKER_LEASE": "5s",
            "CLOAKROOM_WORKER_SWEEP_EVERY": "1s",
        }

    def node(self, name):
        home = self.home / name
        home.mkdir()
        settings = dict(self.settings)
        if self.members:
            # Every node believes the tokens that the first one's development key signed.
            first = Path(self.members[0].server.data_dir)
            settings["CLOAKROOM_AUTH_PUBLIC_KEY_FILES"] = str(first / "keys" / "dev-public.pem")
        process, ready_file = start(home, settings, "--no-worker")
        return self._member(process, home, Cloakroom.read(ready_file))

    def worker(self, name):
        home = self.home / name
        home.mkdir()
        settings = self.settings | {"CLOAKROOM_WORKER_LISTEN": "127.0.0.1:0"}
        process, _ = start(home, settings, command="worker")
        return self._member(process, home, None)

    def _member(self, process, home, server):
        member = Process(process, home, server)
        self.members.append(member)
        return member

    def bucket(self):
        s3 = boto3.client(
            "s3",
            endpoint_url=self.settings["S3_ENDPOINT"],
            region_name=self.settings["S3_REGION"],
            aws_access_key_id=self.settings["S3_ACCESS_KEY"],
            aws_secret_access_key=self.settings["S3_SECRET_KEY"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.settings["S3_BUCKET"])
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextmanager
def cluster(home):
    together = Cluster(home)
    try:
        yield together
        for member in together.members:
            if member.process.poll() is None:
                member.stop()
    finally:
        for member in together.members:
            member.process.kill()
            member.process.wait()
    for member in together.members:
        first = together.members[0].server
        assert_no_secret((member.home / "log").read_text(errors="replace"), "log", first, together.settings)


class Client(threading.Thread):
    """Signs at one node and confirms at another; goes to the next node when one does not answer."""

    def __init__(self, nodes, seed, enough):
        super().__init__(daemon=True)
        token = nodes[0].server.user_token
        self.apis = [Api(node.server, token) for node in nodes]
        self.random, self.enough, self.confirmed, self.failure = random.Random(seed), enough, {}, None

    def anywhere(self, ask):
        """The answer of the first node that gives one."""
        start_at = self.random.randrange(len(self.apis))
        for turn in range(20):
            try:
                return ask(self.apis[(start_at + turn) % len(self.apis)])
            # Killed in the middle of its answer, too.
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                continue
        raise AssertionError("no node answers")

    def run(self):
        try:
            while not self.enough.is_set():
                content = self.random.randbytes(self.random.choice([0, 10, 5_000, 300_000]))
                method = self.random.choice(["put", "post"])
                ticket = self.anywhere(
                    lambda api: api.sign(
                        content, collection="files", filename="a.bin", content_type="application/octet-stream",
                        method=method,
                    )
                )
                sent = self.apis[0].put(ticket, content)
                assert sent.ok, sent.text
                answer = self.anywhere(lambda api: api.confirm(ticket["file_id"]))
                assert answer.status_code == 200, answer.text
                self.confirmed[ticket["file_id"]] = hashlib.sha256(content).hexdigest()
        except Exception as error:
            self.failure = error


def wait_for(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_a_node_and_a_worker_are_killed_and_nothing_is_lost(tmp_path):
    with cluster(tmp_path) as together:
        nodes = [together.node("node-1"), together.node("node-2")]
        workers = [together.worker("worker-1"), together.worker("worker-2")]
        enough = threading.Event()
        clients = [Client(nodes, seed, enough) for seed in range(CLIENTS)]
        for client in clients:
            client.start()

        def confirmed():
            assert not any(client.failure for client in clients), [client.failure for client in clients]
            return sum(len(client.confirmed) for client in clients)

        wait_for(lambda: confirmed() >= FILES_BEFORE_THE_BLOW, "files before the blow")
        nodes[1].kill()
        workers[0].kill()
        reached = confirmed() + FILES_AFTER_IT
        wait_for(lambda: confirmed() >= reached, "files after it")
        enough.set()
        for client in clients:
            client.join(60)
        confirmed()

        api = Api(nodes[0].server, nodes[0].server.user_token)
        files = {}
        for client in clients:
            for file_id, sha256 in client.confirmed.items():
                files[file_id] = api.wait_ready(file_id, seconds=SETTLE_DEADLINE)
                assert files[file_id]["checksum_sha256"] == sha256
                url = api.request("GET", f"/files/{file_id}/download").json()["download_url"]
                assert hashlib.sha256(requests.get(url, timeout=30).content).hexdigest() == sha256
                events = api.request("GET", f"/files/{file_id}/timeline").json()["events"]
                assert [event["version"] for event in events] == list(range(1, len(events) + 1))
                assert [event["type"] for event in events].count("file.ready") == 1

        # Whatever else stands in the bucket belongs to a file: an object and its newest sidecar each.
        def leftovers():
            open_uploads = api.request("GET", "/files", params={"limit": 1000, "state": "pending"}).json()["files"]
            known = set(files) | {file["file_id"] for file in open_uploads}
            # `_cloakroom/` holds the bucket's mode and the records.
            others = [key for key in together.bucket() if not key.startswith("_cloakroom/")]
            return [key for key in others if not any(file_id in key for file_id in known)]

        wait_for(lambda: not leftovers(), "no leftovers", SETTLE_DEADLINE)
        newcomer = together.node("node-3")
        assert Api(newcomer.server, nodes[0].server.user_token).request("GET", f"/files/{next(iter(files))}").ok
