"""Builds HTML in which every value is escaped, because nothing else can be built.

:func:`tag` escapes whatever is not :class:`Markup`, and only it makes ``Markup``: names that came out of a
model file cannot become elements or attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_VOID = frozenset({"meta", "br", "input", "link"})
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
"""What an element may hold; None is nothing."""
Attribute: TypeAlias = "str | int | float | bool | None"


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element: ``tag("td", "a < b", class_="num")`` is ``<td class="num">a &lt; b</td>``.

    A trailing ``_`` of an attribute's name falls away, another one becomes ``-``. None and False leave the
    attribute out, True gives it without a value; numbers have at most two decimals.
    """
    written_attributes = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written_attributes}>")
    return Markup(f"<{name}{written_attributes}>{joined(children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Children one after the other, escaped where they are not markup."""
    return Markup("".join(_content(child) for child in children))


def styles(css: str) -> Markup:
    """Return a style element; its content is this package's own and is taken as it is."""
    return Markup(f"<style>{css}</style>")


def document(*children: Child) -> str:
    """Return a whole page of ``children``: head and body."""
    return f"<!DOCTYPE html>\n{tag('html', *children, lang='en')}\n"


def _content(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escape(_clean(str(child)))
    return "".join(map(_content, child))


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(_clean(text))}"'


def _clean(text: str) -> str:
    """``text`` without what HTML cannot carry."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
