"""Keeps what native libraries and quantizers print away from the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discard file descriptors 1 and 2: C++ code writes there, past ``sys.stdout``.

    Process-wide, so keep it around the noisy call only. Whoever must be heard meanwhile writes to a duplicate
    of a descriptor made before (see :mod:`tflite_converter.console.report`).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, original in zip((1, 2), saved, strict=True):
            os.dup2(original, fd)
            os.close(original)
        os.close(nowhere)
