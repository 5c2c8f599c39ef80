"""What is told follows from statuses alone, and is what the specification of CloudEvents says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.telling.events import CONTENT_TYPE, Kind, View, encode, moments_of, times_of
from support.operator.objects import KEY, NOW, conversion, wire

LATER = NOW + timedelta(seconds=72)
DIGEST, OTHER = "a" * 64, "b" * 64
FILE = {"method": "DynamicRange", "sizeFraction": "0.5", "passed": True, "agreement": "0.9990"}
STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "runGeneration": 2,
    "phase": "Succeeded",
    "startTime": wire(NOW),
    "completionTime": wire(LATER),
    "duration": "1m12s",
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Converted", "lastTransitionTime": wire(NOW)},
        {
            "type": "Succeeded",
            "status": "True",
            "reason": "Converted",
            "message": "DynamicRange 12.0KiB",
            "lastTransitionTime": wire(NOW),
        },
    ],
    "source": {"sha256": DIGEST, "sizeBytes": 4096, "format": "TFLite"},
    "artifacts": [
        FILE | {"method": "Float16", "uri": "s3://m/f.tflite", "sizeBytes": 9, "sha256": DIGEST},
        FILE | {"uri": "s3://m/d.tflite", "sizeBytes": 12288, "sha256": OTHER},
    ],
    "recommended": {
        "name": "DynamicRange",
        "method": "DynamicRange",
        "uri": "s3://m/d.tflite",
        "reason": "the smallest",
        "size": "12.0KiB",
    },
    "reportUri": "s3://m/report.json",
    "profile": {"kind": "ConversionProfile", "name": "small", "uid": "p", "generation": 1, "spec": {"a": 1}},
}


def view(**changes: Any) -> ConversionView:
    fields = {name: value for name, value in (STATUS | changes).items() if value is not None}
    return conversion(ModelConversionStatus.model_validate(fields), generation=3)


def set_view(**status: Any) -> SetView:
    meta = {"namespace": "ml", "name": "both", "uid": "5e7", "generation": 4, "resourceVersion": "1"}
    return SetView.from_body({"metadata": meta, "spec": {}, "status": status})


def received(of: View, index: int = -1) -> Any:
    """The event as a receiver's library reads it."""
    return from_http_event(HTTPMessage({"content-type": CONTENT_TYPE}, encode(of, moments_of(of)[index])))


SET: dict[str, Any] = {
    "observedGeneration": 4,
    "phase": "Failed",
    "startTime": wire(NOW),
    "completionTime": wire(LATER),
    "total": 3,
    "succeeded": 2,
    "failed": 1,
}


@pytest.mark.parametrize(
    ("of", "kinds"),
    [
        (view(phase=None, startTime=None, completionTime=None), []),
        (view(phase="Pending", completionTime=None), [Kind.STARTED]),
        (view(phase="Running", completionTime=None), [Kind.STARTED]),
        (view(), [Kind.STARTED, Kind.SUCCEEDED]),
        (view(phase="Failed"), [Kind.STARTED, Kind.FAILED]),
        (view(phase="Running"), [Kind.STARTED]),  # an end's time that was left there by somebody else
        (set_view(), []),
        (set_view(**SET | {"phase": "Running"}), [Kind.SET_STARTED]),
        (set_view(**SET), [Kind.SET_STARTED, Kind.SET_FAILED]),
        (set_view(**SET | {"phase": "Succeeded"}), [Kind.SET_STARTED, Kind.SET_SUCCEEDED]),
    ],
)
def test_what_a_status_says_has_happened(of: View, kinds: list[Kind]) -> None:
    assert [moment.kind for moment in moments_of(of)] == kinds


def test_ids_are_of_the_run_and_stay_the_same() -> None:
    began, ended = moments_of(view())
    assert (began.id, ended.id) == (f"{KEY.uid}/2/started", f"{KEY.uid}/2/succeeded")
    assert (began.time, ended.time) == (NOW, LATER)
    assert moments_of(view(phase="Running", progress={"stage": "Convert", "percent": 3}))[0] == began
    assert moments_of(view(runGeneration=3))[1].id == f"{KEY.uid}/3/succeeded"


def test_a_set_that_ends_twice_is_told_of_twice() -> None:
    first, again = set_view(**SET), set_view(**SET | {"completionTime": wire(LATER + timedelta(seconds=1))})
    assert moments_of(first)[0].id == moments_of(again)[0].id
    assert moments_of(first)[1].id == "5e7/1767323117/set.failed"  # date -u -d 2026-01-02T03:05:17Z +%s
    assert moments_of(again)[1].id == "5e7/1767323118/set.failed"


