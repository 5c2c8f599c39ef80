"""The flags of the compilers, as ``compile`` and ``convert`` share them."""

from __future__ import annotations

from modelconversion_api.fields.compilers import DenseWeights
from tflite_converter.cli.given import Given
from tflite_converter.cli.groups import COMPILING, EDGE_TPU, ETHOS_U, MICROCONTROLLER, NPU_CHIPS
from tflite_converter.compilers.options import Compilers
from tflite_converter.errors import UsageError

_PREDICTED = "min_mapped_fraction"
"""The one field of the Edge TPU that a prediction heeds."""


def compilers_of(given: Given) -> Compilers:
    """Return the compilers that the flags ask for.

    Raises:
        UsageError: A value is out of its limits, two do not fit together, or one would be ignored.

    """
    options = given.build(COMPILING)
    if options.edgetpu and options.edgetpu_predict:
        raise UsageError("--edgetpu and --edgetpu-predict exclude each other", hint="leave one out")
    for field in given.fields(EDGE_TPU) if options.edgetpu_predict else ():
        if field != _PREDICTED:
            raise UsageError(
                f"{EDGE_TPU.flag(field)} without --edgetpu", hint="a prediction has no such limit"
            )
    microcontroller = None
    if options.c_array or options.dense_per_tensor or given.fields(MICROCONTROLLER):
        weights = DenseWeights.PER_TENSOR if options.dense_per_tensor else DenseWeights.PER_CHANNEL
        microcontroller = given.build(MICROCONTROLLER, c_array=options.c_array, dense_weights=weights)
    npu = given.build_asked(NPU_CHIPS)
    if options.npu_sdk is not None and npu is None:
        raise UsageError("--npu-sdk without --npu", hint="--npu-sdk would change nothing: leave it out")
    return Compilers(
        given.build_asked(EDGE_TPU, compile=options.edgetpu),
        given.build_asked(ETHOS_U),
        microcontroller,
        npu,
        options.npu_sdk,
    )
