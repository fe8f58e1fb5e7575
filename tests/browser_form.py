"""Posting a browser's upload form, field by field and in the order given."""

import requests
from sigv4 import expiration, post_form


def policy(bucket, *conditions, seconds=600, **replaced):
    """A policy for keys that begin with `foo` in `bucket`, up to 1 KiB; `replaced` overrides its members."""
    document = {
        "expiration": expiration(seconds),
        "conditions": [{"bucket": bucket}, ["starts-with", "$key", "foo"], *conditions],
    } | replaced
    return {name: value for name, value in document.items() if value is not None}


def send(server, bucket, fields, content=b"bar", filename="foo.txt", after=()):
    """Posts `fields`, then the file, then the fields `after` it."""
    body = [(name, (None, value)) for name, value in dict(fields).items()]
    if content is not None:
        body.append(("file", (filename, content)))
    body += [(name, (None, value)) for name, value in after]
    url = f"{server.s3_url.rstrip('/')}/{bucket}"
    return requests.post(url, files=body, allow_redirects=False, timeout=30)


def send_signed(server, bucket, document, fields, **how):
    """Signs the form with the server's credentials, and posts it."""
    return send(server, bucket, post_form(server, document, fields), **how)
