"""A whole conversion leaves a graph beside each file, with what was measured on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from modelconversion_api.methods import Method
from support.converter.converting import convert_into
from support.converter.graphs import attributes, check, operators
from tflite_converter.graph import writing
from tflite_converter.graph.explorer import BITS, ERROR
from tflite_converter.report.page import render


def test_each_artifact_has_its_graph(two_dense: Path, tmp_path: Path) -> None:
    methods = (Method.FLOAT32, Method.FULL_INTEGER)
    found = convert_into(
        tmp_path,
        two_dense / "model.tflite",
        *methods,
        calibration=two_dense / "samples.npy",
        tuning_seconds=0,
    )
    graphs = {}
    for artifact in found.report.artifacts:
        assert artifact.graph is not None
        content = (tmp_path / artifact.graph.file_name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            artifact.graph.size_bytes,
            artifact.graph.sha256,
        )
        document = json.loads(content)
        check(document)
        about = document["graphs"][0]["groupNodeAttributes"][""]
        assert (about["file"], about["SHA-256"]) == (artifact.file_name, artifact.sha256)
        graphs[artifact.method] = operators(document["graphs"][0])
    dense = [attributes(node) for node in graphs[Method.FULL_INTEGER] if node["label"] == "FULLY_CONNECTED"]
    errors = {e.tensor: e.snr_db for a in found.report.artifacts for e in a.layers}
    assert errors
    assert [pair[BITS] for pair in dense] == ["8", "8"]
    assert {float(pair[ERROR]) for pair in dense if ERROR in pair} <= set(errors.values())
    assert any(ERROR in pair for pair in dense)
    assert not any(ERROR in attributes(node) for node in graphs[Method.FLOAT32])
    assert render(found.report).count("Graph of Full integer") > 1


def test_a_graph_that_is_too_large_is_left_out_and_told(
    two_dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_EDGES", 1)
    found = convert_into(tmp_path, two_dense / "model.tflite", Method.FLOAT32)
    assert [path.name for path in tmp_path.iterdir()] == ["model_float32.tflite"]
    assert found.report.artifacts[0].graph is None
    assert any("too many operators" in warning for warning in found.report.warnings)
