"""The program with a real clamd: what it finds nobody reads, what it cannot see whole nobody reads, and while it is away
files wait."""

import bz2
import gzip
import io
import json
import subprocess
import tarfile
import time
import zipfile

import pytest
import requests
from conftest import Api
from instance import ENVIRONMENT, program, running
from pairs import EMBEDDED, server
from toxics import Proxy

# In two halves, so that no scanner takes this file for the test file.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
MIB = 1024 * 1024
CONFIGURATION = """
[collections.papers]
bucket = "papers"

[collections.small]
bucket = "papers"
scan_oversize = "refuse"

[collections.drafts]
bucket = "papers"
scan = "off"
"""


@pytest.fixture(params=["tcp", "socket"])
def scanned(request, tmp_path):
    """An instance whose scanner is a clamd over one of its two protocols."""
    address = server("CLAMD_TCP") if request.param == "tcp" else server("CLAMD_SOCKET")
    (tmp_path / "cloakroom.toml").write_text(CONFIGURATION)
    with running(tmp_path, EMBEDDED, {"CLOAKROOM_SCAN_ADDRESS": address}) as instance:
        yield instance


@pytest.fixture
def proxied(tmp_path):
    """An instance whose scanner can be taken away."""
    host, port = server("CLAMD_TCP").rsplit(":", 1)
    proxy = Proxy((host, int(port)))
    (tmp_path / "cloakroom.toml").write_text(CONFIGURATION)
    settings = {"CLOAKROOM_SCAN_ADDRESS": f"127.0.0.1:{proxy.port}", "CLOAKROOM_SCAN_IDLE_TIMEOUT": "3s",
                "CLOAKROOM_SCAN_TIMEOUT": "6s"}
    with running(tmp_path, EMBEDDED, settings) as instance:
        yield instance, proxy
    proxy.close()


def keep(api, content, collection="papers", filename="a.bin"):
    ticket = api.sign(content, collection=collection, filename=filename, content_type="application/octet-stream")
    sent = api.put(ticket, content)
    assert sent.ok, sent.text
    confirmed = api.confirm(ticket["file_id"])
    assert confirmed.ok, confirmed.text
    return ticket["file_id"]


def error_of(file):
    return (file["state"], (file["error"] or {}).get("code"))


