"""How much the server's memory grows while large files stream through it."""

import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

import page
from measure import Plan, memory_mib
from s3 import BUCKET, CloakroomTarget, body_headers, head

MIB = 1024 * 1024
GIB = 1024 * MIB
GROWTH_GOAL_MIB = 16
BOUNDARY = "bench-" + secrets.token_hex(16)


def form_field(name, value):
    return f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def form_request(path, host, fields, size, headers=()):
    """Head and fields of a form with one file, to be followed by its bytes and by `form_end()`."""
    prefix = "".join(form_field(name, value) for name, value in fields.items())
    prefix += f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="large.bin"\r\n'
    prefix += "content-type: application/octet-stream\r\n\r\n"
    length = len(prefix) + size + len(form_end())
    headers = [
        *headers, ("content-type", f"multipart/form-data; boundary={BOUNDARY}"), ("content-length", str(length))
    ]
    return head("POST", path, host, headers) + prefix


def form_end():
    return f"\r\n--{BOUNDARY}--\r\n"


class Uploads:
    """The ways in, by name: each gives a plan for so many bytes and connections."""

    def __init__(self, server):
        self.server, self.target = server, CloakroomTarget(server)
        self.made = 0

    def key(self):
        self.made += 1
        return f"large/{self.made}"

    def put(self, size, connections=1):
        requests = self.target.requests("PUT", [self.key() for _ in range(connections)], size)
        return Plan(self.server.s3_url, requests, connections, fill_bytes=size)

    def get(self, size, connections=1):
        """Reads what was put last."""
        requests = self.target.requests("GET", [f"large/{self.made}"] * connections)
        return Plan(self.server.s3_url, requests, connections)

    def form(self, size, connections=1):
        requests = [
            form_request(f"/{BUCKET}", self.target.signer.host, self.target.signer.form(BUCKET, self.key()), size)
            for _ in range(connections)
        ]
        return Plan(self.server.s3_url, requests, connections, fill_bytes=size, suffix=form_end(), expect=204)

    def api(self, size, connections=1):
        request = form_request(
            "/api/v1/files", urlsplit(self.server.api_url).netloc, {"collection": "files"}, size,
            [("authorization", f"Bearer {self.server.user_token}")],
        )
        return Plan(
            self.server.api_url, [request] * connections, connections, fill_bytes=size, suffix=form_end(), expect=201
        )


def growth(rig, server, plan):
    """Memory before, and the highest while the plan runs, in MiB, and the sample."""
    before = memory_mib(server.pid, "VmRSS")
    # Sets the highest mark back to what is used now (proc(5), clear_refs).
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    sample = rig.run(plan, {"server": [server.pid]})
    return before, memory_mib(server.pid, "VmHWM"), sample


def measure(rig, start, scratch, say):
    """The section of the page."""
    section = page.Section(["", "before MiB", "peak MiB", "growth MiB", "goal", "GB/s", "CPU s per GB"])
    with start.cloakroom(scratch / "memory") as server:
        uploads = Uploads(server)
        for warm_up in (uploads.put, uploads.form, uploads.api):
            rig.run(warm_up(4096), {})
        rig.take_foreign_shares()
        for title, plan, bounded in (
            ("presigned `PUT`, 5 GiB", uploads.put(5 * GIB), False),
            ("presigned `GET`, the same 5 GiB", uploads.get(5 * GIB), False),
            ("`POST` form, 1 GiB", uploads.form(GIB), True),
            ("`POST /api/v1/files`, 1 GiB", uploads.api(GIB), True),
            ("presigned `PUT`, 32 at once of 64 MiB", uploads.put(64 * MIB, 32), False),
        ):
            before, peak, sample = growth(rig, server, plan)
            gigabytes = len(plan.requests) * max(plan.fill_bytes, sample.bytes_rate / sample.rate) / 1e9
            cpu = sample.server_us["server"] * len(plan.requests) / 1e6
            section.rows.append([
                title, f"{before:.1f}", f"{peak:.1f}", f"{peak - before:.1f}",
                page.goal(peak - before, GROWTH_GOAL_MIB, at_least=False) if bounded else "",
                page.gigabytes(sample.bytes_rate), f"{cpu / gigabytes:.2f}",
            ])
            say(" | ".join(section.rows[-1]))
            # The file that was taken in is processed in the background; that is not the next one's growth.
            time.sleep(2)
    return section
