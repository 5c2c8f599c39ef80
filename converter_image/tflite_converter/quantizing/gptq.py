"""What GPTQ needs of a dense layer's inputs: how they vary together, over the calibration samples.

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
ICLR 2023; the rounding itself is litert-quantizer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import NamedArrays
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.native_output import silenced
from tflite_converter.quantizing.calibration import Ranges
from tflite_converter.quantizing.quantization import Weights
from tflite_converter.quantizing.specification import MOVES
from tflite_converter.tflite.file import read_file

_WIDEST: Final = 4096
"""Inputs of a dense layer whose pairs take 64 MiB."""
_SAMPLES: Final = 128
"""As many as the method's authors take."""


def reaches(float_file: bytes) -> bool:
    """Whether a model has dense layers, and none that is too wide."""
    return 0 < _widest_dense(float_file) <= _WIDEST


def with_hessians(float_file: bytes, samples: NamedArrays, ranges: Ranges | None) -> Ranges:
    """Return ranges with what GPTQ needs of a dense layer's inputs: how they vary together.

    By rules of its own: by those of the recipe, another operator's output would be looked at for its range
    alone, and a layer that reads it be left without weights.

    Raises:
        ConverterError: QuantizationFailed, also for layers whose figures would take too much memory.

    """
    from litert_quantizer import calibrator, qtyping, recipe_manager

    widest = _widest_dense(float_file)
    if widest > _WIDEST:
        cause = f"GPTQ keeps a figure for each pair of a layer's inputs, and here are {widest:,} inputs"
        hint = "take OCTAV or MSE instead"
        raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, cause, hint=hint)
    count = min(len(next(iter(samples.values()))), _SAMPLES)
    ranks = {named.name: len(named.tensor.shape) for named in read_file(float_file, "the float file").inputs}
    rows = [
        {name: a[i] if a.ndim > ranks[name] else a[i : i + 1] for name, a in samples.items()}
        for i in range(count)
    ]
    rules = recipe_manager.RecipeManager()
    dense, by_channel = qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.QuantGranularity.CHANNELWISE
    rules.add_dynamic_config(".*", dense, 8, by_channel, Weights.GPTQ.algorithm)
    try:
        with silenced():
            runner = calibrator.Calibrator(float_file)
            (signature, *_) = runner.get_signature_list()
            runner.calibrate({signature: rows}, rules)
            figures = runner.get_model_qsvs()
    except Exception as error:
        # The quantizer raises whatever comes up, KeyError and AssertionError among it.
        cause = f"GPTQ: {first_line(error)}"
        raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.CALIBRATE, cause) from error
    whole: Ranges = {name: dict(found) for name, found in (ranges or {}).items()}
    for name, found in figures.items():
        whole[name] = found | whole.get(name, {})
        # With integer activations, what only moves values takes its figures from where they come from.
        for source in _sources(float_file, name) if ranges is not None else ():
            whole.setdefault(source, {}).setdefault("hessian", found["hessian"])
    return whole


def _sources(float_file: bytes, name: str) -> Iterator[str]:
    """Yield the tensors that a tensor's values were moved from, the nearest first."""
    made_by = {
        graph.tensors[o.outputs[0]].name: (o.name, graph.tensors[o.inputs[0]].name)
        for o, graph in read_file(float_file, "the float file").operators()
        if o.outputs and o.inputs and o.inputs[0] >= 0
    }
    while name in made_by:
        kind, name = made_by[name]
        if kind not in MOVES:
            return
        yield name


def _widest_dense(float_file: bytes) -> int:
    """Return the most inputs of a dense layer."""
    operators = read_file(float_file, "the float file").operators()
    dense = (g.tensors[o.inputs[1]].shape for o, g in operators if o.name == "FULLY_CONNECTED")
    return max((shape[-1] for shape in dense if shape), default=0)
