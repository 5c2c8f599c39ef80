"""Names of files as people can read them: Linux allows any bytes in them, also such as are no text."""

from __future__ import annotations

from pathlib import Path


def readable(name: str) -> str:
    r"""Return ``name`` with each byte that is no UTF-8 as ``\xe9``, and each line break and the like escaped.

    Python has such bytes as lone surrogates, which no stream and no JSON document takes.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def name_of(path: Path) -> str:
    """Return the last part of ``path`` as :func:`readable` does; of ``.`` and ``..`` that of the folder."""
    return readable(path.name if path.name not in ("", "..") else path.resolve().name)
