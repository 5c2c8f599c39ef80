"""Messages between the parent and the process of a compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.compilation import (
    EdgeTPUReport,
    EthosUReport,
    MicrocontrollerReport,
    NPUReport,
    NPURun,
)
from modelconversion_api.fields.compilers import NPU, EdgeTPU, EthosU, Microcontroller
from tflite_converter.compilers.npu_sdk import Toolkit
from tflite_converter.isolation.parent import Program
from tflite_converter.isolation.protocol import ChildLimits

COMPILER: Final = Program("compiler", "tflite_converter.compilers.worker", "the compiler's process")


class NPUJob(ApiModel):
    """One chip of :class:`NPU`."""

    options: NPU
    soc: str
    toolkit: Toolkit
    compiled: str | None = None
    """Unless None, the file is compiled already, by this name: run it beside the one that it was made of."""


class CompilerJob(ApiModel):
    """One compilation; one of the four is set."""

    limits: ChildLimits
    file: str
    """The file to compile, by its name in the folder."""
    edge_tpu: EdgeTPU | None = None
    edge_tpu_program: Path | None = None
    """The compiler; None where nothing is to be compiled, only predicted."""
    ethos_u: EthosU | None = None
    microcontroller: Microcontroller | None = None
    npu: NPUJob | None = None


class CompilerResult(ApiModel):
    """What came of it; the files lie in the folder."""

    edge_tpu: EdgeTPUReport | None = None
    ethos_u: EthosUReport | None = None
    microcontroller: MicrocontrollerReport | None = None
    npu: NPUReport | None = None
    run: NPURun | None = None
