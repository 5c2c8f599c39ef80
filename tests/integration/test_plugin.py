"""``kubectl mconv`` against a real API server, a real store, the operator and the process node."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from devcluster.local import installed_program
from devcluster.processes import free_ports
from modelconversion_client import ModelConversionClient, client
from modelconversion_client.plugin.exits import StoreError
from modelconversion_client.plugin.main import app
from modelconversion_client.plugin.run import fetch
from modelconversion_client.plugin.store import Store
from support.cluster.conversions import Conversions, until
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]

Mconv = Callable[..., Result]


@pytest.fixture
def mconv(conversions: Conversions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mconv:
    """Runs the program in the test's namespace, with the store's keys as a person has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(conversions.cluster.kubeconfig))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", conversions.store.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", conversions.store.secret_key)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))

    def run(*args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [args[0], "-n", conversions.namespace, *args[1:]])
        assert result.exit_code == code, (result.output, result.exception)
        assert conversions.store.secret_key not in result.output
        return result

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_tflite(tmp_path / "tiny.tflite", (1, 4096))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_of(conversions: Conversions, model: Path | str, *more: str) -> list[str]:
    bucket = f"s3://{conversions.bucket}/team"
    where = ["--bucket", bucket, "--endpoint", conversions.store.endpoint, "--secret", "s3-credentials"]
    return ["run", str(model), *where, *more]


