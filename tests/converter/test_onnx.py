"""ONNX models, by the real engine in its environment. The right values are onnxruntime's, taken before."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from support.converter.converting import convert_into
from support.engines.engine_truth import truth
from support.engines.engines_of_tests import ONNX, PYTORCH, python_or_skip, write_models
from support.engines.onnx_operator_truth import verdict
from tflite_converter.data.files import DataFiles
from tflite_converter.engines.finding import ENGINES_ENV
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.metadata import read_record

MODELS = (
    *("cnn-17", "segmentation-25", "conv1d-11", "grouped_conv-17", "several_outputs-17", "square_image-11"),
    *("odd_names-17", "one_tensor_twice-17", "transformer_block-21", "lstm-17", "open_length-17"),
    *("two_inputs_of_two_kinds-21", "argmax_output-25"),
    *("lstm_two_ways_with_states-17", "gru_backwards_from_states-17", "gru-17"),
    "gru_last_only-17",
)
EXPORTED = ("lstm_two_ways-trace", "cnn_open_batch-dynamo", "gru-dynamo")
"""Models as torch's exporters write them: with first states of zeros, with weights beside the file, wrong."""
FLOAT = (Method.FLOAT32,)


@pytest.fixture(scope="session")
def engine() -> Path:
    return python_or_skip(ONNX)


@pytest.fixture(autouse=True)
def _found(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINES_ENV, f"onnx={engine}")


