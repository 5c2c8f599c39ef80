"""Compare conversions: what their specs have that differs, and which artifact is best at what. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from modelconversion_api.status import Artifact
from modelconversion_client.resources import Conversion

MOST_DIFFERENCES: Final = 60
"""Fields that are shown of those that differ."""
_LONGEST: Final = 200

Pair = tuple[Conversion, Artifact]


def differences(found: Sequence[Conversion]) -> list[tuple[str, list[str]]]:
    """Return the fields of the specs that are not the same in all, with what each has there."""
    flat = [dict(_flat(one.raw_spec)) for one in found]
    names = dict.fromkeys(name for one in flat for name in one)
    rows = [(name, [one.get(name, "") for one in flat]) for name in names]
    return [(name, values) for name, values in sorted(rows) if len(set(values)) > 1]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif path:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield path, text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def groups(found: Sequence[Conversion]) -> dict[str, list[Pair]]:
    """Return the artifacts by what made them, in the order in which they first come."""
    made: dict[str, list[Pair]] = {}
    for one in found:
        for artifact in one.status.artifacts:
            made.setdefault(artifact.made_by, []).append((one, artifact))
    return made


_FIGURES: Final[dict[str, tuple[Callable[[Artifact], Any], bool]]] = {
    "size": (lambda artifact: artifact.size_bytes, False),
    "agreement": (lambda artifact: artifact.agreement, True),
    "accuracy": (lambda artifact: artifact.accuracy, True),
    "latency": (lambda artifact: artifact.latency_millis, False),
}
"""What is compared, and whether more of it is better."""


def best(pairs: Sequence[Pair]) -> dict[str, set[int]]:
    """Return, for each figure, the places of those that are best at it; none where all are the same."""
    found: dict[str, set[int]] = {}
    for name, (figure, more_is_better) in _FIGURES.items():
        values = {
            place: float(value)
            for place, (_, artifact) in enumerate(pairs)
            if (value := figure(artifact)) is not None
        }
        if len(set(values.values())) > 1:
            top = max(values.values()) if more_is_better else min(values.values())
            found[name] = {place for place, value in values.items() if value == top}
        else:
            found[name] = set()
    return found
