"""Accelerators of boards in the stages of a board's Job, on a real S3 server; and files that never end.

The GPU is LiteRT's accelerator on SwiftShader, which is a real driver without a device. The library of the
Edge TPU is a stand-in that takes the operators which Coral's takes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.boards import BOARD_SECONDS_ENV, Accelerator
from modelconversion_api.fields.compilation import CompiledFile, EdgeTPUReport
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardReport
from support.cluster.board_stages import BOARD, Published, digest, npz
from support.cluster.stages import Job, new_job
from support.converter.tflite_files import O, T, dense, tflite
from support.converter.vulkan import software_driver
from support.paths import REPOSITORY

GPU = BOARD.changed(accelerator=Accelerator.GPU)
EDGE_TPU = BOARD.changed(accelerator=Accelerator.EDGE_TPU)
X = np.random.default_rng(0).uniform(-2, 2, (6, 4)).astype(np.float32)


@pytest.fixture
def job(object_store, bucket, tmp_path, monkeypatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", str(software_driver()))


def row(name: str, dtype: str = "FLOAT32") -> T:
    return T(name, (1, 4), dtype)


def two(first: str, second: str) -> bytes:
    """A file of two operators one after the other, from ``x`` to ``scores``."""
    tensors = [row("x"), row("y"), row("h")]
    operators = [O(first, (0,), (2,)), O(second, (2,), (1,))]
    return tflite(tensors, operators, signature=({"x": 0}, {"scores": 1}))


@pytest.mark.usefixtures("gpu")
def test_a_gpu_runs_the_files_and_its_software_driver_is_named(job: Job) -> None:
    published = Published(job, board=GPU)
    (file,) = published.measured()["files"]
    assert (file["acceleratedOperators"], file["fallbackOperators"]) == (1, 0)
    assert (file["passed"], file["agreement"], file["latency"]["runs"]) == (True, 1.0, 3)
    honest = json.loads((published.job.output / "pi5.json").read_text())
    for taken in ({"acceleratedOperators": 0}, {"fallbackOperators": None}):
        lie = honest | {"files": [file | taken]}
        published.left(json.dumps(lie).encode())
        assert published.failure(Stage.PUBLISH).reason is FailureReason.ARTIFACT_INVALID
    published.left(json.dumps(honest).encode())
    summary = published.run(Stage.PUBLISH).board
    assert summary is not None
    assert (summary.accelerator, summary.machine.is_software) == (Accelerator.GPU, True)
    assert "SwiftShader" in summary.machine.runtime
    assert summary.machine.runtime.endswith(", a software driver")


@pytest.mark.usefixtures("gpu")
def test_what_a_gpu_leaves_is_counted_and_a_file_of_which_it_takes_nothing_has_no_figures(job: Job) -> None:
    partly = two("TANH", "LOG_SOFTMAX")
    squashed = np.tanh(X.astype(np.float64))
    expected = squashed - np.log(np.exp(squashed).sum(axis=1, keepdims=True))
    samples = npz({"inputs/x": X, "outputs/scores": expected.astype(np.float32)})
    nothing = tflite([row("x"), row("y")], [O("LOG_SOFTMAX")], signature=({"x": 0}, {"scores": 1}))
    published = Published(job, {Method.FLOAT32: partly, Method.FLOAT16: nothing}, samples, board=GPU)
    first, second = published.measured()["files"]
    assert (first["acceleratedOperators"], first["fallbackOperators"]) == (1, 1)
    assert (first["fallbacks"], first["agreement"]) == (["LOG_SOFTMAX: Operation is not supported"], 1.0)
    assert (second["passed"], second["reason"]) == (False, "NothingMapped")
    assert "latency" not in second, "the CPU's figure is not shown for the GPU's"


def test_without_a_gpu_the_board_gives_nothing_and_says_what_to_do(job: Job, tmp_path: Path) -> None:
    beside = software_driver().parent / "libvulkan.so.1"
    shutil.copy(beside, tmp_path)
    for text in ('{"ICD": {"library_path": "./absent.so", "api_version": "1.0.5"}}', "no manifest"):
        (tmp_path / "icd.json").write_text(text)
        job.patch.setenv("VK_DRIVER_FILES", str(tmp_path / "icd.json"))
        published = Published(job, board=GPU)
        assert published.run(Stage.FETCH).failure is None
        failure = published.failure(Stage.MEASURE)
        assert failure.reason is FailureReason.ACCELERATOR_NOT_FOUND
        assert failure.message.startswith("the driver for Vulkan cannot be used here")
        assert "a device plugin of the node serves" in failure.message
        assert not (published.job.output / "pi5.json").exists()


@pytest.fixture
def edge_tpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that does what Coral's does, where it is looked for."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on PATH")
    made = tmp_path / "libedgetpu.so.1"
    source = REPOSITORY / "tests/support/edge/stand_in_edge_tpu.c"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", source, "-o", made], check=True)
    monkeypatch.setattr("edge_inference.delegates.EDGE_TPU_LIBRARY", str(made))
    monkeypatch.setattr("tflite_converter.verifying.drivers._OF_SYSTEM", (str(tmp_path),))


def compiled(job: Job) -> Published:
    """A run of two files, of which the integers' one was compiled: its part gives twice its input."""
    content = two("edgetpu-custom-op", "ABS")
    samples = npz({"inputs/x": X, "outputs/scores": np.abs(2 * X)})
    plain = two("NEG", "ABS")
    files = {Method.FLOAT32: plain, Method.FULL_INTEGER: plain}
    published = Published(job, files, samples, board=EDGE_TPU)
    name = "gesture_int8_edgetpu.tflite"
    job.put(f"out/{name}", content)
    made = CompiledFile(file_name=name, size_bytes=len(content), sha256=digest(content))
    figures = EdgeTPUReport(passed=True, compiled=True, operators=30, mapped_operators=29, files=(made,))
    published.compiled(Method.FULL_INTEGER, figures)
    return published


