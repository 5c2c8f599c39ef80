"""The page that shows conversions side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.text import human_latency, human_size
from modelconversion_client.resources import Conversion
from modelconversion_client.viewer.comparing import MOST_DIFFERENCES, Pair, best, differences, groups
from modelconversion_client.viewer.layout import badge, link, page, section, since, table

_DIGITS = 12


def comparison_page(found: Sequence[Conversion], now: datetime) -> str:
    """Return the page of two conversions or more."""
    namespaces = {one.meta.namespace for one in found}
    return page(
        f"{len(found)} conversions compared",
        _overview(found, now),
        *(_group(name, pairs) for name, pairs in groups(found).items()),
        _differences(found),
        namespace=namespaces.pop() if len(namespaces) == 1 else "",
        current="conversion",
    )


def _overview(found: Sequence[Conversion], now: datetime) -> Markup:
    rows: list[tuple[str, list[Child]]] = [
        ("Namespace", [one.meta.namespace for one in found]),
        ("Phase", [badge(str(one.phase)) for one in found]),
        ("Source", [str((one.raw_spec.get("source") or {}).get("uri") or "") for one in found]),
        ("Version", [_version(one) for one in found]),
        ("Source's size", [_source_size(one) for one in found]),
        ("Profile", [one.profile for one in found]),
        ("Recommended", [_recommended(one) for one in found]),
        ("Took", [one.status.duration for one in found]),
        ("Made", [since(one.meta.created, now) for one in found]),
    ]
    cells = [[name, *values] for name, values in rows if any(values)]
    shown = table("What they are", ["What", *map(_name, found)], cells)
    links = tag("ul", *(tag("li", _link(one)) for one in found), class_="links")
    return section("Overview", shown, links)


def _name(one: Conversion) -> str:
    return one.name


def _link(one: Conversion) -> Markup:
    return tag("a", one.name, href=link("conversion", namespace=one.meta.namespace, name=one.name))


def _version(one: Conversion) -> Child:
    source = one.status.source
    return None if source is None else tag("code", source.sha256[:_DIGITS])


def _source_size(one: Conversion) -> str:
    return "" if one.status.source is None else human_size(one.status.source.size_bytes)


def _recommended(one: Conversion) -> str:
    chosen = one.status.recommended
    return "" if chosen is None else f"{chosen.name or chosen.made_by} ({chosen.size})"


def _group(name: str, pairs: Sequence[Pair]) -> Markup:
    top = best(pairs)
    rows = []
    for place, (one, artifact) in enumerate(pairs):
        star = badge("recommended") if artifact.is_as(one.status.recommended) else None
        latency = artifact.latency_millis
        figures: dict[str, str] = {
            "size": human_size(artifact.size_bytes),
            "agreement": artifact.agreement or "",
            "accuracy": artifact.accuracy or "",
            "latency": "" if latency is None else human_latency(float(latency)),
        }
        cells = [_figure(words, is_best=place in top[kind]) for kind, words in figures.items()]
        rows.append([joined(one.name, " ", star), *cells, badge("passed" if artifact.passed else "missed")])
    headers = ("Conversion", "Size", "Agreement", "Accuracy", "Latency", "Gates")
    return section(name, table(f"{name} of each", headers, rows, "Size Agreement Accuracy Latency"))


def _figure(words: str, *, is_best: bool) -> Child:
    return joined(tag("strong", words), " ", tag("small", "best")) if is_best else words


def _differences(found: Sequence[Conversion]) -> Markup:
    rows = differences(found)
    if not rows:
        return section("Specs", tag("p", "Their specs are the same."))
    shown = [[name, *values] for name, values in rows[:MOST_DIFFERENCES]]
    more = len(rows) - len(shown)
    rest = tag("p", f"{more} more fields differ.", class_="note") if more else None
    headers = ["Field", *map(_name, found)]
    return section("Specs", table("Fields of the specs that differ", headers, shown), rest)
