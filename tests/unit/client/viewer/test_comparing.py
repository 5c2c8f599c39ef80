"""What differs between conversions, and what is best."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_client.resources import Conversion
from modelconversion_client.viewer.comparing import best, differences, groups
from support.client.objects import artifact, conversion


def made(name: str, *artifacts: dict[str, Any], **spec: Any) -> Conversion:
    return Conversion.of(conversion(name, {"artifacts": list(artifacts)}, **spec))


def test_only_what_differs_is_shown() -> None:
    first = made("a", source={"uri": "s3://m/a.h5"}, validation={"maxAccuracyDrop": "0.02", "samples": 10})
    second = made("b", source={"uri": "s3://m/b.h5"}, methods=["Float32", "Float16"], suspend=True)
    assert differences([first, second]) == [
        ("methods", ['["Float16"]', '["Float32", "Float16"]']),
        ("source.uri", ["s3://m/a.h5", "s3://m/b.h5"]),
        ("suspend", ["", "true"]),
        ("validation.maxAccuracyDrop", ["0.02", ""]),
        ("validation.samples", ["10", ""]),
    ]
    assert differences([first, first]) == []
    assert len(differences([first, made("c", source={"uri": "x" * 9999})])[0][1][1]) <= 200


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([{"sizeBytes": 2}, {"sizeBytes": 1}], {"size": {1}}),
        ([{"agreement": "0.9"}, {"agreement": "0.95"}, {"agreement": "0.95"}], {"agreement": {1, 2}}),
        ([{"accuracy": "0.9"}, {}], {}),
        ([{"latencyMillis": "10.5"}, {"latencyMillis": "9.25"}, {}], {"latency": {1}}),
        ([{"agreement": "0.9"}, {"agreement": "0.90"}], {}),
    ],
)
def test_the_best_is_found_where_there_is_one(
    figures: list[dict[str, Any]], expected: dict[str, set[int]]
) -> None:
    found = [made(str(number), artifact("Float16", **more)) for number, more in enumerate(figures)]
    (pairs,) = groups(found).values()
    assert {name: places for name, places in best(pairs).items() if places} == expected


def test_artifacts_are_grouped_by_what_made_them() -> None:
    own = artifact("FullInteger")
    found = groups([made("a", artifact("Float16"), own), made("b", artifact("Float16"))])
    assert {name: [one.name for one, _ in pairs] for name, pairs in found.items()} == {
        "Float16": ["a", "b"],
        "FullInteger": ["a"],
    }
