"""Presigned URLs and POST policies, fast enough to make tens of thousands of them before a measurement.

Independent of the product's own signer on purpose: what is measured must accept what others sign.
"""

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """Signs for one server; the time of signing is that of its making."""

    def __init__(self, server):
        self.host = urlsplit(server.s3_url).netloc
        self.origin = server.s3_url.rstrip("/")
        now = time.gmtime()
        self.day = time.strftime("%Y%m%d", now)
        self.time = time.strftime("%Y%m%dT%H%M%SZ", now)
        self.scope = f"{self.day}/{server.region}/s3/aws4_request"
        self.credential = f"{server.access_key}/{self.scope}"
        key = b"AWS4" + server.secret_key.encode()
        for part in (self.day, server.region, "s3", "aws4_request"):
            key = _hmac(key, part)
        self.key = key

    def target(self, method, bucket, key="", headers=(), expires=86400):
        """Path and query of a presigned request with these signed headers (lower-case names, in order)."""
        path = f"/{bucket}" + (f"/{quote(key, safe='/~')}" if key else "")
        names = ";".join(["host", *(name for name, _ in headers)])
        if headers:
            names = ";".join(sorted(["host", *(name for name, _ in headers)]))
        lines = "".join(f"{name}:{value}\n" for name, value in sorted([("host", self.host), *headers]))
        query = (
            f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={quote(self.credential, safe='')}"
            f"&X-Amz-Date={self.time}&X-Amz-Expires={expires}&X-Amz-SignedHeaders={quote(names, safe='')}"
        )
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = _hmac(self.key, f"{ALGORITHM}\n{self.time}\n{self.scope}\n{digest}").hex()
        return f"{path}?{query}&X-Amz-Signature={signature}"

    def form(self, bucket, key):
        """Fields of a form upload in front of the file."""
        expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        fields = {
            "key": key,
            "x-amz-algorithm": ALGORITHM,
            "x-amz-credential": self.credential,
            "x-amz-date": self.time,
        }
        conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
        policy = base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()
        return {**fields, "policy": policy, "x-amz-signature": _hmac(self.key, policy).hex()}
