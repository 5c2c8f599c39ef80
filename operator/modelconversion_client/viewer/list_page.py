"""The page of a list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.status import Phase
from modelconversion_client.viewer.choosing import ROWS, Choice, Order, chosen
from modelconversion_client.viewer.layout import badge, link, page, since, table, with_code
from modelconversion_client.viewer.listing import CONVERSIONS, PHASE, Listing, Row

MOST_COMPARED: Final = 8
"""Conversions that are compared at a time."""


def list_page(found: Listing, choice: Choice, now: datetime) -> str:
    """Return the page of what was read of a list; of a whole list, with the rows that are asked for."""
    left = chosen(found.rows, choice)
    shown = left[choice.start : choice.start + ROWS] if choice.needs_all else left
    return page(
        choice.kind.title,
        _form(choice),
        _unread(found, choice),
        _rows(shown, choice, now) if shown else _nothing(found, choice),
        _further(found, choice, len(left)),
        namespace=choice.namespace,
        current=choice.kind.page,
    )


def _form(choice: Choice) -> Markup:
    fields = [
        _field("Namespace", "namespace", choice.namespace, "all"),
        _field("Name has", "name", choice.name, "any"),
    ]
    if choice.kind.columns[0] == PHASE:
        fields.append(_select("Phase", "phase", choice.phase, [("", "any"), *((p, p) for p in Phase)]))
    orders = [(Order.NEWEST, "newest first"), (Order.NAME, "by namespace and name")]
    fields.append(_select("Order", "order", choice.order or Order.NEWEST, orders))
    return tag(
        "form",
        tag("input", type="hidden", name="kind", value=choice.kind.page),
        *fields,
        tag("button", "Show"),
        method="get",
        action="./",
        role="search",
        class_="filter",
    )


def _field(title: str, name: str, value: str, placeholder: str) -> Markup:
    return tag(
        "label", title, tag("input", name=name, value=value, placeholder=placeholder, autocomplete="off")
    )


def _select(title: str, name: str, value: str, options: Sequence[tuple[str, str]]) -> Markup:
    made = [tag("option", words, value=one, selected=one == value) for one, words in options]
    return tag("label", title, tag("select", *made, name=name))


def _unread(found: Listing, choice: Choice) -> Markup | None:
    if not choice.needs_all:
        return _by_name(choice) if found.rest or choice.rest else None
    if not found.rest:
        return None
    beside = "more" if found.unread is None else f"{found.unread:,} more"
    return tag(
        "p",
        f"Only the first {len(found.rows):,} by namespace and name were looked at; there are {beside}."
        " Name a namespace, or ",
        tag("a", "go through all by name", href=choice.all_by_name.link()),
        ".",
        class_="note",
        role="status",
    )


def _by_name(choice: Choice) -> Markup:
    """Say why the order is another one than people want, where nobody has asked for it."""
    newest = tag("a", "Newest first", href=choice.all_newest.link())
    words = "They are by namespace and name, as the API server has them. "
    return tag("p", words, newest, " and every search read all of them.", class_="note")


def _rows(shown: Sequence[Row], choice: Choice, now: datetime) -> Markup:
    kind = choice.kind
    with_namespace = not choice.namespace
    compared = kind is CONVERSIONS
    headers = ["Name", *(["Namespace"] if with_namespace else []), *kind.columns, "Age"]
    if compared:
        headers.append("Compare")
    rows = []
    for row in shown:
        cells: list[Child] = [
            tag("a", row.name, href=link(kind.page, namespace=row.namespace, name=row.name))
        ]
        if with_namespace:
            cells.append(row.namespace)
        cells += [_cell(name, text, now) for name, text in zip(kind.columns, row.cells, strict=True)]
        cells.append(since(_moment(row.created), now))
        if compared:
            cells.append(checkbox(row.namespace, row.name))
        rows.append(cells)
    shows = table(f"{kind.title}, {len(shown):,} on this page", headers, rows, "Percent Size Failed Age")
    return comparing(shows) if compared else shows


def comparing(content: Child) -> Markup:
    """Return a form around a table with checkboxes, which compares what is ticked."""
    words = f"Compare the ticked ones (2 to {MOST_COMPARED})"
    return tag("form", content, tag("button", words), method="get", action="compare")


def checkbox(namespace: str, name: str) -> Markup:
    """Return what ticks a conversion."""
    return tag("input", type="checkbox", name="c", value=f"{namespace}/{name}", aria_label=f"Compare {name}")


def _cell(name: str, text: str, now: datetime) -> Child:
    if name == PHASE:
        return badge(text)
    if name == "Percent":
        return f"{text}%" if text else ""
    if name == "Last look":
        return since(_moment(text), now) or text
    return with_code(text)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _nothing(found: Listing, choice: Choice) -> Markup:
    where = f"namespace {choice.namespace}" if choice.namespace else "any namespace"
    words = f"There are no {choice.kind.title.lower()} in {where}."
    if found.rows:
        words = f"None of {len(found.rows):,} {choice.kind.title.lower()} in {where} is like that."
    return tag("p", words, class_="empty", role="status")


def _further(found: Listing, choice: Choice, count: int) -> Markup | None:
    steps: list[Child] = []
    if choice.needs_all:
        if choice.start:
            before = max(0, choice.start - ROWS)
            steps.append(tag("a", "Earlier in the list", href=choice.link(start=before), rel="prev"))
        end = min(choice.start + ROWS, count)
        if choice.start < count:
            steps.append(tag("span", f"{choice.start + 1:,} to {end:,} of {count:,}"))
        if end < count:
            steps.append(tag("a", "Further in the list", href=choice.link(start=end), rel="next"))
    else:
        if choice.rest:
            steps.append(tag("a", "From the beginning", href=choice.link()))
        if found.rest:
            rest = "" if found.unread is None else f"{found.unread:,} further on"
            steps += [tag("span", rest), tag("a", "Further in the list", href=choice.link(rest=found.rest))]
    return tag("nav", joined(steps), class_="paging", aria_label="Pages of the list") if steps else None