def zipped(content, name="a.txt", how=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr(name, content)
    return out.getvalue()


def tarred(content, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def after(mebibytes):
    """EICAR behind so many zeros, which compress to nothing."""
    return bytes(mebibytes * MIB) + EICAR


def cases():
    infected, unseen = ("quarantined", "infected"), ("quarantined", "not_fully_scanned")
    yield "clean", b"hello", ("ready", None)
    yield "nothing much", b"\0", ("ready", None)
    yield "clean zip", zipped(b"hello"), ("ready", None)
    yield "clean tar.gz", tarred(b"hello"), ("ready", None)
    yield "eicar", EICAR, infected
    yield "eicar in a zip", zipped(EICAR), infected
    yield "eicar in a zip in a zip", zipped(zipped(EICAR)), infected
    yield "eicar in a tar.gz", tarred(EICAR), infected
    # clamd says OK to all of these.
    yield "eicar after 101 MiB in a zip", zipped(after(101)), unseen
    yield "eicar after 101 MiB in a gzip", gzip.compress(after(101), 1), unseen
    yield "eicar after 101 MiB in a tar.gz", tarred(after(101)), unseen
    yield "zip bomb", zipped(zipped(bytes(400 * MIB))), unseen
    yield "larger than the scanner takes", after(26), unseen
    yield "an archive that nobody can count", bz2.compress(b"hello"), unseen
    yield "encrypted zip", encrypted(), unseen


def encrypted():
    """A zip that says that its entries are encrypted."""
    plain = bytearray(zipped(b"secret", how=zipfile.ZIP_STORED))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = plain.find(signature)
        while place >= 0:
            plain[place + at] |= 1
            place = plain.find(signature, place + 4)
    return bytes(plain)


def test_what_the_scanner_finds_or_cannot_see_is_held_back(scanned):
    api, admin = Api(scanned, scanned.user_token), Api(scanned, scanned.admin_token)
    waiting = [(name, keep(api, content), expected) for name, content, expected in cases()]
    wrong = {}
    for name, file_id, expected in waiting:
        found = error_of(api.wait_settled(file_id, 120))
        if found != expected:
            wrong[name] = found
        for somebody in (api, admin):
            answer = somebody.request("GET", f"/files/{file_id}/download")
            assert answer.ok == (found[0] == "ready"), (name, answer.text)
    assert not wrong, wrong
    listed = admin.request("GET", "/files?state=quarantined&limit=100").json()["files"]
    held = {file_id for _, file_id, expected in waiting if expected[0] == "quarantined"}
    assert {file["file_id"] for file in listed} == held
    metrics = requests.get(f"{scanned.api_url}/metrics", timeout=30).text
    assert 'cloakroom_scan_total{verdict="infected"}' in metrics and "cloakroom_scanner_up 1" in metrics


def test_each_collection_has_its_own_policy(scanned):
    api = Api(scanned, scanned.user_token)
    refused = api.wait_settled(keep(api, after(26), "small"))
    assert error_of(refused) == ("failed", "not_fully_scanned")
    assert error_of(api.wait_settled(keep(api, EICAR, "small"))) == ("quarantined", "infected")
    assert error_of(api.wait_settled(keep(api, EICAR, "drafts"))) == ("ready", None), "nobody asked for it"


def quarantine(server, *arguments, token=None):
    command = [program(), "quarantine", *arguments, "--url", server.api_url]
    environment = ENVIRONMENT | {"CLOAKROOM_TOKEN": token or server.admin_token}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def test_an_administrator_decides(scanned):
    api, admin = Api(scanned, scanned.user_token), Api(scanned, scanned.admin_token)
    released, deleted = keep(api, EICAR, filename="false-alarm.bin"), keep(api, EICAR)
    for file_id in (released, deleted):
        assert error_of(api.wait_settled(file_id)) == ("quarantined", "infected")
    assert not quarantine(scanned, "release", released, "--reason", "mine", token=scanned.user_token).returncode == 0
    listed = quarantine(scanned, "list")
    assert listed.returncode == 0, listed.stderr
    assert "false-alarm.bin" in listed.stdout and "Eicar-Signature" in listed.stdout, listed.stdout
    lines = quarantine(scanned, "list", "--json").stdout.splitlines()
    assert {json.loads(line)["file_id"] for line in lines} == {released, deleted}
    done = quarantine(scanned, "release", released, "--reason", "A false alarm.")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: api.request("GET", f"/files/{released}").json()["state"] == "ready")
    url = api.request("GET", f"/files/{released}/download").json()["download_url"]
    assert requests.get(url, timeout=30).content == EICAR
    assert quarantine(scanned, "delete", deleted).returncode == 0
    wait_for(lambda: api.request("GET", f"/files/{deleted}").status_code == 404)
    # Looked at again, what was released from just this stays released.
    assert quarantine(scanned, "rescan", "--collection", "papers").returncode == 0
    operations = admin.request("GET", "/admin/operations").json()["operations"]
    assert operations[0]["kind"] == "rescan"
    wait_for(lambda: admin.request("GET", "/admin/operations").json()["operations"][0]["state"] == "done")
    wait_for(lambda: "rescan_file" not in {job["kind"] for job in admin.request("GET", "/admin/jobs").json()["jobs"]})
    assert api.request("GET", f"/files/{released}").json()["state"] == "ready"
    actions = {entry["action"] for entry in admin.request("GET", "/admin/audit?limit=100").json()["entries"]}
    assert {"file.quarantine_released", "file.quarantine_deleted"} <= actions


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(0.1)


@pytest.mark.parametrize("toxic", ["refuse", "black_hole", "reset"])
def test_while_the_scanner_is_away_files_wait(proxied, toxic):
    instance, proxy = proxied
    api = Api(instance, instance.user_token)
    proxy.set(toxic)
    clean, harmful = keep(api, b"hello"), keep(api, EICAR)
    other = keep(api, b"hello", "drafts")
    for file_id in (clean, harmful):
        wait_for(lambda: api.request("GET", f"/files/{file_id}/status").json()["error"])
        status = api.request("GET", f"/files/{file_id}/status").json()
        assert error_of(status) == ("processing", "scanner_unavailable"), status
        assert not api.request("GET", f"/files/{file_id}/download").ok
    assert api.wait_settled(other)["state"] == "ready", "what is not scanned does not wait"
    health = requests.get(f"{instance.api_url}/health/ready", timeout=30)
    assert health.status_code == 200 and "scanner" in health.json()["degraded"], health.text
    kinds = [event["type"] for event in api.request("GET", f"/files/{clean}/timeline").json()["events"]]
    assert kinds.count("file.delayed") == 1, kinds
    proxy.set(None)
    assert error_of(api.wait_settled(clean)) == ("ready", None)
    assert error_of(api.wait_settled(harmful)) == ("quarantined", "infected")
    wait_for(lambda: "scanner" not in requests.get(f"{instance.api_url}/health/ready", timeout=30).json().get("degraded", []))


def test_a_scanner_that_dies_in_mid_stream_passes_nothing(proxied):
    instance, proxy = proxied
    api = Api(instance, instance.user_token)
    proxy.set(("throttle", 1 * MIB))
    file_id = keep(api, after(20))
    wait_for(lambda: api.request("GET", f"/files/{file_id}").json()["state"] == "processing")
    proxy.set("refuse")
    wait_for(lambda: api.request("GET", f"/files/{file_id}/status").json()["error"])
    proxy.set(None)
    assert error_of(api.wait_settled(file_id)) == ("quarantined", "infected")


def test_the_status_stream_tells_how_far_a_scan_is(tmp_path):
    """Progress is written about once a second, with its stage, and only ever grows."""
    host, port = server("CLAMD_TCP").rsplit(":", 1)
    proxy = Proxy((host, int(port)))
    proxy.set(("throttle", 4 * MIB))
    (tmp_path / "cloakroom.toml").write_text(CONFIGURATION)
    content = after(20)
    told = []
    with running(tmp_path, EMBEDDED, {"CLOAKROOM_SCAN_ADDRESS": f"127.0.0.1:{proxy.port}"}) as instance:
        api = Api(instance, instance.user_token)
        address = f"/files/{keep(api, content)}/status"
        with api.request("GET", address, headers={"Accept": "text/event-stream"}, stream=True) as answer:
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("data:"):
                    told.append(json.loads(line.removeprefix("data:")))
    proxy.close()
    scanning = [status["processing"] for status in told if (status["processing"] or {}).get("stage") == "scanning"]
    done = [progress["done_bytes"] for progress in scanning]
    assert done == sorted(done) and len({some for some in done if 0 < some < len(content)}) >= 2, done
    assert {progress["total_bytes"] for progress in scanning} == {len(content)}
    assert error_of(told[-1]) == ("quarantined", "infected")
    assert told[-1]["processing"] is None


def test_the_doctor_asks_the_scanner(scanned, tmp_path):
    def lines(settings):
        command = [program(), "doctor", "--json", "--data-dir", tmp_path / "doctor"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT | settings, cwd=tmp_path)
        subjects = {subject["kind"]: subject for subject in json.loads(done.stdout)["subjects"]}
        return done.returncode, subjects.get("scanner")

    address = server("CLAMD_TCP")
    code, subject = lines({"CLOAKROOM_SCAN_ADDRESS": address})
    assert code == 0 and subject["name"] == address
    reached, signatures = subject["checks"]
    assert reached["verdict"] == "ok" and reached["found"].startswith("ClamAV 1."), reached
    # The tests' scanner knows one signature of their own, and none of ClamAV's.
    assert signatures["check"] == "scanner_signatures" and signatures["verdict"] == "warn", signatures
    assert "freshclam" in signatures["remedy"]
    code, subject = lines({"CLOAKROOM_SCAN_ADDRESS": str(tmp_path / "nobody.ctl")})
    assert code == 1 and [line["verdict"] for line in subject["checks"]] == ["fail"], subject
    (tmp_path / "cloakroom.toml").unlink()
    assert lines({})[1] is None, "none is configured"
