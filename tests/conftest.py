"""The program as a black box: one private instance a session, on free ports and in a temporary directory.

CLOAKROOM_BIN names another build of the program. CLOAKROOM_READY_FILE names the ready file of a server that is already
running; the suite then uses that one and leaves it alone.
"""

import os
import time
import uuid
from pathlib import Path

import pytest
import requests
from botocore.config import Config
from instance import Cloakroom, running, s3_client, token_of
from pairs import EMBEDDED, PAIRS

# The machine's own AWS settings and proxies must not reach the clients under test.
for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
    del os.environ[name]
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def pytest_generate_tests(metafunc):
    """Tests marked `every_pair` run on each database with each store, the others on the embedded ones."""
    if "pair" in metafunc.fixturenames:
        pairs = PAIRS if metafunc.definition.get_closest_marker("every_pair") else [EMBEDDED]
        metafunc.parametrize("pair", pairs, ids=str, scope="session")


@pytest.fixture(scope="session")
def cloakroom(pair, tmp_path_factory):
    """The instance that the tests share, one for each pair."""
    if ready_file := os.environ.get("CLOAKROOM_READY_FILE"):
        yield Cloakroom.read(Path(ready_file))
        return
    with running(tmp_path_factory.mktemp("cloakroom"), pair) as server:
        yield server


@pytest.fixture
def own_cloakroom(pair, tmp_path):
    """An instance of the test's own, for what would disturb others."""
    with running(tmp_path, pair) as server:
        yield server


@pytest.fixture(scope="session")
def s3(cloakroom):
    return s3_client(cloakroom)


@pytest.fixture(scope="session")
def s3_v4(cloakroom):
    """boto3 presigns for foreign endpoints with Signature Version 2 unless it is told otherwise."""
    return s3_client(cloakroom, config=Config(signature_version="s3v4"))


@pytest.fixture(scope="session")
def new_bucket(s3):
    """Makes buckets. They are left behind: the instance they are in is not kept."""

    def make():
        name = f"test-{uuid.uuid4().hex[:20]}"
        s3.create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture
def bucket(new_bucket):
    """An empty bucket of the test's own."""
    return new_bucket()


# States from which a file does not go on by itself.
SETTLED = ("ready", "failed", "quarantined", "expired")


class Api:
    """The native HTTP API as one user."""

    def __init__(self, server, token):
        self.base = f"{server.api_url.rstrip('/')}/api/v1"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def request(self, method, path, **options):
        return self.session.request(method, self.base + path, timeout=30, **options)

    def sign(
        self,
        content,
        *,
        collection="documents",
        filename="report.pdf",
        content_type="application/pdf",
        **more,
    ):
        """A ticket for uploading `content`."""
        answer = self.request(
            "POST",
            "/uploads",
            json={
                "collection": collection,
                "filename": filename,
                "content_type": content_type,
                "size_bytes": len(content),
                **more,
            },
        )
        assert answer.ok, answer.text
        return answer.json()

    def put(self, ticket, content):
        """Sends the bytes as the ticket says, without the API's credentials."""
        if ticket["method"] == "post":
            return requests.post(
                ticket["upload_url"], data=ticket["form_fields"], files={"file": content}, timeout=30
            )
        return requests.put(ticket["upload_url"], data=content, headers=ticket["headers"], timeout=30)

    def confirm(self, file_id):
        return self.request("POST", f"/uploads/{file_id}/confirm")

    def wait_settled(self, file_id, seconds=90):
        """The file once nothing more is done to it."""
        deadline = time.monotonic() + seconds
        while (file := self.request("GET", f"/files/{file_id}").json())["state"] not in SETTLED:
            assert time.monotonic() < deadline, f"not settled in {seconds} s: {file}"
            time.sleep(0.05)
        return file

    def wait_ready(self, file_id, seconds=90):
        """The file once it is ready; fails as soon as it cannot become so."""
        file = self.wait_settled(file_id, seconds)
        assert file["state"] == "ready", file
        return file

    def wait_failed(self, file_id, seconds=90):
        """The file once it has failed."""
        file = self.wait_settled(file_id, seconds)
        assert file["state"] == "failed", file
        return file


@pytest.fixture(scope="session")
def api(cloakroom):
    return Api(cloakroom, cloakroom.user_token)


@pytest.fixture(scope="session")
def admin_api(cloakroom):
    return Api(cloakroom, cloakroom.admin_token)


@pytest.fixture(scope="session")
def stranger_token(cloakroom):
    """A second user's access token."""
    return token_of(cloakroom, "stranger")


@pytest.fixture(scope="session")
def stranger_api(cloakroom, stranger_token):
    return Api(cloakroom, stranger_token)
