"""Events to a sink and traces to a Collector: a real API server, the operator with its own rights, the real
converter, an OpenTelemetry Collector, and outages.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_operator_rbac
from devcluster.processes import free_ports
from devcluster.services.collector import Collector
from support.cluster.conversions import Conversions, Operator, until
from support.cluster.web_server import WebServer, sends
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]

CLASS = "told"
TOKEN = "t0ken-that-nobody-may-see"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OPERATOR_LEASE = ("get", "lease", "model-conversion-operator-told", "-n", "default", "-o", "json")

Json = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[WebServer]:
    with WebServer() as server:
        server.answers["/in"] = sends(b"", status=202)
        yield server


MakeOperator = Callable[..., Operator]


@contextmanager
def operators(
    crd: ControlPlane, tmp_path: Path, lease: str, **settings: str
) -> Iterator[Callable[..., Operator]]:
    """Makes operators of a class of their own, with a token that no log of theirs may have.

    What they have told before, by the Lease with this suffix, is forgotten.
    """
    kubeconfig = install_operator_rbac(crd, "default")
    name = f"model-conversion-operator-{lease}"
    crd.kubectl("delete", "lease", name, "-n", "default", "--ignore-not-found")
    (tmp_path / "token").write_text(TOKEN)
    made: list[Operator] = []

    def make(**more: str) -> Operator:
        running = Operator(
            kubeconfig,
            tmp_path / "operator.log",
            class_name=CLASS,
            lease_namespace="default",
            log_level="debug",
            **settings,
            **more,
        )
        made.append(running)
        running.start()
        return running

    yield make
    for running in made:
        running.kill()
    assert TOKEN not in (tmp_path / "operator.log").read_text()


@pytest.fixture
def telling(crd: ControlPlane, receiver: WebServer, tmp_path: Path) -> Iterator[MakeOperator]:
    """Makes operators of a class of their own, which tell the receiver or another sink."""
    (tmp_path / "ca.crt").write_text(receiver.bundle)
    settings = {"events_token_file": str(tmp_path / "token"), "events_ca_file": str(tmp_path / "ca.crt")}
    with operators(crd, tmp_path, "told", **settings) as make:
        yield lambda sink=f"{receiver.url}/in": make(events_sink=sink)


@pytest.fixture
def tiny(conversions: Conversions, tmp_path: Path) -> Conversions:
    conversions.upload({"tiny.tflite": write_tiny_tflite(tmp_path / "tiny.tflite", (1, 4096))})
    return conversions


def apply(tiny: Conversions, name: str, model: str = "tiny.tflite") -> None:
    source = {"uri": tiny.uri(model)}
    tiny.apply(name, className=CLASS, source=source, methods=["DynamicRange"])


def refuse(tiny: Conversions, name: str) -> None:
    """A conversion that ends where it begins, without a Job."""
    tiny.apply(
        name,
        className=CLASS,
        source={"uri": tiny.uri("x.tflite")},
        methods=["Float16"],
        job={"serviceAccountName": "no"},
    )


def apply_set(tiny: Conversions, name: str) -> str:
    """A set whose member is refused; gives its UID."""
    spec = {
        "className": CLASS,
        "models": [{"name": "tiny", "source": {"uri": tiny.uri("x.tflite")}}],
        "profiles": [{"name": "none"}],
        "output": {"uri": tiny.uri("sets/")},
        "storage": {"endpoint": tiny.store.endpoint, "secretRef": {"name": "s3-credentials"}},
        "job": {"serviceAccountName": "no"},
    }
    meta = {"name": name, "namespace": tiny.namespace}
    body = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ModelConversionSet", "metadata": meta, "spec": spec}
    tiny.cluster.apply([body])
    return tiny.kubectl("get", "mcset", name, "-o", "jsonpath={.metadata.uid}")


def phase(tiny: Conversions, name: str) -> str | None:
    found: str | None = tiny.get(name).get("status", {}).get("phase")
    return found


def events(receiver: WebServer) -> dict[str, Any]:
    """What was received, by id, as a receiver's library reads it."""
    found = {}
    for request in list(receiver.requests):
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        message = HTTPMessage({"content-type": request.headers["Content-Type"]}, request.body)
        event: Any = from_http_event(message)
        found[event.get_id()] = event
    return found


