"""Traces on the wire, as OpenTelemetry's own messages read them, and what a receiver's answer means."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from modelconversion_operator.errors import SettingsError
from modelconversion_operator.settings import load
from modelconversion_operator.telling import teller as telling
from modelconversion_operator.telling.mark import Mark
from modelconversion_operator.telling.otlp import DIALECT, FORM, encode, judge, traces_url
from modelconversion_operator.telling.sink import Access, Outcome, Sink
from modelconversion_operator.telling.spans import ENDS, ends_of
from modelconversion_operator.telling.teller import Scope, Teller
from support.cluster.web_server import WebServer, sends
from support.operator.objects import KEY, NOW
from unit.operator.telling.test_spans import FAILED, PARENT, set_view, stage, view
from unit.operator.telling.test_teller import ApiServer, conversion


def spans(body: bytes) -> list[ProtoSpan]:
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (service,) = resource.resource.attributes
    assert (service.key, service.value.string_value) == ("service.name", "model-conversion-operator")
    (scope,) = resource.scope_spans
    return list(scope.spans)


def attributes(span: ProtoSpan) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def encoded(of: Any) -> list[ProtoSpan]:
    return spans(encode(of, ends_of(of)[0]))


def test_a_trace_on_the_wire() -> None:
    source = {"sha256": "a" * 64, "sizeBytes": 4096, "format": "TFLite"}
    of = view(PARENT, stages=[stage("Load", 1.25, "2.5", pod="p")], source=source, cacheHit=False)
    whole, load = encoded(of)
    assert whole.trace_id.hex() == load.trace_id.hex() == PARENT.split("-")[1]
    assert whole.parent_span_id.hex() == PARENT.split("-")[2]
    assert load.parent_span_id == whole.span_id
    assert (whole.flags, load.flags) == (0x301, 0x101)
    # date -u -d 2026-01-02T03:04:05Z +%s
    assert (whole.start_time_unix_nano, whole.end_time_unix_nano) == (1767323045 * 10**9, 1767323105 * 10**9)
    assert load.start_time_unix_nano == 1767323046_250_000_000
    assert load.end_time_unix_nano == 1767323048_750_000_000
    assert whole.status.code == load.status.code == 0
    assert attributes(load) == {
        "edgeml.conversion.name": KEY.name,
        "edgeml.conversion.uid": KEY.uid,
        "k8s.namespace.name": KEY.namespace,
        "k8s.pod.name": "p",
    }
    found = attributes(whole)
    assert (found["edgeml.source.size"], found["edgeml.source.format"]) == (4096, "TFLite")
    assert found["edgeml.conversion.cache_hit"] is False


def test_what_failed_is_an_error_with_its_reason() -> None:
    whole, _, evaluate = encoded(view(**FAILED))
    assert whole.status.code == evaluate.status.code == 2
    assert whole.status.message == "GatesNotMet: FullInteger: agreement 0.9 is below 0.99"
    assert evaluate.status.message == "GatesNotMet"
    assert attributes(whole)["error.type"] == attributes(evaluate)["error.type"] == "GatesNotMet"


def test_a_traceparent_that_is_ignored_is_in_the_log_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoded(view("s3cret"))
    assert "edgeml.dev/traceparent is none" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_same_run_is_the_same_bytes() -> None:
    for of in (view(**FAILED), set_view(PARENT)):
        (moment,) = ends_of(of)
        assert encode(of, moment) == encode(of, moment)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://otel:4318", "http://otel:4318/v1/traces"),
        ("http://otel:4318/", "http://otel:4318/v1/traces"),
        ("https://otel.example/otlp", "https://otel.example/otlp/v1/traces"),
        ("https://otel.example/otlp/?key=1", "https://otel.example/otlp/v1/traces?key=1"),
        ("https://otel.example/v1/traces", "https://otel.example/v1/traces"),
    ],
)
def test_where_traces_go(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("otel:4317", "it must be http://HOST:PORT or https://HOST:PORT of OTLP over HTTP"),
        ("grpc://otel:4317", "it must be http://HOST:PORT"),
        ("https://user:hush@otel.example", "it has a user in it"),
    ],
)
def test_endpoints_that_can_be_none(endpoint: str, words: str) -> None:
    with pytest.raises(
        SettingsError, match=r"--traces-endpoint \(MODELCONVERSION_TRACES_ENDPOINT\)"
    ) as caught:
        load(["--converter-image", "x", "--traces-endpoint", endpoint])
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)


def partly(rejected: int, words: str = "") -> bytes:
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=words)
    return ExportTraceServiceResponse(partial_success=partial).SerializeToString()


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome", "wait"),
    [
        (200, b"", {}, Outcome.DELIVERED, 0),
        (200, partly(0), {}, Outcome.DELIVERED, 0),
        (200, partly(0, "slow down"), {}, Outcome.DELIVERED, 0),
        (200, partly(2, "too long"), {}, Outcome.REFUSED, 0),
        (202, b"", {}, Outcome.DELIVERED, 0),
        (200, b"\xff\xff\xff", {}, Outcome.DELIVERED, 0),
        (200, b"{}", {}, Outcome.DELIVERED, 0),
        (301, b"", {}, Outcome.REFUSED, 0),
        (400, b"", {}, Outcome.REFUSED, 0),
        (401, b"", {}, Outcome.REFUSED, 0),
        (404, b"", {}, Outcome.REFUSED, 0),
        (408, b"", {}, Outcome.REFUSED, 0),
        (429, b"", {"Retry-After": "7"}, Outcome.FAILED, 7),
        (500, b"", {"Retry-After": "7"}, Outcome.REFUSED, 0),
        (501, b"", {}, Outcome.REFUSED, 0),
        (502, b"", {}, Outcome.FAILED, 0),
        (503, b"", {"Retry-After": "120"}, Outcome.FAILED, 120),
        (504, b"", {}, Outcome.FAILED, 0),
    ],
)
def test_what_an_answer_means(
    status: int, body: bytes, headers: dict[str, str], outcome: Outcome, wait: float
) -> None:
    verdict = judge(status, headers, body)
    assert (verdict.outcome, verdict.wait_seconds) == (outcome, wait)


def test_what_was_not_taken_whole_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert judge(200, {}, partly(2, "too\nlong " + "x" * 999)).words.startswith(
        "it has rejected 2 spans: too"
    )
    assert len(judge(200, {}, partly(2, "x" * 9999)).words) < 400
    caplog.set_level(logging.WARNING)
    judge(200, {}, partly(0, "slow down"))
    assert "slow down" in caplog.text


async def test_traces_are_told_by_the_delivery_of_events(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only ends, once each; an outage is outlasted, and what is refused keeps no other."""
    monkeypatch.setattr(telling, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(telling, "_LOOK_SECONDS", 0.02)
    counts: dict[str, int] = {}

    def count(outcome: str) -> None:
        counts[outcome] = counts.get(outcome, 0) + 1

    async def until(outcome: str, times: int) -> None:
        async with asyncio.timeout(20):
            while counts.get(outcome, 0) < times:  # noqa: ASYNC110 - a server in another thread
                await asyncio.sleep(0.01)

    with WebServer(encrypted=False) as receiver:
        receiver.answers["/v1/traces"] = sends(b"", status=503)
        server = ApiServer(conversion("a"), conversion("b", "Running"), conversion("c", "Failed")).marked(NOW)
        sink = Sink(traces_url(receiver.url), Access(), "test/1", DIALECT)
        teller = Teller(sink, Scope(ENDS, (), ""), count, FORM)
        work = asyncio.create_task(
            teller.run(server, Mark(server, lambda: 15.0), lambda: NOW + timedelta(seconds=1), lambda: 0.0)
        )
        await until("failed", 2)
        assert "takes no traces: it answers 503" in caplog.text
        receiver.requests.clear()
        receiver.answers["/v1/traces"] = sends(partly(0), status=200)
        await until("delivered", 2)
        receiver.answers["/v1/traces"] = sends(b"", status=400)
        teller.see(view())
        await until("refused", 1)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        taken = [spans(request.body)[0] for request in receiver.requests]
    assert {request.headers["Content-Type"] for request in receiver.requests} == {"application/x-protobuf"}
    assert {attributes(span)["edgeml.conversion.name"] for span in taken} == {"a", "c", KEY.name}
    assert "traces: uid-1/2/succeeded is given up" in caplog.text.replace(KEY.uid, "uid-1")


def test_without_an_endpoint_the_library_is_not_read() -> None:
    code = (
        "import sys, modelconversion_operator.process;"
        "assert not [m for m in sys.modules if m.startswith(('opentelemetry', 'google.protobuf'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