def test_a_model_of_this_machine_becomes_files_of_this_machine(
    conversions: Conversions, mconv: Mconv, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = run_of(conversions, tiny, "--method", "dynamicrange", "--name", "first", "--download", str(out))
    result = mconv(*asked)
    key = f"team/uploads/{digest(tiny)}/tiny.tflite"
    assert conversions.objects("team/uploads/") == {key: tiny.read_bytes()}
    (artifact,) = conversions.status("first")["artifacts"]
    file = out / "tiny_dynamic_range.tflite"
    assert digest(file) == artifact["sha256"]
    assert (out / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert artifact["uri"].startswith(f"s3://{conversions.bucket}/team/converted/{digest(tiny)[:16]}/first/")
    header, row, use, *_ = result.stdout.splitlines()
    assert header.split()[:2] == ["ARTIFACT", "SIZE"]
    assert row.split()[:2] == ["*", "DynamicRange"]
    assert use.startswith("Use DynamicRange (")
    assert f"Saved: {file}" in result.stdout
    told = result.stderr.splitlines()
    assert told[0] == f"tiny.tflite: uploaded to s3://{conversions.bucket}/{key}"
    assert "first: Succeeded after" in told[-1]
    assert conversions.get("first")["spec"]["source"]["sha256"] == digest(tiny)

    again = mconv(*asked, code=7)
    assert "already exists" in again.stderr
    assert "uploads" not in again.stderr  # asked before anything is uploaded
    file.write_bytes(b"another file")
    second = run_of(conversions, tiny, "--method", "DynamicRange", "--name", "second", "--download", str(out))
    clash = mconv(*second, code=9)
    assert "is there already: s3://" in clash.stderr
    assert f"{file} is there and is another file" in clash.stderr
    assert file.read_bytes() == b"another file"

    both = mconv("compare", "first", "second").stdout.splitlines()
    assert [line.split()[:3] for line in both[1:]] == [
        ["first", "*", "DynamicRange"],
        ["second", "*", "DynamicRange"],
    ]
    shown = mconv("report", "first", "--output", "page.html", "--json")
    assert json.loads(shown.stdout)["uri"].endswith("/first/report.html")
    assert Path("page.html").read_text() == (out / "report.html").read_text()
    assert "is there already" in mconv("report", "first", "--output", "page.html", code=2).stderr
    assert "not there" in mconv("report", "first", "--output", "absent/page.html", code=2).stderr
    with pytest.raises(StoreError, match="see that the disk"):
        Store(conversions.store.endpoint).download(artifact["uri"], tiny)

    conversions.store.client().put_object(
        Bucket=conversions.bucket, Key=artifact["uri"].split("/", 3)[3], Body=b"overwritten"
    )
    with (
        ModelConversionClient(namespace=conversions.namespace) as blocking,
        pytest.raises(StoreError, match="and the status says"),
    ):
        fetch(Store(conversions.store.endpoint), blocking.get("first"), tmp_path / "third")
    assert not any((tmp_path / "third").iterdir())


def test_a_failure_is_explained_and_tried_again(conversions: Conversions, mconv: Mconv, tiny: Path) -> None:
    failed = mconv(
        *run_of(conversions, conversions.uri("late.tflite")), "--target", "Mobile", "--name", "late", code=1
    )
    assert "late failed: SourceNotFound: " in failed.stdout
    assert f"kubectl mconv why late -n {conversions.namespace}" in failed.stdout
    why = mconv("why", "late").stdout
    first, reason, message, step, pod, container, *_ = why.splitlines()
    assert first == f"late in namespace {conversions.namespace}: Failed"
    assert reason == "Reason:   SourceNotFound in stage Fetch"
    assert "late.tflite" in message
    assert f"then `kubectl mconv retry late -n {conversions.namespace}`" in step
    assert pod.split()[1].startswith("late-")
    assert container.split()[:6] == ["container", "fetch", "ended", "with", "exit", "code"]
    events = [line.split()[1:4] for line in why.partition("Events:")[2].splitlines()]
    assert ["Warning", "SourceNotFound", "ModelConversion/late"] in events
    facts = json.loads(mconv("why", "late", "--json").stdout)
    assert (facts["reason"], facts["container"], facts["exitCode"]) == ("SourceNotFound", "fetch", 11)
    # The process node serves no logs, which is said instead of them.
    assert facts["log"] == []
    assert "read the log of late-" in facts["logProblem"]

    listed = mconv("list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "PHASE", "AGE", "REASON"]
    assert listed[1].split()[:2] == ["late", "Failed"]
    assert listed[1].split()[-1] == "SourceNotFound"

    conversions.upload({"late.tflite": tiny})
    before = conversions.get("late")
    assert "late: runs again" in mconv("retry", "late").stdout
    until(lambda: "runAgain" in conversions.status("late"), "it runs again")
    after = conversions.get("late")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert conversions.wait_for_phase("late", "Succeeded", "Failed")["phase"] == "Succeeded"
    assert "late is Succeeded" in mconv("retry", "late", code=7).stderr
    assert "Next:     nothing: it has succeeded" in mconv("why", "late").stdout


def test_members_of_a_set_are_the_sets_to_retry(conversions: Conversions, mconv: Mconv) -> None:
    meta = {"namespace": conversions.namespace}
    profile = {
        "kind": "ConversionProfile",
        "metadata": {"name": "p", **meta},
        "spec": {"methods": ["Float16"]},
    }
    spec = {
        "models": [{"name": "absent", "source": {"uri": conversions.uri("absent.tflite")}}],
        "profiles": [{"name": "p"}],
        "output": {"uri": conversions.uri("sets/")},
        "storage": {"endpoint": conversions.store.endpoint, "secretRef": {"name": "s3-credentials"}},
    }
    made = {"kind": "ModelConversionSet", "metadata": {"name": "fleet", **meta}, "spec": spec}
    conversions.cluster.apply([body | {"apiVersion": "edgeml.dev/v1alpha1"} for body in (profile, made)])

    def of_set() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(conversions.kubectl("get", "mcset", "fleet", "-o", "json"))
        status: dict[str, Any] = found.get("status", {})
        return status

    until(lambda: of_set().get("phase") == "Failed", "the set has failed", 90)
    rows = json.loads(mconv("list", "-A", "--json").stdout)
    (member,) = [row["name"] for row in rows["conversions"] if row["namespace"] == conversions.namespace]
    assert "fleet" in [row["name"] for row in rows["sets"]]
    table = mconv("list", "-A").stdout
    (line,) = [line for line in table.splitlines() if line.split()[:2] == [conversions.namespace, member]]
    assert line.split()[2] == "Failed"
    assert "p" in line.split()[3:5]
    assert any(line.split()[:3] == [conversions.namespace, "fleet", "Failed"] for line in table.splitlines())
    refused = mconv("retry", member, code=7)
    assert "is a member of the set fleet" in refused.stderr
    assert f"kubectl mconv retry --set fleet -n {conversions.namespace}" in refused.stderr
    assert "its 1 failed members are made again" in mconv("retry", "--set", "fleet").stdout
    until(lambda: bool(of_set().get("retried")), "the operator follows the annotation", 60)


def test_one_that_waits_is_explained_too(conversions: Conversions, mconv: Mconv) -> None:
    conversions.apply("idle", methods=["Float16"], suspend=True)
    until(lambda: conversions.status("idle").get("phase") == "Suspended", "it is suspended", 30)
    patch = f"kubectl patch mconv idle -n {conversions.namespace} --type=merge"
    assert patch + ' -p \'{"spec":{"suspend":false}}\'' in mconv("why", "idle").stdout
    conversions.apply("other", methods=["Float16"], className="nobody")
    unseen = mconv("why", "other").stdout
    assert "NotSeen" in unseen
    assert "has the class nobody" in unseen
    assert "no artifacts: it is Pending" in mconv("compare", "other", "idle").stderr
    assert "has no report: it is Pending" in mconv("report", "other", code=5).stderr


def test_errors_have_a_cause_a_next_step_and_a_code(
    conversions: Conversions, mconv: Mconv, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*args: str, code: int) -> str:
        result = mconv(*args, code=code)
        cause, step = result.stderr.splitlines()[-2:]
        assert cause.startswith("error: ")
        assert step.startswith("  next: ")
        assert result.stdout == ""
        return f"{cause} {step}"

    here = run_of(conversions, tiny, "--method", "Float16")
    assert "kubectl mconv list -A" in error("why", "nobody", code=5)
    assert 'namespaces "nowhere" not found' in error(*here, "--namespace", "nowhere", code=5)
    assert "exactly one" in error(*here, "--target", "Mobile", code=2)
    assert "--labels without --data" in error(*here, "--labels", str(tiny), code=2)
    assert "FullInteger and Int16Activations need calibration" in error(
        *here, "--method", "FullInteger", code=7
    )
    assert "cannot be read" in error(*run_of(conversions, "absent.h5", "--method", "Float16"), code=2)
    assert "pack it" in error(*run_of(conversions, tmp_path, "--method", "Float16"), code=2)
    absent = ["--bucket", f"s3://{conversions.bucket}-absent/"]
    assert "the bucket" in error(*here, *absent, code=9)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert "AWS_" in error(*here, code=9)
    (port,) = free_ports(1)
    assert "--endpoint" in error(*here, "--endpoint", f"http://127.0.0.1:{port}", code=9)
    with monkeypatch.context() as patched:
        patched.setattr(client, "API_VERSION", "absent.example/v1")
        assert "docs/INSTALL.md" in error("list", code=6)
    assert "--context" in error("list", "--context", "nowhere", code=3)
    kubeconfig = tmp_path / "away"
    text = conversions.cluster.kubeconfig.read_text()
    kubeconfig.write_text(re.sub(r"https://127\.0\.0\.1:\d+", f"https://127.0.0.1:{port}", text))
    assert "cannot be reached" in error("list", "--kubeconfig", str(kubeconfig), code=3)


def test_kubectl_finds_it_and_completes_names(conversions: Conversions) -> None:
    environment = {
        "KUBECONFIG": str(conversions.cluster.kubeconfig),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
    }

    def kubectl(*args: str) -> subprocess.CompletedProcess[str]:
        command = [installed_program("kubectl"), *args]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    where = ("-n", conversions.namespace)
    done = kubectl("mconv", "list", *where)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"no conversions in namespace {conversions.namespace}" in done.stderr
    conversions.apply("gesture-a", methods=["Float16"], className="nobody")
    conversions.apply("other", methods=["Float16"], className="nobody")
    completed = kubectl("__complete", "mconv", "why", *where, "gest")
    assert completed.stdout.splitlines()[:2] == ["gesture-a", ":4"]
