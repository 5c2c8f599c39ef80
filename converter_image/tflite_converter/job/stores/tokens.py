"""Tokens of OAuth 2.0 that are asked for, and kept until shortly before they end."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlencode

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.cloud import body_of, denied, token_of
from tflite_converter.job.stores.connections import PASSING, BrokenError, Line, again, server_errors

_MOST_BYTES: Final = 64 << 10
_EARLY_SECONDS: Final = 300.0
"""A token is not used any more for so long before it ends: an upload may take its time."""
_CODE: Final = re.compile(r"[a-z_]{1,64}")


class Token:
    """One that is asked for when it is needed, by one thread at a time.

    Args:
        ask: Gives the token, and for how many seconds it counts.

    """

    def __init__(self, ask: Callable[[], tuple[str, float]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    @property
    def header(self) -> dict[str, str]:
        """The header that shows it."""
        with self._lock:
            if not self._token or time.monotonic() >= self._until:
                asked = time.monotonic()
                self._token, seconds = self._ask()
                self._until = asked + max(seconds - _EARLY_SECONDS, seconds / 2)
            return {"Authorization": f"Bearer {self._token}"}


def exchanged(
    url: str, form: Callable[[], Mapping[str, str]], trust: ssl.SSLContext, stage: Stage, hint: str
) -> tuple[str, float]:
    """Exchange an assertion for a token (RFC 7523); return it, and for how many seconds it counts.

    Raises:
        ConverterError: StorageAccessDenied where it is refused; StorageUnavailable.

    """
    line = Line(url, trust)
    return again(partial(_exchanged_once, line, url, form, stage, hint))


def _exchanged_once(
    line: Line, url: str, form: Callable[[], Mapping[str, str]], stage: Stage, hint: str
) -> tuple[str, float]:
    body = urlencode(form()).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
    with server_errors(stage, url), closing(line.ask("POST", url, headers, BytesIO(body))) as answer:
        text, status = body_of(answer, _MOST_BYTES), answer.status
    return token_in(text, status, url, stage, hint)


def token_in(text: bytes, status: int, url: str, stage: Stage, hint: str) -> tuple[str, float]:
    """Return the token of an answer, and for how many seconds it counts.

    Raises:
        BrokenError: Another try may help.
        ConverterError: StorageAccessDenied, StorageUnavailable.

    """
    if status == 200:
        try:
            return token_of(text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            cause = f"{url} answers with something else than a token"
            raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, cause) from error
    said = f"{url} answers {status} {_error_of(text)}".rstrip()
    if status in PASSING:
        raise BrokenError(ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, said))
    raise denied(stage, f"no token was given out: {said}", hint)


def _error_of(text: bytes) -> str:
    """Return the code of an error of OAuth 2.0; its description may repeat what was sent."""
    try:
        found: Any = json.loads(text)
        code = found["error"]
    except (ValueError, TypeError, KeyError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
