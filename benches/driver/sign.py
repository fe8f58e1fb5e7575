"""The signing path, confirm and download: Cloakroom beside a bare axum server, the signature alone, and FastAPI."""

import json
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import page
from measure import Failed, Plan, cpu_seconds, median, tree_memory_mib
from s3 import BUCKET, CloakroomTarget, head
from servers import pgbench, psql

ROUNDS = 3
SECONDS = 3
CONNECTIONS = (64, 256)
FOLLOW_CONNECTIONS = 64
FASTAPI_WORKERS = 2
CONFIRMS = {"cloakroom": 4000, "fastapi": 800}
SETTLE_DEADLINE = 120
SIGN_GOAL = 0.25
SIGN_GOAL_POSTGRES = 0.35
PGBENCH_CLIENTS = (8, 32, 64)
PGBENCH_SECONDS = 4
PGBENCH_GOAL = 2.0

SIGN_GOALS = {"cloakroom": SIGN_GOAL, "postgres": SIGN_GOAL_POSTGRES}

CONTENT = "%PDF-1.4\n"
SIZE = 4096
FILE = {"filename": "report.pdf", "content_type": "application/pdf", "size_bytes": SIZE}
SIGN_BODY = json.dumps({"collection": "files", **FILE})


@dataclass(frozen=True)
class Api:
    """One service under test, and how it is spoken to."""

    name: str
    title: str
    url: str
    processes: dict
    base: str = ""
    token: str | None = None
    sign_method: str = "POST"
    sign_path: str = "/uploads"
    sign_body: str | None = SIGN_BODY
    sign_status: int = 201

    def request(self, method, path, body=None):
        headers = [("authorization", f"Bearer {self.token}")] if self.token else []
        if method == "POST":
            headers.append(("content-length", str(len(body or ""))))
        if body is not None:
            headers.append(("content-type", "application/json"))
        return head(method, self.base + path, urlsplit(self.url).netloc, headers) + (body or "")

    def sign(self):
        return self.request(self.sign_method, self.sign_path, self.sign_body)

    def cpu_seconds(self):
        return sum(cpu_seconds(roots) for roots in self.processes.values())

    def memory_mib(self):
        return sum(tree_memory_mib(roots) for roots in self.processes.values())

    def settle(self):
        """Waits until the service has nothing left to do in the background."""
        deadline, used = time.monotonic() + SETTLE_DEADLINE, self.cpu_seconds()
        while True:
            time.sleep(0.5)
            before, used = used, self.cpu_seconds()
            if used - before < 0.03:
                return
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} is still busy after {SETTLE_DEADLINE} s")


def measure_signing(rig, apis, connections):
    """Medians by name, measured in turns."""
    samples = {api.name: [] for api in apis}
    for turn in range(ROUNDS + 1):
        for api in apis if turn % 2 else reversed(apis):
            # The first turn is short and warms up: pools, caches, compiled statements.
            seconds = SECONDS if turn else 0.5
            plan = Plan(api.url, [api.sign()], connections, seconds=seconds, repeat=True, expect=api.sign_status)
            sample = rig.run(plan, api.processes)
            # What one leaves for later must not be paid by the next one.
            api.settle()
            if turn:
                samples[api.name].append(sample)
    return {name: median(runs) for name, runs in samples.items()}


def uploaded_files(rig, api, store_url, count, bodies=None):
    """Ids of so many new files, signed by the service, their bytes in the store, not confirmed. `bodies` are what is asked
    for, if it is not always the same."""
    signs = [api.request(api.sign_method, api.sign_path, body) for body in bodies] if bodies else [api.sign()] * count
    plan = Plan(api.url, signs, 16, expect=api.sign_status)
    answers = [json.loads(line) for line in rig.run(plan, {}, keep_answers=True).answers]
    host, requests = urlsplit(store_url).netloc, []
    for answer in answers:
        headers = {"content-type": FILE["content_type"], "content-length": str(SIZE)}
        headers |= {name.lower(): value for name, value in answer.get("headers", {}).items()}
        path = "/" + answer["upload_url"].split("/", 3)[3]
        requests.append(head("PUT", path, host, headers.items()) + CONTENT)
    rig.run(Plan(store_url, requests, 16, fill_bytes=SIZE - len(CONTENT)), {})
    return [answer["file_id"] for answer in answers]


def measure_confirm(rig, api, store_url):
    """Each file confirmed once; the CPU per file with all the work that follows; the files of the last turn."""
    samples, whole_us, ids = [], [], []
    for _ in range(ROUNDS):
        ids = uploaded_files(rig, api, store_url, CONFIRMS[api.name])
        api.settle()
        before = api.cpu_seconds()
        requests = [api.request("POST", f"/uploads/{file_id}/confirm") for file_id in ids]
        samples.append(rig.run(Plan(api.url, requests, FOLLOW_CONNECTIONS), api.processes))
        api.settle()
        whole_us.append((api.cpu_seconds() - before) / len(ids) * 1e6)
    return median(samples), statistics.median(whole_us), ids


def measure_download(rig, api, ids):
    requests = [api.request("GET", f"/files/{file_id}/download") for file_id in ids]
    plan = Plan(api.url, requests, FOLLOW_CONNECTIONS, seconds=SECONDS, repeat=True)
    return median([rig.run(plan, api.processes) for _ in range(ROUNDS)])


