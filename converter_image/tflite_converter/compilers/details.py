"""What can be said of a file on one target beyond whether it runs there; nothing is compiled for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.compilation import EdgeTPUReport, MicrocontrollerReport
from modelconversion_api.fields.compilers import EdgeTPU, Microcontroller
from modelconversion_api.methods import Target
from tflite_converter.compilers.edge_tpu import predicted
from tflite_converter.compilers.microcontroller import measured
from tflite_converter.tflite.types import TFLiteFile


class Details(ApiModel):
    """The prediction for the Edge TPU, or the needs of TFLite Micro; None for other targets."""

    edge_tpu: Annotated[EdgeTPUReport | None, Field(alias="edgeTPU")] = None
    microcontroller: MicrocontrollerReport | None = None


def details_of(file: TFLiteFile, target: Target | None) -> Details:
    """Return the details for ``target``; none without a target, or where there is nothing more to say."""
    if target is Target.EDGE_TPU:
        return Details(edge_tpu=predicted(file, EdgeTPU(compile=False)))
    if target is Target.MICROCONTROLLER:
        return Details(microcontroller=measured(file, Microcontroller(c_array=False)))
    return Details()
