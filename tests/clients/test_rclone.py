"""rclone, configured by its environment only, against the embedded endpoint."""

import hashlib
import os
import subprocess

import pytest

MIB = 1024 * 1024


@pytest.fixture
def rclone(cloakroom, tmp_path):
    """Runs rclone with the remote `room:` and answers what it printed."""
    environment = os.environ | {
        "TZ": "UTC",
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_ROOM_TYPE": "s3",
        "RCLONE_CONFIG_ROOM_PROVIDER": "Other",
        "RCLONE_CONFIG_ROOM_ENDPOINT": cloakroom.s3_url,
        "RCLONE_CONFIG_ROOM_REGION": cloakroom.region,
        "RCLONE_CONFIG_ROOM_ACCESS_KEY_ID": cloakroom.access_key,
        "RCLONE_CONFIG_ROOM_SECRET_ACCESS_KEY": cloakroom.secret_key,
        "RCLONE_CONFIG_ROOM_FORCE_PATH_STYLE": "true",
    }

    def run(*arguments):
        command = ["rclone", "--retries", "1", "--low-level-retries", "1", *arguments]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def tree(tmp_path):
    files = {
        "a.txt": b"alpha",
        "sub/b.txt": b"beta",
        "sub/deep/ü +&.bin": bytes(1000),
        "empty": b"",
        "big.bin": hashlib.shake_256(b"12 MiB").digest(12 * MIB),
    }
    for name, content in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


def test_copy_list_and_cat(rclone, bucket, tree, tmp_path):
    rclone("copy", "tree", f"room:{bucket}/up")
    assert rclone("lsf", f"room:{bucket}/up").split() == ["a.txt", "big.bin", "empty", "sub/"]
    assert sorted(rclone("lsf", "-R", "--files-only", f"room:{bucket}/up").splitlines()) == sorted(tree)
    assert rclone("cat", f"room:{bucket}/up/sub/b.txt") == "beta"
    assert rclone("cat", "--offset", "1", "--count", "2", f"room:{bucket}/up/a.txt") == "lp"
    rclone("copy", f"room:{bucket}/up", "down")
    assert {name: (tmp_path / "down" / name).read_bytes() for name in tree} == tree


def test_check_finds_no_difference(rclone, bucket, tree):
    rclone("copy", "tree", f"room:{bucket}")
    rclone("check", "--download", "tree", f"room:{bucket}")
    rclone("check", "tree", f"room:{bucket}")


def test_sync_deletes_what_is_gone(rclone, bucket, tree, tmp_path):
    rclone("sync", "tree", f"room:{bucket}/up")
    (tmp_path / "tree/a.txt").unlink()
    (tmp_path / "tree/sub/b.txt").write_bytes(b"changed")
    rclone("sync", "tree", f"room:{bucket}/up")
    rclone("check", "--download", "tree", f"room:{bucket}/up")
    assert "a.txt" not in rclone("lsf", "-R", f"room:{bucket}/up").split()


def test_large_file_goes_in_parts(rclone, s3, bucket, tree):
    rclone("copy", "--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "5Mi", "tree/big.bin", f"room:{bucket}")
    assert s3.head_object(Bucket=bucket, Key="big.bin")["ETag"].strip('"').endswith("-3")
    rclone("check", "--download", "--include", "/big.bin", "tree", f"room:{bucket}")


def test_modification_times_survive(rclone, bucket, tree, tmp_path):
    os.utime(tmp_path / "tree/a.txt", (1_000_000_000, 1_000_000_000))
    rclone("copy", "tree/a.txt", f"room:{bucket}")
    assert rclone("lsf", "--format", "t", f"room:{bucket}/a.txt").startswith("2001-09-09")
    rclone("copyto", f"room:{bucket}/a.txt", f"room:{bucket}/b.txt")
    rclone("deletefile", f"room:{bucket}/a.txt")
    assert rclone("lsf", f"room:{bucket}").split() == ["b.txt"]
