"""Events to a sink: a real API server, the operator with its own rights, the real converter, and outages."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_operator_rbac
from devcluster.processes import free_ports
from support.cluster.conversions import Conversions, Operator, until
from support.cluster.web_server import WebServer, sends
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]

CLASS = "told"
TOKEN = "t0ken-that-nobody-may-see"
OPERATOR_LEASE = ("get", "lease", "model-conversion-operator-told", "-n", "default", "-o", "json")

Json = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[WebServer]:
    with WebServer() as server:
        server.answers["/in"] = sends(b"", status=202)
        yield server


MakeOperator = Callable[..., Operator]


@pytest.fixture
def telling(crd: ControlPlane, receiver: WebServer, tmp_path: Path) -> Iterator[MakeOperator]:
    """Makes operators of a class of their own, which tell the receiver or another sink."""
    kubeconfig = install_operator_rbac(crd, "default")
    crd.kubectl("delete", "lease", "model-conversion-operator-told", "-n", "default", "--ignore-not-found")
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "ca.crt").write_text(receiver.bundle)
    made: list[Operator] = []

    def make(sink: str = f"{receiver.url}/in") -> Operator:
        running = Operator(
            kubeconfig,
            tmp_path / "operator.log",
            class_name=CLASS,
            lease_namespace="default",
            log_level="debug",
            events_sink=sink,
            events_token_file=str(tmp_path / "token"),
            events_ca_file=str(tmp_path / "ca.crt"),
        )
        made.append(running)
        running.start()
        return running

    yield make
    for running in made:
        running.kill()
    assert TOKEN not in (tmp_path / "operator.log").read_text()


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
    return [e.get_type() for name, e in sorted(events(receiver).items()) if name.startswith(uid)]


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
    assert operator.metric('modelconversion_notifications_total{outcome="delivered"}') == 8


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
        assert operator.metric('modelconversion_notifications_total{outcome="delivered"}') == 0
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
    until(lambda: first.metric("modelconversion_notifications_pending") == 2, "both wait", 20, first.tail)
    assert first.metric('modelconversion_notifications_total{outcome="failed"}') >= 1
    first.kill()
    assert receiver.requests == []
    telling()
    uid = tiny.get("outage")["metadata"]["uid"]
    until(lambda: len(types(receiver, uid)) == 2, "both are told", 30, first.tail)
    lease: Json = json.loads(tiny.cluster.kubectl(*OPERATOR_LEASE).stdout)
    assert lease["spec"]["renewTime"] <= tiny.get("outage")["status"]["startTime"].replace("Z", ".000000Z")
