"""Which trace a run belongs to: ids that follow from the run, and what a ``traceparent`` says.

https://www.w3.org/TR/trace-context/. The same run has the same ids, whichever replica makes them and however
often.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_SAMPLED: Final = 0x01
_FORM: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span as others refer to it.

    Attributes:
        trace_id: Its trace, 16 bytes.
        span_id: Itself, 8 bytes.
        sampled: Whether its trace is recorded.

    """

    trace_id: bytes
    span_id: bytes
    sampled: bool = True

    def __str__(self) -> str:
        """Return it as a ``traceparent``."""
        flags = _SAMPLED if self.sampled else 0
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{flags:02x}"


def parse(text: str) -> TraceContext | None:
    """Read a ``traceparent``; None for one that is none, which is to be ignored.

    A later version may say more behind the part that is known.
    """
    found = _FORM.fullmatch(text)
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    trace_id, span_id = bytes.fromhex(found["trace"]), bytes.fromhex(found["span"])
    if not any(trace_id) or not any(span_id):
        return None
    return TraceContext(trace_id, span_id, bool(int(found["flags"], 16) & _SAMPLED))


def trace_id_of(*names: str) -> bytes:
    """Return the id of the trace of what these names name together."""
    return _digest("trace", names, 16)


def span_id_of(*names: str) -> bytes:
    """Return the id of the span of what these names name together."""
    return _digest("span", names, 8)


def _digest(kind: str, names: tuple[str, ...], length: int) -> bytes:
    digest = hashlib.sha256("\0".join((kind, *names)).encode()).digest()[:length]
    return digest if any(digest) else b"\x01" * length  # zero is no id
