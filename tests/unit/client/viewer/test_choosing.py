"""Which rows a list shows."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_client.viewer.choosing import Choice, Order, chosen
from modelconversion_client.viewer.listing import CONVERSIONS, TRIGGERS, Row


def row(name: str, created: str = "2026-01-01T00:00:00Z", phase: str = "Succeeded") -> Row:
    return Row("team", name, created, "", (phase, *[""] * (len(CONVERSIONS.columns) - 1)))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, Choice(namespace="own")),
        ({"namespace": ""}, Choice()),
        ({"namespace": " team "}, Choice(namespace="team")),
        ({"kind": "trigger", "phase": "Failed"}, Choice(kind=TRIGGERS, namespace="own")),
        ({"kind": "secret"}, Choice(namespace="own")),
        ({"phase": "Failed", "order": "name"}, Choice(namespace="own", phase="Failed", order=Order.NAME)),
        ({"phase": "<b>", "order": "worst"}, Choice(namespace="own")),
        ({"order": "newest"}, Choice(namespace="own", order=Order.NEWEST)),
        ({"name": "Gesture"}, Choice(namespace="own", name="gesture")),
        ({"start": "-1"}, Choice(namespace="own")),
        ({"start": "²"}, Choice(namespace="own")),
        ({"start": "999999"}, Choice(namespace="own", start=999999)),
        ({"start": "9" * 10_000}, Choice(namespace="own")),
        ({"namespace": "x" * 1000}, Choice(namespace="x" * 253)),
    ],
)
def test_what_makes_no_sense_counts_as_not_given(query: dict[str, str], expected: Choice) -> None:
    assert Choice.of(query, "own") == expected


texts = st.text(max_size=20)


@given(
    st.dictionaries(st.sampled_from(["kind", "namespace", "name", "phase", "order", "start", "rest"]), texts)
)
def test_a_link_leads_to_what_it_was_made_from(query: dict[str, str]) -> None:
    choice = Choice.of(query, "own")
    address = choice.link(start=choice.start, rest=choice.rest)
    page, _, rest = address.partition("?")
    assert page == "./"
    assert Choice.of(dict(parse_qsl(rest, keep_blank_values=True)), "own") == choice


def test_rows_are_filtered_and_sorted() -> None:
    rows = [
        row("b"),
        row("a"),
        row("new", "2026-02-01T00:00:00Z", "Failed"),
        row("ab", "2025-01-01T00:00:00Z"),
    ]
    assert [r.name for r in chosen(rows, Choice())] == ["new", "a", "b", "ab"]
    assert [r.name for r in chosen(rows, Choice(order=Order.NAME))] == ["a", "ab", "b", "new"]
    assert [r.name for r in chosen(rows, Choice(name="a"))] == ["a", "ab"]
    assert [r.name for r in chosen(rows, Choice(phase="Failed"))] == ["new"]


@pytest.mark.parametrize(
    ("choice", "needed"),
    [
        (Choice(), True),
        (Choice(order=Order.NEWEST), True),
        (Choice(order=Order.NAME).all_newest, True),
        (Choice(order=Order.NAME), False),
        (Choice(order=Order.NAME, name="a"), True),
        (Choice(order=Order.NAME, phase="Failed"), True),
        (Choice(name="a").all_by_name, False),
    ],
)
def test_only_the_order_by_name_needs_no_whole_list(choice: Choice, needed: bool) -> None:
    assert choice.needs_all is needed