def types(receiver: WebServer, uid: str) -> list[str]:
    return sorted(e.get_type() for name, e in events(receiver).items() if name.startswith(uid))


def test_start_and_end_are_told_with_what_came_of_it(
    telling: MakeOperator, receiver: WebServer, tiny: Conversions
) -> None:
    operator = telling()
    until(lambda: "telling https://localhost" in operator.log.read_text(), "it tells", 30, operator.tail)
    apply(tiny, "good")
    apply(tiny, "bad", "absent.tflite")
    of_set = apply_set(tiny, "both")
    for name in ("good", "bad"):
        until(lambda name=name: phase(tiny, name) in ("Succeeded", "Failed"), f"{name} has ended", 120)
    good, bad = tiny.get("good"), tiny.get("bad")
    # Two conversions, the set, and its member.
    until(lambda: len(events(receiver)) == 8, "all is told", 30, operator.tail)
    prefix = "dev.edgeml.conversion."
    assert types(receiver, of_set) == [f"{prefix}set.failed", f"{prefix}set.started"]
    assert types(receiver, good["metadata"]["uid"]) == [f"{prefix}started", f"{prefix}succeeded"]
    assert types(receiver, bad["metadata"]["uid"]) == [f"{prefix}failed", f"{prefix}started"]
    told = events(receiver)[f"{good['metadata']['uid']}/1/succeeded"]
    assert told.get_source() == f"/apis/edgeml.dev/namespaces/{tiny.namespace}/modelconversions/good"
    data, status = told.get_data(), good["status"]
    assert data["source"]["sha256"] == status["source"]["sha256"]
    assert data["recommended"]["uri"] == status["recommended"]["uri"]
    assert data["recommended"]["sha256"] == status["artifacts"][0]["sha256"]
    assert data["reportUri"] == status["reportUri"]
    failed = events(receiver)[f"{bad['metadata']['uid']}/1/failed"].get_data()
    assert (failed["reason"], failed["phase"]) == ("SourceNotFound", "Failed")
    assert failed["message"] == bad["status"]["failure"]["message"]
    assert operator.metric('modelconversion_notifications_total{outcome="delivered",signal="events"}') == 8


def test_a_sink_that_hangs_keeps_no_conversion(
    telling: MakeOperator, receiver: WebServer, tiny: Conversions
) -> None:
    let_go = threading.Event()

    def hangs(request: http.server.BaseHTTPRequestHandler) -> None:
        let_go.wait(60)
        sends(b"")(request)

    receiver.answers["/in"] = hangs
    operator = telling()
    try:
        for name in ("one", "two", "three"):
            refuse(tiny, name)
        for name in ("one", "two", "three"):
            until(lambda name=name: phase(tiny, name) == "Failed", f"{name} has ended", 120, operator.tail)
        assert not let_go.is_set()
        assert (
            operator.metric('modelconversion_notifications_total{outcome="delivered",signal="events"}') == 0
        )
    finally:
        let_go.set()
    until(lambda: len(events(receiver)) == 6, "all is told once it goes on", 40, operator.tail)


def test_killed_while_the_sink_is_down_and_started_again_it_is_told(
    telling: MakeOperator, receiver: WebServer, tiny: Conversions
) -> None:
    (dead,) = free_ports(1)
    first = telling(f"https://localhost:{dead}/in")
    refuse(tiny, "outage")
    until(lambda: phase(tiny, "outage") == "Failed", "it has ended all the same", 60, first.tail)
    until(
        lambda: first.metric('modelconversion_notifications_pending{signal="events"}') == 2,
        "both wait",
        20,
        first.tail,
    )
    assert first.metric('modelconversion_notifications_total{outcome="failed",signal="events"}') >= 1
    first.kill()
    assert receiver.requests == []
    telling()
    uid = tiny.get("outage")["metadata"]["uid"]
    until(lambda: len(types(receiver, uid)) == 2, "both are told", 30, first.tail)
    lease: Json = json.loads(tiny.cluster.kubectl(*OPERATOR_LEASE).stdout)
    assert lease["spec"]["renewTime"] <= tiny.get("outage")["status"]["startTime"].replace("Z", ".000000Z")


