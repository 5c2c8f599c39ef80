"""The three stages of a board's Job on a real S3 server: files that lie, figures that lie, files that die."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelconversion_api.fields.boards import BOARD_ENV
from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardReport
from modelconversion_api.reports.measurements import AgreementMetric
from support.cluster.board_stages import BOARD, RUN, Published, npz, samples_of_dense
from support.cluster.stages import Job, new_job
from support.converter.tflite_files import O, T, dense, tflite


@pytest.fixture
def job(object_store, bucket, tmp_path, monkeypatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


def only(found: dict[str, Any]) -> dict[str, Any]:
    (file,) = found["files"]
    return dict(file)


def object_of(job: Job, key: str) -> bytes:
    content: bytes = job.server.client().get_object(Bucket=job.bucket, Key=key)["Body"].read()
    return content


def test_a_board_tells_and_publishes_what_the_files_gave(job: Job) -> None:
    published = Published(job)
    file = only(published.measured())
    assert file["agreement"] == 1.0
    assert file["latency"]["runs"] == 3
    assert file["passed"] is True
    summary = published.run(Stage.PUBLISH).board
    assert summary is not None
    assert (summary.board, summary.machine.node) == ("pi5", "node-7")
    stored = BoardReport.model_validate_json(object_of(job, "out/boards/pi5.json"))
    assert (stored.run, stored.settings, stored.summary) == (RUN, BOARD, summary)
    assert "boards" not in {p.name for p in published.job.input.iterdir()}


def test_a_board_times_each_operator_where_it_is_asked_to(job: Job) -> None:
    published = Published(job, board=BOARD.changed(profile=True))
    (operator, *_) = only(published.measured())["operators"]
    assert operator["by"] in ("LiteRT", "XNNPACK")
    assert published.run(Stage.PUBLISH).board is not None
    (stored,) = BoardReport.model_validate_json(object_of(job, "out/boards/pi5.json")).files
    assert "Fully Connected (NC, F32) GEMM" in {each.operator for each in stored.operators}


def test_a_board_that_was_not_asked_for_is_an_invalid_request(job: Job) -> None:
    published = Published(job)
    for name in ("pi4", "", "PI5", "../pi5"):
        job.patch.setenv(BOARD_ENV, name)
        for stage in (Stage.FETCH, Stage.MEASURE, Stage.PUBLISH):
            failure = published.run(stage).failure
            assert failure is not None
            assert failure.reason is FailureReason.INVALID_REQUEST
    assert not published.job.input.exists()


@pytest.mark.parametrize("run", ["6f1c/2", "other/1", None])
def test_another_run_s_files_are_not_measured(job: Job, run: str | None) -> None:
    published = Published(job)
    published.report(request=published.job.request.changed(run=run))
    failure = published.failure(Stage.FETCH)
    assert failure.reason is FailureReason.REPORT_LOST
    assert "of another run" in failure.message


def test_a_report_without_board_samples_is_of_no_use(job: Job) -> None:
    published = Published(job)
    published.report(board_samples=None)
    assert published.failure(Stage.FETCH).reason is FailureReason.REPORT_LOST


@pytest.mark.parametrize("key", ["gesture_float32.tflite", "board-samples.npz"])
@pytest.mark.parametrize(
    "change", [lambda c: c[:-1] + b"?", lambda c: c + b"?", lambda c: c[:-1], lambda _: b""]
)
def test_a_file_that_was_swapped_after_publishing_is_refused(
    job: Job, key: str, change: Callable[[bytes], bytes]
) -> None:
    published = Published(job)
    job.put(f"out/{key}", change(object_of(job, f"out/{key}")))
    failure = published.failure(Stage.FETCH)
    assert failure.reason is FailureReason.DIGEST_MISMATCH
    assert key in failure.message
    assert "spec.source" not in failure.message, "the source is not what changed"
    assert not (published.job.input / "report.json").exists(), "what vouches for the files comes last"


@pytest.mark.parametrize("key", ["gesture_float32.tflite", "board-samples.npz"])
def test_a_file_that_was_removed_after_publishing_is_told(job: Job, key: str) -> None:
    published = Published(job)
    job.server.client().delete_object(Bucket=job.bucket, Key=f"out/{key}")
    failure = published.failure(Stage.FETCH)
    assert failure.reason is FailureReason.REPORT_LOST
    assert f"{key} is not there any more" in failure.message
    assert "train the model" not in failure.message


def test_what_an_earlier_try_has_left_goes(job: Job) -> None:
    published = Published(job)
    published.job.input.mkdir()
    (published.job.input / "gesture_float16.tflite").write_bytes(dense())
    published.run(Stage.FETCH)
    assert {p.name for p in published.job.input.iterdir()} == {
        "gesture_float32.tflite",
        "board-samples.npz",
        "report.json",
    }


def test_measure_without_fetch_is_an_internal_error(job: Job) -> None:
    published = Published(job)
    assert published.failure(Stage.MEASURE).reason is FailureReason.INTERNAL_ERROR


def deflated(name: str, size: int) -> bytes:
    """An archive with an array of zeros that is a thousandth of what it unpacks to."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        np.lib.format.write_array(member, np.zeros((1, size), np.uint8))
    return stream.getvalue()


