"""What is found where a file was meant: a pointer of Git LFS, a web page, an error message of a store."""

from __future__ import annotations

import re
from typing import Final

_STRAYS: Final[tuple[tuple[re.Pattern[bytes], str, str], ...]] = (
    (
        re.compile(rb"version https://git-lfs\."),
        "a pointer of Git LFS, not the file itself",
        "fetch the file: git lfs pull",
    ),
    (
        re.compile(rb"<(!doctype html|html)", re.IGNORECASE),
        "a web page, not the file itself",
        "download the file itself: an address that shows a page often has another for the file",
    ),
)


def stray(head: bytes) -> tuple[str, str] | None:
    """Return what a file is that begins with ``head``, and what to do; None where it is none of these."""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(((kind, way) for pattern, kind, way in _STRAYS if pattern.match(begin)), None)
