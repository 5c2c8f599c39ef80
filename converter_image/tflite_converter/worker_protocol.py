"""What the parent hands to the TensorFlow child, and what it gets back: files in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import TensorInfo

JOB_FILE: Final = "job.json"
RESULT_FILE: Final = "result.json"
ERROR_FILE: Final = "error.json"
LOG_FILE: Final = "tensorflow.log"
FLOAT_FILE: Final = "float.tflite"
INT8_FILE: Final = "int8.tflite"
REFERENCE_FILE: Final = "reference.npz"
FROZEN_FOLDER: Final = "frozen"
PROGRESS_FD_ENV: Final = "CONVERTER_PROGRESS_FD"


class WorkerJob(ApiModel):
    """What the child is to do."""

    task: Literal["float", "int8"]
    """``float``: load, freeze, write the float file and the reference outputs. ``int8``: TensorFlow's own
    full-integer conversion of what ``float`` froze."""
    source: Path
    format: SourceFormat
    folder: Path
    """Where the files of this module are."""
    evaluation: Path | None = None
    """.npz of the samples to run the original on; random ones when there is none."""
    calibration: Path | None = None
    """.npz of the calibration samples."""
    evaluation_name: str = "the evaluation data"
    calibration_name: str = "the calibration data"
    random_samples: int = 32
    seed: int = 0
    memory_limit_bytes: int | None = None


class WorkerResult(ApiModel):
    """What the child found."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    writer: str
    """Who wrote the model, e.g. ``keras 2.4.0``."""
    seconds: dict[Stage, float]
    tool_versions: dict[str, str]


class WorkerFailure(ApiModel):
    """Why the child gave up."""

    reason: FailureReason
    stage: Stage
    cause: str
    hint: str | None = None


class WorkerProgress(ApiModel):
    """One line on the progress pipe."""

    stage: Stage
    text: str
