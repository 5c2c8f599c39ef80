"""A corporate proxy on loopback: what is behind it has names that only the proxy knows."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Address = tuple[str, int]
_END = b"Content-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class ForwardProxy:
    """A proxy that runs while the context is open.

    Attributes:
        behind: Where each ``host:port`` really is; anything else is a place that the proxy cannot reach.
        login: ``user:password`` that it asks for; nothing where empty.
        asked: Method and ``host:port`` of each request, also of those that it refuses.

    """

    behind: Mapping[str, Address] = field(default_factory=dict)
    login: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """What HTTP_PROXY names it by."""
        return f"http://{self.login + '@' if self.login else ''}127.0.0.1:{self.port}"

    def methods(self, target: str) -> set[str]:
        """Methods that were asked of a ``host:port``."""
        return {method for method, asked in self.asked if asked == target}

    def __enter__(self) -> ForwardProxy:
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            rbufsize = 0  # what follows the head is not ours to read

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._serve(self.connection, self.rfile.readline)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, client: socket.socket, readline: Callable[[], bytes]) -> None:
        request = readline().decode()
        if not request:
            return
        method, what, version = request.split()
        headers = list(iter(lambda: readline().decode(), "\r\n"))
        url = urlsplit(what)
        target = what if method == "CONNECT" else url.netloc if url.port else f"{url.netloc}:80"
        self.asked.append((method, target))
        given = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in headers}
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and given.get("proxy-authorization") != wanted:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n" + _END)
            return
        if target not in self.behind:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n" + _END)
            return
        with socket.create_connection(self.behind[target]) as upstream:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:  # in the words of a server, and one request a connection
                path = f"{url.path}?{url.query}" if url.query else url.path
                kept = [line for line in headers if not line.lower().startswith("proxy-")]
                lines = [f"{method} {path} {version}\r\n", *kept, "Connection: close\r\n", "\r\n"]
                upstream.sendall("".join(lines).encode())
            pump_both(client, upstream)


def pump_both(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either says until one of them has said all."""
    there = threading.Thread(target=_pump, args=(one, other), daemon=True)
    there.start()
    _pump(other, one)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that no system trusts, and a certificate of its own for some hosts."""

    pem: str
    server: ssl.SSLContext


def authority(folder: Path, *hosts: str) -> Authority:
    """Make an authority, and a TLS context of servers with these names or addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Corporate CA")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return Authority(pem.decode(), context)


@contextlib.contextmanager
def tls_in_front_of(target: Address, context: ssl.SSLContext) -> Iterator[Address]:
    """A server that speaks TLS and passes on what it reads."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection(target) as upstream,
            ):
                pump_both(client, upstream)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()


_ASSUMED = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>
<SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>
<Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@contextlib.contextmanager
def token_service(access_key: str, secret_key: str, context: ssl.SSLContext) -> Iterator[Address]:
    """A stand-in for AWS STS: it gives the same keys to every token, as IRSA's pods ask for them."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            answer = _ASSUMED.format(access_key, secret_key).encode()
            self.send_response(200 if "Action=AssumeRoleWithWebIdentity" in asked else 400)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing in the test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()