@pytest.mark.usefixtures("edge_tpu")
def test_an_edge_tpu_runs_the_file_that_was_compiled_for_it(job: Job) -> None:
    published = compiled(job)
    plain, mapped = published.measured()["files"]
    assert (plain["passed"], plain["reason"]) == (False, "NothingMapped")
    assert "compiled for the Edge TPU" in plain["message"]
    assert (mapped["fileName"], mapped["agreement"]) == ("gesture_int8_edgetpu.tflite", 1.0)
    assert (mapped["acceleratedOperators"], mapped["fallbackOperators"]) == (29, 1)
    stored = published.run(Stage.PUBLISH).board
    assert stored is not None
    assert "Edge TPU by libedgetpu.so.1" in stored.machine.runtime


@pytest.mark.usefixtures("edge_tpu")
def test_without_an_edge_tpu_the_board_gives_nothing(job: Job) -> None:
    job.patch.setenv("STAND_IN_DEVICE", "none")
    published = compiled(job)
    assert published.run(Stage.FETCH).failure is None
    failure = published.failure(Stage.MEASURE)
    assert failure.reason is FailureReason.ACCELERATOR_NOT_FOUND
    assert "refuses: Failed to load delegate" in failure.message


ALWAYS = ("always", [row("a"), T("t", (1,), "BOOL", b"\1")], [])
AGAIN = ("again", [row("b"), row("c")], [O("ABS")])
LOOP = O("WHILE", (0,), (1,), options={"condSubgraphIndex": 1, "bodySubgraphIndex": 2})
ENDLESS = tflite([row("x"), row("y")], [LOOP], signature=({"x": 0}, {"scores": 1}), others=(ALWAYS, AGAIN))


