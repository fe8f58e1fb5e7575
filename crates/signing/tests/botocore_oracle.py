"""Prints what botocore signs for generated inputs, as JSON, for `botocore.rs` to compare and verify.

Usage: botocore_oracle.py SEED CASES_PER_KIND
"""

import datetime
import hashlib
import json
import random
import sys
import urllib.parse

import botocore.auth
import botocore.session
import botocore.signers
import botocore.utils
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ENDPOINTS = [
    "http://localhost:9000",
    "https://s3.example.com",
    "https://storage.example.com:8443",
    "http://127.0.0.1:9000",
    "http://[::1]:9000",
    "https://proxy.example.com/s3",
]
BUCKETS = ["bucket", "uploads-2024", "my.dotted.bucket", "abc"]
REGIONS = ["us-east-1", "eu-central-1", "garage"]
PIECES = [
    " ", "  ", "+", "++", ".", "..", "./", "../", "/", "//", "%", "%20", "%2F", "~", "'", '"', "`", "\\", "!", "*",
    "(", ")", "&", "=", "?", "#", ";", ":", "@", ",", "$", "[", "]", "{", "}", "|", "^", "<", ">", "\t", "\n", "\x01",
    "\x7f", "é", "ё", "е\u0301", "日本語", "😀", "\u00a0", "\u2028", "ﬁ", "\u200d", "a", "Z", "9", "-", "_", "report.pdf",
    "${filename}",
]
HEADER_TEXT = ["plain", "two  spaces", " edges ", "a,b", "semi;colon", 'quo"ted', "1=2", "~tilde", "slash/", "+plus+"]
QUERY_TEXT = [
    "text/plain", 'attachment; filename="a b.pdf"', "attachment; filename*=UTF-8''%C3%A9.pdf", "a+b", "no-cache", "é 日本",
    "100%", "x=1&y=2", "", "~.-_", "*'()!",
]

random_source = random.Random()
frozen = datetime.datetime(2013, 5, 24, tzinfo=datetime.timezone.utc)


def now(*_args, **_kwargs):
    return frozen


botocore.auth.get_current_datetime = now
botocore.signers.get_current_datetime = now


def freeze():
    global frozen
    seconds = random_source.choice(
        [random_source.randrange(0, 4_000_000_000), 1_709_164_799, 1_709_164_800, 951_782_400, 0]
    )
    micros = random_source.choice([0, 1, 999_999])
    frozen = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(microsecond=micros)
    return {"second": seconds, "microsecond": micros}


def pick(choices):
    return random_source.choice(choices)


def maybe(probability=0.4):
    return random_source.random() < probability


def key():
    if maybe(0.05):
        return ("é" * 512)[: random_source.choice([512, 511])] if maybe() else "k" * 1024
    text = "".join(pick(PIECES) for _ in range(random_source.randrange(1, 12)))
    while len(text.encode()) > 1024:
        text = text[:-1]
    return text


def token_text(length):
    return "".join(pick("ABCDEFabcdef0123456789+/=") for _ in range(length))


session = botocore.session.get_session()
clients = {}


def identity():
    return {
        "access_key_id": pick(["AKIAIOSFODNN7EXAMPLE", "GK31c2f218a2e44f485b94239e", "minioadmin"]),
        "secret": pick(["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s", "long" * 40, "паролъ"]),
        "token": pick([None, None, "FwoGZXIvYXdzEBYaD+/==", "plain-token"]),
        "region": pick(REGIONS),
    }


def client(who, endpoint, addressing):
    name = (*who.values(), endpoint, addressing)
    if name not in clients:
        clients[name] = session.create_client(
            "s3",
            region_name=who["region"],
            endpoint_url=endpoint,
            aws_access_key_id=who["access_key_id"],
            aws_secret_access_key=who["secret"],
            aws_session_token=who["token"],
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": addressing},
                request_checksum_calculation="when_required",
            ),
        )
    return clients[name]


