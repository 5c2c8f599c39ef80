"""What every page of the viewer stands in, and the parts that several have. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Final
from urllib.parse import urlencode

from modelconversion_api.markup import Child, Markup, document, joined, tag
from modelconversion_api.status import Condition, Phase
from modelconversion_client.tables import age
from modelconversion_client.viewer.listing import KINDS


@cache
def style_sheet() -> str:
    """Return the style sheet of all pages."""
    return resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")


@cache
def _version() -> str:
    return hashlib.sha256(style_sheet().encode()).hexdigest()[:12]


def link(page: str, **query: str) -> str:
    """Return the relative address of a page: so it does not matter under which path a proxy has them."""
    return f"{page}?{urlencode(query)}" if query else page


def page(
    title: str, *body: Child, namespace: str = "", current: str = "", refresh_seconds: int | None = None
) -> str:
    """Return a whole page.

    Args:
        title: What it is about.
        body: Its content.
        namespace: The namespace that its links to lists keep.
        current: The list that it belongs to, as :data:`KINDS` has it.
        refresh_seconds: After how long it loads itself again.

    """
    refresh = None
    if refresh_seconds is not None:
        refresh = tag("meta", http_equiv="refresh", content=refresh_seconds)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        refresh,
        tag("title", f"{title} \N{MIDDLE DOT} Model conversions"),
        tag("link", rel="icon", href="data:,"),
        tag("link", rel="stylesheet", href=f"style.css?{_version()}"),
    )
    links = [
        tag(
            "li",
            tag(
                "a",
                kind.title,
                href="./?" + urlencode({"kind": name, "namespace": namespace}),
                aria_current="page" if name == current else None,
            ),
        )
        for name, kind in KINDS.items()
    ]
    header = tag(
        "header",
        tag("a", "To the content", href="#content", class_="skip"),
        tag("p", "Model conversions", class_="brand"),
        tag("nav", tag("ul", *links), aria_label="Lists"),
    )
    main = tag("main", tag("h1", title), *body, id="content", tabindex="-1")
    footer = tag("footer", tag("p", "Read only: what you see is what the API server shows you."))
    return document(head, tag("body", header, main, footer))


def section(title: str, *body: Child) -> Markup:
    """Return a part of a page with a heading."""
    return tag("section", tag("h2", title), *body)


def table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[Child]], numbers: str = "") -> Markup:
    """Return a table whose first column heads its rows.

    Args:
        caption: What it shows.
        headers: Heads of the columns.
        rows: The cells.
        numbers: Heads of the columns that hold numbers, joined by blanks, with ``_`` for theirs.

    """
    kinds = ["num" if head.replace(" ", "_") in numbers.split() else None for head in headers]
    head = tag(
        "tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(headers, kinds, strict=True))
    )
    body = [
        tag(
            "tr",
            tag("th", _or_dash(row[0]), scope="row"),
            *(tag("td", _or_dash(c), class_=kind) for c, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    # What is too wide is scrolled, by the keyboard too.
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _or_dash(cell: Child) -> Child:
    return "\N{EN DASH}" if cell in (None, "") else cell


def facts(*rows: tuple[str, Child]) -> Markup:
    """Return a list of names and what they stand for, without those that stand for nothing."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows if value),
        class_="facts",
    )


_COLOURS: Final = {
    Phase.SUCCEEDED: "good",
    Phase.FAILED: "bad",
    Phase.RUNNING: "busy",
    "passed": "good",
    "Passed": "good",
    "missed": "bad",
}


def badge(word: str) -> Markup | None:
    """Return a word in the colour that it has; its colour says nothing that the word does not."""
    return tag("span", word, class_=f"badge {_COLOURS.get(word, 'plain')}") if word else None


def with_code(text: str) -> Markup:
    """Return a text whose parts in backticks are code, as the next steps have them."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return joined(text)
    return joined(tag("code", part) if number % 2 else part for number, part in enumerate(parts))


def since(moment: datetime | None, now: datetime) -> Markup | None:
    """Return how long ago something was, with the time itself for who asks."""
    if moment is None:
        return None
    exact = moment.isoformat(timespec="seconds")
    return tag("time", f"{age(moment, now)} ago", datetime=exact, title=exact)


def conditions(found: Sequence[Condition], now: datetime) -> Markup | None:
    """Return the conditions of an object."""
    if not found:
        return None
    rows = [
        (one.type, one.status, one.reason, with_code(one.message), since(one.last_transition_time, now))
        for one in found
    ]
    headers = ("Type", "Status", "Reason", "Message", "Changed")
    return section("Conditions", table("The conditions, as programs read them", headers, rows))
