"""Two stores in one instance: files of this machine, hot, and Ceph, which becomes an archive."""

import json
import time
import uuid

import boto3
import pytest
import requests
from botocore.config import Config
from conftest import Api
from instance import running, s3_client
from pairs import EMBEDDED, server

CLOSING_DEADLINE = 120
CONFIGURATION = """
[stores.cold]
endpoint = "{endpoint}"
region = "{region}"
access_key = "{access_key}"
secret_key = "{secret_key}"
buckets = ["{bucket}"]
mode = "rw"

[collections.papers]
store = "cold"
upload_expires = "20s"

[collections.notes]
bucket = "hot-notes"
archive_bucket = "{bucket}"
"""


@pytest.fixture
def cold_bucket():
    return f"test-{uuid.uuid4().hex[:20]}"


@pytest.fixture
def ceph():
    return boto3.client(
        "s3",
        endpoint_url=server("S3_ENDPOINT"),
        region_name=server("S3_REGION"),
        aws_access_key_id=server("S3_ACCESS_KEY"),
        aws_secret_access_key=server("S3_SECRET_KEY"),
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


@pytest.fixture
def two_stores(tmp_path, cold_bucket):
    configuration = CONFIGURATION.format(
        endpoint=server("S3_ENDPOINT"),
        region=server("S3_REGION"),
        access_key=server("S3_ACCESS_KEY"),
        secret_key=server("S3_SECRET_KEY"),
        bucket=cold_bucket,
    )
    (tmp_path / "cloakroom.toml").write_text(configuration)
    with running(tmp_path, EMBEDDED) as instance:
        yield instance


def keep(api, content, collection):
    """A file that is ready."""
    ticket = api.sign(content, collection=collection, filename="a.txt", content_type="text/plain")
    sent = api.put(ticket, content)
    assert sent.ok, sent.text
    confirmed = api.confirm(ticket["file_id"])
    assert confirmed.ok, confirmed.text
    api.wait_ready(ticket["file_id"])
    return ticket


def content_of(api, file_id):
    answer = api.request("GET", f"/files/{file_id}/download")
    assert answer.ok, answer.text
    return requests.get(answer.json()["download_url"], timeout=30).content


def keys(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def mode_of(admin, name):
    return admin.request("GET", f"/admin/stores/{name}").json()


def change_mode(admin, name, mode, **more):
    return admin.request("PUT", f"/admin/stores/{name}/mode", json={"mode": mode, **more})


def wait_for_mode(admin, name, mode):
    deadline = time.monotonic() + CLOSING_DEADLINE
    while (store := mode_of(admin, name))["mode"] != mode:
        assert time.monotonic() < deadline, store
        time.sleep(0.2)


def beside(s3, bucket):
    return json.load(s3.get_object(Bucket=bucket, Key="_cloakroom/mode.json")["Body"])


def test_each_file_is_in_the_store_of_its_collection(two_stores, ceph, cold_bucket):
    api = Api(two_stores, two_stores.user_token)
    hot, cold = keep(api, b"hot bytes", "notes"), keep(api, b"cold bytes", "papers")
    assert hot["upload_url"].startswith(two_stores.s3_url)
    assert cold["upload_url"].startswith(server("S3_ENDPOINT"))
    assert cold["bucket_name"] == cold_bucket
    assert content_of(api, hot["file_id"]) == b"hot bytes"
    assert content_of(api, cold["file_id"]) == b"cold bytes"
    embedded = s3_client(two_stores)
    buckets = {bucket["Name"] for bucket in embedded.list_buckets()["Buckets"]}
    assert "hot-notes" in buckets and cold_bucket not in buckets, "the endpoint serves local stores alone"
    assert any(cold["file_id"] in key or "papers" in key for key in keys(ceph, cold_bucket))
    assert beside(ceph, cold_bucket)["store"] == "cold"
    assert beside(embedded, "hot-notes")["mode"] == "edit"


def test_a_store_becomes_an_archive_and_the_other_one_goes_on(two_stores, ceph, cold_bucket):
    api, admin = Api(two_stores, two_stores.user_token), Api(two_stores, two_stores.admin_token)
    before = keep(api, b"before", "papers")
    late = api.sign(b"late", collection="papers", filename="a.txt", content_type="text/plain")
    assert api.put(late, b"late").ok
    refused = change_mode(admin, "cold", "ar")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "invalid_storage_mode")
    closing = change_mode(admin, "cold", "ro").json()
    assert closing["mode"] == "rw" and closing["draining_until"], closing
    refused = api.request("POST", "/uploads", json={"collection": "papers", "filename": "b.txt"})
    assert (refused.status_code, refused.json()["error_code"]) == (409, "invalid_storage_mode"), refused.text
    assert api.confirm(late["file_id"]).ok, "a ticket that was out is honoured"
    wait_for_mode(admin, "cold", "ro")
    assert api.wait_ready(late["file_id"])["state"] == "ready"
    assert content_of(api, before["file_id"]) == b"before"
    for method, path, body in [
        ("PATCH", f"/files/{before['file_id']}", {"description": "new"}),
        ("DELETE", f"/files/{before['file_id']}", None),
    ]:
        refused = api.request(method, path, json=body)
        assert (refused.status_code, refused.json()["error_code"]) == (409, "invalid_storage_mode"), path

    assert change_mode(admin, "cold", "ar").ok
    refused = api.request("GET", f"/files/{before['file_id']}/download")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "archived_file")
    assert api.request("GET", f"/files/{before['file_id']}").json()["filename"] == "a.txt"
    mode = beside(ceph, cold_bucket)
    assert (mode["mode"], mode["changed_by"]) == ("ar", mode_of(admin, "cold")["changed_by"])

    # Hot files move there, one by one, and come back.
    hot = keep(api, b"to be archived", "notes")
    assert admin.request("POST", f"/files/{hot['file_id']}/archive").status_code == 202
    wait_for_state(api, hot["file_id"], "archived")
    refused = api.request("GET", f"/files/{hot['file_id']}/download")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "archived_file")
    assert admin.request("POST", f"/files/{hot['file_id']}/unarchive").status_code == 202
    wait_for_state(api, hot["file_id"], "ready")
    assert content_of(api, hot["file_id"]) == b"to be archived"

    actions = [entry["action"] for entry in admin.request("GET", "/admin/audit?limit=100").json()["entries"]]
    assert actions.count("store.mode_changed") == 2 and "store.drain_started" in actions, actions


def wait_for_state(api, file_id, state):
    deadline = time.monotonic() + CLOSING_DEADLINE
    while (file := api.request("GET", f"/files/{file_id}").json())["state"] != state:
        assert time.monotonic() < deadline, file
        time.sleep(0.1)
