"""What comes back from the Job: the full report in the bucket, and its summary in the termination message."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field
from pydantic_core import from_json

from ..base import ApiModel, Sha256, readable
from ..channels import Moved
from ..fields.cache import CacheOutcome
from ..fields.compilation import (
    Compilations,
    CompilerFigures,
    EdgeTPUFigures,
    EdgeTPUReport,
    EthosUFigures,
    EthosUReport,
    MicrocontrollerFigures,
    MicrocontrollerReport,
    NPUFigures,
    NPUReport,
)
from ..fields.compilers import MOST_SOCS
from ..fields.data import Task
from ..fields.detection import Detection
from ..fields.metrics import MAX_METRICS, MetricFigures
from ..fields.oci import OCIArtifact
from ..fields.optimization import OptimizationReport, OptimizationSummary
from ..fields.recipes import OfMethod
from ..fields.registration import Registered
from ..fields.verification import Verification, VerificationFigures, Verifier
from ..limits import FailureText, MessageText, SentenceText, VersionText, WarningText
from ..methods import Objective
from ..reasons import FailureReason, Stage
from ..request import ConversionRequest
from ..status import SourceInfo
from .board import BoardSamples, BoardSummary
from .calibration import CalibrationReport, DataInfo
from .graph import GraphReport
from .measurements import (
    AgreementMetric,
    Attempt,
    ClassResult,
    Confusion,
    Fidelity,
    Inventory,
    Latency,
    LayerError,
    OutputFidelity,
    OutputRecord,
    Performance,
    Scores,
    TargetCheck,
    Trial,
)
from .shortening import cut, shortened_board, shortened_chip, shortened_figures

REPORT_FILE_NAME: Final = "report.json"
HTML_REPORT_FILE_NAME: Final = "report.html"
SIGNATURE_FILE_NAME: Final = "model.sig"
TERMINATION_MESSAGE_LIMIT: Final = 2048
"""Bytes of a termination message. A container may leave 4,096, but those of a pod share 12,288: this much
is kept with three injected containers beside ours. With more it may be cut: then the report counts."""
_LIMITS: Final = (TERMINATION_MESSAGE_LIMIT, *(12288 // (7 + n) for n in range(MAX_METRICS)))
"""The same where as many containers of the user's own metrics share it too."""
_PACKED: Final = "z:"
"""Begins a message that is deflated, in base 85."""
_LARGEST_RESULT: Final = 1 << 18
"""Bytes of a result when it is inflated; what a model's code has written could become any number."""


_ALL_IS_THERE: Final = "see report.json"
_CHIPS_ARE_THERE: Final = f"npu: {_ALL_IS_THERE}"


class ArtifactSummary(OfMethod):
    """One artifact, in the figures that fit into a resource's status."""

    file_name: Annotated[str, Field(max_length=160, pattern=r"^[A-Za-z0-9._-]+\.tflite$")]
    size_bytes: Annotated[int, Field(gt=0)]
    size_fraction: float
    """Size as a share of the source model's size."""
    sha256: Sha256
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    snr_db: float | None = None
    """Signal-to-noise ratio of the outputs against the original's, in dB; None where both are equal."""
    latency: Latency | None = None
    passed: bool
    """Whether it is usable and meets every gate."""
    usable: bool = True
    """Whether it does what the original does at all: no output is under the floor."""
    synthetic: bool = False
    """Whether made-up samples set its ranges: with true ones it may do better or worse."""
    min_runtime_version: VersionText | None = None
    """The first TensorFlow Lite with every operator of the file, e.g. 2.3; None where it is not known."""
    operators: int | None = None
    """Operators in the file; None where no target was named."""
    fallback_operators: int | None = None
    """Those that the target has no kernel for."""
    message: MessageText | None = None
    metrics: MetricFigures = ()
    """What the user's own metrics gave for it."""
    edge_tpu: Annotated[EdgeTPUFigures | None, Field(alias="edgeTPU")] = None
    ethos_u: Annotated[EthosUFigures | None, Field(alias="ethosU")] = None
    microcontroller: MicrocontrollerFigures | None = None
    npu: Annotated[tuple[NPUFigures, ...], Field(max_length=MOST_SOCS)] = ()
    """One for each chip."""
    verifications: Annotated[tuple[VerificationFigures, ...], Field(max_length=len(Verifier))] = ()
    """What came of it on other runtimes."""

    @property
    def accelerators(self) -> tuple[tuple[str, CompilerFigures], ...]:
        """What the compilers for accelerators said, with the accelerator's name."""
        reports = (
            ("Edge TPU", self.edge_tpu),
            ("Ethos-U", self.ethos_u),
            *((figures.name, figures) for figures in self.npu),
        )
        return tuple((name, figures) for name, figures in reports if figures is not None)


