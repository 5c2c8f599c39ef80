"""Loads files for a board's accelerator, and says what it takes of each: never the CPU under its name."""

from __future__ import annotations

from typing import Final

from edge_inference.delegates import EDGE_TPU_LIBRARY, edge_tpu
from edge_inference.errors import DelegateAbsentError, DelegateError
from modelconversion_api.fields.boards import Accelerator
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import Taken
from tflite_converter.errors import ConverterError, NoDriverError, NothingTakenError, NotVerifiedError
from tflite_converter.measuring.evaluation import Runner, on_litert
from tflite_converter.targets.operators import EDGE_TPU_CUSTOM
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.verifying.gpu import GPUModel

ON_BOARD: Final = (
    "have the pod ask for the device by resources of the board, which a device plugin of the node serves, and"
    " give its image the driver: docs/BOARDS.md says how; accelerator CPU needs neither"
)
ON_MACHINE: Final = (
    "install the accelerator's driver (for a GPU one for Vulkan, e.g. Debian's mesa-vulkan-drivers), connect"
    " the device and see that this user may open it, or measure on the CPU"
)
"""What to do where the accelerator is not there: in a Job of the cluster, and at a terminal."""
_NOT_COMPILED: Final = "it has no part that the Edge TPU compiler has made"
_COMPILE: Final = (
    "compile it (edgeTPU in a spec, or tflite-converter compile --edgetpu), or run it on the CPU"
)


class AcceleratedLoad:
    """Loads a file, as ``measuring.evaluation.Load`` says, and remembers what was taken of it."""

    def __init__(self, accelerator: Accelerator, stage: Stage, hint: str) -> None:
        """``hint``: what to do where the accelerator is not there."""
        self._accelerator, self._stage, self._hint = accelerator, stage, hint
        self.taken = Taken()
        """Of the file that was loaded last."""

    def __call__(self, content: bytes, threads: int) -> Runner:
        """Load a file.

        Raises:
            ConverterError: AcceleratorNotFound; NothingMapped where it takes nothing; EvaluationFailed where
                the file cannot be handed to it.
            RuntimeError: It refuses the file, or LiteRT does.
            ValueError: The file is none.

        """
        match self._accelerator:
            case Accelerator.CPU:
                return on_litert(content, threads)
            case Accelerator.GPU:
                return self._on_gpu(content, threads)
            case Accelerator.EDGE_TPU:
                return self._on_edge_tpu(content, threads)

    def _on_gpu(self, content: bytes, threads: int) -> Runner:
        try:
            model = GPUModel(content, threads=threads, of_board=True)
        except NoDriverError as error:
            raise self._failure(FailureReason.ACCELERATOR_NOT_FOUND, str(error), self._hint) from error
        except NothingTakenError as error:
            raise self._failure(FailureReason.NOTHING_MAPPED, str(error)) from error
        except NotVerifiedError as error:
            raise self._failure(FailureReason.EVALUATION_FAILED, str(error)) from error
        self.taken = Taken(
            device=model.device,
            is_software=model.is_software,
            accelerated_operators=model.operators - model.fallback_operators,
            fallback_operators=model.fallback_operators,
            fallbacks=model.fallbacks,
        )
        return model

    def _on_edge_tpu(self, content: bytes, threads: int) -> Runner:
        kinds = [o.name for graph in read_file(content, "the file").subgraphs for o in graph.operators]
        mapped = kinds.count(EDGE_TPU_CUSTOM)
        if not mapped:
            raise self._failure(FailureReason.NOTHING_MAPPED, _NOT_COMPILED, _COMPILE)
        # LiteRT has no kernel for the compiled part: what the delegate does not take does not load.
        try:
            model = TFLiteModel(content, threads=threads, delegates=[edge_tpu()])
        except DelegateAbsentError as error:
            raise self._failure(FailureReason.ACCELERATOR_NOT_FOUND, str(error), self._hint) from error
        except DelegateError as error:
            raise RuntimeError(str(error)) from error
        self.taken = Taken(
            device=f"Edge TPU by {EDGE_TPU_LIBRARY}",
            accelerated_operators=mapped,
            fallback_operators=len(kinds) - mapped,
        )
        return model

    def _failure(self, reason: FailureReason, cause: str, hint: str | None = None) -> ConverterError:
        return ConverterError(reason, self._stage, cause, hint=hint)