def common():
    endpoint, bucket = pick(ENDPOINTS), pick(BUCKETS)
    # An address has no subdomains. botocore knows that, except for buckets with a dot; we use the path for all.
    has_no_subdomains = "." in bucket and ("127.0.0.1" in endpoint or "[" in endpoint)
    return {
        **pick(identities),
        "endpoint": endpoint,
        "addressing": "path" if has_no_subdomains else pick(["path", "virtual"]),
        "bucket": bucket,
        "key": key(),
        "now": freeze(),
    }


def client_of(case):
    who = {name: case[name] for name in ("access_key_id", "secret", "token", "region")}
    return client(who, case["endpoint"], case["addressing"])


def put_parameters():
    """(botocore parameter, value for botocore, header, value as sent)"""
    length = pick([0, 1, 5_368_709_120, 1_048_576])
    digest = token_text(43) + "="
    rows = [
        ("ContentType", pick(["text/plain", "image/png; charset=utf-8", "application/octet-stream"]), "content-type"),
        ("ContentLength", length, "content-length"),
        ("ContentMD5", token_text(22) + "==", "content-md5"),
        ("ChecksumSHA256", digest, "x-amz-checksum-sha256"),
        ("IfNoneMatch", "*", "if-none-match"),
        ("ContentDisposition", 'attachment; filename="a  b.pdf"', "content-disposition"),
        ("CacheControl", "max-age=60, private", "cache-control"),
        ("StorageClass", "GLACIER_IR", "x-amz-storage-class"),
        ("ACL", "private", "x-amz-acl"),
        ("Tagging", "a=b&c=d%20e", "x-amz-tagging"),
    ]
    parameters, headers = {}, []
    random_source.shuffle(rows)
    for name, value, header in rows:
        if maybe():
            parameters[name] = value
            headers.append([header, str(value)])
    if maybe():
        metadata = {f"meta-{index}": pick(HEADER_TEXT) for index in range(random_source.randrange(1, 4))}
        parameters["Metadata"] = metadata
        headers += [[f"x-amz-meta-{name}", value] for name, value in metadata.items()]
    return parameters, headers


