"""PyTorch models, by the real engine in its environment. The right values are torch's, taken before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from support.converter.converting import convert_into
from support.engines import pt2_by_hand as by_hand
from support.engines.engine_truth import truth
from support.engines.engines_of_tests import PYTORCH, python_or_skip, write_models
from tflite_converter.engines.finding import ENGINES_ENV
from tflite_converter.errors import ConverterError

MODELS = ("several_outputs", "one_tensor_twice", "two_inputs_of_two_kinds", "open_length", "cnn_float16")
FLOAT = (Method.FLOAT32,)
LOADS = """
import sys, torch
for folder in sys.argv[1:]:
    try:
        torch.export.load(f"{folder}/m.pt2")
    except Exception:
        pass
"""


@pytest.fixture(scope="session")
def engine() -> Path:
    return python_or_skip(PYTORCH)


@pytest.fixture(autouse=True)
def _found(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINES_ENV, f"pytorch={engine}")


@pytest.fixture(scope="session")
def models(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with samples and torch's outputs."""
    folder = tmp_path_factory.mktemp("pytorch")
    write_models(engine, "make_pytorch_models.py", folder, "cnn_batch_of_four", *MODELS)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_the_float_file_gives_what_torch_gives(models: Path, tmp_path: Path, name: str) -> None:
    data = models / f"{name}.samples.npz"
    found = convert_into(tmp_path, models / f"{name}.pt2", *FLOAT, calibration=data)
    assert found.report.source.format is SourceFormat.PYTORCH
    assert found.report.artifacts[0].passed, found.report.artifacts[0].message
    distance = truth(models, name, found, Method.FLOAT32)
    assert list(distance) == list(
        np.load(models / f"{name}.expected.npz").files
    )  # the export's names and order
    assert list(np.load(data).files) == [tensor.name for tensor in found.report.source.inputs]
    # What the original itself loses in half precision is no fault of the file's.
    least = 60 if name == "cnn_float16" else 100
    assert all(number > least or (number, unit) == (100.0, "%") for number, unit in distance.values()), (
        distance
    )
    assert found.report.provenance.isolation == ("no-network", "no-other-programs", "own-files-only")
    warned = " ".join(found.report.warnings)
    assert ("'ids' is int64 in the model, int32 in its files" in warned) == (
        name == "two_inputs_of_two_kinds"
    )
    assert ("computes in float16: its files do so in float32" in warned) == (name == "cnn_float16")


def test_every_method_and_what_a_file_says_of_its_layout(models: Path, tmp_path: Path) -> None:
    name = "cnn_batch_of_four"
    data = models / f"{name}.samples.npz"
    found = convert_into(tmp_path, models / f"{name}.pt2", *Method, calibration=data, tuning_seconds=0)
    near = {method: min(truth(models, name, found, method).values())[0] for method in Method}
    assert near[Method.FLOAT32] > 100
    assert near[Method.FLOAT16] > 60
    assert near[Method.DYNAMIC_RANGE] > 35
    assert near[Method.FULL_INTEGER] > 25
    (image,) = found.report.source.inputs
    assert (image.shape, image.source_shape, image.axes) == ([1, 16, 16, 3], [4, 3, 16, 16], [0, 2, 3, 1])
    assert any("takes batches of 4: its files take one sample" in words for words in found.report.warnings)
    assert {path.suffix for path in (tmp_path).iterdir()} == {".tflite", ".json"}


def test_what_torch_itself_would_run_is_refused_and_not_run(engine: Path, tmp_path: Path) -> None:
    """The control comes first: these files do run their code where torch's own loader has them."""
    folders = []
    for number, where in enumerate(by_hand.hostile(tmp_path)):
        folders.append(tmp_path / f"file-{number}")
        folders[-1].mkdir()
        by_hand.written(folders[-1] / "m.pt2", by_hand.hostile(folders[-1] / "ran")[where])
    subprocess.run([engine, "-c", LOADS, *folders], check=True, capture_output=True)
    for folder in folders:
        (folder / "ran").unlink()
        with pytest.raises(ConverterError) as raised:
            convert_into(folder / "out", folder / "m.pt2", *FLOAT, require_data=False)
        assert raised.value.reason is FailureReason.UNSAFE_MODEL
        assert {path.name for path in folder.iterdir()} == {"m.pt2"}


@pytest.mark.parametrize(
    ("operator", "version", "reason", "says"),
    [
        ("torch.ops.aten.nonesuch.default", "2.99.0", FailureReason.UNSUPPORTED_FORMAT, "which torch 2.99.0"),
        (
            "torch.ops.torchvision.nms.default",
            "2.14.1",
            FailureReason.UNSUPPORTED_OPERATION,
            "torchvision.nms",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(
    tmp_path: Path, operator: str, version: str, reason: FailureReason, says: str
) -> None:
    document = by_hand.document()
    document["graph_module"]["graph"]["nodes"][1]["target"] = operator
    document["torch_version"] = version
    path = by_hand.written(tmp_path / "m.pt2", by_hand.entries(document))
    with pytest.raises(ConverterError) as raised:
        convert_into(tmp_path / "out", path, *FLOAT, require_data=False)
    assert (raised.value.reason, says in raised.value.cause) == (reason, True), raised.value.cause


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"signature": "serving_default"}, "a PyTorch file has no signatures"),
        ({"select_tensorflow_ops": True}, "no operations of TensorFlow's"),
        ({"input_shapes": {"nope": (1, 3)}}, "there is no input 'nope'"),
        ({"input_shapes": {"x": (1, 5)}}, "cannot have the shape [1, 5]"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, object], says: str) -> None:
    path = by_hand.written(tmp_path / "m.pt2", by_hand.entries())
    with pytest.raises(ConverterError) as raised:
        convert_into(tmp_path / "out", path, *FLOAT, require_data=False, **options)
    assert says in raised.value.cause
