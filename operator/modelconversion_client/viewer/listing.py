"""Read lists: as tables, which are a tenth of the objects, page by page, and never more than a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from modelconversion_api.base import API_VERSION, PLURAL
from modelconversion_api.sets import SET_PLURAL
from modelconversion_api.text import shortened
from modelconversion_api.triggers import TRIGGER_PLURAL
from modelconversion_client.errors import TooLargeError
from modelconversion_client.viewer.asking import Asker, Body

MOST_ROWS: Final = 20_000
"""How many objects one look reads at most."""
_PAGE: Final = 500
_MOST_WORDS: Final = 160
"""Characters of a cell that are kept: a message may have thousands."""
_TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"
JSON: Final = "application/json"


PHASE: Final = "Phase"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that has a list.

    Attributes:
        plural: Its name in paths.
        title: Its name for people.
        page: The page that shows one of them.
        columns: The printer columns that a list shows; the first may be the phase.

    """

    plural: str
    title: str
    page: str
    columns: tuple[str, ...]


CONVERSIONS: Final = Kind(
    PLURAL,
    "Conversions",
    "conversion",
    (PHASE, "Percent", "Profile", "Recommended", "Size", "Duration", "Reason"),
)
SETS: Final = Kind(SET_PLURAL, "Sets", "set", (PHASE, "Progress", "Failed", "Message"))
TRIGGERS: Final = Kind(TRIGGER_PLURAL, "Triggers", "trigger", ("Ready", "Converted", "Last look", "Message"))
KINDS: Final[Mapping[str, Kind]] = {kind.page: kind for kind in (CONVERSIONS, SETS, TRIGGERS)}


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a list.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        created: When it was made, as the API server writes it: such texts sort as their times do.
        owner: UID of the object that controls it; empty where none does.
        cells: What stands under the kind's columns.

    """

    namespace: str
    name: str
    created: str
    owner: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What was read of a list.

    Attributes:
        rows: Its objects, in the order of the server: by namespace and name.
        rest: The word by which the server goes on; empty where this was all.
        unread: How many objects there are beside those; None where the server does not say.

    """

    rows: list[Row]
    rest: str = ""
    unread: int | None = 0


def path_of(plural: str, namespace: str, name: str = "") -> str:
    """Return the path of an object, or of a list; of every namespace where none is named."""
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"/apis/{API_VERSION}{where}/{plural}{'/' if name else ''}{quote(name, safe='')}"


async def page_of(asker: Asker, kind: Kind, namespace: str, rest: str, limit: int = _PAGE) -> Listing:
    """Read a page of a list; a smaller one where the objects are so large that it would pass the bound.

    Raises:
        ConversionClientError: It cannot be read; an ExpiredError where ``rest`` is too old.

    """
    what = f"list {kind.plural} {f'in namespace {namespace}' if namespace else 'in all namespaces'}"
    while True:
        query = {"limit": str(limit), "continue": rest, "includeObject": "Metadata"}
        try:
            return _listing(await asker.read(path_of(kind.plural, namespace), what, query, _TABLE), kind)
        except TooLargeError:
            if limit == 1:
                raise
            limit = max(1, limit // 10)


async def all_of(asker: Asker, kind: Kind, namespace: str, most: int = MOST_ROWS) -> Listing:
    """Read a list, and of a longer one the first ``most`` objects.

    Raises:
        ConversionClientError: It cannot be read.

    """
    found = await page_of(asker, kind, namespace, "")
    while found.rest and len(found.rows) < most:
        page = await page_of(asker, kind, namespace, found.rest)
        found = Listing(found.rows + page.rows, page.rest, page.unread)
    return found


def _listing(table: Body, kind: Kind) -> Listing:
    names = [column.get("name") for column in table.get("columnDefinitions") or []]
    places = [names.index(name) if name in names else None for name in kind.columns]
    meta = table.get("metadata") or {}
    rest = meta.get("continue") or ""
    unread = meta.get("remainingItemCount") if rest else 0
    return Listing([_row(row, places) for row in table.get("rows") or []], rest, unread)


def _row(row: Body, places: list[int | None]) -> Row:
    meta = (row.get("object") or {}).get("metadata") or {}
    cells = row.get("cells") or []
    owners = meta.get("ownerReferences") or []
    return Row(
        namespace=meta.get("namespace") or "",
        name=meta.get("name") or "",
        created=meta.get("creationTimestamp") or "",
        owner=next((owner.get("uid") or "" for owner in owners if owner.get("controller")), ""),
        cells=tuple("" if place is None else _cell(cells[place]) for place in places),
    )


def _cell(value: Any) -> str:
    # What an object does not have is null in a table, and of older servers "<none>".
    return "" if value is None or value == "<none>" else shortened(str(value), _MOST_WORDS)
