"""Google Cloud Storage and Azure Blob Storage with all that can go wrong on the way, over TLS.

The server is a stand-in that answers as their pages say; what it signs is checked where a real one is asked,
in ``tests/integration/test_stages_clouds.py``.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import ipaddress
import logging
import ssl
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from support.cluster.clouds import (
    ACCOUNT_KEY,
    SAS,
    TOKEN,
    Cloud,
    forget_environment,
)
from support.cluster.forward_proxy import ForwardProxy, tls_in_front_of
from support.cluster.web_server import CONTENT, DIGEST, Answer, WebServer, leads_to, says_badly, sends
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores import connections
from tflite_converter.job.stores.base import Limit, Stored
from tflite_converter.job.stores.s3 import ObjectStore

LIMIT = Limit(1 << 20)
DENIED, UNAVAILABLE = FailureReason.STORAGE_ACCESS_DENIED, FailureReason.STORAGE_UNAVAILABLE
MISSING, NO_BUCKET = FailureReason.SOURCE_NOT_FOUND, FailureReason.BUCKET_NOT_FOUND
CORRUPTED = FailureReason.UPLOAD_CORRUPTED


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(params=["gs", "az"])
def cloud(request: pytest.FixtureRequest, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    server.forget()
    monkeypatch.setattr(connections, "_WAIT_SECONDS", 0.0)
    forget_environment(monkeypatch)
    return Cloud(request.param, server, monkeypatch)


def failure(work: Callable[[], object]) -> ConverterError:
    """What ``work`` fails with; nothing secret may be in it."""
    with pytest.raises(ConverterError) as raised:
        work()
    message = raised.value.message
    assert not [secret for secret in (TOKEN, ACCOUNT_KEY, SAS, "sig=", "PRIVATE KEY") if secret in message]
    assert len(raised.value.cause) < 500
    assert message.isprintable()
    return raised.value


def fails(cloud: Cloud, folder: Path, key: str = "file", limit: Limit = LIMIT) -> ConverterError:
    store = cloud.store()
    error = failure(lambda: store.download(cloud.uri(key), folder / "file", limit))
    assert list(folder.iterdir()) == []  # nothing half
    return error


def test_a_file_arrives_whole_and_with_its_digest(cloud: Cloud, tmp_path: Path) -> None:
    cloud.server.answers[cloud.path("a%20b/%C3%BC%3F%23.h5")] = sends()
    found = cloud.store().download(cloud.uri("a b/ü?#.h5"), tmp_path / "file", LIMIT)
    assert found == Stored(DIGEST, len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Error><Code>&b;</Code></Error>'


@pytest.mark.parametrize(
    ("status", "codes", "reason", "says", "asked"),
    [
        (404, ("NoSuchKey", "BlobNotFound"), MISSING, "the object does not exist", 1),
        (404, None, MISSING, "the object does not exist", 1),
        (404, ("NoSuchBucket", "ContainerNotFound"), NO_BUCKET, "the bucket does not exist", 1),
        (401, ("AuthenticationRequired", "NoAuthenticationInformation"), DENIED, "answers 401", 1),
        (403, ("AccessDenied", "AuthorizationFailure"), DENIED, "answers 403 A", 1),
        (403, None, DENIED, "answers 403 Forbidden", 1),
        (400, ("ExpiredToken", "AuthenticationFailed"), DENIED, "answers 400", 1),
        (400, ("InvalidArgument", "InvalidInput"), UNAVAILABLE, "answers 400 Invalid", 1),
        (206, None, UNAVAILABLE, "answers 206", 1),
        (304, None, UNAVAILABLE, "answers 304", 1),
        (408, None, UNAVAILABLE, "answers 408", 3),
        (429, ("SlowDown", "ServerBusy"), UNAVAILABLE, "answers 429 S", 3),
        (500, None, UNAVAILABLE, "answers 500", 3),
        (503, ("Service Unavailable", "a b"), UNAVAILABLE, "answers 503 Service Unavailable", 3),
    ],
)
def test_every_answer_has_a_reason(
    cloud: Cloud,
    tmp_path: Path,
    status: int,
    codes: tuple[str, str] | None,
    reason: FailureReason,
    says: str,
    asked: int,
) -> None:
    cloud.server.answers[cloud.path("file")] = sends(cloud.error(*codes) if codes else b"", status=status)
    error = fails(cloud, tmp_path)
    assert (error.reason, len(cloud.asked)) == (reason, asked)
    assert error.cause.startswith(f"{cloud.uri('file')}: ")
    assert says in error.cause


def drops(request: http.server.BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def without_length(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(CONTENT)


@pytest.mark.parametrize(
    ("answer", "reason", "says", "asked"),
    [
        (sends(CONTENT[:9], promised=len(CONTENT)), UNAVAILABLE, "the connection broke off", 3),
        (drops, UNAVAILABLE, "the connection broke off", 3),
        (without_length, UNAVAILABLE, "broke off (no length was named)", 3),
        (sends(promised=2 << 20), FailureReason.SOURCE_TOO_LARGE, "has 2.0MiB, and 1.0MiB is the limit", 1),
        (sends(BOMB, status=403), DENIED, "answers 403 Forbidden", 1),
        (sends(b"\xff\xfe<", status=403), DENIED, "answers 403 Forbidden", 1),
        (sends(b"<Error>" * 99, status=500), UNAVAILABLE, "answers 500 Internal Server Error", 3),
        (says_badly(599, "\x1b[31mred"), UNAVAILABLE, "answers 599", 1),
    ],
)
def test_every_end_of_a_transfer_has_a_reason(
    cloud: Cloud, tmp_path: Path, answer: Answer, reason: FailureReason, says: str, asked: int
) -> None:
    cloud.server.answers[cloud.path("file")] = answer
    error = fails(cloud, tmp_path)
    assert (error.reason, len(cloud.asked)) == (reason, asked)
    assert says in error.cause


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["SERVER/elsewhere", "http://169.254.169.254/latest", ""])
def test_no_store_is_followed_elsewhere(cloud: Cloud, tmp_path: Path, status: int, where: str) -> None:
    location = where.replace("SERVER", cloud.server.url)
    cloud.server.answers[cloud.path("file")] = leads_to(location, status)
    cloud.server.answers["/elsewhere"] = sends()
    error = fails(cloud, tmp_path)
    assert error.reason is DENIED
    assert f"answers {status}" in error.cause
    assert "no store is followed elsewhere" in error.cause
    assert cloud.asked == [cloud.path("file")]


def in_chunks(*chunks: bytes) -> Answer:
    """An object that the store unpacks on its way, and so without a length; the last chunk is empty."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for chunk in chunks:
            request.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    return answer


