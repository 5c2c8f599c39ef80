"""What tests of a board's Job work with: a run that has published, and the Job's three stages."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelconversion_api.fields.boards import BOARD_ENV, NODE_ENV, Board
from modelconversion_api.fields.compilation import EdgeTPUReport
from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method
from modelconversion_api.reasons import Stage, exit_code
from modelconversion_api.reports.board import BoardSamples
from modelconversion_api.reports.calibration import DataInfo, DataRole
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    Evaluation,
    StageFailure,
    StageResult,
)
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.spec import Benchmark, SourceFormat
from modelconversion_api.status import SourceInfo
from support.cluster.stages import Job
from support.converter.tflite_files import dense
from tflite_converter.arrays import Array
from tflite_converter.job.board import fetch_published, publish_board
from tflite_converter.job.board_measuring import measure_on_board

RUN = "6f1c/1"
BOARD = Board(name="pi5", node_selector={"board": "pi5"}, runs=3)
STAGES = {Stage.FETCH: fetch_published, Stage.MEASURE: measure_on_board, Stage.PUBLISH: publish_board}


def samples_of_dense(count: int = 6) -> dict[str, Array]:
    """Samples of :func:`dense`, with what its weights and bias give for them, by the layer's definition."""
    weights = np.array([((7 * i) % 11 - 5) / 4 for i in range(12)], np.float32).reshape(3, 4)
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    return {"inputs/x": x, "outputs/scores": x @ weights.T + np.array([0.5, -1.0, 2.0], np.float32)}


def npz(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as NumPy writes them."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Published:
    """What a run has published: by default one float file, and six samples."""

    job: Job
    files: Mapping[Method, bytes] = field(default_factory=lambda: {Method.FLOAT32: dense()})
    samples: bytes = field(default_factory=lambda: npz(samples_of_dense()))
    task: Task = Task.CLASSIFICATION
    metric: AgreementMetric = AgreementMetric.TOP1
    board: Board = BOARD
    boards: list[Board] | None = None
    """All that the run names; this one alone where None."""
    figures: dict[Method, EdgeTPUReport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.job = self.job.ask(run=RUN, benchmark=Benchmark(boards=self.boards or [self.board]))
        self.activate()
        for method, content in self.files.items():
            self.job.put(f"out/{method.file_name('gesture')}", content)
        self.job.put("out/board-samples.npz", self.samples)
        self.report()

    def activate(self) -> Published:
        """Let the environment be that of this board's Job, where a test has several."""
        self.job.patch.setenv(BOARD_ENV, self.board.name)
        self.job.patch.setenv(NODE_ENV, "node-7")
        return self

    def compiled(self, method: Method, figures: EdgeTPUReport) -> None:
        """Publish a report that says what the Edge TPU's compiler has made of a file."""
        self.figures[method] = figures
        self.report()

    def report(self, **changes: Any) -> None:
        """Publish ``report.json``, which vouches for the files as they are."""
        artifacts = tuple(
            ArtifactReport(
                method=method,
                file_name=method.file_name("gesture"),
                size_bytes=len(content),
                size_fraction=0.5,
                sha256=digest(content),
                passed=True,
                edge_tpu=self.figures.get(method),
            )
            for method, content in self.files.items()
        )
        report = ConversionReport(
            request=self.job.request,
            source=SourceInfo(sha256="0" * 64, size_bytes=1000, format=SourceFormat.KERAS_H5),
            artifacts=artifacts,
            evaluation=Evaluation(
                data=DataInfo(role=DataRole.VALIDATION, samples=6, seed=0),
                task=self.task,
                agreement_metric=self.metric,
            ),
            board_samples=BoardSamples(sha256=digest(self.samples), size_bytes=len(self.samples), samples=6),
        )
        self.job.put("out/report.json", report.changed(**changes).to_json().encode())

    def run(self, stage: Stage) -> StageResult:
        """Run a stage as its container does; the exit code must be the one of the result."""
        code, result = self.job.end(stage, STAGES[stage])
        assert code == (0 if result.failure is None else exit_code(result.failure.reason))
        return result

    def failure(self, stage: Stage) -> StageFailure:
        """What a stage ends with; no secret may be in its message."""
        failure = self.run(stage).failure
        assert failure is not None
        assert failure.stage is stage
        assert self.job.server.secret_key not in failure.message
        return failure

    def measured(self) -> dict[str, Any]:
        """What ``measure`` leaves once ``fetch`` has run, as JSON."""
        for stage in (Stage.FETCH, Stage.MEASURE):
            assert self.run(stage).failure is None
        found: dict[str, Any] = json.loads((self.job.output / f"{self.board.name}.json").read_text())
        return found

    def left(self, content: bytes) -> None:
        """Let ``measure`` have left this."""
        (self.job.output / "pi5.json").write_bytes(content)
