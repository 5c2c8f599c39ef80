"""Every query of every dashboard, asked of a Prometheus that scraped a real run: none comes back empty.

The run has what the panels show: conversions that succeed with labels and with a target, one that waits for a
place, two that fail, a method that gives no file, an API server that refuses some requests, and a second
replica that stands by. It is made once for all tests of this module.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import re
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from devcluster.cache import REPOSITORY
from devcluster.control_plane.control_plane import ControlPlane
from devcluster.errors import PackageUnavailableError
from devcluster.processes import Process, free_ports
from devcluster.services.prometheus import Prometheus, ensure_prometheus
from devcluster.services.s3 import ObjectStore
from support.chart.dashboard_queries import Target, documents, targets
from support.cluster.conversions import Conversions, Gesture, Operator, until
from support.cluster.web_server import WebServer, sends
from support.faults.proxy import FaultProxy, Rule

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

RULES = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "alerts.yaml"
PAGES = REPOSITORY / "docs" / "runbooks"
JOB, NAMESPACE = "model-conversion-operator", "edgeml"
PLACES = 2
SUCCEED = ["gesture", "pi", "recurrent"]
FAIL = {"missing": "SourceNotFound", "corrupt": "UnreadableModel"}
HONEST_ZEROS = {
    "In line",  # everything has ended by now
    "Running",
    "Pending",
    "Places used",
    "Queue depth",
    "Restarts",
    "Files that lost more than 1 % accuracy",  # the gesture model is easy
    "Operators without a kernel by method",
    "Watches that fail",
    "Events and traces that wait",
}
"""Panels that show zero here, and rightly so; all others must show more than that."""

_RECURRENT = """
import sys, keras
layers = keras.layers
model = keras.Sequential([keras.Input((None, 4)), layers.LSTM(4), layers.Dense(2)])
model.export(sys.argv[1], verbose=False)
"""


@dataclass(frozen=True)
class Run:
    """What Prometheus knows once everything has ended."""

    prometheus: Prometheus
    started: float
    """When it began, by the monotonic clock."""
    namespace: str

    @property
    def seconds(self) -> float:
        """The time shown: however slow the tests are, it holds everything since the beginning."""
        return time.monotonic() - self.started

    def ask(self, target: Target, expression: str | None = None) -> list[dict[str, Any]]:
        """What a panel gets from Prometheus."""
        long = f"{math.ceil(self.seconds)}s"
        text = expression or target.filled(
            namespace=self.choices("namespace"),
            job=self.choices("job"),
            interval=long,
            __range=long,
            __rate_interval="20s",
        )
        if target.instant:
            return self.prometheus.query(text)
        return self.prometheus.query_range(text, self.seconds)

    def number(self, dashboard: str, panel: str) -> float:
        """What a panel of one number says."""
        (target,) = [t for t in targets() if (t.dashboard, t.panel, t.kind) == (dashboard, panel, "stat")]
        (series,) = self.ask(target)
        return float(series["value"][1])

    def choices(self, variable: str) -> str:
        """What stands for a variable of which all values are chosen, as Grafana writes it."""
        (made,) = [v for v in documents()["overview"]["templating"]["list"] if v["name"] == variable]
        if "allValue" in made:
            return str(made["allValue"])
        query = made["query"].replace("$namespace", ".*")
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None
        values = sorted({series["metric"][found[2]] for series in self.prometheus.query(found[1])})
        assert values
        escaped = [re.escape(value).replace("\\", "\\\\") for value in values]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


@contextmanager
def serving(proxy: FaultProxy) -> Iterator[None]:
    """Run the proxy in a thread of its own."""
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with proxy.serving():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def replica(kubeconfig: Path, folder: Path, namespace: str, sink: str) -> Iterator[str]:
    """An operator with all that has a metric; gives its address."""
    (port,) = free_ports(1)
    settings = {
        "CONVERTER_IMAGE": "converter:test",
        "NAMESPACES": namespace,
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "MAX_CONCURRENT": str(PLACES),
        "EVENTS_SINK": sink,
        "LEADER_ELECT": "true",
        "LEASE_NAMESPACE": "default",
        "LEASE_SECONDS": "5",
    }
    environment = os.environ | {f"MODELCONVERSION_{name}": value for name, value in settings.items()}
    process = Process(
        "operator",
        [sys.executable, "-m", "modelconversion_operator"],
        folder / f"operator-{port}.log",
        environment=environment | {"KUBECONFIG": str(kubeconfig)},
    )

    def ready() -> bool:
        process.check()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(ready, "the operator is ready", 60, process.tail)
        yield f"127.0.0.1:{port}"
    finally:
        process.stop()


@contextmanager
def recurrent_model(folder: Path) -> Iterator[Callable[[], Path]]:
    """A model whose loop full integer cannot have: made in the background, and waited for when wanted."""
    made, log = folder / "recurrent", folder / "recurrent.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _RECURRENT, made],
            stdout=output,
            stderr=output,
            env=os.environ | {"KERAS_BACKEND": "tensorflow"},
        )

    def wait() -> Path:
        assert process.wait(120) == 0, log.read_text()[-2000:]
        return made

    try:
        yield wait
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def run(
    control_plane: ControlPlane,
    object_store: ObjectStore,
    process_node: object,
    operator: Operator,
    gesture: Gesture,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    try:
        ensure_prometheus()
    except PackageUnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("dashboards")
    namespace = bucket = f"dashboards-{secrets.token_hex(4)}"
    control_plane.create_namespace(namespace)
    object_store.create_bucket(bucket)
    conversions = Conversions(control_plane, object_store, namespace, bucket)
    conversions.secret("s3-credentials", object_store.access_key, object_store.secret_key)
    proxy = FaultProxy(Path(operator.kubeconfig), folder)
    # The tests' own operator has no limit, and would take part.
    operator.stop()
    try:
        with ExitStack() as stack:
            recurrent = stack.enter_context(recurrent_model(folder))
            stack.enter_context(serving(proxy))
            sink = stack.enter_context(WebServer(encrypted=False))
            sink.answers["/"] = sends(b"")
            replicas = [
                stack.enter_context(replica(proxy.kubeconfig, folder, namespace, sink.url)) for _ in range(2)
            ]
            prometheus = stack.enter_context(
                Prometheus(folder, {JOB: replicas}, {"namespace": NAMESPACE}, [RULES])
            )
            started = time.monotonic()
            until(lambda: len(prometheus.query("modelconversion_leader")) == 2, "both are scraped", 30)
            # Once for each conversion: as not all can run at a time, the refusals come some time apart, and
            # the second is seen to add to the first.
            proxy.rules = [
                Rule(lambda r, about=(name, each): (r.name, r.conversion) == about, status=status)
                for name, status in (("status Running", 429), ("create job", 500))
                for each in (*SUCCEED, *FAIL)
            ]
            convert(conversions, gesture, recurrent)
            time.sleep(2)  # two more scrapes
            yield Run(prometheus, started, namespace)
    finally:
        control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
        operator.start()


def convert(conversions: Conversions, gesture: Gesture, recurrent_model: Callable[[], Path]) -> None:
    """Apply conversions of all kinds, and wait for their ends."""
    model = gesture.model.read_bytes()
    conversions.upload(
        {
            "gesture_classifier.h5": model,
            "corrupt.h5": model[: len(model) // 2],
            "val.npy": gesture.data("val_features.npy"),
            "val_labels.npy": gesture.data("val_labels.npy"),
            "test.npy": gesture.data("test_features.npy"),
            "test_labels.npy": gesture.data("test_labels.npy"),
        }
    )
    uri = conversions.uri
    calibration = {"uri": uri("val.npy"), "labelsUri": uri("val_labels.npy")}
    labelled = {
        "calibration": calibration,
        "validation": {"uri": uri("test.npy"), "labelsUri": uri("test_labels.npy")},
    }
    compilers = {
        "ethosU": {"accelerator": "ethos-u55-128"},
        "edgeTPU": {"compile": False},
        "npu": {"vendor": "Intel", "socs": ["CPU"]},
    }
    methods = ["Float32", "DynamicRange", "Float16", "FullInteger"]
    output = {"uri": uri("gesture/"), "cache": {"uri": uri("cache/")}}
    conversions.apply("gesture", methods=methods, output=output, **labelled, **compilers)
    conversions.apply("missing", source={"uri": uri("missing.h5")}, methods=["Float16"])
    conversions.apply("corrupt", source={"uri": uri("corrupt.h5")}, methods=["Float16"])
    members = {
        "models": [{"name": "a", "source": {"uri": uri("missing.h5")}}],
        "profiles": [{"name": "none"}],
    }
    waiting = members | {"output": {"uri": uri("sets/")}, "suspend": True}
    meta = {"name": "waiting", "namespace": conversions.namespace}
    body = {
        "apiVersion": "edgeml.dev/v1alpha1",
        "kind": "ModelConversionSet",
        "metadata": meta,
        "spec": waiting,
    }
    template = {"source": {"uri": uri("missing.h5")}, "methods": ["Float16"]}
    trigger = {
        "apiVersion": "edgeml.dev/v1beta1",
        "kind": "ModelConversionTrigger",
        "metadata": meta,
        "spec": {"template": {"conversion": template | {"output": {"uri": uri("edge/{version}/")}}}},
    }
    channel = {
        "apiVersion": "edgeml.dev/v1beta1",
        "kind": "ModelChannel",
        "metadata": meta,
        "spec": {
            "from": {"name": "none"},
            "output": {"uri": uri("channel/")},
            "signing": {"secretRef": {"name": "none"}},
        },
    }
    conversions.cluster.apply([body, trigger, channel])
    board = {"name": "bench", "nodeSelector": {"kubernetes.io/os": "linux"}}
    away = {"name": "away", "nodeSelector": {"edgeml.dev/board": "pi5"}}
    conversions.apply(
        "pi",
        target="RaspberryPi",
        benchmark={"boards": [board, away]},
        job={"pendingDeadlineSeconds": 10},
        **labelled,
    )
    recurrent = recurrent_model()
    conversions.upload(
        {f"recurrent/{p.relative_to(recurrent)}": p for p in recurrent.rglob("*") if p.is_file()}
        | {"steps.npy": steps()}
    )
    conversions.apply(
        "recurrent",
        source={"uri": uri("recurrent/")},
        methods=["Float32", "FullInteger"],
        calibration={"uri": uri("steps.npy")},
    )
    for name in SUCCEED:
        status = conversions.finished(name)
        assert status["phase"] == "Succeeded", (name, status)
    for name, reason in FAIL.items():
        assert conversions.finished(name)["failure"]["reason"] == reason
    chips = {a["method"]: a.get("npu", []) for a in conversions.status("gesture")["artifacts"]}
    assert chips.pop("DynamicRange") == []
    for method, (chip,) in chips.items():
        assert (chip["soc"], chip["passed"], chip["partitions"]) == ("CPU", True, 1), method
        assert chip["uri"].endswith("_intel_CPU.tflite")
    (failed,) = conversions.status("recurrent")["failedMethods"]
    assert failed["method"] == "FullInteger"


def steps() -> bytes:
    """Samples of six time steps."""
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).normal(size=(100, 6, 4)).astype(np.float32))
    return buffer.getvalue()


def numbers(series: list[dict[str, Any]]) -> list[float]:
    """The values of an answer that a panel can draw."""
    values = [float(v) for s in series for _, v in s.get("values") or [s["value"]]]
    return [value for value in values if math.isfinite(value)]


@pytest.mark.parametrize("target", targets(), ids=str)
def test_panels_have_data(run: Run, target: Target) -> None:
    answer = run.ask(target)
    assert numbers(answer), f"no data: {target.expression}"
    if target.panel not in HONEST_ZEROS:
        assert any(numbers(answer)), f"nothing but zeros: {target.expression}"
    for series in answer:
        assert target.legend_labels <= set(series["metric"]), series["metric"]
    # A zero in place of no data must not hide a name that is wrong.
    if " or vector(0)" in target.expression:
        without = Target(**vars(target) | {"expression": target.expression.replace(" or vector(0)", "")})
        assert any(numbers(run.ask(without)))


def test_numbers_are_those_of_the_run(run: Run) -> None:
    ended = len(SUCCEED) + len(FAIL)
    assert run.number("overview", "Ended") == ended
    assert run.number("overview", "Success rate") == pytest.approx(len(SUCCEED) / ended, rel=0.02)
    assert run.number("operator-health", "Leaders") == 1
    assert run.number("operator-health", "Replicas") == 2


def test_files_are_counted_from_the_first_of_each_method(run: Run) -> None:
    """A series that begins with its first event hides it from increase()."""
    made = {"Float32": 2, "DynamicRange": 2, "Float16": 1, "FullInteger": 2}
    assert rows(run, "Files made", "method") == {(method,): count for method, count in made.items()}


def rows(run: Run, panel: str, *labels: str) -> dict[tuple[str, ...], float]:
    """A table's rows, or a panel's bars: their values by labels."""
    (target,) = [t for t in targets() if t.panel == panel]
    return {tuple(s["metric"][name] for name in labels): float(s["value"][1]) for s in run.ask(target)}


def test_tables_have_a_line_for_each_failure_and_what_to_do(run: Run) -> None:
    expected = {(reason, reason): 1 for reason in FAIL.values()}
    assert rows(run, "Failures by reason", "reason", "advice") == expected
    assert rows(run, "Methods without a file", "method", "reason") == {
        ("FullInteger", "QuantizationFailed"): 1
    }


def test_a_second_replica_counts_nothing_twice(run: Run) -> None:
    (target,) = [t for t in targets() if t.panel == "Conversions by phase"]
    last = {s["metric"]["phase"]: float(s["values"][-1][1]) for s in run.ask(target)}
    assert last["Succeeded"] == len(SUCCEED)
    assert last["Failed"] == len(FAIL)
    assert sum(last.values()) == len(SUCCEED) + len(FAIL)


def test_the_line_and_the_places_were_used_up(run: Run) -> None:
    shown = {t.legend: t for t in targets() if t.panel == "Line and places"}
    most = {legend: max(numbers(run.ask(target))) for legend, target in shown.items()}
    assert most["in line"] >= 1
    assert most["places taken"] == PLACES
    assert most["places"] == PLACES


def test_prometheus_evaluates_the_alerts_and_the_ones_about_the_operator_are_silent(run: Run) -> None:
    rules = {rule["name"]: rule for rule in run.prometheus.rules()}
    assert all(rule["health"] == "ok" for rule in rules.values()), rules
    for name in (
        "ModelConversionOperatorDown",
        "ModelConversionOperatorNoLeader",
        "ModelConversionWatchStale",
    ):
        assert rules[name]["state"] == "inactive"


def look_ups() -> list[str]:
    """What the runbooks tell to list, without what a pipe then does with it."""
    found = set()
    for page in sorted(PAGES.glob("*.md")):
        for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            for line in re.findall(r"^\$ (kubectl .*)$", block.replace("\\\n", ""), flags=re.MULTILINE):
                if re.match(r"kubectl (-n \w+ )?get ", line) and "--watch" not in line:
                    found.add(line.split(" | ")[0].strip())
    return sorted(found)


@pytest.mark.parametrize("command", look_ups())
def test_commands_of_the_runbooks_work(run: Run, control_plane: ControlPlane, command: str) -> None:
    words = {"NAMESPACE": "default", "THEIRS": run.namespace, "NAME": "gesture"}
    for placeholder, word in words.items():
        command = re.sub(rf"(?<!:)\b{placeholder}\b(?!:)", word, command)
    control_plane.kubectl(*shlex.split(command)[1:])
