"""How long the embedded server takes to start, and what it costs to have it lie there."""

import statistics
import time

import page
from measure import cpu_seconds, memory_mib

STARTS = 7
IDLE_SECONDS = 5


def measure(rig, start, scratch, say):
    """The section of the page."""
    first, again, idle_mib, idle_cpu = [], [], [], []
    for turn in range(STARTS):
        home = scratch / f"start-{turn}"
        with start.cloakroom(home) as server:
            first.append(server.start_seconds)
        with start.cloakroom(home) as server:
            again.append(server.start_seconds)
            if turn < 2:
                time.sleep(1)
                before = cpu_seconds([server.pid])
                time.sleep(IDLE_SECONDS)
                idle_cpu.append((cpu_seconds([server.pid]) - before) / IDLE_SECONDS)
                idle_mib.append(memory_mib(server.pid, "VmRSS"))
    section = page.Section(["", "median", "worst"])
    for title, values, show in (
        ("first start in an empty directory, until it is ready, ms", first, lambda value: f"{value * 1000:.0f}"),
        ("start over existing data, ms", again, lambda value: f"{value * 1000:.0f}"),
        ("memory when idle, MiB", idle_mib, lambda value: f"{value:.1f}"),
        ("CPU when idle, ms per second", idle_cpu, lambda value: f"{value * 1000:.1f}"),
    ):
        section.rows.append([title, show(statistics.median(values)), show(max(values))])
        say(" | ".join(section.rows[-1]))
    size = start.program.stat().st_size / 1024 / 1024
    section.rows.append(["size of the program, MiB", f"{size:.1f}", ""])
    say(" | ".join(section.rows[-1]))
    return section
