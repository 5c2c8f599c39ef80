"""Tensor names that TFLite signatures and .npz files can share."""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelconversion_api.limits import NAME_LENGTH
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from modelconversion_api.text import shortened
from tflite_converter.errors import ConverterError

_SHOWN = 60


def safe_name(name: str) -> str:
    """Return a tensor name that is a Python identifier's letters.

    TFLite signatures and .npz keys share it.
    """
    return re.sub(r"\W", "_", name.split(":")[0])


def tensor_info(name: str, shape: Iterable[int], dtype: str) -> TensorInfo:
    """Describe an input or output, by whose name data and results find it.

    Raises:
        ConverterError: ConversionFailed for a name that is longer than the contract takes.

    """
    if len(name) > NAME_LENGTH:
        raise ConverterError(
            FailureReason.CONVERSION_FAILED,
            Stage.LOAD,
            f"the name of the input or output {shortened(name, _SHOWN)!r} has {len(name)} characters,"
            f" more than {NAME_LENGTH}",
            hint="give the layer, or the signature's argument, a shorter name, and save the model again",
        )
    return TensorInfo(name=name, shape=list(shape), dtype=dtype)
