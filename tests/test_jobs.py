"""Jobs as operators and clients see them: the command for those that failed for good, and the stream of one that runs."""

import base64
import json
import secrets
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import Api
from instance import ENVIRONMENT, program, running, token_of

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Endpoint(ThreadingHTTPServer):
    """A processor of one's own that fails, or waits, or counts, as it is told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fails, self.may_answer = False, threading.Event()
        self.may_answer.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.may_answer.wait(60)
        answer = json.dumps({"facts": {"words": 6}}).encode()
        self.send_response(500 if self.server.fails else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = Endpoint()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def counted(tmp_path, pair, endpoint):
    """An instance whose collection `letters` requires the endpoint, and gives up soon."""
    (tmp_path / "cloakroom.toml").write_text(
        f'[processors.words]\nurl = "http://127.0.0.1:{endpoint.server_port}/"\nallow_private = true\n'
        '[collections.letters]\nprocessors = ["words"]\nrequired_processors = ["words"]\n'
    )
    settings = {
        "CLOAKROOM_PROCESSORS_WORDS_SECRET": SECRET,
        "CLOAKROOM_RETRY_MAX_ATTEMPTS": "2",
        "CLOAKROOM_RETRY_INITIAL_DELAY": "10ms",
    }
    with running(tmp_path, pair, settings) as server:
        yield server


def confirmed(api, content=b"Dear Ann,\nit is cold here.\n"):
    ticket = api.sign(content, collection="letters", filename="letter.txt", content_type="text/plain")
    assert api.put(ticket, content).ok
    answer = api.confirm(ticket["file_id"])
    assert answer.ok, answer.text
    return ticket["file_id"]


def jobs(server, *arguments, token=None):
    command = [program(), "jobs", *arguments, "--url", server.api_url]
    environment = ENVIRONMENT | {"CLOAKROOM_TOKEN": token or server.admin_token}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def listed(server, *arguments):
    done = jobs(server, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dead_jobs_are_listed_tried_again_and_thrown_away(counted, endpoint):
    api = Api(counted, token_of(counted, "ann"))
    endpoint.fails = True
    files = [confirmed(api) for _ in range(3)]
    for file_id in files:
        assert api.wait_failed(file_id)["error"]["code"] == "processing_failed"
    dead = {job["file_id"]: job for job in listed(counted, "--state", "dead")}
    assert set(dead) == set(files)
    assert {(job["kind"], job["state"], job["attempt"]) for job in dead.values()} == {("process_file", "dead", 2)}
    assert listed(counted, "--state", "dead", "--kind", "purge_file") == []
    table = jobs(counted, "list", "--state", "dead").stdout
    assert table.startswith("JOB") and "500" in table and all(file_id in table for file_id in files), table

    # For administrators only, and what is no dead job is said to be none.
    refused = jobs(counted, "retry", dead[files[0]]["id"], token=counted.user_token)
    assert refused.returncode != 0 and len(listed(counted, "--state", "dead")) == 3
    assert jobs(counted, "retry", "0199a3c2-7d51-7c43-9a60-1f1d6f3a9b10").returncode != 0
    assert jobs(counted, "retry", "not-an-id").returncode == 2

    # Again, while the reason is still there: dead again. Without it: ready, with the attempts counted from zero.
    assert jobs(counted, "retry", dead[files[0]]["id"]).returncode == 0
    assert api.wait_failed(files[0])["error"]["code"] == "processing_failed"
    endpoint.fails = False
    one = next(job for job in wait_for_dead(counted, 3) if job["file_id"] == files[0])
    done = jobs(counted, "retry", one["id"])
    assert done.returncode == 0 and "will be tried again" in done.stdout, done.stderr
    assert wait_until_ready(api, files[0])["facts"]["words"] == 6

    assert jobs(counted, "discard", dead[files[1]]["id"]).returncode == 0
    assert jobs(counted, "retry", "--all", "--kind", "process_file").returncode == 0
    assert wait_until_ready(api, files[2])["facts"]["words"] == 6
    assert listed(counted, "--state", "dead") == []
    # What was discarded stays what it was.
    assert api.request("GET", f"/files/{files[1]}").json()["state"] == "failed"


def wait_for_dead(server, count, seconds=90):
    deadline = time.monotonic() + seconds
    while len(dead := listed(server, "--state", "dead")) != count:
        assert time.monotonic() < deadline, dead
        time.sleep(0.1)
    return dead


def wait_until_ready(api, file_id, seconds=90):
    """The file once it is ready again: it may still be `failed` when the retry was taken."""
    deadline = time.monotonic() + seconds
    while (file := api.request("GET", f"/files/{file_id}").json())["state"] != "ready":
        assert time.monotonic() < deadline, file
        time.sleep(0.05)
    return file


def test_the_status_stream_names_the_processor_that_runs(counted, endpoint):
    api = Api(counted, token_of(counted, "ann"))
    endpoint.may_answer.clear()
    file_id = confirmed(api)
    stages, states = [], []
    for status in stream(api, file_id):
        states.append(status["state"])
        stage = (status["processing"] or {}).get("stage")
        stages.append(stage)
        if stage == "processing:words":
            endpoint.may_answer.set()
    assert "processing:words" in stages, stages
    assert states[-1] == "ready", states
    assert stages[-1] is None


def stream(api, file_id):
    """What the status stream says of a file, until it is settled."""
    address = f"/files/{file_id}/status"
    with api.request("GET", address, headers={"Accept": "text/event-stream"}, stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))
