"""The servers under test: each in its own directory, on a free port of 127.0.0.1, and gone afterwards."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_DEADLINE = 60
STOP_DEADLINE = 30

# Settings, proxies and credentials of this machine must not change what is measured.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


@dataclass(frozen=True)
class Cloakroom:
    """A running instance: what its ready file says, and how long it took to write it."""

    api_url: str
    s3_url: str
    access_key: str
    secret_key: str
    region: str
    user_token: str
    admin_token: str
    data_dir: str
    pid: int
    start_seconds: float


@dataclass(frozen=True)
class Server:
    """Another server."""

    url: str
    pid: int


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process):
    """Asks the process to end, and ends it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition, process, what, log=None, pause=0.02):
    deadline = time.monotonic() + START_DEADLINE
    while not condition():
        said = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode}\n{said}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} was not ready in {START_DEADLINE} s\n{said}")
        time.sleep(pause)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def cloakroom(program, home, settings=None):
    """The product as a developer starts it, embedded unless `settings` of its environment say otherwise; log lines as
    in production."""
    home.mkdir(parents=True, exist_ok=True)
    ready_file, log = home / "ready.json", home / "cloakroom.log"
    ready_file.unlink(missing_ok=True)
    arguments = ["serve", "--dev", "--data-dir", home / "data", "--listen", "127.0.0.1:0"]
    arguments += ["--s3-listen", "127.0.0.1:0", "--ready-file", ready_file]
    with log.open("ab") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            [program, *arguments], cwd=home, env=ENVIRONMENT | (settings or {}), stdin=subprocess.DEVNULL,
            stdout=out, stderr=out,
        )
    try:
        wait_until(ready_file.exists, process, "cloakroom", log, pause=0.0005)
        start_seconds = time.perf_counter() - started
        yield Cloakroom(**json.loads(ready_file.read_text()), start_seconds=start_seconds)
    finally:
        stop(process)


@contextmanager
def yardstick(programs):
    """The bare axum server."""
    process = subprocess.Popen([programs / "yardstick"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(json.loads(process.stdout.readline())["url"], process.pid)
    finally:
        stop(process)
        process.stdout.close()


NGINX_CONF = """
worker_processes auto;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {home}/root;
        location /put/ {{
            dav_methods PUT DELETE;
            create_full_put_path on;
        }}
    }}
}}
"""


@contextmanager
def nginx(program, home):
    """A private nginx: static files, and PUT by its DAV module (not durable: it never calls fsync)."""
    port = free_port()
    (home / "root" / "put").mkdir(parents=True)
    user = "user root;" if os.geteuid() == 0 else ""
    conf = home / "nginx.conf"
    conf.write_text(NGINX_CONF.format(home=home, port=port, user=user))
    process = subprocess.Popen(
        [program, "-e", home / "error.log", "-p", home, "-c", conf], env=ENVIRONMENT, stdin=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        (home / "root" / "ready").write_text("ready")
        wait_until(lambda: answers(f"{url}/ready"), process, "nginx", home / "error.log")
        yield Server(url, process.pid)
    finally:
        stop(process)


def postgres_programs():
    """The directory of the newest PostgreSQL that Debian installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError("PostgreSQL is not installed")
    return found[-1].parent


@contextmanager
def postgres(home):
    """A private cluster. It refuses to run as root, so root runs it as the user that Debian made for it."""
    programs, data, log = postgres_programs(), home / "data", home / "postgres.log"
    home.mkdir(parents=True)
    command = []
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--"]
        shutil.chown(home, "postgres", "postgres")
    subprocess.run(
        [*command, programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"],
        check=True, stdout=subprocess.DEVNULL, cwd="/",
    )
    port = free_port()
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(f"listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories=''\n")
        conf.write("shared_buffers=256MB\nmax_connections=200\nlogging_collector=off\n")
    # pg_ctl finds the server again by its pid file: runuser stands between it and us.
    control = [*command, programs / "pg_ctl", "-D", data, "-l", log, "-w"]
    subprocess.run([*control, "start"], check=True, stdout=subprocess.DEVNULL, cwd="/")
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        yield Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", pid)
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], check=True, stdout=subprocess.DEVNULL, cwd="/")


def pgbench(database, script, clients, seconds):
    """Transactions per second of a script, each statement prepared once per client."""
    done = subprocess.run(
        [postgres_programs() / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds),
         "-f", script, database.url],
        check=True, capture_output=True, text=True,
    )
    return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))


def psql(database, statements):
    """What the statements answer, a line per row, columns divided by `|`."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", database.url],
        input=statements, check=True, capture_output=True, text=True,
    )
    return [line for line in done.stdout.splitlines() if line]


@contextmanager
def fastapi(python, home, database, store, bucket, workers):
    """The baseline, with the database given and a Cloakroom's S3 endpoint as its store. Yields it and a token."""
    home.mkdir(parents=True)
    source = HERE.parent / "fastapi"
    subprocess.run([python, source / "keys.py", home], check=True, env=ENVIRONMENT)
    port, log = free_port(), home / "fastapi.log"
    environment = {
        **ENVIRONMENT,
        "DATABASE_URL": database.url,
        "JWT_PUBLIC_KEY_FILE": str(home / "public.pem"),
        "S3_ENDPOINT": store.s3_url,
        "S3_ACCESS_KEY": store.access_key,
        "S3_SECRET_KEY": store.secret_key,
        "S3_REGION": store.region,
        "S3_BUCKET": bucket,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    arguments = ["-m", "uvicorn", "app:app", "--app-dir", source, "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, *arguments], cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/health"), process, "FastAPI", log, pause=0.1)
        yield Server(url, process.pid), (home / "token").read_text()
    finally:
        stop(process)
