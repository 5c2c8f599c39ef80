"""A registry over TLS, and what can go wrong on the way; more in ``tests/integration/test_pull_oci.py``."""

from __future__ import annotations

import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import REGISTRY_LOGINS_ENV
from modelconversion_api.spec import Source
from support.cluster.forward_proxy import ForwardProxy, tls_in_front_of
from support.cluster.registries import docker_config, sha256
from support.cluster.web_server import CONTENT, DIGEST, WebServer, sends
from tflite_converter.errors import ConverterError
from tflite_converter.job.fetch import fetch_source
from tflite_converter.job.stores import connections
from tflite_converter.job.stores.places import Places

LAYER = {"mediaType": "application/octet-stream", "digest": sha256(CONTENT), "size": len(CONTENT)}
MANIFEST = json.dumps({"schemaVersion": 2, "layers": [LAYER]}).encode()
PLACE = "/v2/acme/person"
OF_MANIFEST, OF_LAYER = f"{PLACE}/manifests/{sha256(MANIFEST)}", f"{PLACE}/blobs/{sha256(CONTENT)}"
UNAVAILABLE = FailureReason.STORAGE_UNAVAILABLE


@pytest.fixture(scope="module")
def running() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def server(running: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    running.forget()
    monkeypatch.setattr(connections, "_WAIT_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running.answers |= {OF_MANIFEST: sends(MANIFEST), OF_LAYER: sends()}
    return running


def fetched(server: WebServer, folder: Path, bundle: str | None = None) -> str:
    """Fetch the source; gives the digest of what arrived."""
    access = StorageAccess(ca_bundle=bundle or server.bundle)
    uri = f"oci://localhost:{server.port}/acme/person@{sha256(MANIFEST)}"
    return fetch_source(Places(access, Stage.FETCH), Source(uri=uri), folder).sha256


def fails(server: WebServer, folder: Path, bundle: str | None = None) -> ConverterError:
    with pytest.raises(ConverterError) as raised:
        fetched(server, folder, bundle)
    assert list(folder.iterdir()) == []  # nothing half
    assert raised.value.message.isprintable()
    return raised.value


def test_a_layer_arrives_whole_and_with_its_digest(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REGISTRY_LOGINS_ENV, docker_config(f"localhost:{server.port}"))
    assert fetched(server, tmp_path) == DIGEST
    assert (tmp_path / "source").read_bytes() == CONTENT
    assert server.asked == [OF_MANIFEST, OF_LAYER]
    # A login that nobody asks for is shown to nobody.
    assert not any("Authorization" in asked.headers for asked in server.requests)
    accepted = server.requests[0].headers["Accept"]
    assert "application/vnd.oci.image.manifest.v1+json" in accepted


@pytest.mark.parametrize("path", [OF_MANIFEST, OF_LAYER])
def test_a_registry_that_drips_or_is_silent_does_not_hold_the_job(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(connections, "_SLOWEST_SECONDS", 0.2)
    monkeypatch.setattr(connections, "TRIES", 2)
    stop = threading.Event()

    def drips(request: http.server.BaseHTTPRequestHandler) -> None:
        sends(b"", promised=1000)(request)
        while not stop.wait(0.05):
            request.wfile.write(b"x")

    server.answers[path] = drips
    error = fails(server, tmp_path)
    stop.set()
    assert (error.reason, server.asked.count(path)) == (UNAVAILABLE, 2)
    assert "in 0 s" in error.cause

    monkeypatch.setattr(connections, "_TIMEOUT", connections.urllib3.Timeout(connect=5, read=0.3))
    done = threading.Event()
    server.answers[path] = lambda _request: done.wait(20) and None
    error = fails(server, tmp_path)
    done.set()
    assert (error.reason, server.asked.count(path)) == (UNAVAILABLE, 4)
    assert "imed out" in error.cause


def test_a_certificate_is_checked_also_its_name(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WebServer() as other:
        error = fails(server, tmp_path, other.bundle)
    assert error.reason is UNAVAILABLE
    assert "certificate is not trusted" in error.cause
    assert "spec.storage.caBundle" in error.hint
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.authority.issue_cert("other.example").configure_cert(context)
    with tls_in_front_of(("127.0.0.1", server.port), context) as (_, port):
        monkeypatch.setattr(server, "port", port)
        assert "certificate is not trusted" in fails(server, tmp_path).cause
    assert server.asked == []


def test_a_registry_at_a_metadata_service_s_address_is_not_asked(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's own address stands for one: what is looked at is whom the connection has reached."""
    monkeypatch.setattr(connections, "_METADATA", frozenset({ipaddress.ip_address("127.0.0.1")}))
    error = fails(server, tmp_path)
    assert error.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert "belongs to the machine" in error.cause
    assert server.asked == []


def test_behind_a_proxy_its_rules_hold_and_its_password_stays_secret(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = f"localhost:{server.port}"
    with ForwardProxy({there: ("127.0.0.1", server.port)}, login="me:p ss") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%20ss@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
        assert fetched(server, tmp_path) == DIGEST
        assert set(proxy.asked) == {("CONNECT", there)}
        (tmp_path / "source").unlink()
        proxy.login = "me:another"
        refused = fails(server, tmp_path)
    assert refused.reason is UNAVAILABLE
    assert "the proxy does not let it through (Tunnel connection failed: 407" in refused.cause
    assert "p%20ss" not in refused.message
    assert "p ss" not in refused.message


def test_from_tls_nobody_is_led_to_a_server_without_it(server: WebServer, tmp_path: Path) -> None:
    def leads(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(307)
        request.send_header("Location", "http://localhost/layer")
        request.send_header("Content-Length", "0")
        request.end_headers()

    server.answers[OF_LAYER] = leads
    error = fails(server, tmp_path)
    assert error.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert "which is not https" in error.cause
