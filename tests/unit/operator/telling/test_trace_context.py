"""Ids that follow from what they name, and ``traceparent`` as the W3C has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_operator.telling.trace_context import TraceContext, parse, span_id_of, trace_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
names = st.lists(st.text(), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),  # the random flag alone
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what-it-says-beyond", True),
    ],
)
def test_what_a_traceparent_says(text: str, sampled: bool) -> None:
    assert parse(text) == TraceContext(bytes.fromhex(TRACE), bytes.fromhex(SPAN), sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-\N{ARABIC-INDIC DIGIT ZERO}1",
        '{"traceparent": "00"}',
    ],
)
def test_what_is_none(text: str) -> None:
    assert parse(text) is None


@given(st.text())
def test_whatever_an_annotation_says_is_read_or_ignored(text: str) -> None:
    found = parse(text)
    assert found is None or str(found)[:53] == f"00{text[2:53]}"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_is_written_is_read(trace: bytes, span: bytes, sampled: bool) -> None:
    context = TraceContext(trace, span, sampled)
    assert parse(str(context)) == (context if any(trace) and any(span) else None)


@given(names, names)
def test_ids_differ_where_the_names_do_and_only_there(one: list[str], other: list[str]) -> None:
    same = one == other or "\0".join(one) == "\0".join(other)
    assert (trace_id_of(*one) == trace_id_of(*other)) is same
    assert (span_id_of(*one) == span_id_of(*other)) is same
    assert (len(trace_id_of(*one)), len(span_id_of(*one))) == (16, 8)
    assert any(trace_id_of(*one))


def test_ids_are_the_same_in_every_version() -> None:
    # printf 'trace\0conversion\0uid\0001' | sha256sum, and the same with span
    assert trace_id_of("conversion", "uid", "1").hex() == "33cea0b5bdc3691f21bdfabe75b3fad5"
    assert span_id_of("conversion", "uid", "1").hex() == "753b703f7b72c3f2"