def test_the_end_of_a_conversion() -> None:
    event = received(view())
    assert event.get_specversion() == "1.0"
    assert event.get_type() == "dev.edgeml.conversion.succeeded"
    assert event.get_source() == f"/apis/edgeml.dev/namespaces/{KEY.namespace}/modelconversions/{KEY.name}"
    assert (event.get_subject(), event.get_time()) == (KEY.name, LATER)
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == {
        "namespace": KEY.namespace,
        "name": KEY.name,
        "uid": KEY.uid,
        "generation": 2,
        "phase": "Succeeded",
        "reason": "Converted",
        "message": "DynamicRange 12.0KiB",
        "startTime": "2026-01-02T03:04:05Z",
        "completionTime": "2026-01-02T03:05:17Z",
        "duration": "1m12s",
        "source": {
            "uri": "s3://models/gesture.h5",
            "sha256": DIGEST,
            "sizeBytes": 4096,
            "format": "TFLite",
        },
        "output": {"uri": "s3://models/out/"},
        "profile": {"kind": "ConversionProfile", "name": "small"},
        "recommended": {
            "name": "DynamicRange",
            "uri": "s3://m/d.tflite",
            "reason": "the smallest",
            "sha256": OTHER,
            "sizeBytes": 12288,
            "agreement": "0.9990",
        },
        "artifacts": 2,
        "reportUri": "s3://m/report.json",
    }


def test_a_failure_says_where_and_why() -> None:
    failed = {"type": "Succeeded", "status": "False", "reason": "OutOfMemory", "message": "give it more"}
    failure = {"stage": "Convert", "reason": "OutOfMemory", "message": "give it more", "time": wire(LATER)}
    changes = {"artifacts": [], "recommended": None, "reportUri": None, "source": None, "profile": None}
    conditions = [failed | {"lastTransitionTime": wire(NOW)}]
    event = received(view(phase="Failed", conditions=conditions, failure=failure, **changes))
    assert event.get_type() == "dev.edgeml.conversion.failed"
    data = event.get_data()
    assert (data["phase"], data["reason"], data["message"]) == ("Failed", "OutOfMemory", "give it more")
    assert (data["stage"], data["source"]) == ("Convert", {"uri": "s3://models/gesture.h5"})
    assert "recommended" not in data
    assert "profile" not in data


def test_a_long_message_is_cut() -> None:
    condition = STATUS["conditions"][1] | {"message": "\N{BULLET}" * 30000}
    told = received(view(conditions=[condition]))
    assert told.get_data()["message"] == "\N{BULLET}" * 4096


def test_a_start_is_the_same_event_whenever_it_is_made() -> None:
    began = view(phase="Pending", completionTime=None, conditions=[], source=None, artifacts=[])
    assert received(began, 0).get_data() == received(view(), 0).get_data()
    assert received(view(), 0).get_time() == NOW


def test_the_end_of_a_set() -> None:
    event = received(set_view(**SET))
    assert event.get_type() == "dev.edgeml.conversion.set.failed"
    assert event.get_source() == "/apis/edgeml.dev/namespaces/ml/modelconversionsets/both"
    data = event.get_data()
    assert {name: data[name] for name in ("total", "succeeded", "failed", "phase", "generation")} == {
        "total": 3,
        "succeeded": 2,
        "failed": 1,
        "phase": "Failed",
        "generation": 4,
    }


def test_a_spec_that_nobody_has_checked_is_told_of_without_what_is_wrong() -> None:
    body = {"metadata": {"namespace": "n", "name": "a", "uid": "u", "generation": 1, "resourceVersion": "1"}}
    status = {"startTime": wire(NOW), "runGeneration": 1, "phase": "Pending"}
    odd = ConversionView.from_body(body | {"spec": {"source": "x", "output": {"uri": 3}}, "status": status})
    data = received(odd, 0).get_data()
    assert (data["source"], data["output"]) == ({}, {})


def test_times_are_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    local = view(startTime=datetime(2026, 1, 2, 5, 4, 5, tzinfo=east).isoformat())
    assert received(local, 0).get_time() == NOW.astimezone(UTC)
    assert received(local, 0).get_data()["startTime"] == "2026-01-02T03:04:05Z"


def test_what_is_old_is_found_without_reading_it() -> None:
    assert list(times_of({"status": STATUS})) == [STATUS["startTime"], STATUS["completionTime"]]
    assert list(times_of({"status": {"startTime": "x"}})) == ["x"]
    assert list(times_of({"status": None})) == []


def test_every_kind_has_a_type_of_its_own() -> None:
    assert {kind.type for kind in Kind} == {
        f"dev.edgeml.conversion.{middle}{word}"
        for middle in ("", "set.")
        for word in ("started", "succeeded", "failed")
    }
