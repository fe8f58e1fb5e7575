"""Starting the program, what it says of itself when it is ready, and the SDK client for it."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import boto3
import requests
from pairs import EMBEDDED, fresh_settings, secrets

ROOT = Path(__file__).resolve().parent.parent
# Both are for a busy machine; the program gives what is under way half a minute when it stops.
START_DEADLINE = 120
STOP_DEADLINE = 60

# The program is configured by its flags alone: a variable of this machine must not change what is tested.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
# Every run is searched for secrets, so it says as much as it can.
ENVIRONMENT["CLOAKROOM_LOG_LEVEL"] = "debug"


@dataclass(frozen=True)
class Cloakroom:
    """A running instance: what its ready file says."""

    api_url: str
    s3_url: str
    access_key: str | None
    secret_key: str | None
    region: str
    user_token: str
    admin_token: str
    data_dir: str
    pid: int

    @classmethod
    def read(cls, ready_file):
        told = json.loads(ready_file.read_text())
        return cls(**{field.name: told.get(field.name) for field in fields(cls)})


def program():
    path = Path(os.environ.get("CLOAKROOM_BIN", ROOT / "target/debug/cloakroom"))
    assert path.is_file(), f"{path} does not exist: run `make build`"
    return path


def wait_until_ready(process, ready_file, log_file):
    deadline = time.monotonic() + START_DEADLINE
    while not ready_file.exists():
        assert process.poll() is None, f"ended with {process.returncode}:\n{log_file.read_text()}"
        assert time.monotonic() < deadline, f"not ready in {START_DEADLINE} s:\n{log_file.read_text()}"
        time.sleep(0.05)


def start(home, settings, *arguments, command="serve"):
    """Starts the program with its data in `home`, on free ports; returns the process and its ready file."""
    ready_file, log_file = home / "ready.json", home / "log"
    ready_file.unlink(missing_ok=True)
    if command == "serve":
        arguments = ("--dev", "--data-dir", home / "data", "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0") + arguments
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [program(), command, *arguments, "--ready-file", ready_file],
            cwd=home,
            env=ENVIRONMENT | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    wait_until_ready(process, ready_file, log_file)
    return process, ready_file


def assert_no_secret(text, place, server, settings):
    """I7."""
    for secret in ("secret_key", "user_token", "admin_token"):
        if value := getattr(server, secret):
            assert value not in text, f"{secret} is in the {place}"
    for value in secrets(settings):
        assert value not in text, f"a secret of the settings is in the {place}"
    assert not re.search(r"X-Amz-Signature=[0-9a-f]", text, re.IGNORECASE), f"a presigned URL is in the {place}"


@contextmanager
def running(home, pair=EMBEDDED, more=None):
    """A private instance with its data in `home`, on free ports, with `more` settings of the test's own.

    Afterwards it must stop cleanly when asked, and neither its log nor its metrics may hold a secret (I7).
    """
    settings = fresh_settings(pair) | (more or {})
    process, ready_file = start(home, settings)
    log_file = home / "log"
    try:
        server = Cloakroom.read(ready_file)
        yield server
        metrics = requests.get(f"{server.api_url}/metrics", timeout=30).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_DEADLINE) == 0, f"stopped uncleanly:\n{log_file.read_text()[-4000:]}"
    finally:
        process.kill()
        process.wait()
    for place, text in {"log": log_file.read_text(errors="replace"), "metrics": metrics}.items():
        assert_no_secret(text, place, server, settings)


def token_of(server, user):
    """An access token for `user`, from the command that operators use."""
    command = [program(), "token", "--user", user, "--data-dir", server.data_dir]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, env=ENVIRONMENT)
    return done.stdout.strip()


def s3_client(server, **options):
    """boto3 with the SDK's own defaults, but for what `options` say."""
    return boto3.client(
        "s3",
        endpoint_url=server.s3_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        **options,
    )
