"""What one small request costs the processor: ``python tests/benchmarks/requests_cost.py``.

A PATCH of 2 KiB, answered with 6 KiB over TLS by another process, through aiohttp as the client library sets
it up, and through :mod:`modelconversion_operator.cluster.connections`. Both ways alternate; the table has the
median of the rounds.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes.aio import client
from pydantic_core import to_json

from devcluster.processes import free_ports
from modelconversion_operator.cluster.connections import Connections

_ROUNDS, _REQUESTS = 7, 500
_BODY = {"status": {f"field{number}": "v" * 64 for number in range(24)}}
_ANSWER = b'{"status": "' + b"v" * 6000 + b'"}'
_HEADERS = {"Accept": "application/json", "Content-Type": "application/merge-patch+json"}


async def _serve(port: int, folder: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_ANSWER)}"
    answer = head.encode() + b"\r\n\r\n" + _ANSWER

    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower().split(b"\r\n")
            await reader.readexactly(next(int(line[15:]) for line in lines if b"content-length" in line))
            writer.write(answer)

    async with await asyncio.start_server(each, "127.0.0.1", port, ssl=tls) as server:
        await server.serve_forever()


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    (folder / "cert.pem").write_bytes(
        built.add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


async def _measure(port: int, folder: Path) -> None:
    configuration = client.Configuration()
    configuration.host, configuration.ssl_ca_cert = f"https://127.0.0.1:{port}", str(folder / "cert.pem")
    configuration.client_session_kwargs = {"trust_env": False}

    async with client.ApiClient(configuration) as api:
        connections = Connections(configuration.host, api.rest_client.ssl_context)

        async def by_aiohttp() -> None:
            url = f"{configuration.host}/x"
            rest = api.rest_client
            answer = await rest.request("PATCH", url, dict(_HEADERS), _BODY, _request_timeout=5.0)
            await answer.read()

        async def by_connections() -> None:
            await connections.request("PATCH", "/x", _HEADERS, to_json(_BODY), 5.0)

        ways = {"aiohttp": by_aiohttp, "kept connections": by_connections}
        millis: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                millis[name].append(await _cpu_millis(way))
        connections.close()
    sys.stdout.write("| way | CPU each |\n| --- | --- |\n")
    for name, values in millis.items():
        sys.stdout.write(f"| {name} | {statistics.median(values):.3f} ms |\n")


async def _cpu_millis(way: Callable[[], Awaitable[None]]) -> float:
    await way()
    started = time.process_time()
    for _ in range(_REQUESTS):
        await way()
    return 1000 * (time.process_time() - started) / _REQUESTS


def main() -> None:
    """Print the table; with a port and a folder, be the server."""
    if len(sys.argv) > 1:
        asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
        return
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        _certificate(Path(folder))
        with subprocess.Popen([sys.executable, __file__, str(port), folder]) as server:
            time.sleep(1)
            try:
                asyncio.run(_measure(port, Path(folder)))
            finally:
                server.kill()


if __name__ == "__main__":
    main()
