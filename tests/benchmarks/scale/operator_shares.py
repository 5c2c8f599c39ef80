"""Whose code an operator's time went into: ``python tests/benchmarks/scale/operator_shares.py PROFILE ...``.

``PROFILE`` is what ``operator_scale.py --profile FOLDER`` leaves. Time is exclusive, by the module that a
function lies in; what is built in counts for whoever called it. Waiting for events is left out. Prints a
Markdown table with a column for each profile.
"""

from __future__ import annotations

import pstats
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PARTS = (
    ("modelconversion_operator/mirror", "mirrors of Jobs and pods"),
    ("modelconversion_", "deciding, and the contract's types"),
    ("/kopf/", "kopf"),
    ("copy.py", "copies of objects, most of them kopf's"),
    ("kubernetes", "requests, HTTP, TLS"),
    ("aiohttp", "requests, HTTP, TLS"),
    ("ssl", "requests, HTTP, TLS"),
    ("socket", "requests, HTTP, TLS"),
    ("pydantic", "pydantic and JSON"),
    ("json", "pydantic and JSON"),
    ("/asyncio/", "the event loop"),
)
_WAITING = ("epoll", "kqueue", "select")
_REST = "the rest"
Place = tuple[str, int, str]


def main() -> None:
    """Print the table."""
    names = [Path(name) for name in sys.argv[1:]]
    shares = [_shares(name) for name in names]
    parts = [*dict.fromkeys(part for _, part in _PARTS), _REST]
    totals = [sum(each.values()) for each in shares]
    rows = [["part", *(str(name) for name in names)], ["---"] * (1 + len(names))]
    rows += [
        [part, *(f"{each[part] / total:.0%}" for each, total in zip(shares, totals, strict=True))]
        for part in parts
    ]
    rows.append(["seconds, profiled", *(f"{total:.1f}" for total in totals)])
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))


def _shares(profile: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    stats: Mapping[Place, Any] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]  # not in its stub
    for place, (_, _, own, _, callers) in stats.items():
        if any(word in place[2] for word in _WAITING):
            continue
        part = _part(place)
        if place[0] == "~" and part == _REST:
            for caller, figures in callers.items():
                found[_part(caller)] += figures[2]
        else:
            found[part] += own
    return found


def _part(place: Place) -> str:
    text = f"{place[0]} {place[2]}" if place[0] == "~" else place[0]
    return next((part for key, part in _PARTS if key in text), _REST)


if __name__ == "__main__":
    main()
