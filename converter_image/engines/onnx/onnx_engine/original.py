"""The original model, run by onnxruntime: what the file is compared with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line
from engine_tools.running import Arrays

_TYPES: Final[dict[str, Any]] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{f"tensor({name})": np.dtype(name).type for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": np.dtype(name).type for name in ("uint8", "uint16", "uint32", "uint64")},
}
_ERRORS_ONLY: Final = 3
_NO_MEMORY: Final = re.compile(r"bad_alloc|[Ff]ailed to allocate|[Oo]ut of memory")


class Original:
    """A session of onnxruntime."""

    def __init__(self, model: Path | bytes) -> None:
        """Load the model: a file, with its external data beside it, or a serialized ``ModelProto``.

        Raises:
            EngineError: UnreadableModel where onnxruntime does not take it.

        """
        onnxruntime.disable_telemetry_events()
        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        options = onnxruntime.SessionOptions()
        # Nothing that changes what is computed: constants are folded, and no more.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
        except Exception as error:  # each of its errors is a class of its own
            if _NO_MEMORY.search(str(error)):
                raise MemoryError from error
            cause = f"onnxruntime does not take the model: {first_line(error)}"
            raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=_HINT) from error
        self._types = {value.name: _TYPES.get(value.type) for value in self._session.get_inputs()}
        self.shapes = {
            value.name: tuple(size if isinstance(size, int) else -1 for size in value.shape)
            for value in self._session.get_inputs()
        }
        self.outputs = [value.name for value in self._session.get_outputs()]
        self.ranks = {value.name: len(value.shape) for value in self._session.get_outputs()}
        """How many dimensions each output has."""

    def run(self, sample: Arrays) -> Arrays:
        """Return the outputs for inputs in the model's own shapes; what is missing is zeros.

        Raises:
            Exception: onnxruntime's own, where it stops.

        """
        feeds = {}
        for name, kind in self._types.items():
            values = sample.get(name)
            if values is None:
                values = np.zeros([max(1, size) for size in self.shapes[name]])
            # What is a number to the model is a list of one to the file.
            shaped = np.reshape(values, ()) if self.shapes[name] == () else values
            feeds[name] = np.asarray(shaped, dtype=kind, order="C")
        return dict(zip(self.outputs, self._session.run(self.outputs, feeds), strict=True))


_HINT: Final = (
    "see that it runs: python -c \"import onnxruntime; onnxruntime.InferenceSession('model.onnx')\""
)
