"""LiteRT's GPU accelerator on a driver that needs no GPU: what it gives, what it leaves, why it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from modelconversion_api.reports.measurements import AgreementMetric
from support.converter.graphs import artifact
from support.converter.tflite_files import O, T, dense, running_sum, tflite
from support.converter.vulkan import software_driver
from tflite_converter.arrays import Array
from tflite_converter.measuring.evaluation import Reference
from tflite_converter.measuring.gates import Gates
from tflite_converter.verifying.drivers import driver, loader
from tflite_converter.verifying.gpu import ABSENT, GPUModel, left_behind
from tflite_converter.verifying.verify import verify, with_verifications

SAMPLES = np.random.default_rng(0).uniform(-2, 2, (100, 4)).astype(np.float32)
WEIGHTS = ((7 * np.arange(12)) % 11 - 5).reshape(3, 4) / 4
SCORES = (SAMPLES @ WEIGHTS.T + [0.5, -1.0, 2.0]).astype(np.float32)
"""What :func:`dense` computes."""


@pytest.fixture(autouse=True)
def vulkan(monkeypatch: pytest.MonkeyPatch) -> Path:
    manifest = software_driver()
    monkeypatch.setenv("VK_DRIVER_FILES", str(manifest))
    return manifest


def row(name: str, dtype: str = "FLOAT32", **quantized: list[float]) -> T:
    return T(name, (1, 4), dtype, **quantized)


def behind_tanh(operator: str) -> bytes:
    return tflite([row("x"), row("y"), row("h")], [O("TANH", (0,), (2,)), O(operator, (2,), (1,))])


def reference(outputs: Array, name: str = "scores", labels: Array | None = None) -> Reference:
    return Reference(
        samples={"x": SAMPLES},
        outputs={name: outputs},
        labels=labels,
        task=Task.CLASSIFICATION,
        metric=AgreementMetric.TOP1,
        original=None,
        source_bytes=1,
    )


def check(content: bytes, expected: Reference, gates: Gates | None = None) -> Verification:
    return verify(Verifier.GPU, content, expected, gates or Gates(), lambda _: None)


def test_a_file_that_it_takes_as_a_whole_passes_on_the_first_64_samples() -> None:
    found = check(dense(), reference(SCORES), Gates(min_agreement=1))
    assert (found.outcome, found.samples, found.message) == (VerificationOutcome.PASSED, 64, None)
    assert (found.agreement, found.fallback_operators, found.fallbacks) == (1, 0, ())
    assert found.largest_difference is not None
    assert found.largest_difference < 1e-5
    assert found.identical is (found.largest_difference == 0)
    assert (found.runtime or "").startswith("LiteRT 2.")
    assert "GPU accelerator on SwiftShader" in (found.runtime or "")


def test_integers_are_what_the_integers_stand_for() -> None:
    scaled = {"scales": [1 / 64], "zero_points": [0]}
    content = tflite([row("x", "INT8", **scaled), row("y", "INT8", **scaled)], [O("ABS")])
    given = GPUModel(content).run_each({"x": SAMPLES}, lambda _: None)
    stored = np.minimum(np.abs(np.clip(np.rint(SAMPLES * 64), -128, 127)), 127)
    np.testing.assert_allclose(given["y"], stored / 64, atol=1 / 64)


def test_what_it_leaves_to_the_cpu_is_counted_and_has_a_reason() -> None:
    found = check(behind_tanh("LOG_SOFTMAX"), reference(np.tanh(SAMPLES), "y"))
    assert (found.outcome, found.fallback_operators) == (VerificationOutcome.PASSED, 1)
    assert found.fallbacks == ("LOG_SOFTMAX: Operation is not supported",)


def test_a_file_of_which_it_takes_nothing_fails() -> None:
    content = tflite([row("x"), row("y")], [O("LOG_SOFTMAX")])
    found = check(content, reference(SAMPLES, "y"))
    assert (found.outcome, found.samples) == (VerificationOutcome.FAILED, 0)
    assert found.message == ("the GPU accelerator takes no operator: LOG_SOFTMAX: Operation is not supported")


def branches(operator: str) -> bytes:
    """TANH, and an IF whose two branches are each TANH and ``operator``."""
    branch = [row("a"), row("b"), row("c")], [O("TANH"), O(operator, (1,), (2,))]
    return tflite(
        [row("x"), row("y"), row("h"), T("yes", (1,), "BOOL", b"\x01")],
        [
            O("TANH", (0,), (2,)),
            O("IF", (3, 2), (1,), options={"thenSubgraphIndex": 1, "elseSubgraphIndex": 2}),
        ],
        others=[("then", *branch), ("else", *branch)],
    )


def test_a_branch_counts_once_however_often_it_is_planned() -> None:
    twice = np.tanh(np.tanh(SAMPLES))
    expected = twice - np.log(np.exp(twice).sum(1, keepdims=True))
    found = check(branches("LOG_SOFTMAX"), reference(expected, "y"))
    # IF, and LOG_SOFTMAX of each branch.
    assert (found.outcome, found.fallback_operators, found.agreement) == (VerificationOutcome.PASSED, 3, 1)


def test_a_branch_that_stays_on_the_cpu_as_a_whole_counts_too() -> None:
    said = (
        "1 operations will run on the GPU, and the remaining 1 operations will run on the CPU.\n"
        "No operations will run on the GPU, and all 3 operations will run on the CPU.\n" * 2
    )
    assert left_behind(said, [2, 3]) == 4
    assert left_behind(said, [2, 3, 4]) == 4
    assert left_behind("", [2, 3]) == 5
    # Only a line of its own is the accelerator's.
    assert left_behind("h: 2 operations will run on the GPU, and the remaining 0 operations", [2]) == 2


@pytest.mark.parametrize("dtype", ["INT16", "INT64"])
def test_integers_that_stay_on_the_cpu_are_handed_over_whole(dtype: str) -> None:
    content = tflite([row("x", dtype), row("y"), row("h")], [O("CAST", (0,), (2,)), O("TANH", (2,), (1,))])
    samples = np.array([[-3, 0, 1, 300], [2, -1, 4, -30000]])
    given = GPUModel(content).run_each({"x": samples}, lambda _: None)
    np.testing.assert_allclose(given["y"], np.tanh(samples), atol=1e-6)


def test_text_cannot_be_handed_over_and_is_not_the_files_fault() -> None:
    found = check(tflite([row("x", "STRING"), row("y")]), reference(SAMPLES, "y"))
    assert found.outcome is VerificationOutcome.NOT_VERIFIED
    assert found.message == "it has text at its inputs or outputs, which cannot be handed over here"


def test_an_input_that_is_given_back_is_told() -> None:
    content = tflite([row("x"), row("y")], [O("ABS")], outputs=[1, 0])
    found = check(content, reference(np.abs(SAMPLES), "y"))
    assert found.outcome is VerificationOutcome.FAILED
    assert "it gives inputs back as they are ('x')" in (found.message or "")


def test_a_gate_that_is_missed_here_as_well_is_not_the_gpus_fault() -> None:
    wrong = SCORES.copy()
    wrong[:10] = -wrong[:10]
    found = check(dense(), reference(wrong), Gates(min_agreement=0.95))
    assert found.agreement is not None
    assert found.agreement < 0.95
    assert found.outcome is VerificationOutcome.PASSED
    assert (found.message or "").startswith("as on LiteRT here: agreement ")
    file = artifact()
    (kept,) = with_verifications(file.model_copy(update={"passed": True}), [found], []).verifications
    assert kept.outcome is VerificationOutcome.PASSED
    (alike,) = with_verifications(file.model_copy(update={"passed": False}), [found], []).verifications
    assert alike.outcome is VerificationOutcome.FAILED


def test_what_a_file_keeps_goes_from_one_sample_to_the_next_as_on_litert() -> None:
    given = GPUModel(running_sum()).run_each({"x": SAMPLES[:8]}, lambda _: None)
    np.testing.assert_allclose(given["y"], np.cumsum(SAMPLES[:8] @ WEIGHTS.T, axis=0), atol=1e-4)


def test_labels_go_with_their_samples() -> None:
    labels = SCORES.argmax(1)
    labels[64:] = (labels[64:] + 1) % 3
    found = check(dense(), reference(SCORES, labels=labels))
    assert found.accuracy == 1


# The Vulkan loader keeps the first driver of a process, so each has a process of its own.
_COMPILE = """
import sys
from pathlib import Path
from tflite_converter.errors import NotVerifiedError
from tflite_converter.verifying.gpu import GPUModel
try:
    GPUModel(Path(sys.argv[1]).read_bytes())
