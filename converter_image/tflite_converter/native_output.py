"""Keeps what native libraries and quantizers print away from the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

Result = TypeVar("Result")

_MOST_HEARD: Final = 65536
"""Bytes that are kept of what a library says."""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discard file descriptors 1 and 2: C++ code writes there, past ``sys.stdout``.

    Process-wide, so keep it around the noisy call only. Whoever must be heard meanwhile writes to a duplicate
    of a descriptor made before (see :mod:`tflite_converter.console.report`).
    """
    with _redirected(os.open(os.devnull, os.O_WRONLY)):
        yield


@contextlib.contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """Keep what is written to file descriptors 1 and 2, as :func:`silenced` discards it.

    What is yielded returns the beginning of it, inside the block and behind it.
    """
    kept = os.memfd_create("heard")  # a sandboxed process may have no folder for a file
    try:
        text: str | None = None

        def said() -> str:
            return os.pread(kept, _MOST_HEARD, 0).decode(errors="replace") if text is None else text

        with _redirected(os.dup(kept)):
            yield said
        text = said()
    finally:
        os.close(kept)


def listened(call: Callable[[], Result], why: Callable[[str, Exception], str]) -> tuple[Result, str]:
    """Call; return its result and what it said meanwhile.

    Raises:
        RuntimeError: the call raised it, or ``ValueError``; its message is ``why`` of what was said and that.

    """
    with heard() as said:
        try:
            result = call()
        except (RuntimeError, ValueError) as error:
            raise RuntimeError(why(said(), error)) from error
    return result, said()


@contextlib.contextmanager
def _redirected(target: int) -> Iterator[None]:
    """Have descriptors 1 and 2 be ``target``, which is closed in the end."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, original in zip((1, 2), saved, strict=True):
            os.dup2(original, fd)
            os.close(original)
        os.close(target)
