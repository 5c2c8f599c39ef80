"""What inputs and outputs are called: as the function's arguments and the keys of its pytrees."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from jaxlib.mlir import ir

from conversion_engine.exported import Leaf

_KEY: Final = re.compile(r"\[(?P<quote>['\"]?)(?P<key>[^\[\]]*)(?P=quote)\]")
_NO_NAME: Final = re.compile(r"\s")


def input_names(leaves: Sequence[Leaf], locations: Sequence[str | None]) -> list[str]:
    """Return a name for each input: ``image``, ``batch.mask`` or ``state.0``.

    Args:
        leaves: The inputs.
        locations: What the module calls each, e.g. ``batch['mask']``; None where it does not say.

    """
    names = [
        plain if location and (plain := _plain(location)) else leaf.place
        for leaf, location in zip(leaves, locations, strict=True)
    ]
    if max(Counter(names).values(), default=1) > 1:
        names = [leaf.place for leaf in leaves]
    return _without_blanks(names)


def output_names(leaves: Sequence[Leaf]) -> list[str]:
    """Return a name for each output: ``logits``, ``aux.0``, or ``output`` where there is but one."""
    if [leaf.path for leaf in leaves] == [()]:
        return ["output"]
    names = []
    for leaf in leaves:
        first, *rest = leaf.path
        names.append(".".join([f"output_{first}" if isinstance(first, int) else first, *map(str, rest)]))
    return _without_blanks(names)


def locations(function: Any, count: int) -> list[str | None]:
    """Return what a function's last ``count`` arguments are called in the program that was exported.

    Before them stand those that jax.export adds.
    """
    arguments = list(function.regions[0].blocks[0].arguments)[-count:] if count else []
    found = [a.location.name_str if isinstance(a.location, ir.NameLoc) else None for a in arguments]
    return found if len(found) == count else [None] * count


def _plain(location: str) -> str:
    return _KEY.sub(lambda match: f".{match['key']}", location)


def _without_blanks(names: list[str]) -> list[str]:
    """Return names that a resource and a command line can hold, each of them once."""
    plain = [_NO_NAME.sub("_", name) or "_" for name in names]
    seen: set[str] = set()
    for place, name in enumerate(plain):
        number, free = 1, name
        while free in seen:
            number, free = number + 1, f"{name}_{number}"
        plain[place] = free
        seen.add(free)
    return plain
