"""``tflite-converter`` as a process: each command's answers, its JSON, and its exit codes.

Most start from a float TFLite file, which takes no TensorFlow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying
from PIL import Image

from modelconversion_api.reports.conversion import ConversionReport
from support.converter.tiny_tflite import write_tiny_tflite
from support.converter.vulkan import software_driver
from tflite_converter.cli.main import app
from tflite_converter.tflite.runtime import TFLiteModel

PROGRAM = Path(sys.executable).with_name("tflite-converter")
COMMANDS = [command.name for command in app.registered_commands]
HEAVY = ("tensorflow", "keras", "tf_keras", "numpy", "boto3", "litert_quantizer", "ai_edge_litert", "PIL")
SHAPE = (1, 2, 2, 2)


def run(*arguments: str | Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found


def one_document(found: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float source, samples in three formats, and what was converted of it."""
    folder = tmp_path_factory.mktemp("cli")
    source = write_tiny_tflite(folder / "tiny.tflite", SHAPE)
    samples = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32)
    outputs = next(iter(TFLiteModel(source).run_each({"x": samples.reshape(-1, *SHAPE[1:])}).values()))
    labels = np.where(outputs[:, 1] > outputs[:, 0], "right", "left")
    np.save(folder / "samples.npy", samples)
    np.save(folder / "labels.npy", (labels == "right").astype(np.int64))
    lines = [",".join([f"f{i}" for i in range(8)] + ["side"])]
    lines += [",".join([*map(str, row), label]) for row, label in zip(samples, labels, strict=True)]
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    data = ["--data", folder / "samples.csv", "--label-column", "side"]
    run("convert", "--model", source, "--method", "all", *data, "--output", folder / "out", "--quiet")
    return folder


def report_of(folder: Path, name: str = "tiny") -> ConversionReport:
    return ConversionReport.model_validate_json((folder / f"{name}_report.json").read_text())


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_is_quick_because_it_imports_nothing_heavy(command: str | None) -> None:
    arguments = ["--help"] if command is None else [command, "--help"]
    code = (
        f"import sys; sys.argv = ['tflite-converter', *{arguments!r}]\n"
        "from tflite_converter.cli.main import app\n"
        "try:\n"
        "    app()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "Usage" in found.stdout


def test_the_commands_are_there() -> None:
    shown = run("--help").stdout
    for command in ("convert", "inspect", "compare", "benchmark", "calibrate-check"):
        assert command in COMMANDS
        assert command in shown


def test_bash_gets_a_completion() -> None:
    """The shell is read from the process that asks, which must therefore be one."""
    script = f"true; {PROGRAM} --show-completion; exit $?"
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    found = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True)
    assert "complete -o default" in found.stdout
    assert "tflite-converter" in found.stdout


# convert


def test_a_column_of_a_csv_file_is_the_labels(files: Path) -> None:
    report = report_of(files / "out")
    assert report.calibration is not None
    assert [(c.label, c.name) for c in report.calibration.classes] == [(0, "left"), (1, "right")]
    assert report.calibration.data.stratified
    assert report.calibration.data.format == "csv"
    assert report.evaluation.original_accuracy == 1.0
    assert all((a.accuracy or 0) > 0.9 for a in report.artifacts)
    assert report.calibration.data.preprocessing == {"reshape": "x: (8,) to (2, 2, 2)"}


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (["--max-size", "100"], "bytes are more than 100"),
        (["--max-latency", "0"], "ms a run are more than 0 ms"),
    ],
)
def test_a_gate_on_cost_that_nothing_meets_is_told(
    files: Path, tmp_path: Path, gate: list[str], says: str
) -> None:
    words = ["--model", files / "tiny.tflite", "--method", "dynamic_range", "--output", tmp_path]
    found = run("convert", *words, *gate, code=41)
    assert says in found.stderr
    (artifact,) = report_of(tmp_path).artifacts
    assert not artifact.passed