X = samples_of_dense()
NO_SAMPLES = {
    "garbage": b"\x00\xff" * 50,
    "text": b"hello",
    "truncated": npz(X)[:200],
    "no arrays": npz({}),
    "no outputs": npz({"inputs/x": X["inputs/x"]}),
    "no inputs": npz({"outputs/scores": X["outputs/scores"]}),
    "other counts": npz(X | {"inputs/x": X["inputs/x"][:3]}),
    "labels of another count": npz(X | {"labels": np.zeros(4, np.int64)}),
    "texts": npz(X | {"inputs/x": np.array(["a"] * 6)}),
    "no samples": npz({name: values[:0] for name, values in X.items()}),
    "bomb": deflated("inputs/x.npy", 300 << 20),
}


@pytest.mark.parametrize("content", NO_SAMPLES.values(), ids=NO_SAMPLES.keys())
def test_samples_that_are_none_make_rows_without_figures(job: Job, content: bytes) -> None:
    file = only(Published(job, samples=content).measured())
    assert file["passed"] is False
    assert "latency" not in file
    assert "board-samples.npz" in file["message"]
    assert "Traceback" not in file["message"]


def test_a_bomb_is_refused_before_it_is_unpacked(job: Job) -> None:
    file = only(Published(job, samples=NO_SAMPLES["bomb"]).measured())
    assert "unpacks to more" in file["message"]


FOREVER = ("forever", [T("a", (1, 4), "FLOAT32"), T("t", (1,), "BOOL", b"\1")], [])
WHILE = O("WHILE", (0,), (1,), options={"condSubgraphIndex": 1, "bodySubgraphIndex": 2})
ITSELF = ("itself", [T("b", (1, 4), "FLOAT32"), T("c", (1, 4), "FLOAT32")], [WHILE])
"""A loop whose body is the loop again: LiteRT's stack overflows."""


def one(operators: list[O], others: Any = ()) -> bytes:
    """A file from ``x`` (1, 4) to ``scores`` of the same shape."""
    return tflite(
        [T("x", (1, 4), "FLOAT32"), T("scores", (1, 4), "FLOAT32")],
        operators,
        signature=({"x": 0}, {"scores": 1}),
        others=others,
    )


DEAD = {
    "a stack that overflows": (one([WHILE], [FOREVER, ITSELF]), "SIGSEGV"),
    "garbage": (b"\x1c\x00\x00\x00TFL3" + b"\xff" * 400, ""),
    "nothing": (b"\x00", ""),
    "outputs of another shape": (one([O("ABS")]), "shape"),
    "an operator that LiteRT does not have": (one([O("MyOwn")]), "MyOwn"),
    "NaN": (one([O("LOG")]), ""),
}


@pytest.mark.parametrize(("content", "words"), DEAD.values(), ids=DEAD.keys())
def test_a_file_that_does_not_run_is_a_row_and_the_others_are_measured(
    job: Job, content: bytes, words: str
) -> None:
    found = Published(job, {Method.FLOAT16: content, Method.FLOAT32: dense()}).measured()
    dead, alive = found["files"]
    assert dead["passed"] is False
    assert words in dead["message"]
    assert "latency" not in dead
    assert (alive["method"], alive["passed"], alive["agreement"]) == ("Float32", True, 1.0)


