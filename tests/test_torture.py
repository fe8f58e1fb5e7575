"""I1, I3, I5: `cloakroom torture` kills real processes under load, and finds nothing lost, half made or left over."""

import json
import subprocess

import pytest
from instance import ENVIRONMENT, program
from pairs import server


def flags_and_keys(scaled_out):
    """What brings the processes onto the shared servers, in tables and a bucket that the command makes for itself."""
    if not scaled_out:
        return [], {}
    flags = ["--database-url", server("POSTGRES_URL"), "--s3-endpoint", server("S3_ENDPOINT"), "--s3-region", server("S3_REGION")]
    return flags, {"S3_ACCESS_KEY": server("S3_ACCESS_KEY"), "S3_SECRET_KEY": server("S3_SECRET_KEY")}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scaled_out", [False, True], ids=["embedded", "postgres+ceph"])
def test_nothing_is_lost(tmp_path, scaled_out):
    flags, keys = flags_and_keys(scaled_out)
    command = [program(), "torture", "--json", "--seed", "7", "--rounds", "2", "--kills", "3", "--calm", "1500", *flags]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | keys, capture_output=True, text=True, timeout=540)
    assert result.returncode == 0, result.stdout + result.stderr
    told = [json.loads(line) for line in result.stdout.splitlines()]
    verdict = told[-1]
    assert verdict["event"] == "verdict" and verdict["held"] and verdict["violations"] == 0
    assert verdict["kills"] == 6 and verdict["confirmed"] > 10 and verdict["read"] > 5
    assert [line["clean"] for line in told if line["event"] in ("verify", "orphans")] == [True, True]
