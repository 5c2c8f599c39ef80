"""Calibration: the range of every activation, from one pass over the representative dataset.

The pass keeps each sample's smallest and largest value of each tensor. The ways of making one range of them
(:class:`RangeMethod`) and the comparison of two halves of the samples then cost nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import Stability, UnstableTensor
from tflite_converter.arrays import Array, FloatArray, NamedArrays
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.measuring.soundness import first_not_finite
from tflite_converter.native_output import silenced
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel, why

UNSTABLE = 0.2
"""Two halves that differ by more mean too few samples (ai-edge-quantizer's auto_quant procedure)."""
_WORST = 5
_SMOOTHING = 0.95
"""Of the moving average, litert-quantizer's own default."""
_PERCENTILE = 99.0

Ranges = dict[str, dict[str, Any]]
"""litert-quantizer's form: ``{tensor: {"min": array, "max": array}}``, arrays of shape ``(1,)``."""


class RangeMethod(StrEnum):
    """How one range is made of the samples' ranges."""

    AVERAGE = "moving average"
    """Ignores outliers; litert-quantizer's default."""
    EXTREMES = "min-max"
    """Never clips a calibration sample."""
    PERCENTILE = "99th percentile"
    """Clips the one sample in a hundred that reaches furthest."""


@dataclass(frozen=True)
class Calibration:
    """What the samples reached."""

    lowest: dict[str, FloatArray]
    """By tensor name, shape ``(n,)``: the smallest value in each sample."""
    highest: dict[str, FloatArray]
    left_out: int = 0
    """Samples that gave NaN or infinity somewhere: they say nothing of ranges."""
    stopped: tuple[int, ...] = ()
    """Places of the samples on which the float file stops."""
    stops: str | None = None
    """Why it does so on the first of them."""

    @property
    def stability(self) -> Stability | None:
        """The ranges of the two halves of the samples compared; None for a single sample."""
        differences = {}
        for name, lowest in self.lowest.items():
            if len(lowest) >= 2:
                differences[name] = _difference(lowest, self.highest[name])
        if not differences:
            return None
        unstable = {name: d for name, d in differences.items() if d > UNSTABLE}
        worst = sorted(unstable.items(), key=lambda item: -item[1])[:_WORST]
        return Stability(
            threshold=UNSTABLE,
            tensors=len(differences),
            unstable=len(unstable),
            worst=tuple(UnstableTensor(tensor=n, difference=round(d, 4)) for n, d in worst),
        )

    def ranges(self, method: RangeMethod) -> Ranges:
        """Return the range of each tensor."""
        ranges: Ranges = {}
        for name, lowest in self.lowest.items():
            highest = self.highest[name]
            match method:
                case RangeMethod.AVERAGE:
                    low, high = _moving_average(lowest), _moving_average(highest)
                case RangeMethod.EXTREMES:
                    low, high = lowest.min(), highest.max()
                case RangeMethod.PERCENTILE:
                    low = np.percentile(lowest, 100.0 - _PERCENTILE)
                    high = np.percentile(highest, _PERCENTILE)
            ranges[name] = {
                "min": np.array([low], dtype=np.float32),
                "max": np.array([high], dtype=np.float32),
            }
        return ranges


def calibrate(
    float_file: bytes, samples: NamedArrays, threads: int, after_each: Callable[[int], None]
) -> Calibration:
    """Run the float file on ``{input: (n, ...)}`` and keep what every activation reaches.

    Samples on which anything becomes NaN or infinite are left out, and so are those that the file stops on.

    Raises:
        ConverterError: QuantizationFailed where litert-quantizer cannot run the model, or where no sample is
            left.

    """
    from litert_quantizer import calibrator, recipe, recipe_manager

    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    count = len(next(iter(samples.values())))
    ranks = {named.name: len(named.tensor.shape) for named in read_file(float_file, "the float file").inputs}
    lowest: dict[str, list[float]] = {}
    highest: dict[str, list[float]] = {}
    bad: list[int] = []
    stopped: dict[int, str] = {}

    def started() -> Any:
        with silenced():
            return calibrator.Calibrator(
                float_file,
                num_threads=threads,
                mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            )

    try:
        runner = started()
        (signature, *_) = runner.get_signature_list()
        for i in range(count):
            runner.reset_model_qsvs()
            sample = {
                # An input without a batch dimension takes a sample as it is.
                name: array[i] if array.ndim > ranks[name] else array[i : i + 1]
                for name, array in samples.items()
            }
            try:
                runner.calibrate({signature: [sample]}, rules, cache_output=True)
            except (RuntimeError, ValueError):
                words = _why_it_stops(float_file, sample)
                if words is None:
                    raise
                stopped[i] = words
                runner = started()  # one that has failed gives no ranges any more
                continue
            outputs = runner.get_cached_output()[-1]
            runner.clear_cached_output()
            reached = {
                name: (float(values["min"].min()), float(values["max"].max()))
                for name, values in runner.get_model_qsvs().items()
            }
            # Of infinite values the quantizer keeps no range, so that the outputs are looked at as well.
            if not (np.isfinite(list(reached.values())).all() and all(map(_is_finite, outputs.values()))):
                bad.append(i)
                continue
            for name, (low, high) in reached.items():
                lowest.setdefault(name, []).append(low)
                highest.setdefault(name, []).append(high)
            after_each(i + 1)
    except Exception as error:
        # The quantizer raises whatever comes up, KeyError and AssertionError among it.
        raise ConverterError(
            FailureReason.QUANTIZATION_FAILED, Stage.CALIBRATE, f"calibration: {first_line(error)}"
        ) from error
    if len(stopped) == count:
        cause = f"the float file stops on every calibration sample: {next(iter(stopped.values()))}"
        raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.CALIBRATE, cause)
    if len(bad) + len(stopped) == count:
        sample = {name: np.delete(array, list(stopped), axis=0)[:1] for name, array in samples.items()}
        place = first_not_finite(float_file, sample)
        raise ConverterError(
            FailureReason.QUANTIZATION_FAILED,
            Stage.CALIBRATE,
            f"{place} is NaN or infinite on every calibration sample",
            hint="check the data's scaling, and the model itself on the same samples",
        )
    return Calibration(
        {name: np.array(values) for name, values in lowest.items()},
        {name: np.array(values) for name, values in highest.items()},
        len(bad),
        tuple(stopped),
        next(iter(stopped.values()), None),
    )


def _why_it_stops(float_file: bytes, sample: NamedArrays) -> str | None:
    """Return what LiteRT says of a sample; None where the file runs on it."""
    try:
        TFLiteModel(float_file).run(sample)
    except (RuntimeError, ValueError) as error:
        return why(error)
    return None


def _is_finite(values: Array) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _moving_average(values: FloatArray) -> float:
    average = float(values[0])
    for value in values[1:]:
        average = _SMOOTHING * average + (1.0 - _SMOOTHING) * float(value)
    return average


def _difference(lowest: FloatArray, highest: FloatArray) -> float:
    """Of the halves' ranges, as a share of the larger one. The halves take turns: a draw may be ordered."""
    low, high = (lowest[0::2].min(), lowest[1::2].min()), (highest[0::2].max(), highest[1::2].max())
    widest = max(high[0] - low[0], high[1] - low[1])
    if widest <= 0.0:
        return 0.0
    return float(max(abs(low[0] - low[1]), abs(high[0] - high[1])) / widest)
