"""aws-cli, as a user would type it, against the embedded endpoint."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

MIB = 1024 * 1024


@pytest.fixture
def aws(cloakroom, tmp_path):
    """Runs `aws --endpoint-url … s3 …` and answers what it printed."""
    config = tmp_path / "aws.config"
    # Version 1 of the tool presigns with Signature Version 2 unless it is told otherwise.
    config.write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": cloakroom.access_key,
        "AWS_SECRET_ACCESS_KEY": cloakroom.secret_key,
        "AWS_DEFAULT_REGION": cloakroom.region,
        "AWS_CONFIG_FILE": str(config),
    }

    def run(*arguments):
        command = [Path(sys.executable).with_name("aws"), "--endpoint-url", cloakroom.s3_url, *arguments]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def make_tree(folder):
    """Files by relative name, written under `folder`."""
    tree = {"a.txt": b"alpha", "sub/b.txt": b"beta", "sub/deep/ü +.bin": bytes(1000), "empty": b""}
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tree


def read_tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_cp_and_rm(aws, bucket, tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    aws("s3", "cp", "note.txt", f"s3://{bucket}/dir/note.txt", "--metadata", "a=b")
    assert aws("s3", "cp", f"s3://{bucket}/dir/note.txt", "-") == "hello"
    assert aws("s3", "ls", f"s3://{bucket}/").split() == ["PRE", "dir/"]
    aws("s3", "cp", f"s3://{bucket}/dir/note.txt", f"s3://{bucket}/copy.txt")
    aws("s3", "mv", f"s3://{bucket}/copy.txt", f"s3://{bucket}/moved.txt")
    aws("s3", "rm", f"s3://{bucket}/dir/note.txt")
    assert [line.split()[-2:] for line in aws("s3", "ls", f"s3://{bucket}", "--recursive").splitlines()] == [
        ["5", "moved.txt"]
    ]


def test_large_file_goes_in_parts(aws, s3, bucket, tmp_path):
    content = hashlib.shake_256(b"20 MiB").digest(20 * MIB)
    (tmp_path / "big").write_bytes(content)
    aws("s3", "cp", "big", f"s3://{bucket}/big", "--only-show-errors")
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"].strip('"').endswith("-3")
    aws("s3", "cp", f"s3://{bucket}/big", "back", "--only-show-errors")
    assert (tmp_path / "back").read_bytes() == content


def test_recursive_copy_and_sync(aws, bucket, tmp_path):
    tree = make_tree(tmp_path / "tree")
    aws("s3", "cp", "tree", f"s3://{bucket}/up", "--recursive", "--only-show-errors")
    aws("s3", "sync", f"s3://{bucket}/up", "down", "--only-show-errors")
    assert read_tree(tmp_path / "down") == tree

    assert aws("s3", "sync", "down", f"s3://{bucket}/up") == "", "nothing changed, nothing is sent"
    (tmp_path / "down/a.txt").unlink()
    (tmp_path / "down/new.txt").write_bytes(b"new")
    done = aws("s3", "sync", "down", f"s3://{bucket}/up", "--delete", "--no-progress")
    assert sorted(line.split(":")[0] for line in done.splitlines()) == ["delete", "upload"]
    aws("s3", "rm", f"s3://{bucket}/up", "--recursive", "--only-show-errors")
    assert (
        aws("s3api", "list-objects-v2", "--bucket", bucket, "--query", "length(Contents || `[]`)").strip()
        == "0"
    )


def test_buckets(aws, bucket):
    name = f"{bucket}-cli"
    aws("s3", "mb", f"s3://{name}")
    assert name in aws("s3", "ls")
    aws("s3", "rb", f"s3://{name}")
    assert name not in aws("s3", "ls")


def test_presigned_url(aws, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k ü", Body=b"hello")
    url = aws("s3", "presign", f"s3://{bucket}/k ü", "--expires-in", "60").strip()
    assert "X-Amz-Signature=" in url
    assert requests.get(url, timeout=10).content == b"hello"