# Traces.


@pytest.fixture
def behind() -> Iterator[WebServer]:
    """Where the Collector passes traces on to, as JSON."""
    with WebServer(encrypted=False) as server:
        server.answers["/v1/traces"] = sends(b"{}")
        yield server


@pytest.fixture
def collector(behind: WebServer, tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path, behind.url) as running:
        yield running


@pytest.fixture
def tracing(crd: ControlPlane, tmp_path: Path) -> Iterator[MakeOperator]:
    """Makes operators of a class of their own, which tell a receiver of traces."""
    with operators(crd, tmp_path, "traced", traces_token_file=str(tmp_path / "token")) as make:
        yield lambda endpoint: make(traces_endpoint=endpoint)


def attribute(span: Json, name: str) -> str | None:
    found = (a["value"]["stringValue"] for a in span["attributes"] if a["key"] == name)
    return next(found, None)


def spans(behind: WebServer) -> dict[str, Json]:
    """What the Collector has passed on, by the spans' ids, as a store has it that overwrites."""
    found: dict[str, Json] = {}
    for request in list(behind.requests):
        for resource in json.loads(request.body)["resourceSpans"]:
            (service,) = resource["resource"]["attributes"]
            assert service["value"]["stringValue"] == "model-conversion-operator"
            for span in resource["scopeSpans"][0]["spans"]:
                known = found.setdefault(span["spanId"], span)
                assert known == span, "told twice with different content"
    return found


def trace(behind: WebServer, name: str, kind: str = "conversion") -> list[Json]:
    """The spans of one conversion or set; the whole one first."""
    found = [s for s in spans(behind).values() if attribute(s, f"edgeml.{kind}.name") == name]
    return sorted(found, key=lambda span: (span["name"] != kind, int(span["startTimeUnixNano"])))


def nanoseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000) * 1_000_000


def test_each_run_is_a_trace_with_its_stages(
    tracing: MakeOperator, collector: Collector, behind: WebServer, tiny: Conversions
) -> None:
    operator = tracing(collector.endpoint)
    until(lambda: "/v1/traces what happened" in operator.log.read_text(), "it tells", 30, operator.tail)
    apply(tiny, "good")
    tiny.kubectl("annotate", "mconv", "good", f"edgeml.dev/traceparent={PARENT}")
    apply(tiny, "bad", "absent.tflite")
    apply_set(tiny, "both")
    for name in ("good", "bad"):
        until(lambda name=name: phase(tiny, name) in ("Succeeded", "Failed"), f"{name} has ended", 120)
    until(lambda: trace(behind, "both", "set"), "the set is told of", 60, operator.tail)
    until(lambda: trace(behind, "good") and trace(behind, "bad"), "both are told of", 60, operator.tail)

    status, (whole, *parts) = tiny.get("good")["status"], trace(behind, "good")
    assert (whole["traceId"], whole["parentSpanId"]) == tuple(PARENT.split("-")[1:3])
    assert int(whole["startTimeUnixNano"]) == nanoseconds(status["startTime"])
    assert int(whole["endTimeUnixNano"]) == nanoseconds(status["completionTime"])
    names = {part["name"] for part in parts}
    assert names >= {"queue", "schedule", "start", "fetch", "load", "quantize", "evaluate", "publish"}
    assert [part["name"] for part in parts] == [
        s["name"].lower() for s in sorted(status["stages"], key=lambda s: nanoseconds(s["startTime"]))
    ]
    for part in parts:
        assert (part["traceId"], part["parentSpanId"]) == (whole["traceId"], whole["spanId"])
        times = [
            int(s[f"{end}TimeUnixNano"]) for s, end in ((whole, "start"), (part, "start"), (part, "end"))
        ]
        assert [*times, int(whole["endTimeUnixNano"])] == sorted([*times, int(whole["endTimeUnixNano"])])
        assert attribute(part, "k8s.namespace.name") == tiny.namespace

    failed, *parts = trace(behind, "bad")
    assert failed["status"]["code"] == 2
    assert attribute(failed, "error.type") == "SourceNotFound"
    assert [p["name"] for p in parts if p["status"].get("code") == 2] == ["fetch"]
    assert failed["traceId"] != whole["traceId"]

    (of_set,) = trace(behind, "both", "set")
    (member,) = tiny.kubectl("get", "mconv", "-l", "edgeml.dev/set=both", "-o", "name").split()
    until(lambda: trace(behind, member.partition("/")[2]), "its member is told of", 60, operator.tail)
    of_member = trace(behind, member.partition("/")[2])[0]
    assert (of_member["traceId"], of_member["parentSpanId"]) == (of_set["traceId"], of_set["spanId"])
    delivered = 'modelconversion_notifications_total{outcome="delivered",signal="traces"}'
    assert operator.metric(delivered) == 4