def test_recipes_of_one_s_own_are_artifacts_with_gates_of_their_own(files: Path, tmp_path: Path) -> None:
    recipes = [
        {"name": "halves", "base": "DynamicRange", "algorithm": "OCTAV", "gates": {"maxSizeBytes": 1}},
        {"name": "lost", "base": "DynamicRange", "layers": [{"match": "nowhere", "precision": "Int4"}]},
    ]
    (tmp_path / "own.json").write_text(json.dumps(recipes))
    words = ["--model", files / "tiny.tflite", "--method", "float32", "--output", tmp_path / "out"]
    found = run("convert", *words, "--recipe", tmp_path / "own.json")
    report = report_of(tmp_path / "out")
    assert [(a.made_by, a.passed) for a in report.artifacts] == [("Float32", True), ("halves", False)]
    assert (tmp_path / "out" / report.artifacts[1].file_name).name == "tiny_recipe-halves.tflite"
    assert [f.made_by for f in report.failed_methods] == ["lost"]
    said = " ".join(found.stdout.split())
    assert "lost was not made: recipe lost: layers[0].match 'nowhere' is in no layer's name" in said
    page = (tmp_path / "out" / "tiny_report.html").read_text()
    assert "lost gave no file" in page
    assert "halves" in page


def test_gates_that_are_met_are_recorded(files: Path, tmp_path: Path) -> None:
    gates = ["--max-size", "100000", "--max-latency", "10000"]
    run("convert", "--model", files / "tiny.tflite", "--output", tmp_path, *gates)
    report = report_of(tmp_path)
    assert report.provenance is not None
    assert report.provenance.options["maxSizeBytes"] == "100000"
    assert report.provenance.options["maxLatencyMillis"] == "10000.0"


def test_the_task_can_be_given(files: Path, tmp_path: Path) -> None:
    arguments = ["--model", files / "tiny.tflite", "--output", tmp_path, "--task", "regression"]
    evaluation = one_document(run("convert", *arguments, "--json"))["evaluation"]
    assert (evaluation["task"], evaluation["taskIsGiven"]) == ("Regression", True)
    assert evaluation["agreementMetric"] == "R2"


def test_a_signed_conversion_can_be_verified(files: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "key.pem").write_bytes(pem)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    (tmp_path / "public.pem").write_bytes(public)
    out = tmp_path / "out"
    words = ["--model", files / "tiny.tflite", "--method", "dynamic_range", "--output", out]
    run("convert", *words, "--sign-key", tmp_path / "key.pem")
    assert sorted(p.name for p in out.iterdir()) == [
        "tiny_dynamic_range.graph.json",
        "tiny_dynamic_range.tflite",
        "tiny_model.sig",
        "tiny_report.html",
        "tiny_report.json",
    ]

    def verify() -> None:
        config = verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "public.pem")
        config.set_ignore_unsigned_files(True)
        config.verify(out, out / "tiny_model.sig")

    verify()
    with (out / "tiny_dynamic_range.tflite").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ValueError, match="mismatch"):
        verify()


def test_a_key_that_is_none_ends_before_anything_is_written(files: Path, tmp_path: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "key.pem"
    arguments = ["convert", "--model", files / "tiny.tflite", "--output", out, "--sign-key", key]
    assert "cannot be read" in run(*arguments, code=2).stderr
    key.write_text("no key")
    assert "not an elliptic-curve private key" in run(*arguments, code=52).stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input-shape", "audio"], "is not NAME=SIZES"),
        (["--input-shape", "audio=1,x"], "is not NAME=SIZES"),
        (["--input-shape", "=1,2"], "is not NAME=SIZES"),
        (["--label-column", "side"], "--label-column without --data"),
        (["--image-scaling", "None"], "--image-scaling without --data"),
        (["--task", "guessing"], "guessing"),
        (["--max-size", "0"], "--max-size"),
    ],
)
def test_mistakes_are_told(files: Path, arguments: list[str], says: str) -> None:
    found = run("convert", "--model", files / "tiny.tflite", "--output", files / "never", *arguments, code=2)
    assert says in found.stderr
    assert not (files / "never").exists()


def test_what_cannot_be_chosen_for_a_tflite_file_is_refused(files: Path) -> None:
    for more in (["--input-shape", "x=1,2,2,2"], ["--select-tf-ops"]):
        found = run("convert", "--model", files / "tiny.tflite", "--output", files / "never", *more, code=10)
        assert "cannot be chosen for a TFLite file" in found.stderr


def test_open_sizes_are_set(models: Path, tmp_path: Path) -> None:
    arguments = ["--model", models / "open.keras", "--output", tmp_path, "--input-shape", "audio=1,50,2"]
    run("convert", *arguments, "--method", "float32", "--quiet")
    assert TFLiteModel(tmp_path / "open_float32.tflite").inputs[0].shape == (1, 50, 2)


