"""Whether the storage works, and how operators see it: `/health/storage`, metrics, log lines, dashboard, alert rules."""

import json
import re
import shutil
import time
import uuid

import boto3
import pytest
import requests
import yaml
from instance import ROOT, running
from pairs import Pair
from pairs import server as of_server
from test_dialect_reconciliation import CSV, MatchBot


def test_the_storage_is_tried_in_every_bucket(cloakroom, pair):
    answer = requests.get(f"{cloakroom.api_url}/health/storage", timeout=30)
    told = answer.json()
    assert answer.status_code == 200 and told["status"] in ("healthy", "degraded"), told
    assert told["storage_backend"] == ("local" if pair.store == "local" else "s3")
    assert re.fullmatch(r"[^/@]+:\d+", told["endpoint"]), told
    assert told["errors"] == [] and isinstance(told["response_time_ms"], int)
    if pair.store == "local":
        assert {"reconciliation-files", "reconciliation-reports", "temp-uploads"} <= set(told["buckets_accessible"])
    # From the start on, not only when it has opened; and where there is nothing to open.
    assert "cloakroom_store_circuit_state 0" in requests.get(f"{cloakroom.api_url}/metrics", timeout=30).text


def test_a_storage_that_is_gone_is_unhealthy(tmp_path):
    with running(tmp_path) as server:
        url = f"{server.api_url}/health/storage"
        assert requests.get(url, timeout=30).status_code == 200
        shutil.rmtree(tmp_path / "data" / "objects")
        deadline = time.monotonic() + 90
        while (answer := requests.get(url, timeout=30)).status_code == 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
        assert answer.status_code == 503
        told = answer.json()
        assert told["status"] == "unhealthy" and told["errors"] and told["buckets_accessible"] == [], told
        assert requests.get(f"{server.api_url}/health/live", timeout=30).ok


def test_a_permission_that_is_missing_is_named(tmp_path):
    with running(tmp_path, Pair("sqlite", "ceph")) as server:
        store = boto3.client(
            "s3",
            endpoint_url=of_server("S3_ENDPOINT"),
            aws_access_key_id=of_server("S3_ACCESS_KEY"),
            aws_secret_access_key=of_server("S3_SECRET_KEY"),
            region_name=of_server("S3_REGION"),
        )
        url = f"{server.api_url}/health/storage"
        healthy = requests.get(url, timeout=30).json()
        assert healthy["errors"] == [], healthy
        bucket = healthy["buckets_accessible"][0]
        denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{bucket}/_cloakroom/*"}
        store.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
        try:
            deadline = time.monotonic() + 90
            while not (told := requests.get(url, timeout=30).json())["errors"]:
                assert time.monotonic() < deadline, told
                time.sleep(0.2)
            assert told["errors"] == [f"{bucket}: delete: access_denied"] and told["status"] == "unhealthy"
        finally:
            store.delete_bucket_policy(Bucket=bucket)
        while (told := requests.get(url, timeout=30).json())["errors"]:
            assert time.monotonic() < deadline + 90, told
            time.sleep(0.2)


def test_metrics_and_log_lines_of_task_15(tmp_path):
    with running(tmp_path) as server:
        bot = MatchBot(server, server.user_token)
        signed = bot.put(CSV)
        assert bot.confirm(file_id=signed["file_id"]).ok
        bot.settled(signed["file_id"])
        assert bot.confirm(file_id=signed["file_id"]).ok, "again, which is no second upload"
        download = f"{server.api_url}/api/v1/files/{signed['file_id']}/download"
        assert requests.get(download, headers=bot.headers, timeout=30).ok
        assert bot.confirm(file_id=str(uuid.uuid4())).status_code == 404
        missing = f"{server.api_url}/api/v1/files/{uuid.uuid4()}/download"
        assert requests.get(missing, headers=bot.headers, timeout=30).status_code == 404
        file = f"{server.api_url}/api/v1/files/{signed['file_id']}"
        for _ in range(2):
            assert requests.delete(file, headers=bot.headers, timeout=30).status_code == 204, "twice is once"
        text = requests.get(f"{server.api_url}/metrics", timeout=30).text
    for operation in ("upload", "download", "delete"):
        assert re.search(rf'cloakroom_storage_operations_total{{.*operation="{operation}".*}} 1', text), text
        assert re.search(rf'cloakroom_storage_operation_duration_seconds_bucket{{operation="{operation}",le="0.1"}}', text)
        assert re.search(rf'cloakroom_storage_operations_in_flight{{operation="{operation}"}} 0', text)
    assert re.search(r'cloakroom_storage_operations_total{.*"(refused|file_not_found)".*"(refused|file_not_found)".*} 1', text)
    uploads = [line for line in text.splitlines() if re.match(r'cloakroom_storage_operations_total{.*operation="upload"', line)]
    counted = {status: line.rsplit(" ", 1)[1] for line in uploads for status in re.findall(r'status="(\w+)"', line)}
    assert counted["success"] == "1" and counted["repeated"] == "1", uploads
    assert re.search(r"cloakroom_upload_size_bytes_sum{.*} \d", text) and "cloakroom_upload_size_bytes_count" in text
    assert str(signed["file_id"]) not in text, "no label for each file"
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    for operation in ("upload", "delete"):
        completed = [one for one in lines if one.get("message") == "Storage operation completed"]
        (told,) = [one for one in completed if one["operation"] == operation]
        assert (told["file_id"], told["file_size"], told["bucket"], told["status"]) == (
            signed["file_id"],
            len(CSV),
            "reconciliation-files",
            "success",
        )
        assert isinstance(told["duration_ms"], int) and told["user_id"]
    read = [one for one in lines if one.get("operation") == "verify"]
    assert [one["message"] for one in read] == ["Storage operation completed"] and read[0]["file_id"] == signed["file_id"]


def test_dashboard_and_alert_rules_ask_for_meters_that_there_are():
    board = json.loads((ROOT / "deploy/grafana/cloakroom.json").read_text())
    rules = yaml.safe_load((ROOT / "deploy/prometheus/cloakroom-alerts.yaml").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(board["panels"]) >= 12 and "CloakroomHighErrorRate" in str(rules)
    names = {name for expression in asked for name in re.findall(r"\b(?:cloakroom|http)_[a-z0-9_]+", expression)}
    source = "".join(path.read_text() for path in (ROOT / "crates").glob("*/src/**/*.rs"))
    unknown = [name for name in names if f'"{re.sub("_(bucket|sum|count)$", "", name)}"' not in source]
    assert unknown == [] and len(names) > 15, unknown
