"""Makes the quantized files from the one float file, with litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage

from .arrays import NamedArrays
from .errors import ConverterError
from .metrics import SNR_LIMIT_DB, snr_db
from .native_output import silenced
from .runtime import TFLiteModel

RANGE_CHOICE_SAMPLES = 64
"""How many calibration samples decide between the two ways of taking an activation's range."""


def dynamic_range(float_file: bytes) -> bytes:
    """int8 weights by channel, activations quantized as they come.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import recipe

    return _quantize(float_file, recipe.dynamic_wi8_afp32(), None)


def float16(float_file: bytes) -> bytes:
    """Weights stored as float16 and widened when the model runs.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import algorithm_manager, qtyping, recipe_manager

    manager = recipe_manager.RecipeManager()
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    names = qtyping.TFLOperationName
    for operation in (
        names.CONV_2D,
        names.DEPTHWISE_CONV_2D,
        names.FULLY_CONNECTED,
        names.CONV_2D_TRANSPOSE,
        names.EMBEDDING_LOOKUP,
    ):
        manager.add_quantization_config(
            regex=".*",
            operation_name=operation,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=half,
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    return _quantize(float_file, manager.get_quantization_recipe(), None)


def full_integer(
    float_file: bytes, samples: NamedArrays, *, threads: int, after_each: Callable[[int], None]
) -> bytes:
    """int8 weights and activations, int8 in and out; ranges from ``samples`` (``{input: (n, ...)}``).

    Each activation's range is taken in two ways from one pass, as the running average of the samples'
    extremes and as the extremes of them all. The first ignores outliers, the second never clips; which is
    better depends on the model, so both files are made and the one nearer to the float file on calibration
    samples is kept.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import recipe

    averaged, extreme = _calibrate(float_file, samples, threads, after_each)
    rules = recipe.static_wi8_ai8()
    candidates = [_quantize(float_file, rules, ranges) for ranges in (averaged, extreme)]
    some = {name: array[:RANGE_CHOICE_SAMPLES] for name, array in samples.items()}
    reference = TFLiteModel(float_file, threads=threads).run_each(some)

    def closeness(file: bytes) -> float:
        ratio = snr_db(reference, TFLiteModel(file, threads=threads).run_each(some))
        return SNR_LIMIT_DB if ratio is None else ratio

    try:
        return max(candidates, key=closeness)
    except (RuntimeError, ValueError) as error:
        raise _failed(Method.FULL_INTEGER, error) from error


def _calibrate(
    float_file: bytes, samples: NamedArrays, threads: int, after_each: Callable[[int], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ranges by tensor name: averaged, and extreme."""
    from litert_quantizer import calibrator, recipe, recipe_manager
    from litert_quantizer.utils import qsv_utils

    def both(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        average: dict[str, Any] = qsv_utils.moving_average_update(old, new)
        return average | {
            "lowest": np.minimum(old.get("lowest", old["min"]), new["min"]),
            "highest": np.maximum(old.get("highest", old["max"]), new["max"]),
        }

    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    count = len(next(iter(samples.values())))
    try:
        with silenced():
            calibration = calibrator.Calibrator(
                float_file,
                num_threads=threads,
                mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
                qsv_update_func=both,
            )
            (signature, *_) = calibration.get_signature_list()
        for i in range(count):
            sample = {name: array[i : i + 1] for name, array in samples.items()}
            calibration.calibrate({signature: [sample]}, rules)
            after_each(i + 1)
        ranges = calibration.get_model_qsvs()
    except Exception as error:
        # The quantizer raises whatever comes up, KeyError and AssertionError among it.
        raise _failed(Method.FULL_INTEGER, error) from error
    averaged = {name: {"min": r["min"], "max": r["max"]} for name, r in ranges.items()}
    extreme = {
        name: {"min": r.get("lowest", r["min"]), "max": r.get("highest", r["max"])}
        for name, r in ranges.items()
    }
    return averaged, extreme


def _quantize(float_file: bytes, rules: Any, ranges: dict[str, Any] | None) -> bytes:
    from litert_quantizer import quantizer

    try:
        with silenced():
            result = quantizer.Quantizer(float_file, rules).quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    except Exception as error:
        raise _failed(None, error) from error
    return bytes(result.quantized_model)


def _failed(method: Method | None, error: Exception) -> ConverterError:
    what = "" if method is None else f"{method.value}: "
    line = next(iter(re.split(r"[\r\n]", str(error).strip())), "") or type(error).__name__
    return ConverterError(
        FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, f"{what}{line[:400].rstrip('.')}"
    )