class ArtifactReport(ArtifactSummary):
    """One artifact: the file and all that was measured on it."""

    edge_tpu: Annotated[EdgeTPUReport | None, Field(alias="edgeTPU")] = None
    ethos_u: Annotated[EthosUReport | None, Field(alias="ethosU")] = None
    microcontroller: MicrocontrollerReport | None = None
    npu: Annotated[tuple[NPUReport, ...], Field(max_length=MOST_SOCS)] = ()
    verifications: Annotated[tuple[Verification, ...], Field(max_length=len(Verifier))] = ()

    fidelity: Fidelity | None = None
    outputs: Annotated[tuple[OutputFidelity, ...], Field(max_length=64)] = ()
    """Each output against the original's, in the model's order; the first 64."""
    scores: Scores | None = None
    worst_class: ClassResult | None = None
    """The class that lost most accuracy (agreement, where there are no labels)."""
    confusion: Confusion | None = None
    performance: Performance | None = None
    baseline: OutputRecord | None = None
    """What it gave on the samples; None for random ones, of which nothing follows."""
    inventory: Inventory | None = None
    targets: tuple[TargetCheck, ...] = ()
    layers: tuple[LayerError, ...] = ()
    """Integers only: the error of each activation, in the graph's order."""
    graph: GraphReport | None = None
    """None where the graph is too large for a file."""
    recipe: SentenceText | None = None
    """How it was quantized."""
    attempts: tuple[Attempt, ...] = ()
    """The recipes that were tried because the plain one missed its gates, or to find the layers for Int4."""


def compilations_of(artifact: ArtifactReport) -> Compilations:
    """Collect the compilers' reports on an artifact; empty where none was asked for."""
    return Compilations(
        edge_tpu=artifact.edge_tpu,
        ethos_u=artifact.ethos_u,
        microcontroller=artifact.microcontroller,
        npu=artifact.npu,
    )


def reason_of_none_passed(artifacts: Sequence[ArtifactSummary]) -> FailureReason:
    """Why no artifact may be used: a compiler's or a metric's own reason where one failed, or the gates."""
    for artifact in artifacts:
        for _, figures in artifact.accelerators:
            if figures.reason is not None:
                return figures.reason
        if any(figure.value is None and not figure.passed for figure in artifact.metrics):
            return FailureReason.METRIC_FAILED
    return FailureReason.GATES_NOT_MET


Verdict = Literal["passed", "usable", "failed", "unusable"]
"""What became of an artifact: it met the gates, there were none, it missed one, or it is under the floor."""


def verdict_of(artifact: ArtifactSummary, *, gated: bool) -> Verdict:
    """Return the word for what became of an artifact; ``gated`` says whether the user set gates."""
    if not artifact.usable:
        return "unusable"
    if not artifact.passed:
        return "failed"
    return "passed" if gated else "usable"


class MethodFailure(OfMethod):
    """A method or recipe that gave no file, while others did."""

    reason: FailureReason
    message: FailureText


class Evaluation(ApiModel):
    """What the artifacts were compared on, and how the original did."""

    data: DataInfo
    task: Task
    task_is_given: bool = False
    """Whether the user said so; it is otherwise read from the outputs and labels."""
    agreement_metric: AgreementMetric
    detection: Detection | None = None
    """How a detector's outputs became boxes."""
    ignore_label: int | None = None
    """Value of the masks' pixels that counted for nothing, where the user said one."""
    original_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    original: Scores | None = None
    overlap: int = 0
    """Samples left out because they calibrate the model as well."""
    not_finite: int = 0
    """Samples left out because the original gives NaN or infinity on them."""
    metrics: MetricFigures = ()
    """What the user's own metrics gave for the original."""
    metric_samples: int = 0
    """Samples that they got: those whose outputs fit into the limit, from the first on."""
    gated: bool = False
    """Whether the user set gates; without any, a file that is usable passes."""


class Alternative(OfMethod):
    """A neighbour of the recommendation on the Pareto front: better in one thing, worse in another."""

    trade: SentenceText
    """What it gains and what it costs."""


