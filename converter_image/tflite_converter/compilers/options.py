"""Options of the compilers that take the full-integer file on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from modelconversion_api.compilers import DenseWeights, EdgeTPU, EthosU, Microcontroller
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.compilers.edge_tpu import PROGRAM
from tflite_converter.errors import ConverterError


@dataclasses.dataclass(frozen=True)
class Compilers:
    """What is to be made of the full-integer file."""

    edge_tpu: EdgeTPU | None = None
    ethos_u: EthosU | None = None
    microcontroller: Microcontroller | None = None

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return any((self.edge_tpu, self.ethos_u, self.microcontroller))

    @property
    def want_dense_per_tensor(self) -> bool:
        """Whether FULLY_CONNECTED must have one scale for all of its weights.

        A scale for each output is younger than the Edge TPU compiler, and than older TFLite Micro.
        """
        micro = self.microcontroller
        old_runtime = micro is not None and micro.dense_weights is DenseWeights.PER_TENSOR
        return self.edge_tpu is not None or old_runtime

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
