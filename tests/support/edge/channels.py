"""A channel's web server, with pointers that are signed here, without the product's code."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHANNEL = "ml/gesture-stable"
TYPE = "application/vnd.edgeml.channel.v1+json"
_HASHES = {"secp256r1": SHA256, "secp384r1": SHA384, "secp521r1": SHA512}


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sealed(payload: bytes, key: ec.EllipticCurvePrivateKey, kind: str = TYPE) -> bytes:
    """Seal a payload as the specification of DSSE says it, by its own words."""
    message = b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload]
    )
    signature = key.sign(message, ec.ECDSA(_HASHES[key.curve.name]()))
    document = {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(document).encode()


class BucketFiles(dict[str, bytes]):
    """The files below a prefix of a bucket, as a web server in front of it has them.

    ``read`` gives an object by its key, None where there is none.
    """

    def __init__(self, read: Callable[[str], bytes | None], prefix: str) -> None:
        super().__init__()
        self._read, self._prefix = read, prefix

    def get(self, name: str, default: Any = None) -> Any:
        found = self._read(self._prefix + name)
        return default if found is None else found


@dataclass
class ChannelServer:
    """Serves a channel, and does what it is told to with the next answers."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    cut: bool = False
    """Breaks off in the middle of a model."""
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                content = owner.files.get(self.path.partition("?")[0].lstrip("/"))
                status = owner.status if content is not None else 404
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                body = content or b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                is_model = self.path.endswith(".tflite")
                self.wfile.write(body[: len(body) // 2] if owner.cut and is_model else body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/channel.json"

    def put(self, content: bytes, name: str) -> dict[str, Any]:
        """Have a file beside the pointer; gives how a pointer names it."""
        digest = hashlib.sha256(content).hexdigest()
        path = f"files/{digest}/{name}"
        self.files[path] = content
        return {"path": path, "sha256": digest, "sizeBytes": len(content)}

    def point(
        self,
        sequence: int,
        model: bytes | Path,
        /,
        *,
        baseline: dict[str, Any] | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        kind: str = TYPE,
        **changes: Any,
    ) -> str:
        """Move the pointer; gives the model's digest."""
        content = model if isinstance(model, bytes) else model.read_bytes()
        named = self.put(content, "m.tflite") | {"name": "FullInteger"}
        record = None if baseline is None else self.put(json.dumps(baseline).encode(), "baseline.json")
        document = {
            "version": "v1",
            "channel": CHANNEL,
            "sequence": sequence,
            "time": "2026-01-02T03:04:05Z",
            "model": named,
            "origin": {"conversion": "gesture", "run": "u/1"},
        }
        document |= ({} if record is None else {"baseline": record}) | changes
        self.files["channel.json"] = sealed(json.dumps(document).encode(), key or self.key, kind)
        digest: str = named["sha256"]
        return digest
