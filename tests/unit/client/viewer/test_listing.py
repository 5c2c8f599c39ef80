"""Lists read page by page, within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelconversion_client.errors import ExpiredError, TooLargeError
from modelconversion_client.viewer.asking import Body
from modelconversion_client.viewer.listing import CONVERSIONS, TRIGGERS, Row, all_of, page_of, path_of


class Tables:
    """A list of an API server, whose objects have a size."""

    def __init__(self, count: int, *, most_at_a_time: int = 10**6, expires: bool = False) -> None:
        self.count, self.most, self.expires = count, most_at_a_time, expires
        self.limits: list[int] = []

    async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> Body:
        assert path == "/apis/edgeml.dev/v1alpha1/modelconversions"
        assert what == "list modelconversions in all namespaces"
        assert accept.startswith("application/json;as=Table")
        limit = int(query["limit"])
        self.limits.append(limit)
        if limit > self.most:
            raise TooLargeError("large", "less")
        start = int(query["continue"] or 0)
        if start and self.expires:
            raise ExpiredError("old", "again")
        end = min(start + limit, self.count)
        meta: dict[str, Any] = {"continue": str(end), "remainingItemCount": self.count - end}
        return {
            "columnDefinitions": [{"name": name} for name in ("Name", "Phase", "Reason")],
            "rows": [cells(number) for number in range(start, end)],
            "metadata": meta if end < self.count else {},
        }


def cells(number: int, **meta: Any) -> Body:
    metadata = {"name": f"c-{number}", "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"cells": [f"c-{number}", "Failed", "x" * 500], "object": {"metadata": metadata | meta}}


async def test_a_list_is_read_to_its_end() -> None:
    server = Tables(1234)
    found = await all_of(server, CONVERSIONS, "")
    assert [row.name for row in found.rows] == [f"c-{number}" for number in range(1234)]
    assert (found.rest, found.unread, server.limits) == ("", 0, [500, 500, 500])
    assert found.rows[0].cells[0] == "Failed"
    assert len(found.rows[0].cells[-1]) == 160
    assert found.rows[0].cells[1] == "", "a column that this server does not have"


async def test_a_longer_one_is_not_and_says_so() -> None:
    found = await all_of(Tables(2600), CONVERSIONS, "", most=1000)
    assert (len(found.rows), found.unread) == (1000, 1600)
    assert found.rest


async def test_large_objects_are_read_in_smaller_pages() -> None:
    server = Tables(20, most_at_a_time=5)
    found = await all_of(server, CONVERSIONS, "")
    assert len(found.rows) == 20
    assert server.limits[:3] == [500, 50, 5]
    with pytest.raises(TooLargeError):
        await page_of(Tables(20, most_at_a_time=0), CONVERSIONS, "", "")


async def test_what_has_run_out_is_told() -> None:
    with pytest.raises(ExpiredError):
        await all_of(Tables(600, expires=True), CONVERSIONS, "")


async def test_odd_answers_give_rows_all_the_same() -> None:
    owners = [{"uid": "other"}, {"uid": "mine", "controller": True}]

    class Odd:
        async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> Body:
            return {
                "columnDefinitions": [{"name": "Ready"}, {"name": "Last look"}, {}],
                "rows": [
                    {"cells": ["<none>", None], "object": {"metadata": {"ownerReferences": owners}}},
                    {"cells": [7, True], "object": None},
                ],
            }

    found = await page_of(Odd(), TRIGGERS, "team", "")
    assert found.rows == [
        Row("", "", "", "mine", ("", "", "", "")),
        Row("", "", "", "", ("7", "", "True", "")),
    ]


@pytest.mark.parametrize("name", ["../../secrets", "a/b", "a?b#c", "é\r\n", "%2e%2e"])
def test_a_name_cannot_lead_out_of_its_path(name: str) -> None:
    path = path_of("modelconversions", name, name)
    assert len(path.split("/")) == len(path_of("modelconversions", "n", "m").split("/"))
    assert not set("?#\r\n ") & set(path)
