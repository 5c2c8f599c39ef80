"""Options of the compilers that take finished files on."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from modelconversion_api.fields.compilers import (
    NPU,
    NPU_METHODS,
    DenseWeights,
    EdgeTPU,
    EthosU,
    Microcontroller,
)
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.compilers.edge_tpu import PROGRAM
from tflite_converter.compilers.npu_sdk import Toolkit, toolkit
from tflite_converter.errors import ConverterError


@dataclasses.dataclass(frozen=True)
class Compilers:
    """What is to be made of finished files."""

    edge_tpu: EdgeTPU | None = None
    ethos_u: EthosU | None = None
    microcontroller: Microcontroller | None = None
    npu: NPU | None = None
    npu_sdk: Path | None = None
    """Folder of the NPU vendor's SDK; None for where it is looked for."""

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return any((self.edge_tpu, self.ethos_u, self.microcontroller, self.npu))

    @property
    def want_dense_per_tensor(self) -> bool:
        """Whether FULLY_CONNECTED must have one scale for all of its weights.

        A scale for each output is younger than the Edge TPU compiler, and than older TFLite Micro.
        """
        micro = self.microcontroller
        old_runtime = micro is not None and micro.dense_weights is DenseWeights.PER_TENSOR
        return self.edge_tpu is not None or old_runtime

    @property
    def wants_integers(self) -> bool:
        """Whether one of them takes the full-integer file and no other."""
        return any((self.edge_tpu, self.ethos_u, self.microcontroller))

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods whose files are taken on."""
        of_npu = NPU_METHODS if self.npu is not None else ()
        integers = (Method.FULL_INTEGER,) if self.wants_integers else ()
        return tuple(dict.fromkeys((*integers, *of_npu)))

    def of(self, method: Method, *, passed: bool) -> Compilers:
        """Return the compilers that take a file of ``method`` on; those for NPUs only where it ``passed``."""
        npu = self.npu if passed and method in NPU_METHODS else None
        if method is Method.FULL_INTEGER:
            return dataclasses.replace(self, npu=npu)
        return Compilers(npu=npu, npu_sdk=self.npu_sdk)

    def find(self) -> None:
        """Look for every compiler that is not a part of the converter, before any other work is done.

        Raises:
            ConverterError: CompilerNotFound.

        """
        self.edge_tpu_program()
        self.npu_toolkit()

    def npu_toolkit(self) -> Toolkit | None:
        """Find LiteRT's compiler plugin and the vendor's SDK, if they are needed.

        Raises:
            ConverterError: CompilerNotFound, with what to bring; InvalidRequest for an environment variable
                that cannot be read.

        """
        return None if self.npu is None else toolkit(self.npu, self.npu_sdk, os.environ)

    def edge_tpu_program(self) -> Path | None:
        """Find the Edge TPU compiler, if it is needed, before any other work is done.

        Raises:
            ConverterError: CompilerNotFound.

        """
        if self.edge_tpu is None or not self.edge_tpu.compile:
            return None
        path = shutil.which(PROGRAM)
        if path is None:
            cause = f"there is no {PROGRAM} on the PATH"
            raise ConverterError(FailureReason.COMPILER_NOT_FOUND, Stage.LOAD, cause)
        return Path(path)
