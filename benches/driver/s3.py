"""The embedded S3 endpoint beside nginx (static files, DAV PUT) and beside the disk alone."""

import hashlib
import os
import shutil
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import page
from measure import Failed, Plan, median
from sigv4 import Signer

BUCKET = "bench"
ROUNDS = 3
KIB, MIB = 1024, 1024 * 1024
CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Cell:
    """One line of the table. `pool`: distinct URLs of a run; a PUT ends with them, a GET begins again."""

    method: str
    size: int
    connections: int
    pool: int
    seconds: float
    disk_count: int
    ratio_goal: float | None = None
    cpu_goal: float | None = None

    @property
    def name(self):
        size = f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"
        return f"{self.method} {size}, {self.connections} conn."


CELLS = [
    Cell("GET", 4 * KIB, 1, 4000, 1.5, 20_000),
    Cell("GET", 4 * KIB, 32, 20_000, 2, 40_000, ratio_goal=0.95),
    Cell("GET", MIB, 1, 512, 1.5, 2000),
    Cell("GET", MIB, 4, 512, 2, 2000, ratio_goal=1.0, cpu_goal=0.6),
    Cell("GET", 256 * MIB, 1, 8, 1.5, 8),
    Cell("GET", 256 * MIB, 4, 8, 2, 8, ratio_goal=1.5),
    Cell("PUT", 4 * KIB, 1, 10_000, 1.5, 1000),
    Cell("PUT", 4 * KIB, 32, 40_000, 2, 8000, ratio_goal=1.0),
    Cell("PUT", 4 * KIB, 128, 60_000, 2, 8000),
    Cell("PUT", MIB, 1, 1000, 1.5, 300),
    Cell("PUT", MIB, 4, 1500, 2, 600, ratio_goal=1.1),
    Cell("PUT", 256 * MIB, 1, 4, 20, 4),
    Cell("PUT", 256 * MIB, 4, 8, 20, 8, ratio_goal=1.7),
]
OBJECTS = {4 * KIB: 2000, MIB: 64, 256 * MIB: 4}


def head(method, target, host, headers=()):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n"


def body_headers(size):
    return [("content-length", str(size)), ("content-type", CONTENT_TYPE)]


