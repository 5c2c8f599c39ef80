"""Functions of JAX, by the real engine in its environment. The right values are JAX's own, taken before."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from support.converter.converting import convert_into
from support.engines.engine_truth import truth
from support.engines.engines_of_tests import JAX, python_or_skip, write_models
from support.paths import REPOSITORY
from tflite_converter.data.files import DataFiles
from tflite_converter.engines.finding import ENGINES_ENV
from tflite_converter.errors import ConverterError

MODELS = (
    *("cnn", "segmentation", "transposed_conv", "transformer_block", "gru", "embedding"),
    *("several_outputs", "inputs_of_a_tree", "one_tensor_twice", "passes_through", "open_length", "gelu"),
)
FLOAT = (Method.FLOAT32,)
LEFT_TO_THE_PIPELINE = ("bomb", "empty", "text", "as_text")


@pytest.fixture(scope="session")
def engine() -> Path:
    return python_or_skip(JAX)


@pytest.fixture(autouse=True)
def _found(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINES_ENV, f"jax={engine}")


@pytest.fixture(scope="session")
def models(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Functions with samples and JAX's outputs."""
    folder = tmp_path_factory.mktemp("jax")
    write_models(engine, "make_jax_models.py", folder, *MODELS)
    return folder


@pytest.fixture(scope="session")
def odd(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are refused, or read with care."""
    folder = tmp_path_factory.mktemp("around") / "odd"
    write_models(engine, "make_odd_jax_models.py", folder)
    return folder


@pytest.fixture(scope="session")
def answers(engine: Path, odd: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the engine says of each of them."""
    folder = tmp_path_factory.mktemp("asked")
    for path in odd.iterdir():
        if path.stem not in LEFT_TO_THE_PIPELINE:
            (folder / path.name).symlink_to(path)
    program = REPOSITORY / "tests/support/engines/jax_engine_answers.py"
    done = subprocess.run([engine, program, folder], check=True, capture_output=True)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_float_file_gives_what_jax_gives(models: Path, tmp_path: Path, name: str) -> None:
    found = convert_into(tmp_path, models / f"{name}.jax", *FLOAT, calibration=models / f"{name}.samples.npz")
    assert found.report.source.format is SourceFormat.STABLEHLO
    assert found.report.artifacts[0].passed, found.report.artifacts[0].message
    distance = truth(models, name, found, Method.FLOAT32)
    assert list(distance) == list(np.load(models / f"{name}.expected.npz").files)  # names and order
    assert [tensor.name for tensor in found.report.source.inputs] == {
        "inputs_of_a_tree": ["batch.image", "batch.mask", "state.0"]
    }.get(name, list(np.load(models / f"{name}.samples.npz").files))
    assert all(number > 100 or (number, unit) == (100.0, "%") for number, unit in distance.values()), distance
    assert found.report.provenance.isolation == ("no-network", "no-other-programs", "own-files-only")


def test_every_method(models: Path, tmp_path: Path) -> None:
    data = models / "cnn.samples.npz"
    found = convert_into(tmp_path, models / "cnn.jax", *Method, calibration=data, tuning_seconds=0)
    near = {method: truth(models, "cnn", found, method)["output"][0] for method in Method}
    assert near[Method.FLOAT16] > 60
    assert near[Method.DYNAMIC_RANGE] > 35
    assert near[Method.FULL_INTEGER] > 30
    (image,) = found.report.source.inputs
    # JAX has channels last already: nothing is turned.
    assert (image.shape, image.source_shape, image.axes) == ([1, 16, 16, 3], None, None)


REFUSED = {
    "truncated": ("UnreadableModel", "is cut off"),
    "damaged": ("UnreadableModel", "the module is corrupt"),
    "deep": ("UnreadableModel", "too deep"),
    "newer": ("UnsupportedFormat", "is of StableHLO 9."),
    "convention": ("UnsupportedFormat", "has version 99 of jax.export's calling convention"),
    "two_devices": ("UnsupportedFormat", "for 2 devices"),
    "tpu_only": ("UnsupportedFormat", "was exported for tpu"),
    "solver": ("UnsupportedOperation", "a call of 'lapack_ssyevd_ffi'"),
    "random_key": ("UnsupportedOperation", "input 'k'"),
    "complex": ("UnsupportedOperation", "output 'output' is of the type complex64"),
    "bits": ("UnsupportedOperation", "looks at the bits of numbers in float16"),
    "sort": ("UnsupportedOperation", "STABLEHLO_SORT"),
    "until": ("UnsupportedOperation", "depends on the data"),
    "endless": ("UnsupportedOperation", "more than 50000 operations"),
    "huge_input": ("UnsupportedShape", "more than fits"),
    "huge_inside": ("UnsupportedShape", "more than fits"),
    "two_open": ("UnsupportedShape", "input 'x' leaves sizes open, [1, -1, 4] (b, t)"),
    "expression": ("UnsupportedShape", "(b, 2*t)"),
    "bare_open": ("UnsupportedShape", "says nothing of them"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(answers: dict[str, Any], name: str) -> None:
    reason, says = REFUSED[name]
    assert answers[name].get("reason") == reason, answers[name]
    assert says in answers[name]["cause"]


CONVERTED = {
    "plain": (["x"], ["output"], None),
    "bare": (["x"], ["output_0"], None),
    "bytecode": (["x"], ["output_0"], None),
    "two_platforms": (["x"], ["output"], None),
    "float16": (["x"], ["output"], "computes in float16"),
    "bfloat16": (["x"], ["output"], "computes in bfloat16"),
    "float64": (["x"], ["output"], "computes in float64"),
    "int64": (["x"], ["output_0", "output_1"], None),
    "uint8_input": (["x"], ["output"], None),
    "bool_output": (["x"], ["output"], None),
    "custom_tree": (["p.left", "p.right"], ["output_0", "output_1"], None),
    "spaced_keys": (["d.a_b", "d.c"], ["output"], None),
    "no_batch": (["x"], ["output"], None),
    "constant_output": (["x"], ["output_0", "output_1"], None),
    "expression, sized": (["x"], ["output"], None),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_what_needs_care_is_converted(answers: dict[str, Any], name: str) -> None:
    inputs, outputs, warns = CONVERTED[name]
    assert "reason" not in answers[name], answers[name]
    assert [tensor["name"] for tensor in answers[name]["inputs"]] == inputs
    assert [tensor["name"] for tensor in answers[name]["outputs"]] == outputs
    assert bool(answers[name]["warnings"]) == (warns is not None)
    assert warns is None or warns in answers[name]["warnings"][0]


@pytest.mark.parametrize("name", ["bfloat16", "float64", "int64", "constant_output", "unused_input"])
def test_files_of_such_functions_agree_with_jax(odd: Path, tmp_path: Path, name: str) -> None:
    found = convert_into(tmp_path, odd / f"{name}.jax", *FLOAT)
    assert found.report.artifacts[0].passed, found.report.artifacts[0].message


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("bomb", FailureReason.OUT_OF_MEMORY, "ran out of memory"),
        ("solver", FailureReason.UNSUPPORTED_OPERATION, "lapack_ssyevd_ffi"),
        ("truncated", FailureReason.UNREADABLE_MODEL, "is truncated or corrupt: a part of"),
        ("empty", FailureReason.UNREADABLE_MODEL, "is empty"),
        ("text", FailureReason.UNSUPPORTED_FORMAT, "no file of jax.export, whatever its name says"),
        ("as_text", FailureReason.UNSUPPORTED_FORMAT, "a module of MLIR as text"),
    ],
)
def test_a_refusal_leaves_nothing_behind(
    odd: Path, tmp_path: Path, name: str, reason: FailureReason, says: str
) -> None:
    with pytest.raises(ConverterError) as raised:
        convert_into(tmp_path / "out", odd / f"{name}.jax", *FLOAT, memory_limit_bytes=3 << 30)
    assert (raised.value.reason, says in raised.value.cause) == (reason, True), raised.value.cause
    assert not (tmp_path / "out").exists()


def test_rows_of_a_batch_that_is_fixed_are_grouped(odd: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((18, 4)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    found = convert_into(
        tmp_path / "out", odd / "batch_of_four.jax", *FLOAT, validation=DataFiles(tmp_path / "rows.npy")
    )
    assert found.report.artifacts[0].passed
    assert any("takes 4 samples at once" in warning for warning in found.report.warnings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"signature": "serving_default"}, "a function of JAX has no signatures"),
        ({"select_tensorflow_ops": True}, "no operations of TensorFlow's"),
        ({"input_shapes": {"nope": (1, 4)}}, "there is no input 'nope'"),
        ({"input_shapes": {"x": (1, 5)}}, "cannot have the shape [1, 5]"),
    ],
)
def test_options_that_do_not_fit(odd: Path, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConverterError) as raised:
        convert_into(tmp_path, odd / "plain.jax", *FLOAT, **options)
    assert says in raised.value.cause