def test_tensorflow_operations_stay_when_asked_for(models: Path, tmp_path: Path) -> None:
    arguments = ["--model", models / "inverts_savedmodel", "--output", tmp_path, "--method", "float32"]
    found = run("convert", *arguments, "--select-tf-ops", "--json")
    (artifact,) = one_document(found)["artifacts"]
    assert artifact["inventory"]["flexOperators"] == ["FlexMatrixInverse"]
    assert "needs the Flex delegate" in artifact["message"]


def test_a_folder_of_images_from_end_to_end(models: Path, tmp_path: Path) -> None:
    """The fixture's classifier says which quadrant of an image is bright: so do the folders' names."""
    generator = np.random.default_rng(0)
    for i in range(120):
        label = i % 4
        pixels = generator.integers(0, 80, (8, 8), dtype=np.uint8)
        row, column = 4 * (label // 2), 4 * (label % 2)
        pixels[row : row + 4, column : column + 4] += 170
        folder = tmp_path / "photos" / f"quadrant-{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    packed = shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos")
    arguments = ["--model", models / "keras2.h5", "--method", "full_integer", "--output", tmp_path / "out"]
    found = run("convert", *arguments, "--data", packed, "--image-scaling", "ZeroToOne", "--json")
    report = ConversionReport.model_validate(one_document(found))
    (artifact,) = report.artifacts
    assert report.calibration is not None
    assert report.calibration.data.preprocessing == {
        "resize": "Stretch",
        "scaling": "ZeroToOne",
        "size": "8 x 8 x 1",
    }
    assert [c.name for c in report.calibration.classes] == [f"quadrant-{i}" for i in range(4)]
    assert (report.evaluation.original_accuracy or 0) > 0.9
    assert (artifact.accuracy or 0) > 0.9
    assert artifact.confusion is not None
    assert artifact.confusion.names == tuple(f"quadrant-{i}" for i in range(4))


# compare


def test_compare_shows_what_the_second_loses(files: Path) -> None:
    a, b = files / "out" / "tiny_float32.tflite", files / "out" / "tiny_int8.tflite"
    data = ["--data", files / "samples.csv", "--label-column", "side"]
    shown = run("compare", a, b, *data).stdout
    for text in ("tiny_float32.tflite", "Agreement", "Accuracy", "Classification, compared on 150 samples"):
        assert text in shown
    found = one_document(run("compare", a, b, *data, "--json"))
    assert found["task"] == "Classification"
    assert found["a"]["agreement"] == 1.0
    assert found["a"]["accuracy"] == 1.0
    assert 0.9 < found["b"]["agreement"] <= 1.0
    assert found["b"]["sizeBytes"] == b.stat().st_size
    assert (found["a"]["method"], found["b"]["method"]) == ("Float32", "FullInteger")


def test_one_hot_labels_are_classes_also_here(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.eye(2, dtype=np.float32)[np.load(files / "labels.npy")])
    a = files / "out" / "tiny_float32.tflite"
    data = ["--data", files / "samples.npy", "--labels", tmp_path / "labels.npy"]
    found = one_document(run("compare", a, a, *data, "--json"))
    assert (found["task"], found["b"]["accuracy"], found["b"]["agreement"]) == ("Classification", 1.0, 1.0)


def test_compare_on_random_inputs_says_so(files: Path) -> None:
    a = files / "out" / "tiny_float32.tflite"
    assert "compared on 32 random inputs" in run("compare", a, a).stdout


def test_files_with_other_inputs_are_not_compared(files: Path, tmp_path: Path) -> None:
    a, b = files / "tiny.tflite", write_tiny_tflite(tmp_path / "other.tflite", (1, 3))
    found = run("compare", a, b, code=32)
    assert (
        "the files take different inputs: tiny.tflite takes 'x' [1, 2, 2, 2], other.tflite takes 'x' [1, 3]"
        in found.stderr
    )


def test_labels_beyond_the_classes_are_told(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.load(files / "labels.npy") + 5)
    a = files / "tiny.tflite"
    data = ["--data", files / "samples.npy", "--labels", tmp_path / "labels.npy"]
    assert "go up to 6" in run("compare", a, a, *data, code=35).stderr


# benchmark, calibrate-check, inspect


