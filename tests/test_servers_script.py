"""`scripts/test-servers`, in a checkout of its own: it starts what is missing, shares it, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "test-servers"
DEADLINE = 150

pytestmark = pytest.mark.timeout(600)


def until(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def answers(url):
    host, port = url.rsplit("/", 1)[1].split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class Checkout:
    """A directory that holds nothing but the script."""

    def __init__(self, root):
        self.root = root
        self.script = root / "scripts" / "test-servers"
        self.script.parent.mkdir()
        shutil.copy(SCRIPT, self.script)

    def command(self, *arguments):
        return [sys.executable, str(self.script), *arguments]

    def begin(self, *arguments, **options):
        return subprocess.Popen(self.command(*arguments), **options)

    def run(self, *arguments, **environment):
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=DEADLINE, env=os.environ | environment
        )

    def state(self):
        return json.loads((self.root / ".cache" / "test-servers" / "state.json").read_text())

    def pid(self, name):
        return self.state()[name]["processes"][0][0]

    def home(self):
        """Where its servers work: the name tells one checkout from another."""
        told = subprocess.run(
            [sys.executable, "-c", "import runpy, sys; print(runpy.run_path(sys.argv[1])['HOME'])", str(self.script)],
            capture_output=True, text=True, check=True,
        )
        return told.stdout.strip()

    def processes(self):
        """Command lines of everything that works there."""
        home, found = self.home(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            if home in words or place.startswith(home):
                found.append(words)
        return found


@pytest.fixture
def checkout(tmp_path):
    checkout = Checkout(tmp_path)
    yield checkout
    assert checkout.run("stop").returncode == 0
    assert checkout.processes() == []
    assert not Path(checkout.home()).exists()


def test_starting_again_changes_nothing(checkout):
    first = checkout.run("--only", "postgres,redis,nats", "start")
    assert first.returncode == 0 and "redis" in first.stderr, first.stderr
    before = checkout.state()
    again = checkout.run("--only", "postgres,redis,nats", "start")
    assert (again.returncode, again.stderr) == (0, "")
    assert checkout.state() == before
    assert "ceph: does not run" in checkout.run("status").stdout


def test_a_server_that_died_is_replaced_and_the_others_stay(checkout):
    checkout.run("--only", "redis,nats", "start")
    redis, nats = checkout.pid("redis"), checkout.pid("nats")
    os.kill(redis, signal.SIGKILL)
    assert checkout.run("--only", "redis,nats", "start").returncode == 0
    assert checkout.pid("redis") != redis
    assert checkout.pid("nats") == nats


def test_a_command_learns_where_they_are_and_they_end_with_it(checkout):
    command = "import os; print(os.environ['CLOAKROOM_TEST_REDIS_URL']); raise SystemExit(7)"
    ran = checkout.run("--only", "redis", "run", sys.executable, "-c", command)
    assert ran.returncode == 7, ran.stderr
    assert not answers(ran.stdout.strip())
    assert checkout.processes() == []


def test_those_that_were_left_running_stay_when_a_command_ends(checkout):
    checkout.run("--only", "redis", "start")
    ran = checkout.run("--only", "redis,nats", "run", "env")
    urls = dict(line.split("=", 1) for line in ran.stdout.splitlines() if line.startswith("CLOAKROOM_TEST_"))
    assert answers(urls["CLOAKROOM_TEST_REDIS_URL"])
    assert not answers(urls["CLOAKROOM_TEST_NATS_URL"])
    told = checkout.run("env")
    assert told.stdout == f"export CLOAKROOM_TEST_REDIS_URL={urls['CLOAKROOM_TEST_REDIS_URL']}\n"


def test_the_last_of_several_commands_stops_them(checkout, tmp_path):
    def waiting(name):
        script = f'echo "$CLOAKROOM_TEST_REDIS_URL" > {name}.new; mv {name}.new {name}; until [ -e {name}.end ]; do sleep 0.02; done'
        return checkout.begin("--only", "redis", "run", "bash", "-c", script, cwd=tmp_path)

    runs = {name: waiting(name) for name in ("one", "two")}
    urls = {until(lambda: (tmp_path / name).exists() and (tmp_path / name).read_text().strip(), name) for name in runs}
    assert len(urls) == 1, "they share it"
    (tmp_path / "one.end").touch()
    assert runs["one"].wait(DEADLINE) == 0
    assert answers(*urls)
    (tmp_path / "two.end").touch()
    assert runs["two"].wait(DEADLINE) == 0
    assert not answers(*urls)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing(checkout, sign):
    starting = checkout.begin("--only", "postgres,ceph", "run", "true")
    until(checkout.processes, "a server is there")
    starting.send_signal(sign)
    assert starting.wait(DEADLINE) == 128 + sign
    assert checkout.processes() == []


def test_what_a_killed_start_left_is_ended_by_the_next(checkout):
    starting = checkout.begin("--only", "postgres,ceph", "start")
    until(checkout.processes, "a server is there")
    starting.kill()
    starting.wait()
    assert checkout.run("--only", "redis", "start").returncode == 0
    assert len(checkout.processes()) == 1, checkout.processes()


def test_a_signal_reaches_the_command_and_the_servers_end_after_it(checkout, tmp_path):
    script = f"trap 'touch {tmp_path}/told; exit 3' TERM; touch {tmp_path}/begun; while :; do sleep 0.02; done"
    running = checkout.begin("--only", "redis", "run", "bash", "-c", script)
    until((tmp_path / "begun").exists, "the command runs")
    running.terminate()
    assert running.wait(DEADLINE) == 3
    assert (tmp_path / "told").exists()
    assert checkout.processes() == []


def test_what_is_missing_is_named_with_the_command_that_installs_it(checkout):
    missing = checkout.run("--only", "redis,nats", "start", PATH="/nonexistent")
    assert missing.returncode == 1
    assert "redis-server is not installed: run scripts/install-test-env" in missing.stderr
    # The Python environment is one of its own, too.
    missing = checkout.run("--only", "moto", "start")
    assert "moto_server is not installed: run scripts/install-test-env" in missing.stderr


def test_a_mistake_is_told(checkout):
    unknown = checkout.run("--only", "oracle", "start")
    assert unknown.returncode == 1 and "oracle" in unknown.stderr
    absent = checkout.run("--only", "redis", "run", "no-such-command")
    assert absent.returncode == 127 and "no-such-command" in absent.stderr
    none = checkout.run("env")
    assert none.returncode == 1 and "scripts/test-servers start" in none.stderr
    assert checkout.run("nonsense").returncode == 2