def test_a_file_with_tensorflow_s_operators_did_not_run_and_did_not_pass(job: Job) -> None:
    published = Published(job, {Method.FLOAT32: one([O("FlexAbs")])})
    file = only(published.measured())
    assert "latency" not in file
    assert file["passed"] is False
    assert "Flex delegate for FlexAbs" in file["message"]
    summary = published.run(Stage.PUBLISH).board
    assert summary is not None
    assert not summary.files[0].passed


LONG = "n" * 256


@pytest.mark.parametrize(
    "name", ["a/b/c", "eingänge/größe 一", LONG, "labels", "inputs/x", ".npy", "a\\b"], ids=ascii
)
def test_names_of_tensors_are_as_they_are(job: Job, name: str) -> None:
    content = tflite(
        [T("x", (1, 4), "FLOAT32"), T("y", (1, 4), "FLOAT32")],
        [O("ABS")],
        signature=({name: 0}, {name: 1}),
    )
    x = X["inputs/x"]
    samples = npz({f"inputs/{name}": x, f"outputs/{name}": np.abs(x)})
    file = only(Published(job, {Method.FLOAT32: content}, samples).measured())
    assert (file["passed"], file["agreement"]) == (True, 1.0), file


def test_several_inputs_and_outputs(job: Job) -> None:
    content = tflite(
        [T(n, (1, 4), "FLOAT32") for n in ("a", "b", "sum", "less")],
        [O("ADD", (0, 1), (2,)), O("SUB", (0, 1), (3,))],
        inputs=(0, 1),
        outputs=(2, 3),
        signature=({"a": 0, "b": 1}, {"sum": 2, "less": 3}),
    )
    a, b = X["inputs/x"], X["inputs/x"][::-1].copy()
    arrays = {"inputs/a": a, "inputs/b": b, "outputs/sum": a + b, "outputs/less": a - b}
    kind = {"task": Task.REGRESSION, "metric": AgreementMetric.R2}
    file = only(Published(job, {Method.FLOAT32: content}, npz(arrays), **kind).measured())
    assert (file["passed"], file["agreement"]) == (True, 1.0)
    wrong = npz(arrays | {"outputs/less": b - a})
    file = only(Published(job, {Method.FLOAT32: content}, wrong, **kind).measured())
    assert file["agreement"] < 0.6, "one of the two outputs has the wrong sign"


def test_whole_labels_give_accuracy(job: Job) -> None:
    best = X["outputs/scores"].argmax(axis=1)
    labels = np.where(np.arange(6) < 2, (best + 1) % 3, best)
    file = only(Published(job, samples=npz(X | {"labels": labels})).measured())
    assert file["accuracy"] == pytest.approx(4 / 6, abs=1e-6)


def test_labels_of_a_regression_give_the_share_of_variance(job: Job) -> None:
    labels = X["outputs/scores"] + np.float32(0.25)
    spread = np.square(labels - labels.mean(axis=0)).sum()
    kind = {"task": Task.REGRESSION, "metric": AgreementMetric.R2}
    file = only(Published(job, samples=npz(X | {"labels": labels}), **kind).measured())
    assert file["accuracy"] == pytest.approx(1 - labels.size * 0.0625 / spread, abs=1e-5)


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_labels_that_are_no_classes_are_no_traceback(job: Job, label: int) -> None:
    file = only(Published(job, samples=npz(X | {"labels": np.full(6, label)})).measured())
    assert file["accuracy" if file["passed"] else "message"] in (0.0, file.get("message"))
    assert file.get("accuracy", 0.0) == 0.0


