"""`make bench`: measures, and writes the tables of docs/performance.md.

Called by `benches/run`, which builds and installs what is needed. Sections are chosen by BENCH (`sign,rows,rebuild,s3,memory,start`, and
`images,tables,documents` of processing).
"""

import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import memory
import page
import processing
import rebuild
import rows
import s3
import servers
import sign
import start
from measure import Rig

SECTIONS = ("sign", "rows", "rebuild", "s3", "memory", "start", *processing.COMMANDS)
# Ten million rows and objects of gigabytes; the other parts leave little behind.
LARGE_SECTIONS = {"rows", "s3", "memory"}
SCRATCH_FREE_BYTES_MIN = 5 * 1024**3
LARGE_FREE_BYTES_MIN = 30 * 1024**3


@dataclass(frozen=True)
class Starter:
    """The servers, with the programs that they are."""

    program: Path
    programs: Path
    nginx_program: Path
    python: Path
    list_and_get: Path

    def cloakroom(self, home, settings=None):
        return servers.cloakroom(self.program, home, settings)

    def nginx(self, home):
        return servers.nginx(self.nginx_program, home)

    def yardstick(self):
        return servers.yardstick(self.programs)

    def postgres(self, home):
        return servers.postgres(home)

    def fastapi(self, *arguments):
        return servers.fastapi(self.python, *arguments)


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).strip()


def machine(starter):
    """What it was measured on, in one paragraph."""
    cpu = next(
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    filesystem = output("findmnt", "-n", "-o", "FSTYPE", "-T", tempfile.gettempdir())
    nginx = output(starter.nginx_program, "-v").rsplit("/", 1)[-1]
    postgres = output(servers.postgres_programs() / "postgres", "--version").split()[2]
    return (
        f"Measured on {datetime.date.today():%d %B %Y}: {cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"Linux {platform.release()}, {filesystem}; {output('rustc', '--version').rsplit(' (', 1)[0]}, "
        f"nginx {nginx} with {os.cpu_count()} workers, PostgreSQL {postgres}, Python {platform.python_version()}. "
        f"Load average before: {os.getloadavg()[0]:.1f}."
    )


def chosen():
    names = [name for name in os.environ.get("BENCH", "").replace(" ", ",").split(",") if name]
    unknown = set(names) - set(SECTIONS)
    if unknown:
        sys.exit(f"BENCH knows {', '.join(SECTIONS)}, not {', '.join(sorted(unknown))}")
    return names or list(SECTIONS)


def say(line):
    print(f"  {line}", flush=True)


def measure(name, rig, starter, scratch):
    """The sections of the page that one part gives."""
    if name in processing.COMMANDS:
        return {name: processing.measure(name, say)}
    parts = {
        "sign": sign.measure, "rows": rows.measure, "rebuild": rebuild.measure, "s3": s3.measure, "memory": memory.measure, "start": start.measure,
    }
    found = parts[name](rig, starter, scratch, say)
    sections = dict(zip(("sign", "follow"), found, strict=True)) if name == "sign" else {name: found}
    usual, most = rig.take_foreign_shares()
    if most:
        for section in sections.values():
            section.notes.append(
                f"CPU of the machine that went to anything else meanwhile: {usual:.0%} in the median run, "
                f"{most:.0%} in the worst."
            )
    return {name: section.markdown() for name, section in sections.items()}


def main():
    names = chosen()
    programs = Path(os.environ["BENCH_PROGRAMS"])
    starter = Starter(
        program=Path(os.environ["CLOAKROOM_BIN"]).resolve(), programs=programs,
        nginx_program=Path(os.environ["BENCH_NGINX"]), python=Path(os.environ["BENCH_PYTHON"]),
        list_and_get=Path(os.environ["BENCH_LIST_AND_GET"]),
    )
    page.write({"machine": machine(starter)})
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cloakroom-bench-") as directory:
        scratch = Path(directory)
        # PostgreSQL runs as a user of its own and must reach its directory.
        scratch.chmod(0o755)
        needed = LARGE_FREE_BYTES_MIN if LARGE_SECTIONS & set(names) else SCRATCH_FREE_BYTES_MIN
        if shutil.disk_usage(scratch).free < needed:
            sys.exit(f"{scratch} needs {needed / 1024**3:.0f} GiB: set TMPDIR")
        rig = Rig(programs, scratch)
        for name in names:
            print(name, flush=True)
            # Each part in a directory that goes with it: they leave gigabytes behind.
            part = scratch / name
            part.mkdir()
            # Written part by part: what the first ones took minutes for is not lost with the last one.
            page.write(measure(name, rig, starter, part))
            shutil.rmtree(part)
    print(f"{time.monotonic() - begun:.0f} s; tables written to {page.PAGE}")


if __name__ == "__main__":
    main()
