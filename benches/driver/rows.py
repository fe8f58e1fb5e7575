"""Ten million files in PostgreSQL: whether lists, searches and single files stay as quick as in a nearly empty table."""

import json
import os
import time
from urllib.parse import quote, urlsplit

import page
import sign
from measure import Failed, Plan, median
from s3 import CloakroomTarget
from servers import psql

ROWS = int(os.environ.get("BENCH_ROWS", "10000000"))
OWN_FILES = 200
OWNERS = 10_000
BATCH = 500_000
CONNECTIONS = 4
SECONDS = 3
ROUNDS = 3
READY_DEADLINE = 60

# What a row of somebody else differs in; the rest is a copy of one of ours.
STRANGER = {
    # Rising, as ids by time are.
    "id": "('01980000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
    "owner": f"'owner-' || n % {OWNERS}",
    "filename": "'report ' || n || '.pdf'",
    "words": "array_to_tsvector(ARRAY['report', 'pdf', 'w' || n % 5000, n::text])",
    "metadata": "('{\"project\": \"p' || n % 5000 || '\"}')::json",
    "key": "'files/' || n || '.pdf'",
    "created_at": "now() - n * interval '1 second'",
    "upload_staging_key": "'staging/' || n",
}


def own_files(rig, api, store_url):
    """Ids of our own ready files."""
    ids = sign.uploaded_files(rig, api, store_url, OWN_FILES)
    rig.run(Plan(api.url, [api.request("POST", f"/uploads/{file_id}/confirm") for file_id in ids], 8), {})
    deadline = time.monotonic() + READY_DEADLINE
    ready = api.request("GET", f"/files?state=ready&limit={OWN_FILES}")
    while len(answer(rig, api, ready)["files"]) < OWN_FILES:
        if time.monotonic() > deadline:
            raise Failed(f"{OWN_FILES} files were not ready in {READY_DEADLINE} s")
        time.sleep(0.2)
    return ids


def answer(rig, api, request):
    return json.loads(rig.run(Plan(api.url, [request], 1), {}, keep_answers=True).answers[0])


def fill(database, say):
    """Adds the rows of others. Indexes are made anew afterwards: that is quicker than to keep them meanwhile."""
    columns = psql(
        database,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'cloakroom_files' ORDER BY ordinal_position;",
    )
    values = ", ".join(STRANGER.get(column, f"t.{column}") for column in columns)
    indexes = [line.split("|", 1) for line in psql(
        database,
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'cloakroom_files' AND indexname NOT LIKE '%pkey';",
    )]
    begun = time.monotonic()
    psql(database, "CREATE TABLE bench_template AS SELECT * FROM cloakroom_files LIMIT 1;")
    psql(database, "".join(f"DROP INDEX {name};" for name, _ in indexes))
    for first in range(1, ROWS + 1, BATCH):
        last = min(first + BATCH - 1, ROWS)
        psql(
            database,
            f"INSERT INTO cloakroom_files ({', '.join(columns)}) SELECT {values}"
            f" FROM bench_template t, generate_series({first}, {last}) n;",
        )
    say(f"{ROWS:,} rows written in {time.monotonic() - begun:.0f} s")
    psql(database, "SET maintenance_work_mem = '2GB';" + "".join(f"{definition};" for _, definition in indexes))
    psql(database, "VACUUM ANALYZE cloakroom_files;")
    size = psql(database, "SELECT pg_size_pretty(pg_total_relation_size('cloakroom_files'));")[0]
    say(f"indexes made after {time.monotonic() - begun:.0f} s in all; {size}")
    return size


def questions(rig, api, admin, ids):
    """Requests by title: as a user asks about own files, and as an administrator about all."""
    first = answer(rig, api, api.request("GET", "/files?limit=50"))
    cursor = quote(first["next_cursor"], safe="")
    return {
        "newest 50 of one's own": [api.request("GET", "/files?limit=50")],
        "the next 50": [api.request("GET", f"/files?limit=50&cursor={cursor}")],
        "one's own with a word": [api.request("GET", "/files?limit=50&q=report")],
        "one's own with metadata": [api.request("GET", "/files?limit=50&metadata.project=p1")],
        "status of a file": [api.request("GET", f"/files/{file_id}/status") for file_id in ids],
        "a file": [api.request("GET", f"/files/{file_id}") for file_id in ids],
        "newest 50 of all (administrator)": [admin.request("GET", "/files?limit=50")],
        "all with two words (administrator)": [admin.request("GET", "/files?limit=50&q=report%20w77")],
        "all with metadata (administrator)": [admin.request("GET", "/files?limit=50&metadata.project=p77")],
    }


def measure_all(rig, api, asked):
    results = {}
    for title, requests in asked.items():
        plan = Plan(api.url, requests, CONNECTIONS, seconds=SECONDS, repeat=True)
        results[title] = median([rig.run(plan, api.processes) for _ in range(ROUNDS)])
    return results


def measure(rig, start, scratch, say):
    """The section of the page."""
    section = page.Section(
        ["4 connections", f"p50 ms, {OWN_FILES} rows", f"p50 ms, {ROWS:,} rows", "p99 ms before", "p99 ms after",
         "p99 ratio", "database CPU µs before", "after"]
    )
    with (
        start.postgres(scratch / "postgres") as database,
        start.cloakroom(scratch / "server", {"DATABASE_URL": database.url}) as server,
    ):
        CloakroomTarget(server)
        processes = {"server": [server.pid], "database": [database.pid]}
        body = json.dumps({
            "collection": "files", **sign.FILE, "filename": "report 1.pdf", "metadata": {"project": "p1"},
        })
        api = sign.Api("cloakroom", "", server.api_url, processes, "/api/v1", server.user_token, sign_body=body)
        admin = sign.Api("admin", "", server.api_url, processes, "/api/v1", server.admin_token)
        ids = own_files(rig, api, server.s3_url)
        psql(database, "ANALYZE;")
        asked = questions(rig, api, admin, ids)
        rig.take_foreign_shares()
        before = measure_all(rig, api, asked)
        size = fill(database, say)
        after = measure_all(rig, api, questions(rig, api, admin, ids))
    for title in asked:
        old, new = before[title], after[title]
        section.rows.append([
            title, page.milliseconds(old.p50_us), page.milliseconds(new.p50_us), page.milliseconds(old.p99_us),
            page.milliseconds(new.p99_us), f"{new.p99_us / old.p99_us:.2f}",
            page.microseconds(old.server_us["database"]), page.microseconds(new.server_us["database"]),
        ])
        say(" | ".join(section.rows[-1]))
    section.notes.append(f"The table and its indexes have {size}.")
    return section
