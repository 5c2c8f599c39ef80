"""From the model to compiled files: Vela and TFLite Micro are real, for the Edge TPU it is a prediction."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.compilers import (
    NPU,
    DenseWeights,
    EdgeTPU,
    EthosU,
    EthosUAccelerator,
    Microcontroller,
    NPUVendor,
)
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactReport
from support.converter.converting import convert_into
from tflite_converter.compilers.npu_sdk import SDKS_ENV
from tflite_converter.compilers.options import Compilers
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel

runtime = pytest.importorskip("tflite_micro", reason="there is no package for this machine").runtime

U55 = EthosU(accelerator=EthosUAccelerator.U55_128)
MICRO = Microcontroller()


def full_integer(models: Path, output: Path, compilers: Compilers, **options: object) -> ArtifactReport:
    found = convert_into(
        output,
        models / "keras3.keras",
        Method.FULL_INTEGER,
        calibration=models / "images.npy",
        compilers=compilers,
        **options,
    )
    assert Stage.COMPILE in found.report.stage_seconds
    (artifact,) = found.report.artifacts
    return artifact


def test_one_conversion_gives_the_files_of_every_compiler(models: Path, tmp_path: Path) -> None:
    artifact = full_integer(models, tmp_path, Compilers(EdgeTPU(compile=False), U55, MICRO))
    tpu, npu, micro = artifact.edge_tpu, artifact.ethos_u, artifact.microcontroller
    assert tpu is not None
    assert npu is not None
    assert micro is not None
    assert artifact.passed
    assert (tpu.compiled, npu.compiled, micro.has_source) == (False, True, True)
    assert tpu.mapped_operators == tpu.operators == npu.mapped_operators == npu.operators
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {
        "model_int8.tflite",
        "model_int8.graph.json",
        "model_int8_vela.tflite",
        "model_int8.cc",
        "model_int8.h",
    }


def test_the_real_micro_interpreter_runs_the_file_in_the_estimated_arena_as_litert_does(
    models: Path, tmp_path: Path
) -> None:
    artifact = full_integer(models, tmp_path, Compilers(microcontroller=MICRO))
    assert artifact.microcontroller is not None
    content = (tmp_path / "model_int8.tflite").read_bytes()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=artifact.microcontroller.arena_bytes)
    details = interpreter.get_input_details(0)["quantization_parameters"]
    scale, zero = float(details["scales"][0]), int(details["zero_points"][0])
    reference, same = TFLiteModel(content), 0
    names = [tensor.name for tensor in reference.inputs]
    images = np.load(models / "images.npy")[:32]
    for image in images[:, None]:
        interpreter.set_input(np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8), 0)
        interpreter.invoke()
        (expected,) = reference.run(dict.fromkeys(names, image)).values()
        same += int(np.argmax(interpreter.get_output(0)) == np.argmax(expected))
    assert same == len(images)


@pytest.mark.parametrize(
    ("compilers", "scales"),
    [
        (Compilers(microcontroller=MICRO), "per channel"),
        (Compilers(microcontroller=Microcontroller(dense_weights=DenseWeights.PER_TENSOR)), "one"),
        (Compilers(EdgeTPU(compile=False)), "one"),
    ],
    ids=["by default", "for older TFLite Micro", "for the Edge TPU compiler"],
)
def test_dense_weights_have_one_scale_where_the_runtime_knows_no_other(
    models: Path, tmp_path: Path, compilers: Compilers, scales: str
) -> None:
    full_integer(models, tmp_path, compilers)
    file = read_file((tmp_path / "model_int8.tflite").read_bytes(), "m")
    weights = {
        (operator.name, graph.tensors[operator.inputs[1]].is_per_channel)
        for operator, graph in file.operators()
        if operator.name in ("FULLY_CONNECTED", "CONV_2D")
    }
    assert weights == {("CONV_2D", True), ("FULLY_CONNECTED", scales == "per channel")}


def test_a_gate_on_the_arena_fails_the_artifact_and_leaves_the_files(models: Path, tmp_path: Path) -> None:
    limit = Microcontroller(max_arena_bytes=100)
    artifact = full_integer(models, tmp_path, Compilers(microcontroller=limit))
    assert not artifact.passed
    assert "microcontroller: the arena takes about" in (artifact.message or "")
    assert (tmp_path / "model_int8.tflite").is_file()


def test_the_compiler_has_the_last_word_on_a_target(models: Path, tmp_path: Path) -> None:
    """The analysis alone would fail a file that the Edge TPU runs in part; a gate on the share decides."""
    sequences = tmp_path / "sequences.npy"
    np.save(sequences, np.random.default_rng(0).normal(size=(32, 6, 4)).astype(np.float32))
    lenient = Compilers(EdgeTPU(compile=False, min_mapped_fraction="0"))
    found = convert_into(
        tmp_path / "out",
        models / "recurrent.keras",
        Method.FULL_INTEGER,
        calibration=sequences,
        compilers=lenient,
        target=Target.EDGE_TPU,
    )
    (artifact,) = found.report.artifacts
    assert artifact.edge_tpu is not None
    assert artifact.passed is artifact.edge_tpu.passed is True


def test_compilers_without_a_full_integer_file_are_refused_at_once(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path, models / "keras3.keras", Method.FLOAT16, compilers=Compilers(ethos_u=U55))
    assert caught.value.reason is FailureReason.INVALID_REQUEST
    assert "full-integer" in caught.value.cause


def test_a_missing_edge_tpu_compiler_is_told_before_anything_is_converted(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConverterError) as caught:
        full_integer(models, tmp_path, Compilers(EdgeTPU()))
    assert (caught.value.reason, caught.value.stage) == (FailureReason.COMPILER_NOT_FOUND, Stage.LOAD)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--ethos-u-memory", "Sram_Only"], 2, "--ethos-u-memory without --ethos-u"),
        (["--edgetpu", "--edgetpu-predict"], 2, "exclude each other"),
        (["--min-mapped", "0.5", "--c-array"], 2, "--min-mapped without"),
        (["--ethos-u", "ethos-u55-128", "--ethos-u-system", "Ethos_U65_Embedded"], 2, "is another core's"),
        ([], 2, "nothing to compile for"),
        (["--c-array", "--max-arena", "10"], 41, "the arena takes about"),
        (["--ethos-u", "ethos-u55-128", "--json"], 0, ""),
        (
            ["--npu", "Qualcomm", "--npu-soc", "SM8750", "--npu-sdk", "."],
            43,
            "libQnnHtp.so of Qualcomm's SDK",
        ),
        (["--npu", "Qualcomm"], 2, "--npu without --npu-soc"),
        (["--npu", "Qualcomm", "--npu-soc", "LNL"], 2, "--npu-soc has a chip that is not the maker's"),
        (["--npu-soc", "CPU", "--c-array"], 2, "--npu-soc without --npu"),
        (["--npu-sdk", ".", "--c-array"], 2, "--npu-sdk without --npu"),
    ],
)
def test_the_command_compile(
    models: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    file = tmp_path / "made" / "model_int8.tflite"
    if not file.is_file():
        full_integer(models, tmp_path / "made", Compilers(microcontroller=Microcontroller(c_array=False)))
    ended = subprocess.run(
        [sys.executable, "-m", "tflite_converter", "compile", file, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, words in ended.stderr) == (code, True), ended.stderr
    if "--json" in arguments:
        report = json.loads(ended.stdout)
        assert report["ethosU"]["compiled"] is True
        assert [p.name for p in (tmp_path / "converted_models").iterdir()] == ["model_int8_vela.tflite"]


def test_files_that_pass_go_through_intel_s_compiler_and_are_run(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra npu-intel is for x86-64")
    methods = (Method.FULL_INTEGER, Method.FLOAT32, Method.DYNAMIC_RANGE)
    found = convert_into(
        tmp_path,
        models / "keras3.keras",
        *methods,
        calibration=models / "images.npy",
        compilers=Compilers(npu=NPU(vendor=NPUVendor.INTEL, socs=["CPU"], max_partitions=1)),
    )
    assert {artifact.method for artifact in found.report.artifacts} == set(methods)
    for artifact in found.report.artifacts:
        if artifact.method is Method.DYNAMIC_RANGE:
            assert artifact.npu == ()
            continue
        (chip,) = artifact.npu
        assert (artifact.passed, chip.passed, chip.partitions) == (True, True, 1)
        assert chip.mapped_operators == chip.operators > 0
        assert chip.run is not None
        assert chip.run.max_difference < 0.05 * chip.run.output_range
        (file,) = chip.files
        content = (tmp_path / file.file_name).read_bytes()
        assert [operator.name for operator, _ in read_file(content, "m").operators()] == ["DISPATCH_OP"]
    assert {p.name for p in tmp_path.iterdir() if "intel" in p.name} == {
        "model_int8_intel_CPU.tflite",
        "model_float32_intel_CPU.tflite",
    }


def test_compilers_for_npus_without_a_file_that_they_take_are_refused_at_once(
    models: Path, tmp_path: Path
) -> None:
    compilers = Compilers(npu=NPU(vendor=NPUVendor.INTEL, socs=["CPU"]))
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path, models / "keras3.keras", Method.DYNAMIC_RANGE, compilers=compilers)
    assert caught.value.reason is FailureReason.INVALID_REQUEST
    assert "float and full-integer files" in caught.value.cause


def test_a_vendor_s_sdk_that_is_not_there_is_told_before_anything_is_converted(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SDKS_ENV, f"qualcomm={tmp_path / 'nowhere'}")
    compilers = Compilers(npu=NPU(vendor=NPUVendor.QUALCOMM, socs=["SM8750"]))
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path, models / "keras3.keras", Method.FLOAT32, compilers=compilers)
    assert (caught.value.reason, caught.value.stage) == (FailureReason.COMPILER_NOT_FOUND, Stage.LOAD)
    assert not list(tmp_path.glob("*.tflite"))
