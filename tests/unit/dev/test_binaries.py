"""How the control plane's programs are had: digests, progress, versions."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from devcluster.errors import DigestMismatchError, UnavailableError
from devcluster.progress import percent
from devcluster.tools.download import Archive, fetch, probe, release_archives
from devcluster.tools.gobuild import described_module, go_version


@functools.cache  # gzip writes the time into its header: made twice, it could have two digests
def archive_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("release/bin/program", "release/README.md"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "release.tar.gz").write_bytes(archive_bytes())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def archive(url: str, digest: str = hashlib.sha256(archive_bytes()).hexdigest()) -> Archive:
    return Archive("release", url, "sha256", digest, ("program",))


def console() -> Console:
    return Console(file=io.StringIO())


def test_wanted_programs_are_unpacked(server: str, tmp_path: Path) -> None:
    target = tmp_path / "bin"
    target.mkdir()
    offered = archive(f"{server}/release.tar.gz")
    probe(offered)
    fetch(offered, target, console())
    assert [p.name for p in target.iterdir()] == ["program"]
    assert (target / "program").stat().st_mode & 0o111


def test_other_bytes_than_published_are_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatchError, match="pinned is 00"):
        fetch(archive(f"{server}/release.tar.gz", "00"), tmp_path, console())
    assert not (tmp_path / "program").exists()


def test_server_that_does_not_have_it_is_no_error_yet(server: str) -> None:
    with pytest.raises(UnavailableError, match="404"):
        probe(archive(f"{server}/other.tar.gz"))


def test_server_that_refuses_is_no_error_yet() -> None:
    with pytest.raises(UnavailableError):
        probe(archive("http://127.0.0.1:9/release.tar.gz"))


def test_pinned_digests_are_whole() -> None:
    for pinned in release_archives("v1.36.0"):
        assert len(pinned.digest) == hashlib.new(pinned.algorithm).digest_size * 2


@pytest.mark.parametrize(
    ("line", "described"),
    [
        ("# get https://goproxy.example/k8s.io/api/@v/v0.36.0.zip", "k8s.io/api@v0.36.0"),
        ("# get https://goproxy.example/github.com/x/y/@v/v1.0.0.info: 200 OK", "github.com/x/y@v1.0.0"),
        ("something else", "something else"),
    ],
)
def test_module_downloads_are_named(line: str, described: str) -> None:
    assert described_module(line) == described


@pytest.mark.parametrize(
    ("text", "version"), [("go1.26.6\n", (1, 26)), ("go1.27rc1", (1, 27)), ("", (0, 0)), ("devel", (0, 0))]
)
def test_go_versions(text: str, version: tuple[int, int]) -> None:
    assert go_version(text) == version


@pytest.mark.parametrize(
    ("done", "total", "text"), [(0, 0, ""), (1, 2, "50 %, "), (999, 1000, "99 %, "), (5, 4, "100 %, ")]
)
def test_percentages(done: int, total: int, text: str) -> None:
    assert percent(done, total) == text
