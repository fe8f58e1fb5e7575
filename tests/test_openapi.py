"""The OpenAPI document is true: schemathesis plays it against the running server, as a user and as an admin."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

EXAMPLES = 20


def test_document_is_served(cloakroom):
    answer = requests.get(f"{cloakroom.api_url.rstrip('/')}/openapi.json", timeout=10)
    assert answer.status_code == 200
    document = answer.json()
    assert document["openapi"].startswith("3.")
    assert "/api/v1/uploads" in document["paths"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("token", ["user_token", "admin_token"])
def test_schemathesis_finds_nothing(own_cloakroom, tmp_path, token):
    command = [
        Path(sys.executable).with_name("schemathesis"),
        # Every check is on; the file says where a refusal depends on what no schema can express.
        "--config-file",
        Path(__file__).with_name("schemathesis.toml"),
        "run",
        f"{own_cloakroom.api_url.rstrip('/')}/openapi.json",
        "--header",
        f"Authorization: Bearer {getattr(own_cloakroom, token)}",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "1",
        "--request-timeout",
        "20",
        "--no-color",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr
