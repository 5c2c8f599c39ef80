"""The Job that registers what was published: a real S3 server, and a real MLflow server with users."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devcluster.processes import free_ports
from devcluster.services.mlflow import MLflowServer
from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.registration import (
    PASSWORD_ENV,
    REGISTER_ENV,
    TOKEN_ENV,
    USERNAME_ENV,
    MLflow,
    Registered,
    RegisterRequest,
)
from modelconversion_api.reasons import FailureReason, Stage
from support.cluster.stages import Job, new_job
from tflite_converter.job.mlflow import Tracking
from tflite_converter.job.register import register

Json = dict[str, Any]
RUN = "5b1c/7"
SECRET = "no-such-password"


@pytest.fixture(scope="module")
def mlflow() -> Iterator[MLflowServer]:
    with MLflowServer() as running:
        yield running


@contextmanager
def odd_server(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that gives each request the same answer; yields its address, and the logins it was shown."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # whoever has read enough hangs up
                self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - as the base class names it

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


class Registry:
    """A conversion's folder in a bucket, and the Job that registers what lies there."""

    def __init__(self, job: Job, mlflow: MLflowServer) -> None:
        self.job, self.mlflow = job.ask(run=RUN), mlflow
        self.login = {USERNAME_ENV: mlflow.username, PASSWORD_ENV: mlflow.password}
        self.publish()

    def publish(self, run: str = RUN, **figures: Any) -> None:
        """A run has published three files, of which one has missed its gates."""
        request = self.job.request.model_copy(update={"run": run})
        latency = {"medianMillis": 1.25, "p90Millis": 2.0, "runs": 50, "threads": 1}
        artifact: Json = {"sizeFraction": 0.25, "passed": True, "agreement": 0.98, "accuracy": 0.95}
        files = [
            artifact
            | {"method": method, "fileName": f"m_{method}.tflite", "sizeBytes": size, "sha256": digit * 64}
            for method, size, digit in (("Float16", 2000, "1"), ("DynamicRange", 1000, "2"))
        ]
        files[0] |= {"latency": latency, "snrDb": 31.5} | figures
        files += [artifact | {"method": "Int4", "fileName": "m_int4.tflite", "sizeBytes": 9, "passed": False}]
        files[2] |= {"sha256": "3" * 64}
        data = {"role": "Validation", "samples": 100, "seed": 0}
        report = {
            "version": "v1alpha1",
            "request": json.loads(request.to_json()),
            "source": {"format": "KerasH5", "sha256": "a" * 64, "sizeBytes": 4000},
            "artifacts": files,
            "evaluation": {
                "data": data, "task": "Classification", "agreementMetric": "Top1", "originalAccuracy": 0.96,
            },
        }  # fmt: skip
        self.job.put("out/report.json", json.dumps(report).encode())
        self.job.put("out/report.html", b"<p>all of it</p>")

    def register(self, recommended: str = "DynamicRange", **fields: Any) -> Registered | FailureReason:
        wanted = {"uri": self.mlflow.uri, "model": "person-edge"} | fields
        request = RegisterRequest(mlflow=MLflow(**wanted), recommended=recommended)
        self.job.patch.setenv(REGISTER_ENV, request.to_json())
        for name in (TOKEN_ENV, USERNAME_ENV, PASSWORD_ENV):
            self.job.patch.setenv(name, self.login.get(name, ""))
        code, result = self.job.end(Stage.PUBLISH, register)
        if result.failure is not None:
            assert code != 0
            for secret in self.login.values():
                assert secret not in result.failure.message
            self.words = result.failure.message
            return result.failure.reason
        assert (code, result.registered is not None) == (0, True)
        assert result.registered is not None
        return result.registered


@pytest.fixture
def registry(
    object_store: Server,
    bucket: str,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    mlflow: MLflowServer,
) -> Registry:
    job = new_job(object_store, bucket, tmp_path / "job", monkeypatch)
    assert job.request.output.uri.rstrip("/").endswith("/out")
    return Registry(job, mlflow)


def registered(result: Registered | FailureReason) -> Registered:
    assert isinstance(result, Registered), result
    return result


def tags_of(document: Json) -> dict[str, str]:
    return {each["key"]: each["value"] for each in document["tags"]}


@pytest.mark.timeout(600)
def test_each_file_that_passed_is_a_version_with_its_figures(registry: Registry) -> None:
    told = registered(registry.register(alias="candidate", experiment="edge"))
    assert [(v.name, v.version) for v in told.versions] == [("Float16", "1"), ("DynamicRange", "2")]
    ask = registry.mlflow.ask
    best = ask("registered-models/alias", name="person-edge", alias="candidate")["model_version"]
    assert (best["version"], best["run_id"]) == ("2", told.run)
    assert best["source"] == f"s3://{registry.job.bucket}/out/m_DynamicRange.tflite"
    tags = tags_of(best)
    assert (tags["edgeml.run"], tags["edgeml.sha256"]) == (RUN, "2" * 64)
    assert tags["edgeml.source_sha256"] == "a" * 64
    assert (tags["edgeml.size_bytes"], tags["edgeml.accuracy"]) == ("1000", "0.95")
    run = ask("runs/get", run_id=told.run)["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {each["key"]: each["value"] for each in run["data"]["metrics"]}
    assert (metrics["Float16/latency_millis"], metrics["Float16/snr_db"]) == (1.25, 31.5)
    assert (metrics["DynamicRange/size_bytes"], metrics["original/accuracy"]) == (1000, 0.96)
    assert metrics["Int4/size_bytes"] == 9, "what missed its gates is among the figures, and is no version"
    files = {each["path"] for each in ask("artifacts/list", run_id=told.run)["files"]}
    assert files == {"report.json", "report.html"}
    page = registry.mlflow.get("/get-artifact", run_uuid=told.run, path="report.html")
    assert page.content == b"<p>all of it</p>"
    experiment = ask("experiments/get-by-name", experiment_name="edge")["experiment"]
    assert run["info"]["experiment_id"] == experiment["experiment_id"]

    # A Job that runs twice makes nothing twice, and another run makes versions of its own.
    assert registered(registry.register(alias="candidate", experiment="edge")) == told
    assert len(ask("model-versions/search", filter="name = 'person-edge'")["model_versions"]) == 2
    registry.publish("5b1c/8")
    registry.job = registry.job.ask(run="5b1c/8")
    again = registered(registry.register("Float16", alias="candidate", experiment="edge"))
    assert [v.version for v in again.versions] == ["3", "4"]
    best = ask("registered-models/alias", name="person-edge", alias="candidate")["model_version"]
    assert best["version"] == "3"


def test_a_job_that_was_killed_in_the_middle_is_finished_by_the_next(registry: Registry) -> None:
    make_version = Tracking.make_version
    registry.job.patch.setattr(Tracking, "make_version", interrupted)
    assert registry.register(model="half") is FailureReason.INTERNAL_ERROR
    registry.job.patch.setattr(Tracking, "make_version", make_version)
    told = registered(registry.register(model="half"))
    runs = registry.mlflow.ask("model-versions/search", filter="name = 'half'")["model_versions"]
    assert {each["run_id"] for each in runs} == {told.run}
    assert len(runs) == 2


def interrupted(*_: Any) -> str:
    raise RuntimeError("killed here")


def test_what_the_server_refuses_is_told_in_its_words(registry: Registry) -> None:
    registry.login = {USERNAME_ENV: registry.mlflow.username, PASSWORD_ENV: SECRET}
    assert registry.register() is FailureReason.REGISTRATION_REFUSED
    assert "401" in registry.words
    registry.login = {TOKEN_ENV: SECRET}
    assert registry.register() is FailureReason.REGISTRATION_REFUSED
    registry.login = {}
    assert registry.register() is FailureReason.REGISTRATION_REFUSED
    registry.job = registry.job.ask(run="another/1")
    assert registry.register() is FailureReason.REPORT_LOST


@pytest.mark.parametrize(("status", "body", "reason"), [
    (302, b"", FailureReason.REGISTRATION_REFUSED),
    (403, b"{}", FailureReason.REGISTRATION_REFUSED),
    (200, b"<html>", FailureReason.REGISTRATION_REFUSED),
    (200, b"[]", FailureReason.REGISTRATION_REFUSED),
    (200, b"{}", FailureReason.REGISTRATION_REFUSED),
    (200, b"{" * 200_000, FailureReason.REGISTRATION_REFUSED),
    (200, b" " * (5 << 20), FailureReason.REGISTRATION_REFUSED),
    (200, b'{"experiment": {"experiment_id": "1"}, "runs": 3}', FailureReason.REGISTRATION_REFUSED),
    (404, json.dumps({"error_code": "X", "message": "\x1b[31m" + "y" * 10_000}).encode(),
     FailureReason.REGISTRATION_REFUSED),
    (503, b"busy", FailureReason.REGISTRY_UNAVAILABLE),
    (429, b"{}", FailureReason.REGISTRY_UNAVAILABLE),
])  # fmt: skip
def test_servers_that_are_none_or_are_not_well(
    registry: Registry, status: int, body: bytes, reason: FailureReason
) -> None:
    registry.job.patch.setattr("tflite_converter.job.stores.connections._WAIT_SECONDS", 0)
    registry.login = {TOKEN_ENV: SECRET}
    with odd_server(status, body) as (uri, asked):
        assert registry.register(uri=uri) is reason
    assert "\x1b" not in registry.words
    assert len(registry.words) < 2500
    assert len(asked) == (3 if reason is FailureReason.REGISTRY_UNAVAILABLE else len(asked))
    assert all(each == f"Bearer {SECRET}" for each in asked)


def test_a_server_that_is_down_is_told(registry: Registry) -> None:
    registry.job.patch.setattr("tflite_converter.job.stores.connections._WAIT_SECONDS", 0)
    (port,) = free_ports(1)
    assert registry.register(uri=f"http://127.0.0.1:{port}") is FailureReason.REGISTRY_UNAVAILABLE
    assert "cannot be reached" in registry.words
