"""Faults between the program and PostgreSQL, the object store, and Redis: requests fail clearly and in time or succeed,
health names what is wrong, everything comes back by itself, and what was acknowledged is not lost."""

import hashlib
import signal
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import requests
from conftest import Api
from instance import STOP_DEADLINE, Cloakroom, start
from pairs import SCALED_OUT, fresh_settings, server

from toxics import Proxy

PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
# What the settings below allow an answer to take, and the time of a busy machine.
ANSWER_SECONDS = 30
RECOVERY_SECONDS = 90
FAULTS = {
    "latency": ("latency", 0.05),
    "slow": ("throttle", 200_000),
    "reset": "reset",
    "refuse": "refuse",
    "black hole": "black_hole",
    "cut": ("cut", 100),
}
# The service must do its work in spite of these.
HARMLESS = ("latency", "slow")


class Stand:
    """An instance whose dependencies stand behind proxies. Clients reach the store directly."""

    def __init__(self, home):
        settings = fresh_settings(SCALED_OUT) | {"REDIS_URL": server("REDIS_URL")}
        self.proxies = {}
        for name, variable in (("database", "DATABASE_URL"), ("store", "S3_ENDPOINT"), ("redis", "REDIS_URL")):
            url = urlsplit(settings[variable])
            proxy = self.proxies[name] = Proxy((url.hostname, url.port))
            if name == "store":
                settings["S3_PRESIGN_ENDPOINT"] = settings[variable]
            settings[variable] = settings[variable].replace(f":{url.port}", f":{proxy.port}")
        settings |= {
            "CLOAKROOM_DATABASE_POOL_TIMEOUT": "5s",
            "CLOAKROOM_DATABASE_CONNECT_TIMEOUT": "2s",
            "CLOAKROOM_DATABASE_STATEMENT_TIMEOUT": "5s",
            "CLOAKROOM_S3_CONNECT_TIMEOUT": "2s",
            "CLOAKROOM_S3_REQUEST_TIMEOUT": "9s",
            "CLOAKROOM_WORKER_LEASE": "5s",
            # Counted in Redis, and never reached.
            "CLOAKROOM_LIMITS_SIGN_PER_USER": "100000/min",
        }
        self.process, ready_file = start(home, settings)
        self.log_file = home / "log"
        self.server = Cloakroom.read(ready_file)
        self.api = Api(self.server, self.server.user_token)

    def ready(self):
        return requests.get(f"{self.server.api_url}/health/ready", timeout=ANSWER_SECONDS)

    def is_healthy(self):
        said = self.ready().json()
        return said["status"] == "ok" and not said.get("degraded")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_DEADLINE + 10) == 0, self.log_file.read_text()[-4000:]

    def upload(self):
        """Signs, sends and confirms; the last answer, and the file's id if the confirm was acknowledged."""
        body = {"collection": "documents", "filename": "a.pdf", "content_type": "application/pdf", "size_bytes": len(PDF)}
        signed = timed(lambda: self.api.request("POST", "/uploads", json=body))
        if signed.status_code != 201:
            return signed, None
        sent = self.api.put(signed.json(), PDF)
        assert sent.ok, sent.text
        file_id = signed.json()["file_id"]
        confirmed = timed(lambda: self.api.confirm(file_id))
        return confirmed, file_id if confirmed.status_code == 200 else None


def timed(ask):
    begun = time.monotonic()
    answer = ask()
    assert time.monotonic() - begun < ANSWER_SECONDS, f"{answer.status_code} after {time.monotonic() - begun:.1f} s"
    return answer


def until(condition, what, seconds=RECOVERY_SECONDS, seen=lambda: ""):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s: {seen()}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with standing(tmp_path_factory.mktemp("toxics")) as stand:
        yield stand


@contextmanager
def standing(home):
    stand = Stand(home)
    try:
        yield stand
        stand.stop()
    finally:
        stand.process.kill()
        stand.process.wait()
        for proxy in stand.proxies.values():
            proxy.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dependency", ["database", "store", "redis"])
def test_a_fault_is_survived(stand, dependency, fault):
    before, acknowledged = stand.upload()
    assert before.status_code == 200, before.text
    confirmed = [acknowledged]
    proxy = stand.proxies[dependency]
    proxy.set(FAULTS[fault])
    try:
        for _ in range(3):
            answer, acknowledged = stand.upload()
            if acknowledged:
                confirmed.append(acknowledged)
            elif fault in HARMLESS or dependency == "redis":
                raise AssertionError(f"{answer.status_code}: {answer.text}")
            else:
                assert answer.status_code == 503, answer.text
                assert answer.json()["error_code"] == "unavailable"
                assert int(answer.headers["Retry-After"]) >= 1
        health = timed(stand.ready)
        if dependency == "redis" and fault not in (*HARMLESS, "cut"):
            until(lambda: "rate_limiter" in stand.ready().json().get("degraded", []), "health says that Redis is away")
        elif fault in HARMLESS or dependency == "redis":
            # A connection that is cut now and then is made again before anybody notices.
            assert health.status_code == 200, health.text
        elif fault != "cut":
            until(lambda: stand.ready().status_code == 503, "health says so")
            assert dependency in stand.ready().json()["details"]["failing"]
    finally:
        proxy.set(None)
    until(stand.is_healthy, "healthy again", seen=lambda: stand.ready().text)
    until(lambda: stand.upload()[1] is not None, "uploads work again")
    for file_id in confirmed:
        file = stand.api.wait_ready(file_id, seconds=RECOVERY_SECONDS)
        assert file["checksum_sha256"] == hashlib.sha256(PDF).hexdigest()