@pytest.fixture(scope="session")
def onnx(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with samples and onnxruntime's outputs."""
    folder = tmp_path_factory.mktemp("onnx")
    write_models(engine, "make_onnx_models.py", folder, *MODELS)
    return folder


AGREE = (
    *("elu", "celu", "selu", "hardmax_default_axis", "gather_elements_negative_indices", "mean_one_input"),
    *("matmul_1d_1d", "shape", "size", "resize_upsample_sizes_nearest", "resize_upsample_scales_cubic"),
    *("resize_upsample_scales_nearest_axes_3_2", "resize_downsample_sizes_nearest_not_larger"),
)
REFUSED = (
    "lstm_with_peepholes",
    "lppool_2d_same_lower",
    "resize_downsample_scales_linear",
    "resize_downsample_sizes_linear_antialias",
)
OPERATORS = dict.fromkeys(AGREE, "agrees") | dict.fromkeys(REFUSED, "refused")
"""The ONNX project's own tests of what onnx2tf alone would write as something else."""


@pytest.fixture(scope="session")
def operators(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, inputs and the outputs that the ONNX project expects."""
    folder = tmp_path_factory.mktemp("operators")
    write_models(engine, "write_onnx_operator_tests.py", folder, *OPERATORS)
    return folder


@pytest.mark.parametrize(("name", "word"), OPERATORS.items())
def test_operators_give_what_their_makers_expect(engine: Path, operators: Path, name: str, word: str) -> None:
    found = verdict(engine, operators / f"{name}.onnx")
    assert found.word == word, found.why
    if word == "refused":
        assert found.why.startswith("UnsupportedOperation: onnx2tf would write ")


@pytest.fixture(scope="session")
def odd(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are refused, or read with care."""
    folder = tmp_path_factory.mktemp("around") / "odd"
    write_models(engine, "make_odd_onnx_models.py", folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_the_float_file_gives_what_onnxruntime_gives(onnx: Path, tmp_path: Path, name: str) -> None:
    data = onnx / f"{name}.samples.npz"
    found = convert_into(tmp_path, onnx / f"{name}.onnx", *FLOAT, calibration=data)
    assert found.report.source.format is SourceFormat.ONNX
    assert found.report.artifacts[0].passed, found.report.artifacts[0].message
    distance = truth(onnx, name, found, Method.FLOAT32)
    assert list(distance) == list(np.load(onnx / f"{name}.expected.npz").files)  # the model's names and order
    assert all(number > 100 or (number, unit) == (100.0, "%") for number, unit in distance.values()), distance
    assert found.report.provenance.isolation == ("no-network", "no-other-programs", "own-files-only")


@pytest.fixture(scope="session")
def exported(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models as torch exports them, with samples and torch's outputs."""
    folder = tmp_path_factory.mktemp("exported")
    (packages,) = engine.parents[1].glob("lib/python3.*/site-packages")
    torch = python_or_skip(PYTORCH)
    write_models(torch, "make_exported_onnx_models.py", folder, str(packages), *EXPORTED)
    return folder


@pytest.mark.parametrize("name", EXPORTED[:2])
def test_the_float_file_of_an_export_gives_what_torch_gives(
    exported: Path, tmp_path: Path, name: str
) -> None:
    data = exported / f"{name}.samples.npz"
    found = convert_into(tmp_path, exported / f"{name}.onnx", *FLOAT, calibration=data)
    assert found.report.artifacts[0].passed, found.report.artifacts[0].message
    distance = truth(exported, name, found, Method.FLOAT32)
    assert all(number > 100 for number, _ in distance.values()), distance
    assert not found.report.warnings


def test_a_gru_that_torch_exports_as_another_one_is_told(exported: Path, tmp_path: Path) -> None:
    data = exported / "gru-dynamo.samples.npz"
    found = convert_into(tmp_path, exported / "gru-dynamo.onnx", *FLOAT, calibration=data)
    assert found.report.artifacts[0].passed  # it is what the ONNX file says
    ((number, _),) = truth(exported, "gru-dynamo", found, Method.FLOAT32).values()
    assert any("resets before the product" in warning for warning in found.report.warnings) == (number < 100)


def test_every_method_and_what_a_file_says_of_its_layout(onnx: Path, tmp_path: Path) -> None:
    data = onnx / "cnn-17.samples.npz"
    found = convert_into(tmp_path, onnx / "cnn-17.onnx", *Method, calibration=data, tuning_seconds=0)
    near = {method: truth(onnx, "cnn-17", found, method)["y"][0] for method in Method}
    assert near[Method.FLOAT16] > 60
    assert near[Method.DYNAMIC_RANGE] > 35
    assert near[Method.FULL_INTEGER] > 30
    (image,) = found.report.source.inputs
    assert (image.shape, image.source_shape, image.axes) == ([1, 16, 16, 3], [-1, 3, 16, 16], [0, 2, 3, 1])
    for method in Method:
        file = read_file(found.file(method).read_bytes(), "file")
        record = read_record(file)
        assert record is not None
        assert record["layouts"] == {"image": "NHWC (the source has NCHW)"}
        assert b"NHWC (the source has NCHW)" in bytes(file.metadata["TFLITE_METADATA"])
    assert found.report.provenance.options["inputShapes"] == ""


def test_data_in_either_layout_measure_the_same(onnx: Path, tmp_path: Path) -> None:
    own = np.load(onnx / "cnn-17.samples.npz")["image"]
    figures = []
    for name, array in (
        ("own", own),
        ("file", own.transpose(0, 2, 3, 1)),
        ("flat", own.reshape(len(own), -1)),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        found = convert_into(
            tmp_path / name,
            onnx / "cnn-17.onnx",
            Method.FULL_INTEGER,
            calibration=tmp_path / f"{name}.npy",
            tuning_seconds=0,
        )
        (artifact,) = found.report.artifacts
        figures.append((artifact.sha256 is not None, artifact.snr_db, artifact.agreement))
        preprocessing = found.report.calibration.data.preprocessing if found.report.calibration else {}
        assert ("layout" in preprocessing) == (name != "file")
    assert figures[0] == figures[1] == figures[2]


def test_a_folder_of_images_is_decoded_as_the_file_has_them(onnx: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"photos/{number:02}.png")
    scaled = (pixels / np.float32(255)).transpose(0, 3, 1, 2)
    np.save(tmp_path / "own.npy", scaled)
    images = DataFiles(tmp_path / "photos", images=Images(scaling=ImageScaling.ZERO_TO_ONE))
    found = convert_into(tmp_path / "a", onnx / "cnn-17.onnx", *FLOAT, validation=images)
    same = convert_into(tmp_path / "b", onnx / "cnn-17.onnx", *FLOAT, validation=tmp_path / "own.npy")
    assert found.report.artifacts[0].passed
    assert found.report.artifacts[0].agreement == same.report.artifacts[0].agreement


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("custom", FailureReason.UNSUPPORTED_OPERATION, "Fancy of my.domain"),
        ("sklearn", FailureReason.UNSUPPORTED_OPERATION, "Scaler of ai.onnx.ml"),
        ("unknown_operator", FailureReason.UNSUPPORTED_OPERATION, "Nonesuch"),
        ("text_input", FailureReason.UNSUPPORTED_OPERATION, "input 'x' takes text"),
        ("opset10", FailureReason.UNSUPPORTED_FORMAT, "opset 10"),
        ("opset99", FailureReason.UNSUPPORTED_FORMAT, "opset 99"),
        ("quantized", FailureReason.UNSUPPORTED_FORMAT, "is quantized already"),
        ("huge_constant", FailureReason.SOURCE_TOO_LARGE, "more than 2 GiB"),
        ("wrong_constant", FailureReason.UNREADABLE_MODEL, "has 16 bytes, its sizes say 48"),
        ("huge_input", FailureReason.UNSUPPORTED_SHAPE, "more than fits"),
        ("bomb", FailureReason.OUT_OF_MEMORY, "ran out of memory"),
        ("nested", FailureReason.UNREADABLE_MODEL, "more than 64 deep"),
        ("outside", FailureReason.UNSAFE_MODEL, "'../secret.bin'"),
        ("absolute", FailureReason.UNSAFE_MODEL, "'/etc/passwd'"),
        ("link", FailureReason.UNSAFE_MODEL, "is a symbolic link"),
        ("missing", FailureReason.UNREADABLE_MODEL, "'nowhere.bin'"),
        ("short_data", FailureReason.UNREADABLE_MODEL, "does not fit into 'short.bin'"),
        ("truncated", FailureReason.UNREADABLE_MODEL, "is a truncated or corrupt ONNX file"),
        ("damaged", FailureReason.UNREADABLE_MODEL, "is a truncated or corrupt ONNX file"),
        ("empty", FailureReason.UNREADABLE_MODEL, "is empty"),
        ("text", FailureReason.UNSUPPORTED_FORMAT, "is no ONNX model, whatever its name says"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(
    odd: Path, tmp_path: Path, name: str, reason: FailureReason, says: str
) -> None:
    with pytest.raises(ConverterError) as raised:
        convert_into(tmp_path / "out", odd / f"{name}.onnx", *FLOAT, memory_limit_bytes=3 << 30)
    assert (raised.value.reason, says in raised.value.cause) == (reason, True), raised.value.cause
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "warns"),
    [
        ("external", None),
        ("external_here", None),
        ("passes_through", None),
        ("no_shape", None),
        ("float16", "computes in float16"),
        ("float64", "computes in float64"),
        ("batch_of_four", "takes batches of 4: its files take one sample"),
    ],
)
def test_what_needs_care_is_converted(odd: Path, tmp_path: Path, name: str, warns: str | None) -> None:
    found = convert_into(tmp_path, odd / f"{name}.onnx", *FLOAT)
    assert found.report.artifacts[0].passed
    assert warns is None or any(warns in warning for warning in found.report.warnings)


def test_rows_of_a_batch_that_cannot_be_divided_are_grouped(odd: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((18, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    found = convert_into(tmp_path / "a", odd / "batch_meets.onnx", *FLOAT, validation=tmp_path / "rows.npy")
    assert found.report.artifacts[0].passed
    assert any("takes 4 samples at once" in warning for warning in found.report.warnings)
    np.save(tmp_path / "wholes.npy", rows[:16].reshape(4, 4, 3))
    found = convert_into(tmp_path / "b", odd / "batch_meets.onnx", *FLOAT, validation=tmp_path / "wholes.npy")
    assert found.report.artifacts[0].passed
    assert not any("at once" in warning for warning in found.report.warnings)


def test_random_numbers_are_seen(odd: Path, tmp_path: Path) -> None:
    found = convert_into(tmp_path, odd / "random.onnx", *FLOAT)
    assert not found.report.artifacts[0].usable
    assert "gives another 'y' each time" in (found.report.artifacts[0].message or "")


def test_a_graph_that_was_rewritten_wrongly_is_unusable(
    engine: Path, odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a mistake of onnx2tf leaves: the float file has weights that are the model's doubled."""
    weights = (odd / "weights.bin").read_bytes()
    doubled = (np.frombuffer(weights, np.float32).reshape(4, 3) * 2).T.tobytes()
    turned = np.frombuffer(weights, np.float32).reshape(4, 3).T.tobytes()
    (tmp_path / "spoil.py").write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1]) / 'float.tflite'\n"
        f"old, new = {turned!r}, {doubled!r}\n"
        "content = path.read_bytes()\n"
        "assert old in content\n"
        "path.write_bytes(content.replace(old, new))\n"
    )
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f'#!/bin/sh\n"{engine}" "$@" || exit $?\n'
        f'[ "$5" != convert ] || exec "{engine}" "{tmp_path}/spoil.py" "$6"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(ENGINES_ENV, f"onnx={wrapper}")
    found = convert_into(
        tmp_path / "out", odd / "external.onnx", *Method, tuning_seconds=0, require_data=False
    )
    assert found.report.artifacts
    assert not any(artifact.usable for artifact in found.report.artifacts)
    assert all(
        "the float file itself gives another 'y' than the original" in (artifact.message or "")
        for artifact in found.report.artifacts
    )


def test_external_data_of_an_archive_and_of_a_folder(odd: Path, tmp_path: Path) -> None:
    import zipfile

    folder = tmp_path / "exported"
    folder.mkdir()
    for name in ("external.onnx", "weights.bin"):
        (folder / name).write_bytes((odd / name).read_bytes())
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"exported/{path.name}")
    found = [
        convert_into(tmp_path / name, source, *FLOAT).report
        for name, source in (("a", folder), ("b", tmp_path / "model.zip"), ("c", folder / "external.onnx"))
    ]
    assert {report.source.size_bytes for report in found} == {sum(p.stat().st_size for p in folder.iterdir())}
    assert found[0].source.sha256 == found[2].source.sha256 != found[1].source.sha256
    (folder / "second.onnx").write_bytes((odd / "external.onnx").read_bytes())
    with pytest.raises(ConverterError, match="holds 2 ONNX models"):
        convert_into(tmp_path / "d", folder, *FLOAT)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"signature": "serving_default"}, "an ONNX file has no signatures"),
        ({"select_tensorflow_ops": True}, "no operations of TensorFlow's"),
        ({"input_shapes": {"nope": (1, 4)}}, "there is no input 'nope'"),
        ({"input_shapes": {"x": (1, 5)}}, "cannot have the shape [1, 5]"),
    ],
)
def test_options_that_do_not_fit(odd: Path, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConverterError) as raised:
        convert_into(tmp_path, odd / "external.onnx", *FLOAT, **options)
    assert says in raised.value.cause


def test_nothing_is_left_where_an_engine_worked(onnx: Path, tmp_path: Path) -> None:
    convert_into(tmp_path / "out", onnx / "cnn-17.onnx", *FLOAT)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model_float32.tflite",
        "model_float32.graph.json",
    }
    assert not list(Path.home().glob("onnx2tf*"))