def test_benchmark_measures_each_number_of_threads(files: Path) -> None:
    paths = [files / "out" / f"tiny_{name}.tflite" for name in ("float32", "int8")]
    found = one_document(run("benchmark", *paths, "--threads", "1,2", "--runs", "20", "--json"))
    assert [(f["file"], f["performance"]["single"]["threads"]) for f in found] == [
        (path.name, threads) for path in paths for threads in (1, 2)
    ]
    for one in found:
        single, batch = one["performance"]["single"], one["performance"]["batch"]
        assert single["runs"] == 20
        assert 0 < single["medianMillis"] <= single["p90Millis"] <= single["p99Millis"]
        assert batch is None or batch["batchSize"] == 8
    shown = run("benchmark", paths[0], "--data", files / "samples.npy", "--runs", "5", "--profile")
    assert "tiny_float32.tflite" in shown.stdout
    assert "Fully Connected" in shown.stdout


def test_benchmark_on_a_gpu_says_what_ran_and_never_falls_back(files: Path) -> None:
    path, driver = files / "out" / "tiny_float32.tflite", str(software_driver())
    (one,) = one_document(
        run("benchmark", path, "--accelerator", "GPU", "--runs", "5", "--json", VK_DRIVER_FILES=driver)
    )
    assert "SwiftShader" in one["accelerator"]["device"]
    assert (one["accelerator"]["isSoftware"], one["accelerator"]["fallbackOperators"]) == (True, 0)
    assert one["performance"]["single"]["runs"] == 5
    shown = run("benchmark", path, "--accelerator", "GPU", "--runs", "5", VK_DRIVER_FILES=driver)
    assert "a software driver on the processor: all operators on it" in shown.stdout
    assert "DestroyAccelerator" not in shown.stderr
    absent = run(
        "benchmark", path, "--accelerator", "GPU", code=54, VK_DRIVER_FILES=str(files / "absent.json")
    )
    assert "install the accelerator's driver" in absent.stderr
    assert "compile it" in run("benchmark", path, "--accelerator", "EdgeTPU", code=47).stderr
    run("benchmark", path, "--accelerator", "GPU", "--profile", code=2)


@pytest.mark.parametrize("command", ["compare", "benchmark", "inspect"])
def test_files_that_are_no_models_have_a_reason(files: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "text.tflite").write_text("no model at all")
    (tmp_path / "cut.tflite").write_bytes((files / "tiny.tflite").read_bytes()[:100])
    for name, code in (("nope.tflite", 11), ("text.tflite", 20), ("cut.tflite", 21)):
        paths = [tmp_path / name] * (2 if command == "compare" else 1)
        assert "error: " in run(command, *paths, code=code).stderr


def test_wrong_options_are_usage_errors(files: Path) -> None:
    assert "--threads x: " in run("benchmark", files / "tiny.tflite", "--threads", "1,x", code=2).stderr
    run("compare", files / "tiny.tflite", code=2)
    run("calibrate-check", code=2)
    run("no-such-command", code=2)


def test_calibrate_check_prints_one_document(files: Path) -> None:
    data = ["--data", files / "samples.csv", "--label-column", "side", "--model", files / "tiny.tflite"]
    found = one_document(run("calibrate-check", *data, "--samples", "100", "--json"))
    assert found["calibration"]["data"]["samples"] == 100
    assert run("calibrate-check", *data).stdout
    assert "nope.npy" in run("calibrate-check", "--data", files / "nope.npy", code=11).stderr


def test_inspect_prints_one_document(files: Path) -> None:
    found = one_document(run("inspect", files / "out" / "tiny_int8.tflite", "--json"))
    assert "FULLY_CONNECTED" in json.dumps(found)
    assert found["minRuntimeVersion"] == "1.14"
    shown = run("inspect", files / "out" / "tiny_int8.tflite").stdout
    assert "FULLY_CONNECTED" in shown
    assert "Oldest runtime with all its operators: TensorFlow Lite 1.14 " in shown


def test_inspect_lists_layers_by_the_names_that_recipes_match(files: Path) -> None:
    (layer,) = one_document(run("inspect", files / "tiny.tflite", "--json"))["layers"]
    assert layer == {
        "name": "y",
        "operator": "FULLY_CONNECTED",
        "weights": "float32",
        "weightBytes": 64,
        "output": "float32",
    }
    assert "float32, 64B" in run("inspect", files / "tiny.tflite", "--layers").stdout
    assert "Layers" not in run("inspect", files / "tiny.tflite").stdout
