"""The pages of sets and triggers, which both have conversions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_client.resources import ConversionSet, Metadata, Trigger
from modelconversion_client.viewer.layout import (
    badge,
    conditions,
    facts,
    link,
    page,
    section,
    since,
    table,
    with_code,
)
from modelconversion_client.viewer.list_page import checkbox, comparing
from modelconversion_client.viewer.listing import CONVERSIONS, PHASE, Row

_REASON = "Reason"


def set_page(found: ConversionSet, now: datetime) -> str:
    """Return the page of a set: its table, whose members can be compared."""
    status = found.status
    words = "" if found.condition is None else f"{found.condition.reason}: {found.condition.message}"
    head = facts(
        ("Phase", badge(str(found.phase))),
        ("Namespace", found.meta.namespace),
        ("Members", f"{status.succeeded} succeeded, {status.failed} failed, of {status.total}"),
        ("Profiles", ", ".join(found.profiles)),
        ("Made", since(found.meta.created, now)),
        ("Ended", since(status.completion_time, now)),
        ("Message", with_code(words) if words else None),
        ("Comparison", tag("code", status.comparison_uri) if status.comparison_uri else None),
    )
    return page(
        found.meta.name,
        head,
        _members(found),
        conditions(status.conditions, now),
        namespace=found.meta.namespace,
        current="set",
    )


def _members(found: ConversionSet) -> Markup:
    if not found.status.members:
        return section("Members", tag("p", "It has no members yet.", class_="empty"))
    rows: list[list[Child]] = []
    for member in found.status.members:
        where = link("conversion", namespace=found.meta.namespace, name=member.conversion)
        why = ": ".join(filter(None, (member.reason, member.message)))
        rows.append(
            [
                tag("a", f"{member.model}, {member.profile}", href=where),
                badge(str(member.phase)),
                member.recommended,
                member.size,
                member.agreement,
                with_code(why),
                checkbox(found.meta.namespace, member.conversion),
            ]
        )
    headers = ("Model, profile", PHASE, "Recommended", "Size", "Agreement", "About", "Compare")
    return section("Members", comparing(table("The members of the set", headers, rows, "Size Agreement")))


def trigger_page(found: Trigger, made: Sequence[Row], now: datetime) -> str:
    """Return the page of a trigger, with the conversions of its versions that are there, newest first."""
    meta, status, ready = found.meta, found.status, found.condition
    version = status.version
    head = facts(
        ("Namespace", meta.namespace),
        ("State", None if ready is None else with_code(f"{ready.reason}: {ready.message}")),
        ("Version", None if version is None else tag("code", version.short)),
        ("Found", None if version is None else since(version.time, now)),
        ("Last look", since(status.last_look_time, now)),
        ("Next look", None if status.next_look_time is None else status.next_look_time.isoformat()),
        ("Under way", ", ".join(status.active or ())),
        ("There", f"{status.succeeded} succeeded, {status.failed} failed"),
    )
    return page(
        meta.name,
        head,
        _versions(meta, made, now),
        conditions(status.conditions, now),
        namespace=meta.namespace,
        current="trigger",
    )


def _versions(meta: Metadata, made: Sequence[Row], now: datetime) -> Markup:
    if not made:
        words = "It has no conversions. Where it makes sets, these are in the list of sets."
        return section("Versions", tag("p", words, class_="empty"))
    places = [CONVERSIONS.columns.index(name) for name in (PHASE, "Recommended", "Size", "Duration", _REASON)]
    rows: list[list[Child]] = []
    for row in made:
        phase, *rest = (row.cells[place] for place in places)
        where = link("conversion", namespace=meta.namespace, name=row.name)
        age = since(datetime.fromisoformat(row.created), now) if row.created else None
        rows.append(
            [tag("a", row.name, href=where), badge(phase), *rest, age, checkbox(meta.namespace, row.name)]
        )
    headers = ("Conversion", PHASE, "Recommended", "Size", "Duration", _REASON, "Age", "Compare")
    shown = table("The conversions of its versions, newest first", headers, rows, "Size Age")
    return section("Versions", comparing(joined(shown)))
