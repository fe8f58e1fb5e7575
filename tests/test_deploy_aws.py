"""The documents of deploy/iam and deploy/terraform say what the founding document asks for (S4)."""

import json
import re

import pytest
from instance import ROOT

IAM = ROOT / "deploy/iam"
TERRAFORM = "\n".join(path.read_text() for path in sorted((ROOT / "deploy/terraform").glob("*.tf")))
WRITES = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
# What Cloakroom writes: originals, thumbnails and sidecars; uploads that are not verified yet; documents of its own.
PREFIXES = {"complaints/*", "staging/*", "_cloakroom/*"}


def statements(name):
    return json.loads((IAM / f"{name}.json").read_text())["Statement"]


@pytest.mark.parametrize("role", ["backend", "worker", "lambda"])
def test_a_role_may_write_below_few_prefixes(role):
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"]), statement["Sid"]
        if WRITES & set(statement["Action"]):
            assert statement["Resource"].removeprefix("arn:aws:s3:::${bucket}/") in PREFIXES, statement["Sid"]


def test_backend_and_worker_are_not_the_same():
    def deletes(role):
        allowed = [one["Resource"] for one in statements(role) if "s3:DeleteObject" in one["Action"]]
        return any(place.endswith("/complaints/*") for place in allowed)

    assert deletes("worker") and not deletes("backend")
    queue = {role: any("sqs:ReceiveMessage" in one["Action"] for one in statements(role)) for role in ("backend", "worker")}
    assert queue == {"backend": False, "worker": True}


def test_the_bucket_is_read_through_cloudfront_and_takes_no_other_encryption():
    by_id = {statement["Sid"]: statement for statement in statements("bucket-policy")}
    reading = by_id["CloudFrontReadsVerifiedFiles"]
    assert reading["Condition"] == {"StringEquals": {"AWS:SourceArn": "${distribution}"}}
    assert [one["Sid"] for one in by_id.values() if one["Effect"] == "Allow"] == [reading["Sid"]]
    assert by_id["NoOtherEncryption"]["Condition"]["StringNotEquals"] == {"s3:x-amz-server-side-encryption": "aws:kms"}


@pytest.mark.parametrize(
    "words",
    [
        r"block_public_acls +=\s*true",
        r"restrict_public_buckets +=\s*true",
        r'sse_algorithm +=\s*"aws:kms"',
        r'resource "aws_s3_bucket_logging" "photos"',
        r'resource "aws_kms_key" "attachments"',
        r'resource "aws_kms_alias" "attachments"',
        r'storage_class = "STANDARD_IA"',
        r"days +=\s*var\.infrequent_access_days",
        r'default +=\s*"GLACIER_IR"',
        r'resource "aws_cloudfront_origin_access_control"',
        r"trusted_key_groups",
        r'resource "aws_s3_bucket_notification"',
        r"deadLetterTargetArn",
        r'resource "aws_iam_role" "backend"',
        r'resource "aws_iam_role" "worker"',
    ],
)
def test_terraform_has(words):
    assert re.search(words, TERRAFORM), words


def test_every_policy_is_filled_in():
    names = set(re.findall(r"^    (\w+) += ", TERRAFORM.split("names = {")[1].split("}")[0], re.MULTILINE))
    for path in IAM.glob("*.json"):
        assert set(re.findall(r"\$\{(\w+)\}", path.read_text())) <= names, path.name
