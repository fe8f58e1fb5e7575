"""Running the load generator, and what the servers used meanwhile."""

import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

TICKS = os.sysconf("SC_CLK_TCK")
RUN_DEADLINE = 180


class Failed(Exception):
    """A measurement that would mean nothing."""


def stat(pid):
    """Fields of /proc/PID/stat from the state on, or None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def tree(roots):
    """The processes and all that descend from them."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(entry.name)):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], list(roots)
    while queue:
        found.append(pid := queue.pop())
        queue += children.get(pid, [])
    return found


def cpu_seconds(roots):
    """User and system time of the processes, and of their children that ended."""
    ticks = 0
    for pid in tree(roots):
        if fields := stat(pid):
            ticks += sum(int(ticks_of) for ticks_of in fields[11:15])
    return ticks / TICKS


def machine_busy_seconds():
    """CPU time that anything on the machine has used since it started."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def memory_mib(pid, name):
    """VmRSS or VmHWM of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise Failed(f"process {pid} has no {name}")


def tree_memory_mib(roots):
    """Proportional memory of the processes: what is shared is counted once."""
    total = 0
    for pid in tree(roots):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


@dataclass(frozen=True)
class Plan:
    """What the load generator sends. `requests` are whole requests, but for a filler of `fill_bytes` and `suffix`."""

    url: str
    requests: list
    connections: int
    seconds: float | None = None
    repeat: bool = False
    fill_bytes: int = 0
    suffix: str = ""
    expect: int = 200
    threads: int = 1


@dataclass(frozen=True)
class Sample:
    """One run. Times of processes are per request, in microseconds."""

    rate: float
    bytes_rate: float
    server_us: dict
    client_us: float
    p50_us: float
    p99_us: float
    foreign_share: float
    """Part of the machine's CPU that neither the client nor the servers used."""
    answers: list = field(default_factory=list, repr=False)


class Rig:
    """The built programs of `benches/rig`, and a directory for what passes between them."""

    def __init__(self, programs, scratch):
        self.programs, self.scratch = Path(programs), Path(scratch)
        self.foreign_shares = []

    def run(self, plan, processes, keep_answers=False):
        """Sends it. `processes` names the servers: {name: [root pid, ...]}. Any failed request fails the run."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as directory:
            plan_file, answers_file = Path(directory, "plan.json"), Path(directory, "answers")
            address = urlsplit(plan.url)
            content = {
                "address": f"{address.hostname}:{address.port}",
                "connections": plan.connections,
                "threads": plan.threads,
                "seconds": plan.seconds,
                "repeat": plan.repeat,
                "requests": plan.requests,
                "fill_bytes": plan.fill_bytes,
                "suffix": plan.suffix,
                "expect": plan.expect,
                "save": str(answers_file) if keep_answers else None,
            }
            plan_file.write_text(json.dumps(content))
            before = {name: cpu_seconds(roots) for name, roots in processes.items()}
            client_before, busy_before, wall_before = self._client_cpu(), machine_busy_seconds(), time.monotonic()
            done = subprocess.run(
                [self.programs / "load", plan_file], capture_output=True, text=True, timeout=RUN_DEADLINE
            )
            wall = time.monotonic() - wall_before
            used = {name: cpu_seconds(roots) - before[name] for name, roots in processes.items()}
            client = self._client_cpu() - client_before
            busy = machine_busy_seconds() - busy_before
            if done.returncode != 0:
                raise Failed(f"{plan.requests[0][:200]!r}: {done.stderr.strip()}")
            report = json.loads(done.stdout)
            if report["failures"] or not report["requests"]:
                raise Failed(f"{plan.requests[0][:200]!r}: {report['failures']} {report['failure']}")
            answers = answers_file.read_text().splitlines() if keep_answers else []
        foreign = max(0.0, busy - client - sum(used.values())) / (wall * os.cpu_count())
        # The kernel counts in hundredths of a second: what is shorter says nothing. Without the servers named, as in
        # preparations, their own work would pass for somebody else's.
        if processes and wall > 0.5:
            self.foreign_shares.append(min(1.0, foreign))
        count, seconds = report["requests"], report["seconds"]
        sent = count * (plan.fill_bytes + len(plan.suffix))
        return Sample(
            rate=count / seconds,
            bytes_rate=(report["body_bytes_received"] + sent) / seconds,
            server_us={name: value / count * 1e6 for name, value in used.items()},
            client_us=client / count * 1e6,
            p50_us=report["p50_us"],
            p99_us=report["p99_us"],
            foreign_share=foreign,
            answers=answers,
        )

    def disk(self, mode, directory, size, count, threads):
        """Operations per second of the disk alone."""
        done = subprocess.run(
            [self.programs / "disk", mode, directory, str(size), str(count), str(threads)],
            capture_output=True, text=True, timeout=RUN_DEADLINE,
        )
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        report = json.loads(done.stdout)
        return report["operations"] / report["seconds"]

    @staticmethod
    def _client_cpu():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def take_foreign_shares(self):
        """Median and largest share of the machine that others used since this was asked last."""
        shares, self.foreign_shares = self.foreign_shares, []
        return (statistics.median(shares), max(shares)) if shares else (0.0, 0.0)


def median(samples):
    """The median of each figure on its own."""
    names = samples[0].server_us
    return Sample(
        **{
            name: statistics.median(getattr(sample, name) for sample in samples)
            for name in ("rate", "bytes_rate", "client_us", "p50_us", "p99_us", "foreign_share")
        },
        server_us={name: statistics.median(sample.server_us[name] for sample in samples) for name in names},
    )
