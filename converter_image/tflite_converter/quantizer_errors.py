"""What a quantizer's exception says, in one line."""

from __future__ import annotations

import re


def first_line(error: BaseException) -> str:
    """The first line of an exception's words, at most 400 characters; its type where it has none."""
    line = next(iter(re.split(r"[\r\n]", str(error).strip())), "") or type(error).__name__
    return line[:400].rstrip(".")