class CloakroomTarget:
    """Presigned requests: each with its own URL, PUT with content-length and content-type signed."""

    name = "cloakroom"

    def __init__(self, server):
        self.server, self.signer = server, Signer(server)
        self.url = server.s3_url
        self.processes = {self.name: [server.pid]}
        request = urllib.request.Request(self.signer.origin + self.signer.target("PUT", BUCKET), method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def requests(self, method, keys, size=None):
        headers = body_headers(size) if method == "PUT" else []
        return [
            # The same key signed for different lives gives different URLs.
            head(method, self.signer.target(method, BUCKET, key, headers, 86400 - index), self.signer.host, headers)
            for index, key in enumerate(keys)
        ]

    put_status, delete_status = 200, 204


class NginxTarget:
    name = "nginx"

    def __init__(self, server):
        self.url, self.host = server.url, urlsplit(server.url).netloc
        self.processes = {self.name: [server.pid]}

    def requests(self, method, keys, size=None):
        headers = body_headers(size) if method == "PUT" else []
        return [head(method, f"/put/{key}", self.host, headers) for key in keys]

    put_status, delete_status = 201, 204


def put(rig, target, size, keys, connections, seconds=None):
    plan = Plan(
        target.url, target.requests("PUT", keys, size), connections, seconds=seconds, fill_bytes=size,
        expect=target.put_status,
    )
    return rig.run(plan, target.processes)


def delete(rig, target, keys):
    """Removes what a run left, whether or not it came to every key."""
    status = target.delete_status
    for start in range(0, len(keys), 4000):
        requests = target.requests("DELETE", keys[start : start + 4000])
        try:
            rig.run(Plan(target.url, requests, 4, expect=status), {})
        except Failed:
            # nginx answers 404 for keys that the run did not come to.
            continue


def get(rig, target, cell):
    objects = OBJECTS[cell.size]
    keys = [f"get/{cell.size}/{index % objects}" for index in range(cell.pool)]
    plan = Plan(target.url, target.requests("GET", keys), cell.connections, seconds=cell.seconds, repeat=True)
    return rig.run(plan, target.processes)


def check_content(target, size):
    """The bytes come back as they were sent, whole."""
    request = target.requests("GET", [f"get/{size}/0"])[0]
    with urllib.request.urlopen(target.url.rstrip("/") + request.split(" ")[1], timeout=60) as answer:
        content = answer.read()
    if len(content) != size:
        raise Failed(f"{target.name}: {len(content)} bytes instead of {size}")
    return hashlib.sha256(content).hexdigest()


@contextmanager
def prepared(rig, targets):
    """The objects that GET reads, equal on all."""
    for size, objects in OBJECTS.items():
        for target in targets:
            put(rig, target, size, [f"get/{size}/{index}" for index in range(objects)], 4)
        if len({check_content(target, size) for target in targets}) != 1:
            raise Failed(f"objects of {size} bytes differ")
    os.sync()
    yield


def measure_cell(rig, cell, targets, scratch):
    """Samples by target, in turns, and the disk's rate."""
    samples = {target.name: [] for target in targets}
    for turn in range(ROUNDS):
        # The one that begins has the quieter disk: take turns.
        for target in targets if turn % 2 == 0 else reversed(targets):
            if cell.method == "GET":
                samples[target.name].append(get(rig, target, cell))
                continue
            keys = [f"put/{cell.size}/{cell.connections}/{turn}/{index}" for index in range(cell.pool)]
            os.sync()
            samples[target.name].append(put(rig, target, cell.size, keys, cell.connections, cell.seconds))
            # Small objects go with the directory at the end: deleting them one by one takes longer than the run.
            if cell.size >= MIB:
                delete(rig, target, keys)
    return {name: median(runs) for name, runs in samples.items()}, disk(rig, cell, scratch)


def disk(rig, cell, scratch):
    directory = scratch / "disk"
    directory.mkdir()
    try:
        os.sync()
        if cell.method == "PUT":
            return rig.disk("write", directory, cell.size, cell.disk_count, cell.connections)
        files = min(cell.disk_count, OBJECTS[cell.size])
        rig.disk("write", directory, cell.size, files, 4)
        # As many reads as asked, over the files that there are.
        turns = max(1, cell.disk_count // files)
        return sum(rig.disk("read", directory, cell.size, files, cell.connections) for _ in range(turns)) / turns
    finally:
        shutil.rmtree(directory)


def measure(rig, start, scratch, say):
    """The section of the page."""
    section = page.Section(
        ["", "Cloakroom", "nginx", "ratio", "goal", "disk alone", "p99 ms", "nginx p99",
         "CPU µs", "nginx CPU µs", "CPU ratio", "goal", "client CPU µs"]
    )
    with start.cloakroom(scratch / "cloakroom") as server, start.nginx(scratch / "nginx") as static:
        targets = [CloakroomTarget(server), NginxTarget(static)]
        with prepared(rig, targets):
            rig.take_foreign_shares()
            for cell in CELLS:
                results, disk_rate = measure_cell(rig, cell, targets, scratch)
                section.rows.append(row(cell, results["cloakroom"], results["nginx"], disk_rate))
                say(" | ".join(section.rows[-1]))
    section.notes.append(
        "Requests/s for 4 KiB, GB/s above; CPU per request. Client CPU: the load generator's, against Cloakroom."
    )
    return section


def row(cell, ours, theirs, disk_rate):
    small = cell.size < MIB
    shown = (lambda sample: page.count(sample.rate)) if small else (lambda sample: page.gigabytes(sample.bytes_rate))
    ratio = ours.rate / theirs.rate
    our_cpu, their_cpu = ours.server_us["cloakroom"], theirs.server_us["nginx"]
    cpu_ratio = our_cpu / their_cpu if their_cpu else float("nan")
    return [
        cell.name, shown(ours), shown(theirs), f"{ratio:.2f}",
        page.goal(ratio, cell.ratio_goal) if cell.ratio_goal else "",
        page.count(disk_rate) if small else page.gigabytes(disk_rate * cell.size),
        page.milliseconds(ours.p99_us), page.milliseconds(theirs.p99_us),
        page.microseconds(our_cpu), page.microseconds(their_cpu), f"{cpu_ratio:.2f}",
        page.goal(cpu_ratio, cell.cpu_goal, at_least=False) if cell.cpu_goal else "",
        page.microseconds(ours.client_us),
    ]
