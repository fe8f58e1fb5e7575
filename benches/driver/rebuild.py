"""The database of an instance is lost: how long it takes to write it anew from the store alone, and whether the API then
gives the same answers, file by file."""

import json
import os
import subprocess
import time

import page
import sign
from measure import Failed, Plan
from servers import ENVIRONMENT

FILES = int(os.environ.get("BENCH_REBUILD_FILES", "100000"))
BATCH = 5_000
READY_DEADLINE = 600
PAGE_FILES = 1000


def bring_in(rig, api, store_url, say):
    """Signs, sends and confirms; every file with a name, metadata and a record of its own."""
    begun = time.monotonic()
    for first in range(0, FILES, BATCH):
        count = min(BATCH, FILES - first)
        bodies = [
            json.dumps({
                "collection": "files", **sign.FILE, "filename": f"report {number}.pdf",
                "metadata": {"project": f"p{number % 500}", "number": number},
                "record": {"type": "case", "id": str(number // 10)},
            })
            for number in range(first, first + count)
        ]
        ids = sign.uploaded_files(rig, api, store_url, count, bodies)
        rig.run(Plan(api.url, [api.request("POST", f"/uploads/{file_id}/confirm") for file_id in ids], 16), {})
    wait_until_ready(rig, api)
    say(f"{FILES:,} files brought in and processed in {time.monotonic() - begun:.0f} s")


def wait_until_ready(rig, api):
    deadline = time.monotonic() + READY_DEADLINE
    for state in ("confirmed", "processing"):
        waiting = api.request("GET", f"/files?state={state}&limit=1")
        while answer(rig, api, waiting)["files"]:
            if time.monotonic() > deadline:
                raise Failed(f"files are still {state} after {READY_DEADLINE} s")
            time.sleep(0.5)


def answer(rig, api, request):
    return json.loads(rig.run(Plan(api.url, [request], 1), {}, keep_answers=True).answers[0])


def all_files(rig, api):
    """What the API says of every file."""
    files, cursor = {}, ""
    while True:
        told = answer(rig, api, api.request("GET", f"/files?limit={PAGE_FILES}{cursor}"))
        files.update({file["file_id"]: file for file in told["files"]})
        if not told["next_cursor"]:
            return files
        cursor = f"&cursor={told['next_cursor']}"


def differences(before, after):
    """Names of fields that differ, with how many files they differ in."""
    found = {}
    for file_id in before.keys() | after.keys():
        old, new = before.get(file_id), after.get(file_id)
        names = ["the file is missing"] if old is None or new is None else [
            name for name in old.keys() | new.keys() if old.get(name) != new.get(name)
        ]
        for name in names:
            found[name] = found.get(name, 0) + 1
    return found


def measure(rig, start, scratch, say):
    """The section of the page."""
    home = scratch / "server"
    with start.cloakroom(home) as server:
        api = sign.Api("cloakroom", "", server.api_url, {"server": [server.pid]}, "/api/v1", server.user_token)
        bring_in(rig, api, server.s3_url, say)
        before = all_files(rig, api)
    if len(before) != FILES:
        raise Failed(f"{len(before)} files are listed, not {FILES}")
    data = home / "data"
    lost = [path for path in data.iterdir() if path.name.startswith("cloakroom.db")]
    if not lost:
        raise Failed("there is no database to lose")
    for path in lost:
        path.unlink()
    limit = json.loads(subprocess.run(
        [start.list_and_get, data / "objects", "cloakroom"], capture_output=True, text=True, check=True
    ).stdout)
    if limit["read"] != FILES:
        raise Failed(f"the store has {limit['read']} sidecars, not {FILES}")
    begun = os.times()
    subprocess.run(
        [start.program, "rebuild", "--data-dir", data], cwd=home, env=ENVIRONMENT, check=True, capture_output=True
    )
    ended = os.times()
    seconds = ended.elapsed - begun.elapsed
    cpu = ended.children_user + ended.children_system - begun.children_user - begun.children_system
    with start.cloakroom(home) as server:
        api = sign.Api("cloakroom", "", server.api_url, {"server": [server.pid]}, "/api/v1", server.user_token)
        differing = differences(before, all_files(rig, api))
    section = page.Section(["", "files/s", "seconds", "÷ list and get"])
    limit_rate = FILES / limit["seconds"]
    section.rows.append(["list and get of every sidecar, nothing else", page.count(limit_rate), f"{limit['seconds']:.1f}", "1"])
    section.rows.append(
        [f"`cloakroom rebuild`, {FILES:,} files", page.count(FILES / seconds), f"{seconds:.1f}", f"{FILES / seconds / limit_rate:.2f}"]
    )
    for row in section.rows:
        say(" | ".join(row))
    told = ", ".join(f"{name} in {count:,}" for name, count in sorted(differing.items())) or "none"
    section.notes.append(f"CPU of the rebuild: {cpu:.1f} s. Answers of the API that differ afterwards: {told}.")
    say(section.notes[-1])
    return section
