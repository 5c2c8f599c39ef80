"""What a conversion and its profile ask for together: never less than the profile does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.profiles import ProfileConflictError, ResolvedProfile, under_profile
from modelconversion_api.spec import ModelConversionSpec

PI = {"name": "pi", "nodeSelector": {"board": "pi"}, "maxLatencyMillis": "20"}
GPU = {"name": "gpu", "nodeSelector": {"board": "gpu"}}
U55 = {"accelerator": "ethos-u55-128", "minMappedFraction": "0.9"}


def profile(**spec: Any) -> ResolvedProfile:
    fields = {"kind": "ClusterConversionProfile", "name": "doorbell", "uid": "u", "generation": 3}
    return ResolvedProfile.model_validate(fields | {"spec": spec})


def own(**fields: Any) -> ModelConversionSpec:
    base = {
        "source": {"uri": "s3://models/a.h5"},
        "output": {"uri": "s3://models/out/"},
        "profileRef": {"kind": "ClusterConversionProfile", "name": "doorbell"},
    }
    return ModelConversionSpec.model_validate(base | fields)


def together(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    return under_profile(own(**mine), profile(**{"methods": ["FullInteger"]} | theirs)).to_wire()


@pytest.mark.parametrize(
    ("theirs", "mine", "field", "result"),
    [
        # What one of them leaves out is the other's.
        ({}, {}, "methods", ["FullInteger"]),
        ({}, {"edgeTPU": {}}, "edgeTPU.compile", True),
        ({"edgeTPU": {"compile": False}}, {}, "edgeTPU.compile", False),
        ({"edgeTPU": {"compile": False}}, {"edgeTPU": {}}, "edgeTPU.compile", False),
        ({"npu": {"vendor": "Intel", "socs": ["CPU"]}}, {}, "npu.socs", ["CPU"]),
        ({"tuning": {"budgetSeconds": 600}}, {}, "tuning.budgetSeconds", 600),
        ({"tuning": {"budgetSeconds": 600}}, {"tuning": {"budgetSeconds": 300}}, "tuning.budgetSeconds", 600),
        ({}, {"tuning": {"budgetSeconds": 0}}, "tuning.budgetSeconds", 0),
        # Of gates, the tighter one.
        ({"validation": {"maxSizeBytes": 9}}, {}, "validation.maxSizeBytes", 9),
        (
            {"validation": {"maxSizeBytes": 9}},
            {"validation": {"maxSizeBytes": 8}},
            "validation.maxSizeBytes",
            8,
        ),
        ({}, {"validation": {"minAgreement": "0.9"}}, "validation.minAgreement", "0.9"),
        (
            {"validation": {"minAccuracy": "0.3"}},
            {"validation": {"minAccuracy": "0.4"}},
            "validation.minAccuracy",
            "0.4",
        ),
        (
            {"validation": {"minAgreement": "0.9"}},
            {"validation": {"minAgreement": "0.95"}},
            "validation.minAgreement",
            "0.95",
        ),
        (
            {"validation": {"maxLatencyMillis": "10"}},
            {"validation": {"maxLatencyMillis": "9.5"}},
            "validation.maxLatencyMillis",
            "9.5",
        ),
        (
            {"validation": {"maxAccuracyDrop": "0.02"}},
            {"validation": {"maxAccuracyDrop": "0.020"}},
            "validation.maxAccuracyDrop",
            "0.020",
        ),
        (
            {"validation": {"floor": "0.5"}},
            {"validation": {"uri": "s3://models/v.npy"}},
            "validation.floor",
            "0.5",
        ),
        ({"ethosU": U55}, {"ethosU": U55 | {"minMappedFraction": "1"}}, "ethosU.minMappedFraction", "1"),
        # Lists of runtimes, boards and recipes are joined.
        ({"verifyOn": ["GPU"]}, {"verifyOn": ["armv7", "GPU"]}, "verifyOn", ["GPU", "armv7"]),
        # Of a Job, the conversion's own words count first.
        ({"job": {"backoffLimit": 0}}, {}, "job.backoffLimit", 0),
        ({"job": {"backoffLimit": 0}}, {"job": {"backoffLimit": 5}}, "job.backoffLimit", 5),
        (
            {"job": {"nodeSelector": {"a": "b"}}},
            {"job": {"priorityClassName": "low"}},
            "job.nodeSelector",
            {"a": "b"},
        ),
        ({}, {"job": {"ttlSecondsAfterFinished": 5}}, "job.ttlSecondsAfterFinished", 5),
    ],
)
def test_both_count(theirs: dict[str, Any], mine: dict[str, Any], field: str, result: Any) -> None:
    found: Any = together(mine, theirs)
    for part in field.split("."):
        found = found[part]
    assert found == result


def test_boards_are_joined_by_name_and_may_be_tightened() -> None:
    mine = {"benchmark": {"boards": [PI | {"maxLatencyMillis": "10"}, GPU]}}
    boards = together(mine, {"benchmark": {"boards": [PI]}})["benchmark"]["boards"]
    assert [(board["name"], board.get("maxLatencyMillis")) for board in boards] == [
        ("pi", "10"),
        ("gpu", None),
    ]


@pytest.mark.parametrize(
    ("theirs", "mine", "words"),
    [
        ({}, {"methods": ["Float32"]}, "spec.methods: the profile chooses the methods; leave it out"),
        ({}, {"target": "GPU"}, "spec.target: the profile chooses"),
        ({"edgeTPU": {}}, {"edgeTPU": {"compile": False}}, "spec.edgeTPU.compile: the profile says True"),
        (
            {"ethosU": U55},
            {"ethosU": {"accelerator": "ethos-u55-64"}},
            "ethosU.accelerator: the profile says ethos",
        ),
        (
            {"ethosU": U55},
            {"ethosU": U55 | {"minMappedFraction": "0.5"}},
            "0.5 is looser than the profile's 0.9",
        ),
        (
            {"validation": {"maxAccuracyDrop": "0.02"}},
            {"validation": {"maxAccuracyDrop": "0.1"}},
            "0.1 is looser",
        ),
        (
            {"validation": {"floor": "0.5"}},
            {"validation": {"floor": "0"}},
            "spec.validation.floor: 0 is looser",
        ),
        (
            {"benchmark": {"boards": [PI]}},
            {"benchmark": {"boards": [PI | {"maxLatencyMillis": "30"}]}},
            "30 is looser",
        ),
        (
            {"benchmark": {"boards": [PI]}},
            {"benchmark": {"boards": [GPU | {"name": "pi"}]}},
            "boards[pi].nodeSelector",
        ),
        (
            {"benchmark": {"boards": [GPU | {"name": f"g{n}"} for n in range(8)]}},
            {"benchmark": {"boards": [PI]}},
            "with the profile's 8 there would be 9, and 8 is the limit",
        ),
        (
            {"validation": {"minAgreement": "0.95"}},
            {"recipes": [{"name": "mine", "base": "FullInteger", "gates": {"minAgreement": "0.5"}}]},
            "spec.recipes[mine].gates.minAgreement: 0.5 is looser",
        ),
        (
            {"tuning": {"budgetSeconds": 60}},
            {"tuning": {"budgetSeconds": 90}},
            "the profile says 60; leave it out",
        ),
    ],
)
def test_less_or_something_else_is_refused(theirs: dict[str, Any], mine: dict[str, Any], words: str) -> None:
    with pytest.raises(ProfileConflictError, match=r".+") as caught:
        together(mine, theirs)
    assert words in str(caught.value)


def test_somebody_must_say_what_to_make() -> None:
    with pytest.raises(
        ProfileConflictError, match="neither the profile nor the conversion says what to make"
    ):
        under_profile(own(), profile(verifyOn=["GPU"]))


def test_a_profile_of_the_future_is_read_as_far_as_it_is_known() -> None:
    merged = under_profile(own(), profile(target="Cloud", news={"a": 1}))
    assert [str(method) for method in merged.resolved_methods()] == ["Float32"]


def test_the_result_stands_for_itself() -> None:
    merged = under_profile(own(), profile(methods=["Float16"]))
    assert merged.profile_ref is None
    assert ModelConversionSpec.model_validate(merged.to_wire()) == merged


_HIGHEST = {"minAccuracy": True, "minAgreement": True, "floor": True, "maxAccuracyDrop": False}
_SHARE = st.integers(0, 100).map(lambda n: f"{n / 100:.2f}")
_GATES = st.fixed_dictionaries({}, optional=dict.fromkeys(_HIGHEST, _SHARE))


@given(theirs=_GATES, mine=_GATES)
def test_no_gate_is_ever_looser_than_the_profiles(theirs: dict[str, str], mine: dict[str, str]) -> None:
    try:
        merged = together({"validation": mine}, {"validation": theirs})["validation"]
    except ProfileConflictError:
        looser = [
            name
            for name in theirs.keys() & mine.keys()
            if (float(mine[name]) < float(theirs[name])) == _HIGHEST[name]
            and float(mine[name]) != float(theirs[name])
        ]
        assert looser, "refused without a cause"
        return
    for name, is_highest in _HIGHEST.items():
        wanted = [float(part[name]) for part in (theirs, mine) if name in part]
        if wanted:
            assert float(merged[name]) == (max(wanted) if is_highest else min(wanted))
        else:
            assert name not in merged
