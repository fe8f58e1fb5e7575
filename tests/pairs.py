"""The databases and stores that the program can stand on, and a fresh place for one instance on each.

`scripts/test-servers run` starts the servers and says in the environment where they are.
"""

import os
import uuid
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A kind of database and a kind of store."""

    database: str
    store: str

    def __str__(self):
        return f"{self.database}+{self.store}"

    @property
    def checks_checksums(self):
        """Whether the store refuses bytes that do not have the announced checksum; Ceph RGW 16.2 does not look."""
        return self.store == "local"

    @property
    def tells_the_etag_of_forms(self):
        """Whether the answer to a form names the object's ETag; Ceph's has none."""
        return self.store == "local"

    @property
    def closes_uploads(self):
        """Whether a URL is refused once its upload is confirmed; a foreign store knows nothing of that."""
        return self.store == "local"


EMBEDDED = Pair("sqlite", "local")
SCALED_OUT = Pair("postgres", "ceph")
PAIRS = [EMBEDDED, Pair("postgres", "local"), Pair("sqlite", "ceph"), SCALED_OUT]


def server(name):
    """What the environment says of a test server."""
    variable = f"CLOAKROOM_TEST_{name}"
    assert variable in os.environ, f"{variable} is not set: run `scripts/test-servers run {'pytest tests'}`"
    return os.environ[variable]


def fresh_settings(pair):
    """Settings of an instance with tables and a bucket of its own. Instances that share them are one service."""
    settings = {}
    if pair.database == "postgres":
        settings["DATABASE_URL"] = server("POSTGRES_URL")
        settings["CLOAKROOM_DATABASE_TABLE_PREFIX"] = f"t{uuid.uuid4().hex[:12]}"
    if pair.store == "ceph":
        settings["S3_ENDPOINT"] = server("S3_ENDPOINT")
        settings["S3_ACCESS_KEY"] = server("S3_ACCESS_KEY")
        settings["S3_SECRET_KEY"] = server("S3_SECRET_KEY")
        settings["S3_REGION"] = server("S3_REGION")
        settings["S3_BUCKET"] = f"test-{uuid.uuid4().hex[:20]}"
        # A bucket is in one store, whose mode stands in it: instances of different modes must not share one.
        settings["CLOAKROOM_COLLECTIONS_RECONCILIATION_ARCHIVE_BUCKET"] = f"{settings['S3_BUCKET']}-archive"
    return settings


def secrets(settings):
    """What of these settings must never be seen in a log."""
    found = [settings[name] for name in ("S3_SECRET_KEY",) if name in settings]
    if url := settings.get("DATABASE_URL"):
        found.append(url.split("://", 1)[1].split("@", 1)[0].split(":", 1)[1])
    return found