def measure(rig, start, scratch, say):
    """The two sections of the page: signing, and what follows it."""
    signing = page.Section(
        ["`POST /uploads`", "requests/s", "÷ bare axum", "goal", "÷ FastAPI", "p50 ms", "p99 ms", "server CPU µs",
         "database CPU µs", "client CPU µs", "memory MiB"]
    )
    follow = page.Section(
        ["64 connections", "Cloakroom /s", "FastAPI /s", "ratio", "p50 ms", "FastAPI p50 ms", "CPU µs",
         "FastAPI CPU µs", "of it PostgreSQL"]
    )
    with (
        start.cloakroom(scratch / "api") as server,
        start.cloakroom(scratch / "store") as store,
        start.yardstick() as yardstick,
        start.postgres(scratch / "postgres") as database,
        # A store of its own, so that its work is not counted as the baseline's.
        start.fastapi(scratch / "fastapi", database, store, BUCKET, FASTAPI_WORKERS) as (fastapi, fastapi_token),
        start.postgres(scratch / "own-postgres") as own_database,
        start.cloakroom(scratch / "api-postgres", {"DATABASE_URL": own_database.url}) as scaled,
    ):
        CloakroomTarget(store)
        yard = {"server": [yardstick.pid]}
        ours = Api(
            "cloakroom", "**Cloakroom**", server.api_url, {"server": [server.pid]}, "/api/v1", server.user_token
        )
        theirs = Api(
            "fastapi", f"FastAPI, {FASTAPI_WORKERS} workers", fastapi.url,
            {"server": [fastapi.pid], "database": [database.pid]}, token=fastapi_token,
        )
        grown = Api(
            "postgres", "**Cloakroom**, PostgreSQL", scaled.api_url,
            {"server": [scaled.pid], "database": [own_database.pid]}, "/api/v1", scaled.user_token,
        )
        bare = Api("bare", "bare axum, `GET /hello`", yardstick.url, yard,
                   sign_method="GET", sign_path="/hello", sign_body=None, sign_status=200)
        alone = Api("alone", "signature without a row", yardstick.url, yard, sign_path="/sign")
        rig.take_foreign_shares()
        best = 0.0
        for connections in CONNECTIONS:
            apis = [bare, alone, ours, grown, theirs]
            results = measure_signing(rig, apis, connections)
            for api in apis:
                signing.rows.append(signing_row(api, connections, results))
                say(" | ".join(signing.rows[-1]))
            best = max(best, results["postgres"].rate)
        inserts = pgbench_rates(own_database, scratch)
        signing.notes.append(pgbench_note(inserts, best))
        say(signing.notes[-1])
        for line in follow_rows(rig, ours, theirs, server.s3_url, store.s3_url):
            follow.rows.append(line)
            say(" | ".join(line))
    return signing, follow


def signing_row(api, connections, results):
    sample = results[api.name]
    to_bare = sample.rate / results["bare"].rate
    database = sample.server_us.get("database")
    return [
        f"{api.title}, {connections} conn.", page.count(sample.rate), f"{to_bare:.3f}",
        page.goal(to_bare, SIGN_GOALS[api.name]) if api.name in SIGN_GOALS else "",
        f"{sample.rate / results['fastapi'].rate:.1f}",
        page.milliseconds(sample.p50_us), page.milliseconds(sample.p99_us),
        page.microseconds(sample.server_us["server"]), page.microseconds(database) if database else "",
        page.microseconds(sample.client_us), f"{api.memory_mib():.0f}",
    ]


def pgbench_rates(database, scratch):
    """Inserts a second of one such row per transaction, by clients, into a table like ours."""
    columns = psql(
        database,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'cloakroom_files' ORDER BY ordinal_position;",
    )
    literals = ", ',', ".join(f"quote_nullable({column}::text)" for column in columns if column != "id")
    row = psql(database, f"SELECT concat({literals}) FROM cloakroom_files WHERE open LIMIT 1;")[0]
    names = ", ".join(column for column in columns if column != "id")
    psql(database, "CREATE TABLE bench_files (LIKE cloakroom_files INCLUDING ALL);")
    script = scratch / "insert.sql"
    script.write_text(f"INSERT INTO bench_files (id, {names}) VALUES (gen_random_uuid(), {row});\n")
    script.chmod(0o644)
    return {clients: pgbench(database, script, clients, PGBENCH_SECONDS) for clients in PGBENCH_CLIENTS}


def pgbench_note(rates, signatures):
    best = max(rates.values())
    listed = ", ".join(f"{page.count(rate)} with {clients} clients" for clients, rate in rates.items())
    ratio = signatures / best
    return (
        f"pgbench inserts the same row, one per transaction, {listed} times a second: the best rate of signing over "
        f"PostgreSQL is {ratio:.1f} times its best (goal {page.goal(ratio, PGBENCH_GOAL)})."
    )


def follow_rows(rig, ours, theirs, our_store, their_store):
    our_confirm, our_whole, our_ids = measure_confirm(rig, ours, our_store)
    their_confirm, their_whole, their_ids = measure_confirm(rig, theirs, their_store)
    yield follow_row("`confirm`", our_confirm, their_confirm)
    yield [
        "`confirm` and all that follows until the file is ready", "", "", "", "", "",
        page.microseconds(our_whole), page.microseconds(their_whole), "",
    ]
    yield follow_row("`download`", measure_download(rig, ours, our_ids), measure_download(rig, theirs, their_ids))


def follow_row(title, ours, theirs):
    return [
        title, page.count(ours.rate), page.count(theirs.rate), f"{ours.rate / theirs.rate:.1f}",
        page.milliseconds(ours.p50_us), page.milliseconds(theirs.p50_us),
        page.microseconds(sum(ours.server_us.values())), page.microseconds(sum(theirs.server_us.values())),
        page.microseconds(theirs.server_us["database"]),
    ]