def test_killed_between_the_end_and_the_delivery_the_trace_still_comes(
    tracing: MakeOperator, collector: Collector, behind: WebServer, tiny: Conversions
) -> None:
    (dead,) = free_ports(1)
    first = tracing(f"http://127.0.0.1:{dead}")
    apply(tiny, "outage")
    until(lambda: phase(tiny, "outage") == "Succeeded", "it has ended all the same", 120, first.tail)
    waiting = 'modelconversion_notifications_pending{signal="traces"}'
    until(lambda: first.metric(waiting) == 1, "its trace waits", 20, first.tail)
    first.kill()
    assert behind.requests == []
    # Its pod and its Job are gone by the time that it is told.
    tiny.kubectl("delete", "job", "--all", "--cascade=foreground")
    # Somebody is there, but what is behind it is down.
    behind.answers["/v1/traces"] = sends(b"", status=503)
    second = tracing(collector.endpoint)
    failed = 'modelconversion_notifications_total{outcome="failed",signal="traces"}'
    until(lambda: second.metric(failed) >= 2, "the Collector says that it cannot", 30, second.tail)
    second.kill()
    behind.requests.clear()
    behind.answers["/v1/traces"] = sends(b"{}")
    third = tracing(collector.endpoint)
    until(lambda: trace(behind, "outage"), "it is told of", 30, third.tail)
    names = {span["name"] for span in trace(behind, "outage")}
    assert names >= {"conversion", "queue", "fetch", "load", "quantize", "evaluate", "publish"}
    # A fourth one tells it again, for it cannot know: the same spans (see `spans`).
    third.kill()
    told = len(behind.requests)
    fourth = tracing(collector.endpoint)
    until(lambda: len(behind.requests) > told, "it is told of again", 30, fourth.tail)
    assert {span["name"] for span in trace(behind, "outage")} == names


def test_a_receiver_that_hangs_or_refuses_keeps_no_conversion(
    tracing: MakeOperator, collector: Collector, behind: WebServer, tiny: Conversions
) -> None:
    let_go = threading.Event()

    def hangs(request: http.server.BaseHTTPRequestHandler) -> None:
        let_go.wait(60)
        sends(b"{}")(request)

    behind.answers["/v1/traces"] = hangs
    operator = tracing(collector.endpoint)
    names = [f"busy{number}" for number in range(5)]
    try:
        for name in names:
            refuse(tiny, name)
        for name in names:
            until(lambda name=name: phase(tiny, name) == "Failed", f"{name} has ended", 120, operator.tail)
        assert not let_go.is_set()
    finally:
        let_go.set()
    until(
        lambda: all(trace(behind, name) for name in names), "all is told once it goes on", 60, operator.tail
    )
    behind.answers["/v1/traces"] = sends(b"", status=400)
    refuse(tiny, "refused")
    refused = 'modelconversion_notifications_total{outcome="refused",signal="traces"}'
    until(lambda: operator.metric(refused) == 1, "it is given up", 60, operator.tail)
    behind.answers["/v1/traces"] = sends(b"{}")
    refuse(tiny, "next")
    until(lambda: trace(behind, "next"), "the next one is told of", 60, operator.tail)
