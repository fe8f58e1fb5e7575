"""AWS Signature Version 4, written down a second time so that the tests do not trust the code they test.

Unlike an SDK it signs anything: past dates, forbidden expiries, odd headers.
"""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"


def uri_encode(text, safe="-._~"):
    return quote(text, safe=safe)


def object_url(server, bucket, key):
    return f"{server.s3_url.rstrip('/')}/{bucket}/{uri_encode(key, safe='-._~/')}"


def scope(server, at, service="s3"):
    return f"{at:%Y%m%d}/{server.region}/{service}/aws4_request"


def sign(server, at, text):
    """The signature of a string to sign."""
    key = f"AWS4{server.secret_key}".encode()
    for step in scope(server, at).split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def canonical_query(query):
    return "&".join(sorted(f"{uri_encode(k)}={uri_encode(str(v))}" for k, v in query.items()))


def request_signature(server, method, url, query, headers, payload_hash, at):
    parts = urlsplit(url)
    signed = {name.lower(): str(value).strip() for name, value in headers.items()} | {"host": parts.netloc}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join([method, parts.path, canonical_query(query), lines, names, payload_hash])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{at:%Y%m%dT%H%M%SZ}\n{scope(server, at)}\n{digest}"
    return names, sign(server, at, text)


def presign(server, method, url, *, headers=None, query=None, expires=300, at=None):
    """A presigned URL that requires exactly `headers` and `query`."""
    at = at or datetime.now(UTC)
    headers = headers or {}
    query = dict(query or {}) | {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{server.access_key}/{scope(server, at)}",
        "X-Amz-Date": f"{at:%Y%m%dT%H%M%SZ}",
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": ";".join(sorted({name.lower() for name in headers} | {"host"})),
    }
    _, signature = request_signature(server, method, url, query, headers, UNSIGNED, at)
    return f"{url}?{canonical_query(query)}&X-Amz-Signature={signature}"


def authorize(server, method, url, *, headers=None, query=None, payload_hash=UNSIGNED, at=None):
    """The headers of a request signed in its Authorization header, `headers` included."""
    at = at or datetime.now(UTC)
    signed = dict(headers or {}) | {
        "x-amz-date": f"{at:%Y%m%dT%H%M%SZ}",
        "x-amz-content-sha256": payload_hash,
    }
    names, signature = request_signature(server, method, url, query or {}, signed, payload_hash, at)
    credential = f"{server.access_key}/{scope(server, at)}"
    signed["Authorization"] = (
        f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def expiration(seconds):
    """A policy's expiration, `seconds` from now."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.000Z}"


def post_form(server, policy, fields, *, at=None):
    """The fields of a browser upload form: `fields`, the policy, and what signs it.

    The conditions that the signature's own fields need are added to the policy, as every SDK does.
    """
    at = at or datetime.now(UTC)
    signing = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{server.access_key}/{scope(server, at)}",
        "x-amz-date": f"{at:%Y%m%dT%H%M%SZ}",
    }
    if isinstance(policy.get("conditions"), list):
        own = [{name: value} for name, value in signing.items()]
        policy = policy | {"conditions": policy["conditions"] + own}
    encoded = base64.b64encode(json.dumps(policy).encode()).decode()
    return fields | signing | {"policy": encoded, "x-amz-signature": sign(server, at, encoded)}
