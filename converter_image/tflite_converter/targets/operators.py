"""Which operators the runtimes of each target have kernels for: tables, each with its source."""

from __future__ import annotations

from typing import Final

from modelconversion_api.methods import Target


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TFLITE_MICRO: Final = _names(
    """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND
    BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE
    DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS
    LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAX_POOL_2D MAXIMUM MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_MAX RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH
    TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
    """
)
"""Builtins that a MicroMutableOpResolver can be given.

Source: ``python/tflite_micro/python_ops_resolver.cc`` of tensorflow/tflite-micro (2024), which adds them all,
and ``micro_mutable_op_resolver.h`` for BATCH_MATMUL. A later version may have more.
"""

TFLITE_MICRO_CUSTOM: Final = frozenset({"CIRCULAR_BUFFER", "TFLite_Detection_PostProcess", "ethos-u"})
"""Custom operators that TFLite Micro registers by name; ``ethos-u`` is what Arm's Vela compiler makes.

Source: ``micro_mutable_op_resolver.h`` of tensorflow/tflite-micro.
"""

EDGE_TPU: Final = _names(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION
    LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU
    RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH
    SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV
    UNIDIRECTIONAL_SEQUENCE_LSTM
    """
)
"""Operators that the Edge TPU computes.

Source: the table "All operations supported by the Edge TPU" of coral.ai, "TensorFlow models on the Edge TPU".
Its constraints are in :mod:`tflite_converter.targets.edge_tpu`.
"""

EDGE_TPU_FIRST_REFUSED_VERSION: Final = {"CONV_2D": 6, "EXP": 2, "QUANTIZE": 3, "TRANSPOSE_CONV": 4}
"""The operator version from which on Edge TPU Compiler 16.0, the last one, stops at "Didn't find op".

Source: reports of users: google-coral/edgetpu #631, #845, #879, tensorflow/tflite-micro #2633.
"""

GPU_DELEGATE: Final = _names(
    """
    ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM DENSIFY
    DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP FLOOR
    FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS
    LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL
    ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_CLAMP STRIDED_SLICE SUB SUM TANH
    TILE TRANSPOSE TRANSPOSE_CONV
    """
)
"""Operators that the GPU delegate has kernels for.

Source: the cases of ``CheckGpuDelegateCompatibility`` in TensorFlow's
``lite/tools/versioning/gpu_compatibility.cc``, which decides it offline; the list in the delegate's
documentation is older and shorter. Its checks of each operator's options are not repeated here.
"""

LITERT_CUSTOM: Final = frozenset(
    {"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"}
)
"""Custom operators that LiteRT registers itself.

Source: ``lite/core/kernels/register.cc`` of TensorFlow.
"""

EDGE_TPU_CUSTOM: Final = "edgetpu-custom-op"
"""What the Edge TPU compiler leaves of the part that it maps."""

INTEGER_ONLY = frozenset({Target.EDGE_TPU, Target.MICROCONTROLLER})
"""Targets that cannot run an operator in float."""