@pytest.mark.parametrize("bound", ["by the board", "by its share of the Job's time"])
def test_a_file_that_never_ends_leaves_the_others_their_figures(job: Job, bound: str) -> None:
    # Two files share nine tenths of 13 seconds.
    job.patch.setenv(BOARD_SECONDS_ENV, "3600" if bound == "by the board" else "13")
    board = BOARD.changed(timeout_seconds=6) if bound == "by the board" else BOARD
    published = Published(job, {Method.FLOAT16: ENDLESS, Method.FLOAT32: dense()}, board=board)
    endless, other = published.measured()["files"]
    assert (endless["passed"], endless["reason"]) == (False, "ConverterTimedOut")
    assert "was not done after 6 s" in endless["message"]
    assert "raise timeoutSeconds of the board" in endless["message"]
    assert (other["passed"], other["agreement"], other.get("reason")) == (True, 1.0, None)


def page_of(job: Job) -> str:
    return read(job, "out/report.html").decode()


def read(job: Job, key: str) -> bytes:
    content: bytes = job.server.client().get_object(Bucket=job.bucket, Key=key)["Body"].read()
    return content


def pair(job: Job) -> tuple[Published, Published]:
    """Two boards of one run, each with folders of its own."""
    boards = [BOARD, BOARD.changed(name="nano", max_latency_millis="0.0001")]
    first = Published(job, board=boards[0], boards=boards)
    second = Published(first.job.elsewhere("nano"), board=boards[1], boards=boards)
    return first, second


def test_the_page_shows_each_board_that_has_published(job: Job) -> None:
    pi5, nano = pair(job)
    pi5.activate().measured()
    before = job.objects()
    assert pi5.run(Stage.PUBLISH).board is not None
    page = page_of(job)
    assert "node-7" in page
    assert page.count("no figures when this page was drawn") == 1, "nano has not published yet"
    assert "Boards refuse it" not in page
    nano.activate().measured()
    assert nano.run(Stage.PUBLISH).board is not None
    page = page_of(job)
    assert "no figures when this page was drawn" not in page
    assert "ms a run are more than 0.0001 ms" in page
    after = job.objects()
    assert before.items() <= after.items(), "nothing that was published has changed"
    assert after.keys() - before.keys() == {
        "out/boards/pi5.json",
        "out/boards/nano.json",
        "out/report.html",
    }


def test_a_board_that_publishes_while_another_draws_is_on_the_page(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tflite_converter.job import board as stages

    pi5, nano = pair(job)
    nano.activate().measured()
    pi5.activate().measured()
    upload, between = stages.upload_bytes, [nano]

    def late(store, uri: str, *rest) -> None:
        # The page is drawn, and not yet uploaded: now the other board does all of its work.
        if uri.endswith("report.html") and between:
            other, ours = between.pop(), dict(os.environ)
            assert other.activate().run(Stage.PUBLISH).board is not None
            assert "0.0001 ms" in page_of(job)
            os.environ.update(ours)
        upload(store, uri, *rest)

    monkeypatch.setattr(stages, "upload_bytes", late)
    assert pi5.run(Stage.PUBLISH).board is not None
    assert between == []
    assert "no figures when this page was drawn" not in page_of(job)


@pytest.mark.parametrize("lie", ["another run", "other files", "no JSON"])
def test_what_does_not_belong_to_this_run_is_not_on_the_page(job: Job, lie: str) -> None:
    pi5, nano = pair(job)
    nano.activate().measured()
    assert nano.run(Stage.PUBLISH).board is not None
    stored = BoardReport.model_validate_json(read(job, "out/boards/nano.json"))
    changed = {
        "another run": stored.changed(run="other/7").to_json(),
        "other files": stored.changed(files=[f.changed(sha256="0" * 64) for f in stored.files]).to_json(),
        "no JSON": "{",
    }
    job.put("out/boards/nano.json", changed[lie].encode())
    pi5.activate().measured()
    assert pi5.run(Stage.PUBLISH).board is not None
    assert page_of(job).count("no figures when this page was drawn") == 1


def test_the_page_of_another_run_is_left_alone(job: Job) -> None:
    published = Published(job)
    published.measured()
    published.report(request=published.job.request.changed(run="6f1c/2"))
    job.put("out/report.html", b"of the next run")
    assert published.failure(Stage.PUBLISH).reason is FailureReason.REPORT_LOST
    assert page_of(job) == "of the next run"
