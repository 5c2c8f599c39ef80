"""Official release archives, checked against digests pinned here."""

from __future__ import annotations

import hashlib
import platform
import ssl
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
from rich.console import Console

from devcluster.errors import DigestMismatchError, UnavailableError
from devcluster.progress import Progress

_PROBE_SECONDS = 4.0


@dataclass(frozen=True)
class Archive:
    """A .tar.gz of a release, and what is wanted of it."""

    name: str
    url: str
    algorithm: str
    digest: str
    programs: tuple[str, ...]


_KUBERNETES_SHA512 = {  # as published in Kubernetes' CHANGELOG-1.36.md
    "amd64": (
        "1c64da92575451c2c7ff97c79b772e603995f8e76da1371a6b0746aaa27b65dc"
        "e81c4d734cbb50f40e71486a8e08df36f14e12974f97d4d29e41f23a172a6a25"
    ),
    "arm64": (
        "7f95e451baedd9368a2fa637afa84c9ed1b958736540ca27a379e5e292e1a10c"
        "5d9a29539f833047574bf5d3b6f907f32dee5735acecc11aa4686f078108dcf8"
    ),
}
# The newest release whose digests were found published by somebody else too (Kubespray's checksums.yml). The
# build from source takes the 3.6.8 of dev/localkube/go.mod; 3.5.27 has not been tried with 1.36 here.
_ETCD_VERSION = "v3.5.27"
_ETCD_SHA256 = {
    "amd64": "0aad9a9e4e0817a021e933f9806a2b2960a62f949ad5a3d6436d8886945cb1bc",
    "arm64": "1277309f540c5a0329c428f95455c9f76d24f768c8d28fd2753e891c379053fa",
}


def release_archives(kubernetes_version: str) -> list[Archive]:
    """Return the archives for this machine, the smallest first; empty where none are published for it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if machine is None:
        return []
    return [
        Archive(
            name=f"etcd {_ETCD_VERSION}",
            url=f"https://github.com/etcd-io/etcd/releases/download/{_ETCD_VERSION}/etcd-{_ETCD_VERSION}-linux-{machine}.tar.gz",
            algorithm="sha256",
            digest=_ETCD_SHA256[machine],
            programs=("etcd",),
        ),
        Archive(
            name=f"Kubernetes {kubernetes_version}",
            url=f"https://dl.k8s.io/{kubernetes_version}/kubernetes-server-linux-{machine}.tar.gz",
            algorithm="sha512",
            digest=_KUBERNETES_SHA512[machine],
            programs=("kube-apiserver", "kube-controller-manager"),
        ),
    ]


def probe(archive: Archive) -> None:
    """Raise :class:`UnavailableError` unless the archive's server offers it; takes a few seconds at most."""
    try:
        with _client() as client:
            client.head(archive.url, timeout=_PROBE_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(_cause(error)) from error


def fetch(archive: Archive, destination: Path, console: Console) -> None:
    """Download ``archive``, check its digest and unpack its programs into the folder ``destination``.

    Raises :class:`UnavailableError` when the download fails and :class:`DigestMismatchError` when it is not
    the published file.
    """
    with tempfile.TemporaryFile(dir=destination) as file:
        digest = hashlib.new(archive.algorithm)
        try:
            with _client() as client, client.stream("GET", archive.url) as response:
                response.raise_for_status()
                total = int(response.headers.get("Content-Length", 0))
                with Progress(console, f"Downloading {archive.name}", total) as progress:
                    for block in response.iter_bytes(1 << 20):
                        file.write(block)
                        digest.update(block)
                        progress.advance(len(block), f"{file.tell() >> 20} MiB")
        except httpx.HTTPError as error:
            raise UnavailableError(_cause(error)) from error
        verify(archive, digest.hexdigest())
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in archive.programs and (data := tar.extractfile(member)):
                    target = destination / name
                    with target.open("wb") as out:
                        while block := data.read(1 << 20):
                            out.write(block)
                    target.chmod(0o755)


def verify(archive: Archive, digest: str) -> None:
    """Raise :class:`DigestMismatchError` unless ``digest`` is the pinned one."""
    if digest != archive.digest:
        raise DigestMismatchError(
            f"{archive.url} is not the published file: its {archive.algorithm} is {digest}, pinned is "
            f"{archive.digest}. Nothing was installed. Try again; if it stays so, something between here and "
            "the server changes downloads, or the release was replaced: do not use it."
        )


def _client() -> httpx.Client:
    # The system's certificates, not httpx's own: a company's proxy is known to the system only.
    return httpx.Client(follow_redirects=True, verify=ssl.create_default_context(), timeout=30)


def _cause(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__