class RecommendedMethod(OfMethod):
    """The method or recipe to use, and why."""

    reason: MessageText
    alternatives: tuple[Alternative, ...] = ()


class SearchReport(ApiModel):
    """The search for the best file over several methods."""

    objective: Objective
    tries: tuple[Trial, ...] = ()
    """What was tried beside the methods asked for; the chosen one is among the artifacts."""


class Provenance(ApiModel):
    """What else it takes to do it again."""

    base_name: str
    options: dict[str, str] = Field(default_factory=dict)
    """Every option that was not the default's or that has no place elsewhere, as text."""
    isolation: tuple[str, ...] = ()
    """What kept the model's code from the machine it ran on, e.g. ``no-network``."""
    platform: str = ""
    """Architecture and processor, which latency depends on."""


class ConversionReport(ApiModel):
    """``report.json``, everything about one conversion; uploaded last, so where it is, everything is."""

    version: Literal["v1alpha1"] = "v1alpha1"
    request: ConversionRequest | None = None
    """What a Job was asked for; None for a conversion on the command line."""
    source: SourceInfo
    artifacts: Annotated[tuple[ArtifactReport, ...], Field(min_length=1, max_length=16)]
    recommended: RecommendedMethod | None = None
    """None when no artifact passed its gates."""
    failed_methods: tuple[MethodFailure, ...] = ()
    """Methods and recipes that gave no file."""
    search: SearchReport | None = None
    """What else was tried; None where nothing was to be."""
    calibration: CalibrationReport | None = None
    optimization: OptimizationReport | None = None
    """What training did; None where none was asked for."""
    evaluation: Evaluation
    provenance: Provenance | None = None
    oci: tuple[OCIArtifact, ...] = ()
    """What was pushed to a container registry, before this was uploaded."""
    board_samples: BoardSamples | None = None
    """What boards compare on; None where none was asked for. Their figures lie in ``boards/NAME.json``."""
    warnings: tuple[WarningText, ...] = ()
    stage_seconds: dict[Stage, float] = Field(default_factory=dict)
    """Wall-clock seconds by stage. Times are all that differs between runs of one request."""
    cache: CacheOutcome | None = None
    """What became of the look into the cache; None where none was asked for, or there is nothing to keep."""
    import_seconds: float | None = None
    """Part of Load that TensorFlow's import took; None where TensorFlow was not needed."""
    tool_versions: dict[str, str] = Field(default_factory=dict)


class StageFailure(ApiModel):
    """Why a stage ended without success."""

    stage: Stage | None = None
    """None where it is one that this version does not know."""
    reason: FailureReason
    message: FailureText


class ConversionSummary(ApiModel):
    """The part of the report that goes into the resource's status."""

    source: SourceInfo
    artifacts: tuple[ArtifactSummary, ...]
    recommended: RecommendedMethod | None = None
    failed_methods: tuple[MethodFailure, ...] = ()
    stage_seconds: dict[Stage, float] = Field(default_factory=dict)
    original_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the model itself, on the data that the artifacts' accuracy was measured on."""
    optimization: OptimizationSummary | None = None
    """What training did, in short."""
    oci: tuple[OCIArtifact, ...] = ()
    """What was pushed to a container registry."""
    cache: CacheOutcome | None = None
    """What became of the look into the cache; None where none was asked for, or there is nothing to keep."""


class Look(ApiModel):
    """What a look at a source has found."""

    stamp: Annotated[str, Field(max_length=64)]
    """Digest of what the store says of its objects."""
    sha256: Sha256 | None = None
    """The source's digest; None where the stamp was known, so that it was not read."""
    size_bytes: int | None = None


_Seconds = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]