def get_parameters():
    rows = [
        ("ResponseContentType", pick(QUERY_TEXT), "response-content-type"),
        ("ResponseContentDisposition", pick(QUERY_TEXT), "response-content-disposition"),
        ("ResponseCacheControl", pick(QUERY_TEXT), "response-cache-control"),
        ("ResponseContentLanguage", pick(QUERY_TEXT), "response-content-language"),
        ("VersionId", pick(["null", "a+b/c=", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"]), "versionId"),
        ("PartNumber", pick([1, 10_000]), "partNumber"),
    ]
    parameters, query, headers = {}, [], []
    random_source.shuffle(rows)
    for name, value, parameter in rows:
        if maybe():
            parameters[name] = value
            query.append([parameter, str(value)])
    if maybe(0.2):
        parameters["Range"] = "bytes=0-9"
        headers.append(["range", "bytes=0-9"])
    return parameters, query, headers


def presigned():
    case = common()
    operation = pick(["put_object", "put_object", "get_object", "get_object", "upload_part", "head_object"])
    query = []
    if operation == "put_object":
        method, (parameters, headers) = "PUT", put_parameters()
    elif operation == "upload_part":
        parameters = {"PartNumber": random_source.randrange(1, 10_001), "UploadId": pick(["abc", "a/b+c=d~", "2~xyZ_-."])}
        if maybe():
            parameters = dict(reversed(parameters.items()))
        names = {"PartNumber": "partNumber", "UploadId": "uploadId"}
        method, headers = "PUT", []
        query = [[names[name], str(value)] for name, value in parameters.items()]
        if maybe():
            parameters["ContentLength"] = 5_242_880
            headers.append(["content-length", "5242880"])
    else:
        method = "GET" if operation == "get_object" else "HEAD"
        parameters, query, headers = get_parameters()
    expires = pick([1, 60, 300, 3600, 604_800])
    url = client_of(case).generate_presigned_url(
        operation, {"Bucket": case["bucket"], "Key": case["key"], **parameters}, ExpiresIn=expires
    )
    return {**case, "method": method, "query": query, "headers": headers, "expires_in_seconds": expires, "url": url}


def post():
    case = common()
    if maybe():
        case["key"] += "${filename}"
    fields, conditions = {}, []
    for name in ["Content-Type", "acl", "success_action_status", "x-amz-meta-note", "Cache-Control", "x-amz-checksum-sha256"]:
        if not maybe():
            continue
        value = pick(QUERY_TEXT + PIECES)
        kind = pick(["exact", "eq", "starts-with"])
        fields[name] = value
        if kind == "exact":
            conditions.append({name: value})
        elif kind == "eq":
            conditions.append(["eq", f"${name}", value])
        else:
            first = value.split(",")[0]
            conditions.append(["starts-with", f"${name}", first[: random_source.randrange(0, 3)] if maybe() else ""])
    if maybe(0.6):
        low = pick([0, 1, 1024])
        conditions.append(["content-length-range", low, pick([low, 10_485_760, 2**53, 2**63])])
    random_source.shuffle(conditions)
    expires = pick([1, 600, 3600, 31_536_000])
    form = client_of(case).generate_presigned_post(
        case["bucket"], case["key"], Fields=fields, Conditions=conditions, ExpiresIn=expires
    )
    return {
        **case,
        "given_fields": list(map(list, fields.items())),
        "conditions": conditions,
        "expires_in_seconds": expires,
        "url": form["url"],
        "fields": list(map(list, form["fields"].items())),
    }


def object_url(case):
    url = client_of(case).generate_presigned_url("get_object", {"Bucket": case["bucket"], "Key": case["key"]})
    return url.split("?")[0]


def encoded_query():
    pairs = [(pick(["prefix", "marker", "x-id", "versionId", "a b", "é"]), pick(QUERY_TEXT)) for _ in range(3)]
    pairs = pairs[: random_source.randrange(0, 4)]
    quote = botocore.utils.percent_encode
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    if maybe(0.2):
        text = "&".join(filter(None, [text, "uploads"]))
    return f"?{text}" if text else ""


def with_header_auth():
    case = common()
    method = pick(["GET", "PUT", "POST", "DELETE", "HEAD"])
    _, headers = put_parameters()
    body = pick(["", "body", "x" * 1000]) if method in ("PUT", "POST") else ""
    url = object_url(case) + encoded_query()
    request = AWSRequest(method=method, url=url, data=body.encode())
    for name, value in [*headers, ["User-Agent", "oracle"], ["Expect", "100-continue"]]:
        request.headers[name] = value
    unsigned = maybe(0.3)
    request.context.update(client_config=Config(s3={"payload_signing_enabled": not unsigned}))
    credentials = Credentials(case["access_key_id"], case["secret"], case["token"])
    botocore.auth.S3SigV4Auth(credentials, "s3", case["region"]).add_auth(request)
    return {
        **case,
        "method": method,
        "url": url,
        "headers": headers,
        "body_sha256": None if unsigned else hashlib.sha256(body.encode()).hexdigest(),
        "sent_headers": [[name.lower(), value] for name, value in request.headers.items()],
    }


def with_service_auth():
    """Requests to other services than S3: another canonical path, and no digest of the body in a header."""
    case = {**pick(identities), "service": pick(["sqs", "sqs", "sns", "sts"]), "now": freeze()}
    path = pick(["", "/", "/", "/123456789012/queue", "//a//b/", "/a/./b/../c", "/..", "/a%20b/%C3%A9~/", "/a/.."])
    url = pick(["http://localhost:5566", "https://sqs.eu-west-1.amazonaws.com", "http://[::1]:9"]) + path + encoded_query()
    body = pick(["{}", "", '{"QueueUrl":"x"}', "é" * 100])
    headers = [["Content-Type", "application/x-amz-json-1.0"], ["X-Amz-Target", "AmazonSQS.ReceiveMessage"]]
    headers = [header for header in headers if maybe(0.8)]
    request = AWSRequest(method="POST", url=url, data=body.encode())
    for name, value in [*headers, ["User-Agent", "oracle"]]:
        request.headers[name] = value
    credentials = Credentials(case["access_key_id"], case["secret"], case["token"])
    botocore.auth.SigV4Auth(credentials, case["service"], case["region"]).add_auth(request)
    return {
        **case,
        "method": "POST",
        "url": url,
        "headers": headers,
        "body_sha256": hashlib.sha256(body.encode()).hexdigest(),
        "sent_headers": [[name.lower(), value] for name, value in request.headers.items()],
    }


def with_query_auth():
    """The signer beneath `generate_presigned_url`, given requests that no client operation makes."""
    case = common()
    method = pick(["GET", "PUT", "DELETE", "HEAD"])
    _, headers = put_parameters()
    url = object_url(case) + encoded_query()
    payload = "UNSIGNED-PAYLOAD"
    if maybe(0.2):
        # As the JavaScript SDK does.
        url += ("&" if "?" in url else "?") + "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"
    elif maybe(0.2):
        payload = hashlib.sha256(case["key"].encode()).hexdigest()
        headers.append(["x-amz-content-sha256", payload])
    request = AWSRequest(method=method, url=url)
    for name, value in headers:
        request.headers[name] = value
    credentials = Credentials(case["access_key_id"], case["secret"], case["token"])
    expires = pick([1, 3600, 604_800])
    botocore.auth.S3SigV4QueryAuth(credentials, "s3", case["region"], expires=expires).add_auth(request)
    return {
        **case,
        "method": method,
        "url": request.url,
        "headers": headers,
        "payload": payload,
        "expires_in_seconds": expires,
    }


def cloudfront_keys():
    """Fresh keys in every form that CloudFront's own pages show, with what signs by them."""
    forms = serialization.PrivateFormat
    for bits, form in [(2048, forms.PKCS8), (2048, forms.TraditionalOpenSSL), (4096, forms.PKCS8)]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        yield pem, lambda message, key=key: key.sign(message, padding.PKCS1v15(), hashes.SHA1())


def cloudfront():
    """`CloudFrontSigner`, with a canned policy or with a custom one."""
    pem, sign = pick(signing_keys)
    key_pair_id = pick(["K2JCJMDEHXQW5F", "APKAEIBAERJR2EXAMPLE", "a-b_9"])
    path = "/".join(urllib.parse.quote(key(), safe="~") for _ in range(pick([1, 2, 3])))
    url = pick(["https://d111111abcdef8.cloudfront.net/", "https://cdn.example.org/photos/"]) + path + encoded_query()
    until = datetime.datetime.fromtimestamp(random_source.randrange(0, 4_000_000_000), datetime.timezone.utc)
    signer = botocore.signers.CloudFrontSigner(key_pair_id, sign)
    case = {"private_key": pem, "key_pair_id": key_pair_id, "plain": url, "until": int(until.timestamp())}
    if maybe(0.5):
        return {**case, "custom": None, "url": signer.generate_presigned_url(url, date_less_than=until)}
    resource = pick([url, "https://cdn.example.org/complaints/42/*", "http*://*/thumb?.webp", 'a"b\\c'])
    start = until - datetime.timedelta(seconds=random_source.randrange(1, 100_000)) if maybe(0.5) else None
    address = pick([None, "192.0.2.0/24", "192.0.2.7"])
    policy = signer.build_policy(resource, until, start, address)
    return {
        **case,
        "custom": {"resource": resource, "from": start and int(start.timestamp()), "source_ip": address, "json": policy},
        "url": signer.generate_presigned_url(url, policy=policy),
    }


def main():
    global identities, signing_keys
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    random_source.seed(seed)
    identities = [identity() for _ in range(6)]
    signing_keys = list(cloudfront_keys())
    kinds = {
        "presigned": presigned,
        "posts": post,
        "header_signed": with_header_auth,
        "query_signed": with_query_auth,
        # Last, so that the others stay the same cases under the same seed.
        "service_signed": with_service_auth,
        "cloudfront": cloudfront,
    }
    json.dump({name: [make() for _ in range(count)] for name, make in kinds.items()}, sys.stdout)


main()