def test_an_object_without_a_length_has_an_end_all_the_same(cloud: Cloud, tmp_path: Path) -> None:
    cloud.server.answers[cloud.path("file")] = in_chunks(CONTENT[:9], CONTENT[9:], b"")
    assert cloud.store().download(cloud.uri("file"), tmp_path / "file", LIMIT).sha256 == DIGEST
    (tmp_path / "file").unlink()
    cloud.server.answers[cloud.path("file")] = in_chunks(CONTENT[:9])
    assert "the connection broke off" in fails(cloud, tmp_path).cause
    cloud.server.answers[cloud.path("file")] = in_chunks(*[bytes(1 << 18)] * 5)
    assert fails(cloud, tmp_path).reason is FailureReason.SOURCE_TOO_LARGE


@pytest.mark.parametrize("cloud", ["az"], indirect=True)
@pytest.mark.parametrize(
    ("header", "value"), [("x-ms-resource-type", "directory"), ("x-ms-meta-hdi_isfolder", "true")]
)
def test_a_folder_of_a_hierarchical_namespace_is_no_object(
    cloud: Cloud, tmp_path: Path, header: str, value: str
) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header(header, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    cloud.server.answers[cloud.path("file")] = answer
    assert fails(cloud, tmp_path).reason is MISSING


def test_a_cut_transfer_is_tried_again_and_comes_whole(cloud: Cloud, tmp_path: Path) -> None:
    path = cloud.path("file")

    def cut_once(request: http.server.BaseHTTPRequestHandler) -> None:
        cloud.server.answers[path] = sends()
        sends(CONTENT[:1000], promised=len(CONTENT))(request)

    cloud.server.answers[path] = cut_once
    assert cloud.store().download(cloud.uri("file"), tmp_path / "file", LIMIT).sha256 == DIGEST
    assert cloud.asked == [path, path]


def test_a_server_that_drips_or_is_silent_does_not_hold_the_job(cloud: Cloud, tmp_path: Path) -> None:
    cloud.patch.setattr(connections, "_SLOWEST_SECONDS", 0.2)
    cloud.patch.setattr(connections, "TRIES", 2)
    stop = threading.Event()

    def drips(request: http.server.BaseHTTPRequestHandler) -> None:
        sends(b"", promised=1000)(request)
        while not stop.wait(0.05):
            request.wfile.write(b"x")

    cloud.server.answers[cloud.path("file")] = drips
    error = fails(cloud, tmp_path)
    stop.set()
    assert (error.reason, len(cloud.asked)) == (UNAVAILABLE, 2)
    assert "in 0 s" in error.cause

    cloud.patch.setattr(connections, "_TIMEOUT", connections.urllib3.Timeout(connect=5, read=0.3))
    done = threading.Event()
    cloud.server.answers[cloud.path("file")] = lambda _request: done.wait(20) and None
    error = fails(cloud, tmp_path)
    done.set()
    assert (error.reason, len(cloud.asked)) == (UNAVAILABLE, 4)
    assert "imed out" in error.cause


def test_a_certificate_is_checked_also_its_name(cloud: Cloud, tmp_path: Path) -> None:
    def ends(access: StorageAccess) -> ConverterError:
        store = cloud.store(access, bound=cloud.server.url)
        return failure(lambda: store.download(cloud.uri("file"), tmp_path / "file", LIMIT))

    error = ends(cloud.access().changed(ca_bundle=None))
    assert error.reason is UNAVAILABLE
    assert "certificate is not trusted" in error.cause
    assert "spec.storage.caBundle" in error.hint
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cloud.server.authority.issue_cert("other.example").configure_cert(context)
    with tls_in_front_of(("127.0.0.1", cloud.server.port), context) as (host, port):
        cloud.patch.setattr(cloud.server, "port", port)
        assert host
        assert "certificate is not trusted" in ends(cloud.access()).cause
    assert cloud.server.asked == []


def test_a_name_that_leads_to_a_metadata_service_is_not_asked(cloud: Cloud, tmp_path: Path) -> None:
    """This machine's own address stands for one: what is looked at is whom the connection has reached."""
    cloud.patch.setattr(connections, "_METADATA", frozenset({ipaddress.ip_address("127.0.0.1")}))
    cloud.server.answers[cloud.path("file")] = sends()
    error = fails(cloud, tmp_path)
    assert error.reason is DENIED
    assert "belongs to the machine" in error.cause
    assert cloud.server.asked == []


def test_nobody_there(cloud: Cloud, tmp_path: Path) -> None:
    cloud.patch.setattr(cloud.server, "port", 1)
    error = fails(cloud, tmp_path)
    assert error.reason is UNAVAILABLE
    assert "cannot be reached" in error.cause
    assert "0x" not in error.cause


def test_a_server_without_tls_where_the_secret_names_it(cloud: Cloud, tmp_path: Path) -> None:
    with WebServer(encrypted=False) as plain:
        access = cloud.access().model_copy(
            update={
                "google_cloud": cloud.access().google_cloud.changed(endpoint=plain.url),  # type: ignore[union-attr]
                "azure": cloud.access().azure.changed(endpoint=plain.url),  # type: ignore[union-attr]
            }
        )
        plain.answers[cloud.path("file")] = sends()
        store = cloud.store(access, bound=plain.url)
        assert store.download(cloud.uri("file"), tmp_path / "file", LIMIT).sha256 == DIGEST


def test_behind_a_proxy_its_rules_hold_and_its_password_stays_secret(cloud: Cloud, tmp_path: Path) -> None:
    cloud.server.answers[cloud.path("file")] = sends()
    there = f"localhost:{cloud.server.port}"
    with ForwardProxy({there: ("127.0.0.1", cloud.server.port)}, login="me:p ss") as proxy:
        cloud.patch.setenv("HTTPS_PROXY", f"http://me:p%20ss@127.0.0.1:{proxy.port}")
        cloud.patch.setenv("NO_PROXY", "10.0.0.0/8,other.example")
        store = cloud.store()
        assert store.download(cloud.uri("file"), tmp_path / "file", LIMIT).sha256 == DIGEST
        assert set(proxy.asked) == {("CONNECT", there)}
        (tmp_path / "file").unlink()
        proxy.login = "me:another"
        refused = fails(cloud, tmp_path)
        assert refused.reason is UNAVAILABLE
        assert "the proxy does not let it through (Tunnel connection failed: 407" in refused.cause
        assert "p%20ss" not in refused.message
        assert "p ss" not in refused.message
        asked = len(proxy.asked)
        cloud.patch.setenv("NO_PROXY", "localhost")
        assert cloud.store().download(cloud.uri("file"), tmp_path / "file", LIMIT).sha256 == DIGEST
        assert len(proxy.asked) == asked
    cloud.patch.setenv("HTTPS_PROXY", "no proxy")
    assert "HTTPS_PROXY is not the URL of a proxy" in failure(cloud.store).cause


MD5 = hashlib.md5(CONTENT, usedforsecurity=False)
STORED = Stored(DIGEST, len(CONTENT))


def takes(cloud: Cloud, md5: hashlib._Hash | None, status: int | None = None) -> Answer:
    """An upload that is taken, with the MD5 that the store says it has."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status or (200 if cloud.is_google else 201))
        if md5 is not None and cloud.is_google:
            request.send_header("ETag", f'"{md5.hexdigest()}"')
        elif md5 is not None:
            request.send_header("Content-MD5", base64.b64encode(md5.digest()).decode())
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def by_method(**answers: Answer) -> Answer:
    return lambda request: answers[request.command](request)


def upload(cloud: Cloud) -> None:
    cloud.store().upload(cloud.uri("file"), io.BytesIO(CONTENT), STORED, "text/plain")


def test_an_upload_says_what_it_is(cloud: Cloud) -> None:
    cloud.server.answers[cloud.path("file")] = takes(cloud, MD5)
    upload(cloud)
    (asked,) = (a for a in cloud.server.requests if a.path != "/token")
    assert (asked.method, asked.body) == ("PUT", CONTENT)
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["content-type"] == "text/plain"
    assert headers["content-md5"] == base64.b64encode(MD5.digest()).decode()
    assert headers["x-goog-meta-sha256" if cloud.is_google else "x-ms-meta-sha256"] == DIGEST


OTHER = hashlib.md5(b"other", usedforsecurity=False)


@pytest.mark.parametrize(
    ("told", "read_back", "is_good"),
    [
        (MD5, None, True),
        (None, CONTENT, True),
        (OTHER, CONTENT, True),
        (None, b"x", False),
        (OTHER, b"x", False),
    ],
)
def test_what_the_store_does_not_vouch_for_is_read_back(
    cloud: Cloud, told: hashlib._Hash | None, read_back: bytes | None, *, is_good: bool
) -> None:
    """A store that encrypts tells another MD5, or none."""
    read = sends(read_back or b"")
    cloud.server.answers[cloud.path("file")] = by_method(PUT=takes(cloud, told), GET=read)
    if is_good:
        upload(cloud)
    else:
        error = failure(lambda: upload(cloud))
        assert error.reason is CORRUPTED
        assert "other bytes than were sent" in error.cause
    methods = [a.method for a in cloud.server.requests if a.path != "/token"]
    assert methods == (["PUT"] if read_back is None else ["PUT", "GET"])


@pytest.mark.parametrize(
    ("status", "codes", "reason", "asked"),
    [
        (400, ("BadDigest", "Md5Mismatch"), CORRUPTED, 1),
        (403, ("AccessDenied", "AuthorizationPermissionMismatch"), DENIED, 1),
        (404, ("NoSuchBucket", "ContainerNotFound"), NO_BUCKET, 1),
        (503, ("SlowDown", "ServerBusy"), UNAVAILABLE, 3),
        (307, ("Elsewhere", "Elsewhere"), DENIED, 1),
    ],
)
def test_every_end_of_an_upload_has_a_reason(
    cloud: Cloud, status: int, codes: tuple[str, str], reason: FailureReason, asked: int
) -> None:
    cloud.server.answers[cloud.path("file")] = sends(cloud.error(*codes), status=status)
    assert failure(lambda: upload(cloud)).reason is reason
    assert len(cloud.asked) == asked


def test_an_upload_that_broke_off_is_sent_again_whole(cloud: Cloud) -> None:
    path = cloud.path("file")

    def once(request: http.server.BaseHTTPRequestHandler) -> None:
        cloud.server.answers[path] = takes(cloud, MD5)
        sends(b"", status=503)(request)

    cloud.server.answers[path] = once
    upload(cloud)
    assert [a.body for a in cloud.server.requests if a.path == path] == [CONTENT, CONTENT]


def test_a_large_upload_takes_little_memory(cloud: Cloud, tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "large").open("wb") as sparse:
        sparse.truncate(size)
    digest, md5 = hashlib.sha256(bytes(size)).hexdigest(), hashlib.md5(bytes(size), usedforsecurity=False)
    cloud.server.answers[cloud.path("large")] = takes(cloud, md5)
    store = cloud.store()
    with (tmp_path / "large").open("rb") as content:
        cloud.patch.setattr(cloud.server, "keeps_bodies", False)  # its memory would count as well
        tracemalloc.start()
        try:
            store.upload(cloud.uri("large"), content, Stored(digest, size), "text/plain")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < size // 8


def test_a_deleted_object_may_be_gone_already(cloud: Cloud) -> None:
    store = cloud.store()
    for status in (202, 204, 404):
        cloud.server.answers[cloud.path("file")] = sends(b"", status=status)
        store.delete(cloud.uri("file"))
    cloud.server.answers[cloud.path("file")] = sends(
        cloud.error("NoSuchBucket", "ContainerNotFound"), status=404
    )
    assert failure(lambda: store.delete(cloud.uri("file"))).reason is NO_BUCKET
    cloud.server.answers[cloud.path("file")] = sends(b"", status=403)
    assert failure(lambda: store.delete(cloud.uri("file"))).reason is DENIED


def listing(cloud: Cloud, names: list[str], mark: str = "") -> bytes:
    if cloud.is_google:
        entries = "".join(f"<Contents><Key>{n}</Key><Size>3</Size></Contents>" for n in names)
        after = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{mark}</NextContinuationToken>"
        space = "xmlns='http://doc.s3.amazonaws.com/2006-03-01'"
        return f"<ListBucketResult {space}>{entries}{after if mark else ''}</ListBucketResult>".encode()
    entries = "".join(
        f"<Blob><Name>{n}</Name><Properties><Content-Length>3</Content-Length></Properties></Blob>"
        for n in names
    )
    text = f"<EnumerationResults><Blobs>{entries}</Blobs><NextMarker>{mark}</NextMarker></EnumerationResults>"
    return b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?>" + text.encode()


def test_a_listing_of_several_pages(cloud: Cloud) -> None:
    first, query = cloud.path(), "restype=container&comp=list" if not cloud.is_google else "list-type=2"
    mark = "continuation-token" if cloud.is_google else "marker"
    cloud.server.answers[f"{first}?{query}&prefix=a%20b%2F"] = sends(
        listing(cloud, ["a b/1", "a b/2"], "M 1")
    )
    cloud.server.answers[f"{first}?{query}&prefix=a%20b%2F&{mark}=M%201"] = sends(
        listing(cloud, ["a b/&lt;"])
    )
    found = list(cloud.store().list(cloud.uri("a b/")))
    assert [(item.key, item.size_bytes) for item in found] == [("a b/1", 3), ("a b/2", 3), ("a b/<", 3)]


@pytest.mark.parametrize("cloud", ["az"], indirect=True)
def test_folders_of_a_hierarchical_namespace_are_no_blobs_and_odd_names_are_read(cloud: Cloud) -> None:
    folder = "<Blob><Name>a</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>"
    length = "<Properties><Content-Length>1</Content-Length></Properties>"
    odd = f"<Blob><Name Encoded='true'>a%0Bb</Name>{length}</Blob>"
    cloud.server.answers[cloud.path()] = sends(
        f"<EnumerationResults><Blobs>{folder}{odd}</Blobs></EnumerationResults>".encode()
    )
    assert [item.key for item in cloud.store().list(cloud.uri("a"))] == ["a\x0bb"]


@pytest.mark.parametrize(
    ("text", "status", "reason", "says"),
    [
        (b"", 404, NO_BUCKET, "the bucket does not exist"),
        (b"", 403, DENIED, "answers 403"),
        (b"", 503, UNAVAILABLE, "answers 503"),
        (b"junk", 200, UNAVAILABLE, "listing cannot be read"),
        (b"<html/>", 200, UNAVAILABLE, "listing cannot be read"),
        (b"\xff\xff", 200, UNAVAILABLE, "listing cannot be read"),
        (BOMB, 200, UNAVAILABLE, "listing cannot be read"),
        (None, 200, UNAVAILABLE, "listing has no end"),
    ],
)
def test_every_end_of_a_listing_has_a_reason(
    cloud: Cloud, text: bytes | None, status: int, reason: FailureReason, says: str
) -> None:
    cloud.server.answers[cloud.path()] = sends(
        listing(cloud, ["a"], "again") if text is None else text, status=status
    )
    store = cloud.store()
    error = failure(lambda: list(store.list(cloud.uri("a/"))))
    assert error.reason is reason
    assert says in error.cause


def test_a_listing_without_end_is_not_kept_in_memory(cloud: Cloud) -> None:
    cloud.patch.setattr("tflite_converter.job.stores.cloud.MOST_TEXT_BYTES", 1000)
    cloud.server.answers[cloud.path()] = sends(bytes(2000))
    store = cloud.store()
    assert "an answer of more than 1000" in failure(lambda: list(store.list(cloud.uri("a/")))).cause


def test_nothing_secret_is_logged(cloud: Cloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tflite_converter.job.environment import _configure_log

    caplog.set_level(logging.DEBUG)
    _configure_log()
    logging.getLogger().setLevel(logging.DEBUG)
    cloud.server.answers[cloud.path("file")] = sends()
    cloud.credentials()
    if not cloud.is_google:
        cloud.patch.setenv("CONVERSION_AZURE_SAS", SAS)
    cloud.bare_store().download(cloud.uri("file"), tmp_path / "file", LIMIT)
    assert cloud.asked != []
    assert not [secret for secret in (TOKEN, ACCOUNT_KEY, "sig=") if secret in caplog.text]


def test_what_is_not_used_is_not_loaded() -> None:
    """boto3 takes longer to load than all else that a Job of a cloud does before it asks."""
    script = (
        "import sys; from tflite_converter.job import fetch, publish, board;"
        "from tflite_converter.job.stores.places import Places;"
        "from modelconversion_api.fields.storage import StorageAccess;"
        "from modelconversion_api.reasons import Stage;"
        "Places(StorageAccess(), Stage.FETCH)._store('gs://');"
        "print([name for name in ('boto3', 'botocore', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("encrypted", [True, False])
def test_s3_endpoints_are_looked_at_as_well(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, encrypted: bool
) -> None:
    """Where a conversion names an endpoint, an address of the machine must not be read as a model."""
    server.forget()
    forget_environment(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    with WebServer(encrypted=encrypted, authority=server.authority) as there:
        there.answers["/latest/meta-data"] = sends()
        access = StorageAccess(endpoint=there.url, ca_bundle=server.bundle)

        def read() -> Stored:
            store = ObjectStore(access, Stage.FETCH)
            return store.download("s3://latest/meta-data", tmp_path / "file", LIMIT)

        assert read().sha256 == DIGEST
        monkeypatch.setattr(connections, "_METADATA", frozenset({ipaddress.ip_address("127.0.0.1")}))
        error = failure(read)
        assert error.reason is DENIED
        assert "belongs to the machine" in error.cause
        assert len(there.asked) == 1