class StageResult(ApiModel):
    """A container's termination message: a failure, a summary (from ``publish``), or neither."""

    version: Literal["v1alpha1"] = "v1alpha1"
    failure: StageFailure | None = None
    summary: ConversionSummary | None = None
    board: BoardSummary | None = None
    """From the ``publish`` of a Job that measures on a board, which has no other summary."""
    look: Look | None = None
    """From a Job that only looks at a source for a trigger."""
    times: dict[Stage, tuple[_Seconds, _Seconds]] = Field(default_factory=dict)
    """From ``convert``: when it first came to each stage, in seconds since 1970, and how many seconds later
    it last left it; shown, and never believed in any decision. Left out first where all of it is too long."""
    moved: Moved | None = None
    """From a Job that only moves the pointer of a channel."""
    registered: Registered | None = None
    """From a Job that only registers what was published."""

    def encode(self, metrics: int = 0) -> str:
        """Return JSON, or deflated JSON, of at most :data:`TERMINATION_MESSAGE_LIMIT` bytes.

        It is less where the pod has containers of ``metrics`` of the user's own.
        Long tensor lists and texts are cut where it does not fit otherwise; then figures are rounded, and
        those of checks on other runtimes, and of chips with NPUs, are left to the report. Where there are
        recipes besides the methods, more figures are, and at last files that are not recommended.
        """
        limit = _LIMITS[metrics]
        for result in self._shorter_and_shorter():
            text = result.to_json()
            forms = (text, _packed(text)) if len(text.encode()) <= _LARGEST_RESULT else ()
            for form in forms:
                if len(form.encode()) <= limit:
                    return form
        raise ValueError("a stage result cannot be cut to the termination message's limit")

    def _shorter_and_shorter(self) -> Iterator[StageResult]:
        yield self
        yield self.model_copy(update={"times": {}})
        for keep in (64, 8, 2, 0, -1):
            yield _shortened(self, keep)
        rounded = _rounded(_shortened(self, -1), 6)  # no file with seven methods needs more
        yield rounded
        if self.board is not None:
            yield _rounded(_without_taken(rounded), 5)
        bare = _with_bare_verdicts(rounded)
        yield bare
        without_chips = _without_chips(bare)
        yield without_chips
        least = _with_least_figures(without_chips)
        yield least
        least = _changed_artifacts(least, latency=None, verifications=(), metrics=())
        yield least
        for count in range(len(least.summary.artifacts) - 1 if least.summary else 0, 0, -1):
            yield _with_fewer_artifacts(least, count)

    @classmethod
    def decode(cls, text: str | None) -> StageResult | None:
        """Return the result in a termination message; None when there is none that can be read.

        What a newer converter has to say beyond this version is passed over.
        """
        try:
            fields = from_json(_unpacked(text or ""))
            return readable(cls, fields) if fields.get("version") == "v1alpha1" else None
        except (ValueError, AttributeError, zlib.error):
            return None


def _packed(text: str) -> str:
    return _PACKED + base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str | bytes:
    if not text.startswith(_PACKED):
        return text
    stream = zlib.decompressobj()
    return stream.decompress(base64.b85decode(text.removeprefix(_PACKED)), _LARGEST_RESULT)