except NotVerifiedError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "content", ['{"ICD": {"library_path": "./absent.so", "api_version": "1.0.5"}}', "no manifest"]
)
def test_a_driver_that_is_none_is_not_the_files_fault(tmp_path: Path, vulkan: Path, content: str) -> None:
    (tmp_path / "icd.json").write_text(content)
    (tmp_path / "libvulkan.so.1").symlink_to(loader(vulkan))
    (tmp_path / "m.tflite").write_bytes(dense())
    said = subprocess.run(
        [sys.executable, "-c", _COMPILE, tmp_path / "m.tflite"],
        env={**os.environ, "VK_DRIVER_FILES": str(tmp_path / "icd.json")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith("the driver for Vulkan cannot be used here: ")


def test_without_a_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VK_DRIVER_FILES")
    monkeypatch.setattr("tflite_converter.verifying.drivers._FOLDERS", ())
    found = check(dense(), reference(SCORES))
    assert (found.outcome, found.message) == (VerificationOutcome.NOT_VERIFIED, ABSENT)


def test_the_environments_driver_comes_before_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflite_converter.verifying.drivers._FOLDERS", (tmp_path / "a", tmp_path))
    assert driver({}) is None
    (tmp_path / "vk_swiftshader_icd.json").touch()
    assert driver({}) == tmp_path / "vk_swiftshader_icd.json"
    assert driver({"VK_DRIVER_FILES": "/b/lvp.json"}) == Path("/b/lvp.json")
    assert loader(Path("/b/lvp.json")) == "libvulkan.so.1"