def test_a_gate_of_the_board_is_held_against_its_own_figures(job: Job) -> None:
    scores = X["outputs/scores"].copy()
    scores[:3] = -scores[:3]
    board = BOARD.changed(min_agreement="0.9")
    file = only(Published(job, samples=npz(X | {"outputs/scores": scores}), board=board).measured())
    agrees = np.mean(scores.argmax(axis=1) == X["outputs/scores"].argmax(axis=1))
    assert file["agreement"] == pytest.approx(agrees, abs=1e-6)
    assert file["passed"] is False


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another board": lambda r: r | {"board": "pi4"},
    "no files": lambda r: r | {"files": []},
    "a file twice": lambda r: r | {"files": r["files"] * 2},
    "another file": lambda r: r | {"files": [r["files"][0] | {"fileName": "x.tflite"}]},
    "another digest": lambda r: r | {"files": [r["files"][0] | {"sha256": "1" * 64}]},
    "another method": lambda r: r | {"files": [r["files"][0] | {"method": "Float16"}]},
    "a recipe": lambda r: r | {"files": [r["files"][0] | {"recipeName": "own"}]},
    "a field that nobody knows": lambda r: r | {"extra": 1},
    "a list": lambda r: [r],
    "a latency that no clock has": lambda r: with_latency(r, 1e308),
    "a latency that runs backwards": lambda r: with_latency(r, -1.0),
    "a latency that is no number": lambda r: with_latency(r, float("nan")),
    "a latency without end": lambda r: with_latency(r, float("inf")),
    "memory beyond 64 bits": lambda r: r | {"files": [r["files"][0] | {"peakMemoryBytes": 10**30}]},
    "memory below zero": lambda r: r | {"files": [r["files"][0] | {"peakMemoryBytes": -1}]},
    "an agreement beyond all": lambda r: r | {"files": [r["files"][0] | {"agreement": 1.01}]},
    "an agreement that is no number": lambda r: r | {"files": [r["files"][0] | {"agreement": float("nan")}]},
    "a temperature that is none": lambda r: r | {"machine": r["machine"] | {"celsius": [1.0, float("nan")]}},
    "more processors than 64 bits": lambda r: r | {"machine": r["machine"] | {"cpus": 10**30}},
    "figures of a file that has none": lambda r: r | {"files": [r["files"][0] | {"reason": "NothingMapped"}]},
    "an accelerator on a board without": lambda r: (
        r | {"files": [r["files"][0] | {"acceleratedOperators": 1}]}
    ),
    "operators that nobody can count": lambda r: (
        r | {"files": [r["files"][0] | {"fallbackOperators": 10**7}]}
    ),
    "a clock below zero": lambda r: r | {"machine": r["machine"] | {"megahertz": [-1, 5]}},
}


def with_latency(report: dict[str, Any], millis: float) -> dict[str, Any]:
    file = report["files"][0]
    return report | {"files": [file | {"latency": file["latency"] | {"medianMillis": millis}}]}


def test_figures_that_cannot_be_true_and_what_is_no_report_are_not_published(job: Job) -> None:
    published = Published(job)
    honest = published.measured()
    left = {name: json.dumps(lie(honest)).encode() for name, lie in LIES.items()}
    left |= {repr(content[:9]): content for content in (b"", b"{", b"null", b"\xff\xfe", b"[" * 100_000)}
    taken = []
    for name, content in left.items():
        published.left(content)
        failure = published.run(Stage.PUBLISH).failure
        if failure is None or failure.reason is not FailureReason.ARTIFACT_INVALID:
            taken.append(name)
    assert taken == []
    assert "out/boards/pi5.json" not in job.objects()
    published.left(json.dumps(honest).encode())
    assert published.run(Stage.PUBLISH).board is not None, "the honest one is"


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def giant(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 30)


def test_what_is_no_plain_small_file_is_not_published(job: Job) -> None:
    published = Published(job)
    published.measured()
    path = published.job.output / "pi5.json"
    for make in (link, giant, os.mkfifo, lambda _path: None, Path.mkdir):
        path.unlink(missing_ok=True)
        make(path)
        assert published.failure(Stage.PUBLISH).reason is FailureReason.ARTIFACT_INVALID


def test_what_was_asked_for_is_taken_from_the_request_and_not_from_the_figures(job: Job) -> None:
    published = Published(job)
    lie = published.measured()
    lie |= {"run": "other/7", "settings": lie["settings"] | {"runs": 9999}}
    lie["machine"] |= {"node": "elsewhere"}
    published.left(json.dumps(lie).encode())
    summary = published.run(Stage.PUBLISH).board
    assert summary is not None
    assert summary.machine.node == "node-7"
    stored = BoardReport.model_validate_json(object_of(job, "out/boards/pi5.json"))
    assert (stored.run, stored.settings) == (RUN, BOARD)