def _shortened(result: StageResult, keep: int) -> StageResult:
    """Return ``result`` with at most ``keep`` inputs and outputs, and with shorter texts.

    With ``keep`` -1 digests of compiled files go too, and texts nearly.
    """
    texts = 120 + 8 * keep if keep > 0 else 56 if keep == 0 else 24
    bare, keep = keep < 0, max(keep, 0)
    failure, summary = result.failure, result.summary
    board = None if result.board is None else shortened_board(result.board, texts, bare=bare)
    if failure is not None:
        failure = failure.model_copy(update={"message": cut(failure.message, 4 * texts)})
    if summary is not None:
        source = summary.source.model_copy(
            update={"inputs": summary.source.inputs[:keep], "outputs": summary.source.outputs[:keep]}
        )
        artifacts = tuple(_shortened_artifact(a, keep, texts, bare=bare) for a in summary.artifacts)
        recommended = summary.recommended
        if recommended is not None:
            alternatives = tuple(
                a.model_copy(update={"trade": cut(a.trade, texts)})
                for a in recommended.alternatives[: keep // 4]
            )
            recommended = recommended.model_copy(
                update={"reason": cut(recommended.reason, texts), "alternatives": alternatives}
            )
        failed = tuple(
            f.model_copy(update={"message": cut(f.message, 2 * texts)}) for f in summary.failed_methods
        )
        optimization = summary.optimization
        if optimization is not None:
            shorter = optimization.model_copy(update={"message": cut(optimization.message, texts)})
            optimization = None if bare else shorter
        summary = summary.model_copy(
            update={
                "source": source,
                "optimization": optimization,
                "artifacts": artifacts,
                "recommended": recommended,
                "failed_methods": failed,
            }
        )
    return StageResult(failure=failure, summary=summary, board=board)


def _rounded(result: StageResult, digits: int) -> StageResult:
    """Return the result with each figure in so many digits."""

    def rounded(value: object) -> object:
        if isinstance(value, dict):
            return {name: rounded(item) for name, item in value.items()}
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return float(f"{value:.{digits}g}") if isinstance(value, float) else value

    return StageResult.model_validate(rounded(result.to_wire()))


def _changed_artifacts(result: StageResult, **changes: object) -> StageResult:
    """Return the result with the same changes of every artifact."""
    summary = result.summary
    if summary is None:
        return result
    artifacts = tuple(a.model_copy(update=changes) for a in summary.artifacts)
    return result.model_copy(update={"summary": summary.model_copy(update={"artifacts": artifacts})})


def _with_least_figures(result: StageResult) -> StageResult:
    """Return the result with four digits of what files are chosen by, and a word on where the rest is."""
    left_out = {"snr_db": None, "min_runtime_version": None, "npu": (), "message": _ALL_IS_THERE}
    return _rounded(_changed_artifacts(result, **left_out), 4)


def _with_fewer_artifacts(result: StageResult, count: int) -> StageResult:
    """Return the result with ``count`` artifacts: the recommended one, those that passed, the others."""
    summary = result.summary
    assert summary is not None  # noqa: S101 - there are artifacts to leave out

    def last(artifact: ArtifactSummary) -> tuple[bool, bool]:
        return not artifact.is_as(summary.recommended), not artifact.passed

    kept = sorted(summary.artifacts, key=last)[:count]
    more = len(summary.artifacts) - count
    message = f"{more} more file{'s' * (more != 1)}: {_ALL_IS_THERE}"
    artifacts = tuple(a.model_copy(update={"message": message}) for a in summary.artifacts if a in kept)
    return result.model_copy(update={"summary": summary.model_copy(update={"artifacts": artifacts})})


def _with_bare_verdicts(result: StageResult) -> StageResult:
    """Return the result with nothing but the outcomes of checks on other runtimes."""
    summary = result.summary
    if summary is None:
        return result
    artifacts = tuple(
        a.model_copy(
            update={
                "verifications": tuple(
                    VerificationFigures(name=v.name, outcome=v.outcome) for v in a.verifications
                )
            }
        )
        for a in summary.artifacts
    )
    return result.model_copy(update={"summary": summary.model_copy(update={"artifacts": artifacts})})


def _without_chips(result: StageResult) -> StageResult:
    """Return ``result`` without the figures of single chips, and a word on where they are."""
    if result.summary is None:
        return result
    artifacts = tuple(
        a.model_copy(update={"npu": (), "message": _CHIPS_ARE_THERE} if a.npu else {})
        for a in result.summary.artifacts
    )
    return result.model_copy(update={"summary": result.summary.model_copy(update={"artifacts": artifacts})})


def _without_taken(result: StageResult) -> StageResult:
    """Return ``result`` with what an accelerator has left of a board's files, and not what it has taken."""
    if result.board is None:
        return result
    files = tuple(file.model_copy(update={"accelerated_operators": None}) for file in result.board.files)
    return result.model_copy(update={"board": result.board.model_copy(update={"files": files})})


def _shortened_artifact(artifact: ArtifactSummary, keep: int, texts: int, *, bare: bool) -> ArtifactSummary:
    """``artifact`` with shorter texts, and of its latency only what the status and the metrics take."""
    latency = artifact.latency
    if latency is not None:
        latency = latency.model_copy(update={"p99_millis": None, "throughput_per_second": None})
    message = cut(artifact.message, texts) if artifact.message else None
    micro, tpu, npu = artifact.microcontroller, artifact.edge_tpu, artifact.ethos_u
    return artifact.model_copy(
        update={
            "latency": latency,
            "message": message,
            "edge_tpu": tpu and shortened_figures(tpu, keep, texts, bare=bare),
            "ethos_u": npu and shortened_figures(npu, keep, texts, bare=bare),
            "microcontroller": micro
            and micro.model_copy(update={"message": cut(micro.message or "", texts) or None}),
            "npu": tuple(shortened_chip(one, keep, texts, bare=bare) for one in artifact.npu),
            "verifications": tuple(
                v.model_copy(update={"message": cut(v.message or "", texts) or None})
                for v in artifact.verifications
            ),
            "metrics": tuple(
                m.model_copy(update={"message": cut(m.message or "", 0 if bare else texts) or None})
                for m in artifact.metrics
            ),
        }
    )
