"""Models from a claim and files into it: API server, the operator's own rights, a process node's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devcluster.process_node.node import ProcessNode
from support.cluster.conversions import Conversions, Operator, until
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = pytest.mark.cluster


@pytest.fixture
def volume(conversions: Conversions, process_node: ProcessNode, tmp_path: Path) -> Path:
    """The folder behind a claim that has a model in it."""
    folder = process_node.claims / conversions.namespace / "models"
    folder.mkdir(parents=True)
    write_tiny_tflite(folder / "tiny.tflite", (1, 4096))
    return folder


def release(conversions: Conversions, verb: str, name: str = "models") -> None:
    role = f"claim-{name}-{verb}"
    rule = (f"--verb={verb}", "--resource=persistentvolumeclaims", f"--resource-name={name}")
    conversions.kubectl("create", "role", role, *rule)
    conversions.kubectl("create", "rolebinding", role, f"--role={role}", "--user=edgeml.dev:conversions")


def reason(conversions: Conversions, name: str) -> str | None:
    conditions: list[dict[str, Any]] = conversions.status(name).get("conditions", [])
    return next((c["reason"] for c in conditions if c["type"] == "Succeeded"), None)


def test_a_claim_is_read_and_written_once_both_are_released(
    conversions: Conversions, operator: Operator, volume: Path
) -> None:
    assert operator.process is not None
    more: dict[str, Any] = {"storage": None, "methods": ["Float16"]}
    conversions.apply(
        "local", source={"uri": "pvc://models/tiny.tflite"}, output={"uri": "pvc://models/out/"}, **more
    )
    until(lambda: reason(conversions, "local") == "ClaimNotReleased", "it waits", 30)
    release(conversions, "get")
    release(conversions, "update")
    until(lambda: conversions.status("local").get("phase") in ("Succeeded", "Failed"), "it has ended", 90)
    status = conversions.status("local")
    assert status["phase"] == "Succeeded", status
    written = {p.name for p in (volume / "out").iterdir()}
    assert written == {"tiny_float16.tflite", "tiny_float16.graph.json", "report.json", "report.html"}
    (artifact,) = status["artifacts"]
    assert artifact["uri"] == "pvc://models/out/tiny_float16.tflite"
    assert (volume / "out" / "tiny_float16.tflite").stat().st_size == artifact["sizeBytes"]
