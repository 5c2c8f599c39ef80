"""The search for the best file over several methods, by whole conversions of small float TFLite files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method, Objective
from modelconversion_api.reasons import FailureReason
from support.converter.converting import Converted, convert_into
from support.converter.hard_models import INPUT, OUTPUT, Hard, chain
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.gates import Gates
from tflite_converter.report.page import render
from tflite_converter.tflite.runtime import TFLiteModel

pytestmark = pytest.mark.slow

TRIES = (Method.DYNAMIC_RANGE, Method.FLOAT16, Method.WEIGHT_ONLY_INT8, Method.INT4)
WIDTH = 48


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of three dense layers, and samples."""
    generator = np.random.default_rng(5)
    kernels = [generator.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32) for _ in range(3)]
    samples = generator.normal(size=(300, WIDTH)).astype(np.float32)
    hard = Hard(chain(kernels, ["a", "b", OUTPUT]), {INPUT: samples[:100]}, {INPUT: samples[100:]})
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.tflite").write_bytes(hard.content)
    np.save(folder / "calibration.npy", hard.calibration[INPUT])
    np.save(folder / "evaluation.npy", hard.evaluation[INPUT])
    return folder


def searched(model: Path, output: Path, *methods: Method, **options: object) -> Converted:
    return convert_into(
        output,
        model / "model.tflite",
        *methods,
        **{
            "calibration": model / "calibration.npy",
            "validation": model / "evaluation.npy",
            "tries": TRIES,
            "task": Task.CLASSIFICATION,
            "tuning_seconds": 1000,
            **options,
        },
    )


def test_the_smallest_that_passes_is_published_and_the_others_are_told(model: Path, tmp_path: Path) -> None:
    found = searched(model, tmp_path / "out", Method.FLOAT32, gates=Gates(min_agreement=0.7))
    report = found.report
    assert [a.method for a in report.artifacts] == [Method.FLOAT32, Method.INT4]
    names = sorted(path.name for path in found.output.iterdir())
    assert names == [
        "model_float32.graph.json",
        "model_float32.tflite",
        "model_int4.graph.json",
        "model_int4.tflite",
    ]
    assert report.recommended is not None
    assert report.recommended.method is Method.INT4
    assert report.recommended.reason.startswith("smallest of 2 that passed: ")
    assert report.search is not None
    assert report.search.objective is Objective.SMALLEST_THAT_PASSES
    assert {(t.method, t.chosen) for t in report.search.tries} == {(m, m is Method.INT4) for m in TRIES}
    sizes = {t.method: t.size_bytes for t in report.search.tries}
    assert sizes[Method.INT4] == min(size for size in sizes.values() if size)
    assert all(t.latency_millis and t.agreement for t in report.search.tries)
    page = render(report)
    assert page.count('class="try"') == len(TRIES) - 1  # every try but the published one, in the plot


def test_the_most_faithful_may_be_one_that_was_asked_for(model: Path, tmp_path: Path) -> None:
    found = searched(model, tmp_path / "out", Method.FLOAT32, objective=Objective.MOST_FAITHFUL)
    assert [a.method for a in found.report.artifacts] == [Method.FLOAT32]
    assert found.report.recommended is not None
    assert found.report.recommended.reason.startswith("the only one that passed: ")
    assert found.report.search is not None
    assert not any(t.chosen for t in found.report.search.tries)


def test_what_misses_its_gate_is_not_chosen(model: Path, tmp_path: Path) -> None:
    """Int4 cannot keep the gate, and says so; int8 weights can."""
    content = (model / "model.tflite").read_bytes()
    assert len(TFLiteModel(content).outputs) == 1
    found = searched(model, tmp_path / "out", Method.FLOAT32, gates=Gates(min_agreement=0.97))
    assert found.report.search is not None
    (int4,) = [t for t in found.report.search.tries if t.method is Method.INT4]
    assert not int4.passed
    assert "no layer bears 4 bits within the gates" in (int4.message or "")
    chosen = [t.method for t in found.report.search.tries if t.chosen]
    assert chosen
    assert chosen[0] in (Method.DYNAMIC_RANGE, Method.WEIGHT_ONLY_INT8)
    assert found.report.failed_methods == ()


def test_the_budget_is_for_all_of_it(model: Path, tmp_path: Path) -> None:
    found = searched(model, tmp_path / "out", Method.FLOAT32, tuning_seconds=0)
    assert found.report.search is not None
    assert {t.message for t in found.report.search.tries} == {"not tried: the budget was used up"}
    assert [a.method for a in found.report.artifacts] == [Method.FLOAT32]


def test_a_try_that_needs_calibration_data_is_refused_without(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        searched(model, tmp_path / "out", Method.FLOAT32, tries=(Method.INT16_ACTIVATIONS,), calibration=None)
    assert caught.value.reason is FailureReason.CALIBRATION_MISSING
