"""Makes an RSA key and a token of one user in the directory given."""

import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

directory = Path(sys.argv[1])
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
public = key.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
now = int(time.time())
claims = {"sub": "user-1", "aud": "bench", "iat": now, "exp": now + 24 * 3600}
(directory / "public.pem").write_bytes(public)
(directory / "token").write_text(jwt.encode(claims, key, algorithm="RS256"))
