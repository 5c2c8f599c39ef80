"""A stand-in for what only Google has: the tokens, and who may show one, before a real S3 server.

Objects, listings, ETags and errors are SeaweedFS's own: the XML API of Google Cloud Storage has the same.
Ours are the exchange of a signed assertion for a token, its check, and the names of a few headers.
"""

from __future__ import annotations

import base64
import http.server
import json
import secrets
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs

import httpx
import trustme
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from devcluster.services.s3 import ObjectStore as Server

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


def service_account(token_uri: str, key: rsa.RSAPrivateKey) -> dict[str, str]:
    """What the JSON file of a key says, as Google writes it."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "tests",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "converter@tests.iam.gserviceaccount.com",
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
    }


@dataclass
class GoogleStandIn:
    """Tokens at ``/token``, and buckets below ``/``, while the context is open."""

    store: Server
    authority: trustme.CA
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    token: str = field(default_factory=lambda: f"ya29.{secrets.token_urlsafe(16)}")
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def credentials(self) -> str:
        """The JSON file of the account's key."""
        return json.dumps(service_account(f"{self.endpoint}/token", self.key))

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                stand_in.asked.append((self.command, self.path))
                if self.path == "/token":
                    stand_in._give_token(self, body)
                elif self.headers.get("Authorization") != f"Bearer {stand_in.token}":
                    code = b"<Error><Code>AuthenticationRequired</Code></Error>"
                    _send(self, 401, {}, code)
                else:
                    stand_in._pass_on(self, body)

            do_GET = do_PUT = do_DELETE = do_POST = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _give_token(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        form = parse_qs(body.decode())
        signed, _, signature = form["assertion"][0].rpartition(".")
        claims: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
        try:
            self.key.public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            is_good = (claims["aud"], claims["scope"]) == (f"{self.endpoint}/token", _SCOPE)
            is_good &= form["grant_type"] == [_GRANT] and 0 < claims["exp"] - claims["iat"] <= 3600
        except InvalidSignature:
            is_good = False
        if not is_good:
            _send(request, 400, {}, json.dumps({"error": "invalid_grant", "error_description": "x"}).encode())
            return
        _send(request, 200, {}, json.dumps({"access_token": self.token, "expires_in": 3599}).encode())

    def _pass_on(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        kept = {"content-type", "content-md5"}
        headers = {
            name.lower().replace("x-goog-meta-", "x-amz-meta-"): value
            for name, value in request.headers.items()
            if name.lower() in kept or name.lower().startswith("x-goog-meta-")
        }
        url = f"{self.store.endpoint}{request.path}"
        signed = AWSRequest(request.command, url, headers, body)
        # Without it the signer takes the whole query for one of its own.
        signed.params = {}
        S3SigV4Auth(Credentials(self.store.access_key, self.store.secret_key), "s3", "us-east-1").add_auth(
            signed
        )
        found = httpx.request(
            request.command, url, headers=dict(signed.headers.items()), content=body, trust_env=False
        )
        answered = {name: found.headers[name] for name in ("ETag", "Content-Type") if name in found.headers}
        _send(request, found.status_code, answered, found.content)


def _send(
    request: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    if status != 204:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if status != 204:
        request.wfile.write(body)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
