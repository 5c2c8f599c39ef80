"""Whether a file is worth having: something was quantized in it, and it is smaller than before.

A quantizer may change nothing without a word: where no operator has a kernel for the method, or where it does
not find the operators.
"""

from __future__ import annotations

from typing import Final

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.types import TFLiteFile

_STORED_AS: Final = {
    Method.DYNAMIC_RANGE: ("int8", "has an int8 kernel"),
    Method.FLOAT16: ("float16", "can be stored as float16"),
    Method.WEIGHT_ONLY_INT8: ("int8", "can be stored as int8"),
    Method.INT4: ("int4", "can be stored in 4 bits"),
}
"""What each method makes of weights, and what it says of a model of which it makes nothing."""
_COMPUTED_IN: Final = {
    Method.FULL_INTEGER: (("int8", "uint8", "int16"), "integers"),
    Method.INT16_ACTIVATIONS: (("int16",), "16-bit integers"),
}
_CONVERSIONS: Final = ("QUANTIZE", "DEQUANTIZE")


def check_worth(method: Method, content: bytes, float_file: bytes, *, as_method_says: bool = True) -> None:
    """Refuse a file that is of no use beside the ``float_file`` that it was made from.

    A file is smaller where its weights are: in a model of a few KiB, what describes the numbers can outweigh
    what the weights save, and a device of integers needs the file all the same. A recipe of a user's own
    need not do what its method does (``as_method_says``), but something.

    Raises:
        ConverterError: NothingQuantized, NotSmaller.

    """
    if method is Method.FLOAT32:
        return
    file, original = read_file(content, "the file"), read_file(float_file, "the float file")
    fault = _untouched(method, file) if as_method_says else _unquantized(file)
    if fault is not None:
        raise ConverterError(
            FailureReason.NOTHING_QUANTIZED, Stage.QUANTIZE, f"nothing was quantized: {fault}"
        )
    before, after = (sum(inventory(f).constant_bytes.values()) for f in (original, file))
    if before and after >= before and len(content) >= len(float_file):
        cause = (
            f"the file did not get smaller: {after:,} bytes of constants instead of {before:,},"
            f" and {len(content):,} bytes in all instead of {len(float_file):,}"
        )
        raise ConverterError(FailureReason.NOT_SMALLER, Stage.QUANTIZE, cause)


def _unquantized(file: TFLiteFile) -> str | None:
    if any(tensor.is_quantized for tensor in file.tensors()):
        return None
    return "nothing of this model is stored or computed in integers by the recipe"


def _untouched(method: Method, file: TFLiteFile) -> str | None:
    """Say why a file is a float file in all but its name; None where something was quantized."""
    if method in _STORED_AS:
        dtype, words = _STORED_AS[method]
        if any(tensor.is_constant and tensor.dtype == dtype for tensor in file.tensors()):
            return None
        return f"no weight of this model {words}"
    dtypes, words = _COMPUTED_IN[method]
    for operator, graph in file.operators():
        if operator.name in _CONVERSIONS:
            continue
        tensors = (graph.tensors[index] for index in operator.outputs)
        if any(tensor.dtype in dtypes and tensor.is_quantized for tensor in tensors):
            return None
    return f"no operator of this model computes in {words}"
