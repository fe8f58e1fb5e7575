"""Starting the program, what it says of itself when it is ready, and the SDK client for it."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import requests

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE = 60
STOP_DEADLINE = 30

# The program is configured by its flags alone: a variable of this machine must not change what is tested.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
# Every run is searched for secrets, so it says as much as it can.
ENVIRONMENT["CLOAKROOM_LOG_LEVEL"] = "debug"


@dataclass(frozen=True)
class Cloakroom:
    """A running instance: what its ready file says."""

    api_url: str
    s3_url: str
    access_key: str
    secret_key: str
    region: str
    user_token: str
    admin_token: str
    data_dir: str
    pid: int

    @classmethod
    def read(cls, ready_file):
        return cls(**json.loads(ready_file.read_text()))


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


@contextmanager
def running(home):
    """A private instance with its data in `home`, on free ports.

    Afterwards it must stop cleanly when asked, and neither its log nor its metrics may hold a secret (I7).
    """
    ready_file, log_file = home / "ready.json", home / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [
                program(),
                "serve",
                "--dev",
                "--data-dir",
                home / "data",
                "--listen",
                "127.0.0.1:0",
                "--s3-listen",
                "127.0.0.1:0",
                "--ready-file",
                ready_file,
            ],
            cwd=home,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(process, ready_file, log_file)
        server = Cloakroom.read(ready_file)
        yield server
        metrics = requests.get(f"{server.api_url}/metrics", timeout=30).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_DEADLINE) == 0, f"stopped uncleanly:\n{log_file.read_text()[-4000:]}"
    finally:
        process.kill()
        process.wait()
    for place, text in {"log": log_file.read_text(errors="replace"), "metrics": metrics}.items():
        for secret in ("secret_key", "user_token", "admin_token"):
            assert getattr(server, secret) not in text, f"{secret} is in the {place}"
        assert not re.search(r"X-Amz-Signature=[0-9a-f]", text, re.IGNORECASE), f"a presigned URL is in the {place}"


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
