"""Names of files as people can read them: Linux allows any bytes in them, also such as are no text."""

from __future__ import annotations

import os
import shlex
import unicodedata
from pathlib import Path
from typing import Final

_CONTROLS: Final = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, lone surrogates (bytes that are no UTF-8) and line breaks."""
_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a name look like another one."""


def is_plain(name: str) -> bool:
    """Whether ``name`` is text without control characters.

    Blanks of all widths, joiners, and characters younger than Python's tables are text: macOS, Persian and
    Japanese names have them.
    """
    return not any(unicodedata.category(c) in _CONTROLS or c in _DIRECTIONS for c in name)


def readable(name: str) -> str:
    r"""Return ``name`` with each byte that is no UTF-8 as ``\xe9``, and each line break and the like escaped.

    Python has such bytes as lone surrogates, which no stream and no JSON document takes.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def name_of(path: Path) -> str:
    """Return the last part of ``path`` as :func:`readable` does; of ``.`` and ``..`` that of the folder."""
    return readable(path.name if path.name not in ("", "..") else path.resolve().name)


def for_shell(path: Path) -> str:
    """Return ``path`` as a word that a shell reads as just this path, and a program not as an option."""
    text = str(path)
    if text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    # bash, zsh and ksh read $'...' with such escapes.
    inner = "".join(_escaped(byte) for byte in os.fsencode(text))
    return f"$'{inner}'"


def _escaped(byte: int) -> str:
    plain = 0x20 <= byte < 0x7F and byte not in b"\\'"
    return chr(byte) if plain else f"\\x{byte:02x}"
