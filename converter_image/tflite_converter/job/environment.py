"""What every stage of the Job has in common: where it reads, what it leaves, how it ends."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field, ValidationError

from modelconversion_api import log
from modelconversion_api.base import ApiModel, Sha256
from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageFailure, StageResult
from modelconversion_api.request import (
    INPUT_DIR_ENV,
    LOG_FORMAT_ENV,
    OUTPUT_DIR_ENV,
    REQUEST_ENV,
    SIGNING_KEY_ENV,
    TERMINATION_MESSAGE_ENV,
    ConversionRequest,
)
from modelconversion_api.spec import SigningKeyRef
from tflite_converter.errors import ConverterError, on_sigterm, problems_of, reason_of
from tflite_converter.job.stage_times import StageTimes

_logger = logging.getLogger(__name__)

M = TypeVar("M", bound=ApiModel)

SOURCE: Final = "source"
CALIBRATION: Final = "calibration"
CALIBRATION_LABELS: Final = "calibration-labels"
VALIDATION: Final = "validation"
VALIDATION_LABELS: Final = "validation-labels"
TRAINING: Final = "training"
TRAINING_LABELS: Final = "training-labels"
STUDENT: Final = "student"
RULES: Final = "rules"
"""What is fetched; also its name in the input folder, before a suffix."""
FETCH_RECORD: Final = "fetch.json"
"""The file of the input folder that says what lies in it."""


class FetchedFile(ApiModel):
    """One download: an object, or all objects under a prefix."""

    path: str
    """Where it lies in the input folder: a fixed name, with the object's suffix where that is known."""
    name: str
    """What it was called in the store, for reports and messages."""
    sha256: Sha256
    """Digest of the file, or over a folder's files."""
    size_bytes: int
    inside: str | None = None
    """Where in it the model lies, where it is the packed layer of an image or artifact: a path, or empty for
    all that is in it. None for what is no such layer."""


class FetchRecord(ApiModel):
    """``fetch.json``: what ``job-fetch`` downloaded, which the later stages hold against what they find."""

    source: FetchedFile
    data: dict[str, FetchedFile] = Field(default_factory=dict)
    """The data by what it is for, e.g. ``calibration``."""
    cache: CacheOutcome | None = None
    """What became of the look into the cache; None where there was none."""
    seconds: float = 0.0
    """How long the downloads took."""


@dataclass(frozen=True)
class JobEnvironment:
    """A stage's request and folders."""

    request: ConversionRequest
    input: Path
    output: Path
    times: StageTimes = field(default_factory=StageTimes)
    """Where a stage that has others in it notes when it came to each."""

    @property
    def metrics(self) -> int:
        """How many metrics of the user's own have containers in the pod."""
        return 0 if self.request.validation is None else len(self.request.validation.metrics)

    def record(self, stage: Stage) -> FetchRecord:
        """Read the record that ``job-fetch`` left.

        Raises:
            ConverterError: InternalError when there is none: the containers are not in their order.

        """
        try:
            return FetchRecord.model_validate_json((self.input / FETCH_RECORD).read_bytes())
        except (OSError, ValidationError) as error:
            cause = f"job-fetch has left no record that can be read ({type(error).__name__})"
            raise ConverterError(FailureReason.INTERNAL_ERROR, stage, cause) from error


def told(name: str, model: type[M], stage: Stage, environ: Mapping[str, str] = os.environ) -> M:
    """Read what the operator has written into a variable.

    Raises:
        ConverterError: InvalidRequest.

    """
    try:
        return model.model_validate_json(environ.get(name, ""))
    except ValidationError as error:
        cause = f"{name}: {problems_of(error)}"
        raise ConverterError(FailureReason.INVALID_REQUEST, stage, cause) from error


def taken_signing_key(secret: SigningKeyRef) -> str:
    """Take the private key out of the environment: nothing that this process may start inherits it.

    Raises:
        ConverterError: SigningFailed where there is none.

    """
    private_key = os.environ.pop(SIGNING_KEY_ENV, "")
    if not private_key:
        cause = f"Secret {secret.name} has no key {secret.key}, or there is no such Secret"
        raise ConverterError(FailureReason.SIGNING_FAILED, Stage.PUBLISH, cause)
    return private_key


def read_environment(environ: Mapping[str, str], stage: Stage) -> JobEnvironment:
    """Read the environment that the operator has set.

    Raises:
        ConverterError: InvalidRequest.

    """
    missing = [name for name in (REQUEST_ENV, INPUT_DIR_ENV, OUTPUT_DIR_ENV) if not environ.get(name)]
    if missing:
        raise ConverterError(
            FailureReason.INVALID_REQUEST, stage, f"{', '.join(missing)} is not set: the operator sets it"
        )
    request = told(REQUEST_ENV, ConversionRequest, stage, environ)
    return JobEnvironment(request, Path(environ[INPUT_DIR_ENV]), Path(environ[OUTPUT_DIR_ENV]))


def run_stage(stage: Stage, work: Callable[[JobEnvironment], StageResult]) -> int:
    """Run a stage, leave its result as the termination message, and return the exit code.

    The exit code is 0, or the code of the reason. Never raises.
    """
    _configure_log()
    earlier = signal.signal(signal.SIGTERM, on_sigterm)
    failure: ConverterError | None = None
    bug: BaseException | None = None
    result, times, metrics = StageResult(), StageTimes(), 0
    try:
        job = read_environment(os.environ, stage)
        times, metrics = job.times, job.metrics
        result = work(job)
    except (Exception, KeyboardInterrupt) as error:
        failure = reason_of(error, stage, "the stage")
        if failure.reason is FailureReason.INTERNAL_ERROR:
            bug = error
    # The stage is over: being stopped now must not cost its result, which takes no time to write.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if failure is not None:
        _logger.error("%s: %s", failure.reason.value, failure.message, exc_info=bug)
        result = StageResult(
            failure=StageFailure(stage=failure.stage, reason=failure.reason, message=failure.message)
        )
    _leave(result.model_copy(update={"times": times.until_now()}), metrics)
    signal.signal(signal.SIGTERM, earlier)
    return 0 if failure is None else failure.exit_code


def _configure_log() -> None:
    log.configure("info", as_json=os.environ.get(LOG_FORMAT_ENV) == "json")
    # One tells where it found the credentials, the other of queries, which may be a SAS token.
    for name in ("botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _leave(result: StageResult, metrics: int) -> None:
    path = os.environ.get(TERMINATION_MESSAGE_ENV)
    if not path:
        return
    try:
        Path(path).write_text(result.encode(metrics))
    except OSError as error:
        # The exit code still tells the reason; the operator makes do with it.
        _logger.warning("the termination message cannot be written: %s", error)
