"""What a person asks a list for, and the rows that this leaves. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from modelconversion_api.status import Phase
from modelconversion_client.viewer.listing import CONVERSIONS, KINDS, PHASE, Kind, Row

ROWS: Final = 100
"""Rows of a page."""
_LONGEST: Final = 253
_LONGEST_REST: Final = 4096


class Order(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for.

    Attributes:
        kind: The kind of object.
        namespace: Its namespace; empty for all.
        name: A part of its name.
        phase: Its phase; empty for any.
        order: The order; None where nobody has said one: then a short list is newest first, and a long one as
            the server has it.
        start: The first row that is shown.
        rest: The word by which the server goes on, where the list comes from it page by page.

    """

    kind: Kind = CONVERSIONS
    namespace: str = ""
    name: str = ""
    phase: str = ""
    order: Order | None = None
    start: int = 0
    rest: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str], default_namespace: str) -> Choice:
        """Read what a URL asks for; what makes no sense counts as not given."""
        phase, order, start = (query.get(name, "") for name in ("phase", "order", "start"))
        kind = KINDS.get(query.get("kind", ""), CONVERSIONS)
        return cls(
            kind=kind,
            namespace=query.get("namespace", default_namespace).strip()[:_LONGEST],
            name=query.get("name", "").strip().lower()[:_LONGEST],
            phase=phase if phase in set(Phase) and kind.columns[0] == PHASE else "",
            order=Order(order) if order in set(Order) else None,
            start=int(start) if re.fullmatch("[0-9]{1,6}", start) else 0,
            rest=query.get("rest", "")[:_LONGEST_REST],
        )

    @property
    def needs_all(self) -> bool:
        """Whether the whole list has to be read for it: the server knows no other order than by name."""
        return bool(self.order is not Order.NAME or self.name or self.phase)

    @property
    def is_open(self) -> bool:
        """Whether nothing but a namespace was said."""
        return self.order is None and not self.name and not self.phase

    def link(self, *, start: int = 0, rest: str = "") -> str:
        """Return the relative address of the list from a row, or a word of the server's, on."""
        given = {
            "kind": "" if self.kind is CONVERSIONS else self.kind.page,
            "name": self.name,
            "phase": self.phase,
            "order": "" if self.order is None else self.order.value,
            "start": str(start or ""),
            "rest": rest,
        }
        # An empty namespace says something: all of them.
        return "./?" + urlencode({"namespace": self.namespace} | {k: v for k, v in given.items() if v})

    @property
    def all_newest(self) -> Choice:
        """The same list with the newest first."""
        return replace(self, order=Order.NEWEST, name="", phase="")

    @property
    def all_by_name(self) -> Choice:
        """The same list as the server has it, which is read page by page."""
        return replace(self, order=Order.NAME, name="", phase="")


def chosen(rows: Sequence[Row], choice: Choice) -> list[Row]:
    """Return the rows that are asked for, in their order; of one age, by namespace and name."""
    left = [
        row for row in rows if choice.name in row.name and (not choice.phase or row.cells[0] == choice.phase)
    ]
    left.sort(key=lambda row: (row.namespace, row.name))
    if choice.order is not Order.NAME:
        left.sort(key=lambda row: row.created, reverse=True)
    return left
