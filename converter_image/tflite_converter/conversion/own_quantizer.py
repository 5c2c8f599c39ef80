"""What TensorFlow's engine can do beyond an engine's contract: quantize its own frozen graphs to integers.

It is the second way to full integer: where litert-quantizer fails or leaves floats, where the graph says its
ranges itself, and for LSTM layers as TFLite's one operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactReport
from tflite_converter.conversion.jobs import Basis, tensorflow_int8_job
from tflite_converter.conversion.options import Options
from tflite_converter.errors import ConverterError
from tflite_converter.files.sources import SourceModel
from tflite_converter.files.untrusted import open_regular
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.recommendation import (
    is_better_integer,
    is_better_recurrent,
    leaves_floats,
)
from tflite_converter.progress import Listener
from tflite_converter.workers.front import TensorFlowResult
from tflite_converter.workers.jobs import (
    CLIPPED_FOLDER,
    FROZEN_FOLDER,
    FUSED_INTEGERS_FOLDER,
    INT8_FILE,
    OWN_RANGES_FOLDER,
    LiteRTResult,
    MethodResult,
)
from tflite_converter.workers.programs import TENSORFLOW

_REASONS: Final = (
    FailureReason.QUANTIZATION_FAILED,
    FailureReason.CONVERTER_CRASHED,
    FailureReason.EVALUATION_FAILED,
    FailureReason.OUTPUT_NOT_FINITE,
    FailureReason.NOTHING_QUANTIZED,
    FailureReason.NOT_SMALLER,
)
"""Those of litert-quantizer's for which this one is tried."""
_CALIBRATED_ALL_THE_SAME: Final = (
    "full integer is calibrated, and does not have the steps of the graph's fake quantization"
)
_FLOAT_LOOPS: Final = (
    "take another method, or fix every size of the inputs (--input-shape, spec.source.inputs) and write loops"
    " with a number of steps that is the same for every input"
)

Measure = Callable[[Basis], LiteRTResult]
"""Makes and measures files from the float file."""
Warn = Callable[[str], None]


@dataclass
class OwnQuantizer:
    """TensorFlow's quantizer, for the graphs that its engine has left in a folder."""

    options: Options
    source: SourceModel
    loaded: TensorFlowResult
    work: Path
    """The engine's folder."""
    watch: Watch
    tell: Listener
    measure: Measure
    warn: Warn
    seconds: list[Mapping[Stage, float]] = field(default_factory=list)
    """What files that are in use took to measure."""

    def basis(self, basis: Basis) -> Basis:
        """Quantize by the graph's own ranges where it has some, and return what there is to start from."""
        if not (self.loaded.fake_quantized and Method.FULL_INTEGER in self.options.made):
            return basis
        fault = self.loaded.own_ranges_fault
        if fault is None:
            try:
                self._quantize(OWN_RANGES_FOLDER)
            except ConverterError as error:
                fault = error.cause
        if fault is None:
            return replace(basis, ready={Method.FULL_INTEGER: INT8_FILE}, own_ranges=True)
        self.warn(f"{_CALIBRATED_ALL_THE_SAME}: {fault}")
        return basis

    def settled(self, measurement: LiteRTResult) -> dict[Method, MethodResult]:
        """Make full integer where litert-quantizer failed or left floats, and return the better results.

        Or say the deeper reason, where the model has a loop or branch that neither can take.
        """
        control_flow = self.loaded.control_flow
        first = measurement.methods.get(Method.FULL_INTEGER)
        if first is None:
            return measurement.methods
        if first.artifact is not None:
            return self._less_in_float(measurement, first.artifact)
        if first.failure is None or first.failure.reason not in _REASONS:
            return measurement.methods
        try:
            again = self._measured()
        except ConverterError as second:
            cause = (
                f"full integer failed in litert-quantizer ({first.failure.cause})"
                f" and in TensorFlow ({second.cause})"
            )
            if control_flow is not None:
                cause = f"integers cannot be computed in the model's loops and branches: {control_flow}"
            failure = WorkerFailure(
                reason=FailureReason.QUANTIZATION_FAILED,
                stage=Stage.QUANTIZE,
                cause=cause,
                hint=None if control_flow is None else _FLOAT_LOOPS,
            )
            return measurement.methods | {Method.FULL_INTEGER: MethodResult(failure=failure)}
        self.seconds.append(again.seconds)
        self.warn(f"full integer was made by TensorFlow's quantizer: {first.failure.cause}")
        return measurement.methods | again.methods

    def _quantize(self, frozen: str) -> None:
        """Quantize what lies in the folder ``frozen``.

        Raises:
            ConverterError: it failed.

        """
        job = tensorflow_int8_job(self.options, self.source, self.work, frozen=frozen)
        run_worker(TENSORFLOW, job, TensorFlowResult, self.work, self.watch, self.tell)

    def _measured(self, frozen: str | None = None) -> LiteRTResult:
        """Make and measure full integer of ``frozen``, None for the graph itself.

        Raises:
            ConverterError: it failed, or its file does not run.

        """
        integers = Method.FULL_INTEGER
        frozen = frozen or (CLIPPED_FOLDER if self.loaded.fake_quantized else FROZEN_FOLDER)
        self._quantize(frozen)
        basis = Basis(
            methods=(integers,),
            ready={integers: INT8_FILE},
            fused=frozen == FUSED_INTEGERS_FOLDER,
            random_outputs=self.loaded.random_outputs,
        )
        return self.measure(basis)

    def _less_in_float(self, measurement: LiteRTResult, first: ArtifactReport) -> dict[Method, MethodResult]:
        """Take this quantizer's file where it uses integer kernels that the first one does not."""
        if self.options.training is not None:
            return measurement.methods
        second = None
        if self.loaded.fused_integers:
            target = self.options.target
            if self.options.compilers:
                target = Target.MICROCONTROLLER  # what is compiled has to fit into one

            def is_better(fused: ArtifactReport, unrolled: ArtifactReport) -> bool:
                return is_better_recurrent(fused, unrolled, target)

            second = self._better(first, FUSED_INTEGERS_FOLDER, is_better)
        elif leaves_floats(first):
            second = self._better(first, None, is_better_integer)
        return measurement.methods if second is None else measurement.methods | second.methods

    def _better(
        self,
        first: ArtifactReport,
        frozen: str | None,
        is_better: Callable[[ArtifactReport, ArtifactReport], bool],
    ) -> LiteRTResult | None:
        """Return the full integer of ``frozen``, or of the graph itself, if it is better.

        Else the first file stays.
        """
        path = self.work / Method.FULL_INTEGER.file_name(self.options.base_name)
        with open_regular(path, MAX_TFLITE_BYTES, Stage.EVALUATE) as stream:
            kept = stream.read(MAX_TFLITE_BYTES)
        try:
            again = self._measured(frozen)
        except ConverterError:
            again = None  # it was worth a try: there is a file already
        if again is not None:
            self.seconds.append(again.seconds)
            second = again.methods[Method.FULL_INTEGER].artifact
            if second is not None and is_better(second, first):
                return again
        # A child that has ended could have left a link here; "x" opens none.
        path.unlink(missing_ok=True)
        with path.open("xb") as stream:
            stream.write(kept)
        return None
