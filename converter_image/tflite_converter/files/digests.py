"""SHA-256 digests of files and of SavedModel folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

_BUFFER_BYTES = 1 << 20


def file_sha256(path: Path, after_part: Callable[[float], None] | None = None) -> str:
    """Digest of one file's bytes, as 64 hexadecimal digits; ``after_part`` hears the share that is read."""
    with path.open("rb") as stream:
        if after_part is None:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest, size, done = hashlib.sha256(), max(1, path.stat().st_size), 0
        buffer = bytearray(_BUFFER_BYTES)
        view = memoryview(buffer)
        while length := stream.readinto(buffer):
            digest.update(view[:length])
            done += length
            after_part(min(1.0, done / size))
        return digest.hexdigest()


def folder_sha256(digests: Mapping[str, str]) -> str:
    r"""Digest of a folder, given the digest of each file by its relative POSIX path.

    It is the digest of what ``sha256sum`` prints for the files in the order of their paths' bytes, one line
    ``<digest>  <path>\n`` each, so that it can be had without this program::

        find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
    """
    digest = hashlib.sha256()
    for path in sorted(digests, key=os.fsencode):
        digest.update(os.fsencode(f"{digests[path]}  {path}\n"))
    return digest.hexdigest()


def source_digest(path: Path) -> tuple[str, int]:
    """Digest and size in bytes of a source model: a file, or a SavedModel folder."""
    if path.is_file():
        return file_sha256(path), path.stat().st_size
    files = sorted(p for p in path.rglob("*") if p.is_file())
    digests = {p.relative_to(path).as_posix(): file_sha256(p) for p in files}
    return folder_sha256(digests), sum(p.stat().st_size for p in files)
