"""Downloads from web servers and a stand-in for the Hub, over TLS, with what can go wrong on the way."""

from __future__ import annotations

import http.server
import ipaddress
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import HUB_TOKEN_ENV, request_from_spec
from modelconversion_api.spec import ModelConversionSpec
from support.cluster.forward_proxy import ForwardProxy, tls_in_front_of
from support.cluster.web_server import (
    CONTENT,
    DIGEST,
    Answer,
    WebServer,
    leads_to,
    says_badly,
    sends,
    sends_length,
)
from support.operator.objects import spec
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.fetch import fetch
from tflite_converter.job.stores import connections
from tflite_converter.job.stores.base import Limit, Stored
from tflite_converter.job.stores.connections import refusal
from tflite_converter.job.stores.web import WebStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LIMIT = Limit(1 << 20)


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def uri_of(server: WebServer, path: str, digest: str = DIGEST) -> str:
    return f"{server.url}{path}#sha256={digest}"


@pytest.fixture(autouse=True)
def _quick_and_direct(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.forget()
    monkeypatch.setattr(connections, "_WAIT_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def store(server: WebServer) -> WebStore:
    return WebStore(StorageAccess(ca_bundle=server.bundle), Stage.FETCH)


def fails(server: WebServer, folder: Path, uri: str, limit: Limit = LIMIT) -> ConverterError:
    with pytest.raises(ConverterError) as raised:
        store(server).download(uri, folder / "file", limit)
    assert list(folder.iterdir()) == []  # nothing half
    return raised.value


def test_a_file_arrives_whole_and_with_its_digest(server: WebServer, tmp_path: Path) -> None:
    server.answers["/models/a%20b.onnx"] = sends()
    found = store(server).download(uri_of(server, "/models/a%20b.onnx"), tmp_path / "file", LIMIT)
    assert found == Stored(DIGEST, len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (f"hf://org/repo@{COMMIT}/a/m.tflite", f"/org/repo/resolve/{COMMIT}/a/m.tflite"),
        (
            f"hf://datasets/org/repo@{COMMIT}/x y.npy".replace(" ", "ä"),
            f"/datasets/org/repo/resolve/{COMMIT}/x%C3%A4y.npy",
        ),
    ],
)
def test_the_hub_is_asked_for_a_commit_and_may_lead_elsewhere(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, path: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"https://localhost:{server.port}/")
    server.answers[path] = leads_to("/moved/1")
    server.answers["/moved/1"] = leads_to(f"https://localhost:{server.port}/cdn?signature=secret", 307)
    server.answers["/cdn?signature=secret"] = sends()
    assert store(server).download(uri, tmp_path / "file", LIMIT).sha256 == DIGEST
    assert server.asked == [path, "/moved/1", "/cdn?signature=secret"]
    wrong = f"{uri}#sha256={'0' * 64}"
    assert fails_again(server, tmp_path, wrong).reason is FailureReason.DIGEST_MISMATCH


def fails_again(server: WebServer, folder: Path, uri: str) -> ConverterError:
    (folder / "file").unlink()
    return fails(server, folder, uri)


@pytest.mark.parametrize(
    ("answer", "reason", "says", "asked"),
    [
        (sends(b"other"), FailureReason.DIGEST_MISMATCH, f"expected {DIGEST}", 1),
        (sends(b"", status=404), FailureReason.SOURCE_NOT_FOUND, "answers 404 Not Found", 1),
        (sends(b"", status=410), FailureReason.SOURCE_NOT_FOUND, "answers 410", 1),
        (sends(b"", status=401), FailureReason.STORAGE_ACCESS_DENIED, "answers 401", 1),
        (sends(b"", status=403), FailureReason.STORAGE_ACCESS_DENIED, "answers 403", 1),
        (sends(b"", status=206), FailureReason.STORAGE_UNAVAILABLE, "answers 206", 1),
        (sends(b"", status=400), FailureReason.STORAGE_UNAVAILABLE, "answers 400", 1),
        (sends(b"", status=429), FailureReason.STORAGE_UNAVAILABLE, "answers 429", 3),
        (sends(b"", status=503), FailureReason.STORAGE_UNAVAILABLE, "answers 503", 3),
        (sends(promised=len(CONTENT) + 1), FailureReason.STORAGE_UNAVAILABLE, "broke off", 3),
        (sends(promised=2 << 20), FailureReason.SOURCE_TOO_LARGE, "has 2.0MiB, and 1.0MiB is the limit", 1),
        (leads_to("http://localhost/file"), FailureReason.STORAGE_ACCESS_DENIED, "which is not https", 1),
        (leads_to("file:///etc/passwd"), FailureReason.STORAGE_ACCESS_DENIED, "redirects to", 1),
        (leads_to("https://u:p@localhost/x"), FailureReason.STORAGE_ACCESS_DENIED, "with a user's name", 1),
        (leads_to(""), FailureReason.STORAGE_ACCESS_DENIED, "to nowhere", 1),
        (leads_to("https://localhost:99999/"), FailureReason.STORAGE_ACCESS_DENIED, "to nowhere", 1),
        (leads_to("https://localhost:0/"), FailureReason.STORAGE_ACCESS_DENIED, "to nowhere", 1),
        (leads_to("/file"), FailureReason.STORAGE_ACCESS_DENIED, "more than 5 times", 6),
        (leads_to("x" * 9000 + "://h"), FailureReason.STORAGE_ACCESS_DENIED, "which is not https", 1),
        (leads_to(f"gopher://{'h' * 5000}/"), FailureReason.STORAGE_ACCESS_DENIED, "which is not https", 1),
        (leads_to(f"https://{'h' * 300}.example/"), FailureReason.STORAGE_UNAVAILABLE, "cannot be", 3),
        (leads_to("https://ünder.example:1/\x01"), FailureReason.STORAGE_UNAVAILABLE, "connection", 3),
        (says_badly(500, "a" * 5000), FailureReason.STORAGE_UNAVAILABLE, "500 Internal Server Error", 3),
        (says_badly(599, "\x1b[31mred"), FailureReason.STORAGE_UNAVAILABLE, "answers 599", 1),
        (sends_length("9" * 5000), FailureReason.DIGEST_MISMATCH, "has the digest", 1),
        (sends_length("-1"), FailureReason.DIGEST_MISMATCH, "has the digest", 1),
        (sends_length("many"), FailureReason.DIGEST_MISMATCH, "has the digest", 1),
    ],
)
def test_every_end_has_a_reason(
    server: WebServer,
    tmp_path: Path,
    answer: Answer,
    reason: FailureReason,
    says: str,
    asked: int,
) -> None:
    server.answers["/file"] = answer
    error = fails(server, tmp_path, uri_of(server, "/file"))
    assert (error.reason, len(server.asked)) == (reason, asked)
    assert says in error.cause
    assert f"https://localhost:{server.port}/file" in error.cause
    assert "#" not in error.cause
    assert len(error.cause) < 500
    assert error.cause.isprintable()


def test_a_redirect_to_a_query_alone_is_followed(server: WebServer, tmp_path: Path) -> None:
    server.answers["/file"] = leads_to(f"https://localhost:{server.port}?id=1")
    server.answers["/?id=1"] = sends()
    assert store(server).download(uri_of(server, "/file"), tmp_path / "file", LIMIT).sha256 == DIGEST


def test_a_body_without_a_length_is_held_to_the_limit(server: WebServer, tmp_path: Path) -> None:
    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(bytes(1 << 16))

    server.answers["/endless"] = endless
    error = fails(server, tmp_path, uri_of(server, "/endless"))
    assert error.reason is FailureReason.SOURCE_TOO_LARGE
    assert "has more than 1." in error.cause


def test_a_cut_transfer_is_tried_again_and_comes_whole(server: WebServer, tmp_path: Path) -> None:
    def cut_once(request: http.server.BaseHTTPRequestHandler) -> None:
        server.answers["/cut"] = sends()
        sends(CONTENT[:1000], promised=len(CONTENT))(request)

    server.answers["/cut"] = cut_once
    assert store(server).download(uri_of(server, "/cut"), tmp_path / "file", LIMIT).sha256 == DIGEST
    assert server.asked == ["/cut", "/cut"]


def test_a_server_that_drips_or_is_silent_does_not_hold_the_job(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SLOWEST_SECONDS", 0.2)
    monkeypatch.setattr(connections, "TRIES", 1)
    stop = threading.Event()

    def drips(request: http.server.BaseHTTPRequestHandler) -> None:
        sends(b"", promised=1000)(request)
        while not stop.wait(0.05):
            request.wfile.write(b"x")

    server.answers["/drips"] = drips
    error = fails(server, tmp_path, uri_of(server, "/drips"))
    stop.set()
    assert error.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "in 0 s" in error.cause

    monkeypatch.setattr(connections, "_TIMEOUT", connections.urllib3.Timeout(connect=5, read=0.3))
    done = threading.Event()
    server.answers["/silent"] = lambda _request: done.wait(20) and None
    error = fails(server, tmp_path, uri_of(server, "/silent"))
    done.set()
    assert error.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "imed out" in error.cause


def test_a_certificate_is_checked_also_its_name(server: WebServer, tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as raised:
        WebStore(StorageAccess(), Stage.FETCH).download(uri_of(server, "/file"), tmp_path / "file", LIMIT)
    assert raised.value.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "certificate is not trusted" in raised.value.cause
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.authority.issue_cert("other.example").configure_cert(context)
    with tls_in_front_of(("127.0.0.1", server.port), context) as (host, port):
        uri = f"https://{host}:{port}/file#sha256={DIGEST}"
        assert "certificate is not trusted" in fails(server, tmp_path, uri).cause
    assert server.asked == []


@pytest.mark.parametrize("bundle", ["", "no certificate"])
def test_a_bundle_that_is_none(bundle: str) -> None:
    with pytest.raises(ConverterError) as raised:
        WebStore(StorageAccess(ca_bundle=bundle), Stage.FETCH)
    assert raised.value.reason is FailureReason.INVALID_REQUEST


def test_nobody_there(server: WebServer, tmp_path: Path) -> None:
    uri = f"https://localhost:1/file#sha256={DIGEST}"
    error = fails(server, tmp_path, uri)
    assert error.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "cannot be reached" in error.cause
    assert "0x" not in error.cause


def test_fetch_needs_no_store_where_everything_lies_on_the_web(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"https://localhost:{server.port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    server.answers["/v1/Net.onnx"] = sends()
    server.answers[f"/datasets/org/data/resolve/{COMMIT}/val.csv"] = sends(b"1,2")
    wanted = spec(
        source={"uri": uri_of(server, "/v1/Net.onnx")},
        calibration={"uri": f"hf://datasets/org/data@{COMMIT}/val.csv"},
        storage={"caBundle": server.bundle},
    )
    request = request_from_spec(ModelConversionSpec.model_validate(wanted))
    job = JobEnvironment(request, tmp_path / "in", tmp_path / "out")
    fetch(job)
    record = job.record(Stage.CONVERT)
    assert (record.source.name, record.source.sha256) == ("Net.onnx", DIGEST)
    assert record.data["calibration"].path == "calibration.csv"
    assert (tmp_path / "in" / "calibration.csv").read_bytes() == b"1,2"

    server.answers.clear()
    with pytest.raises(ConverterError, match="answers 404"):
        fetch(job)
    assert not [url for url in server.asked if url.endswith("/")]  # no folder is looked for on the web


@pytest.mark.parametrize("token", ["hf_secret", " hf_secret\n", ""])
def test_the_hub_s_token_is_shown_to_the_hub_alone(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """By another name the same server is another one."""
    monkeypatch.setenv("HF_ENDPOINT", f"https://localhost:{server.port}")
    monkeypatch.setenv(HUB_TOKEN_ENV, token)
    shown: dict[str, str | None] = {}

    def noting(answer: Answer) -> Callable[..., None]:
        def noted(request: http.server.BaseHTTPRequestHandler) -> None:
            shown[request.path] = request.headers.get("Authorization")
            answer(request)

        return noted

    path = f"/org/repo/resolve/{COMMIT}/m.h5"
    server.answers[path] = noting(leads_to("/same/server"))
    server.answers["/same/server"] = noting(leads_to(f"https://127.0.0.1:{server.port}/cdn"))
    server.answers["/cdn"] = noting(sends())
    server.answers["/file"] = noting(sends())
    made = store(server)
    assert HUB_TOKEN_ENV not in os.environ
    made.download(f"hf://org/repo@{COMMIT}/m.h5", tmp_path / "file", LIMIT)
    made.download(uri_of(server, "/file"), tmp_path / "file", LIMIT)
    expected = "Bearer hf_secret" if token else None
    assert shown == {path: expected, "/same/server": expected, "/cdn": None, "/file": None}


@pytest.mark.parametrize(
    ("token", "says"),
    [("", "set spec.huggingFace.secretRef"), ("hf_other", "accept the repository's terms")],
)
def test_what_is_not_public_says_what_to_do(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, says: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"https://localhost:{server.port}")
    monkeypatch.setenv(HUB_TOKEN_ENV, token)
    server.answers[f"/org/repo/resolve/{COMMIT}/m.h5"] = sends(b"", status=403)
    error = fails(server, tmp_path, f"hf://org/repo@{COMMIT}/m.h5")
    assert error.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert says in error.hint
    assert "hf_other" not in error.message


@pytest.mark.parametrize("token", ["two words", "hf_\x01", "hf_ü"])
def test_a_token_that_is_none_goes_nowhere(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv(HUB_TOKEN_ENV, token)
    with pytest.raises(ConverterError) as raised:
        store(server)
    assert raised.value.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert token not in raised.value.message


def test_behind_a_proxy_its_rules_hold_and_its_password_stays_secret(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is one that only the proxy knows."""
    server.answers["/file"] = sends()
    uri = uri_of(server, "/file")
    with ForwardProxy({f"localhost:{server.port}": ("127.0.0.1", server.port)}, login="me:p ss") as proxy:
        url = f"http://me:p%20ss@127.0.0.1:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,other.example")
        assert store(server).download(uri, tmp_path / "file", LIMIT).sha256 == DIGEST
        assert proxy.asked == [("CONNECT", f"localhost:{server.port}")]
        (tmp_path / "file").unlink()
        proxy.login = "me:another"
        refused = fails(server, tmp_path, uri)
        assert refused.reason is FailureReason.STORAGE_UNAVAILABLE
        assert "the proxy does not let it through (Tunnel connection failed: 407" in refused.cause
        assert "p%20ss" not in refused.message
        asked = len(proxy.asked)
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert store(server).download(uri, tmp_path / "file", LIMIT).sha256 == DIGEST
        assert len(proxy.asked) == asked
    monkeypatch.setenv("HTTPS_PROXY", "no proxy")
    with pytest.raises(ConverterError, match="HTTPS_PROXY is not the URL of a proxy"):
        store(server)


GOOD, INSIDE, SELF = "93.184.216.34", "10.1.2.3", "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "before", "says"),
    [
        (GOOD, None, None),
        (INSIDE, None, None),
        (GOOD, GOOD, None),
        (INSIDE, INSIDE, None),
        (GOOD, INSIDE, None),
        (INSIDE, GOOD, "inside this network"),
        (SELF, GOOD, "inside this network"),
        ("::ffff:10.1.2.3", GOOD, "inside this network"),
        ("fd00::1", "2606:4700::1111", "inside this network"),
        ("169.254.169.254", None, "belongs to the machine"),
        ("::ffff:169.254.169.254", None, "belongs to the machine"),
        ("fe80::1", None, "belongs to the machine"),
        ("fd00:ec2::254", None, "belongs to the machine"),
        ("100.100.100.200", INSIDE, "belongs to the machine"),
        ("168.63.129.16", None, "belongs to the machine"),
        ("0.0.0.0", None, "belongs to the machine"),  # noqa: S104 - an address that is refused
        ("224.0.0.1", None, "belongs to the machine"),
    ],
)
def test_whom_a_connection_may_reach(address: str, before: str | None, says: str | None) -> None:
    found = refusal(ipaddress.ip_address(address), None if before is None else ipaddress.ip_address(before))
    assert (found is None) if says is None else (found is not None and says in found)


def test_a_name_that_leads_to_a_metadata_service_is_not_asked(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's own address stands for one: what is looked at is whom the connection has reached."""
    monkeypatch.setattr(connections, "_METADATA", frozenset({ipaddress.ip_address("127.0.0.1")}))
    server.answers["/file"] = sends()
    error = fails(server, tmp_path, uri_of(server, "/file"))
    assert error.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert "belongs to the machine" in error.cause
    time.sleep(0.1)
    assert server.asked == []
