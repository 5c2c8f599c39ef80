"""What another TensorFlow computed with the models that it wrote, and how close a file comes to that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_converter.measuring.metrics import r2, snr_db
from tflite_converter.tflite.names import safe_name
from tflite_converter.tflite.runtime import TFLiteModel

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Recorded:
    """What the writer gave to its model, and what came back."""

    inputs: dict[str, Array]
    outputs: list[Array]

    @classmethod
    def read(cls, path: Path) -> Recorded:
        """Reads the arrays ``input/<name>`` and ``output/<number>`` of an .npz file."""
        with np.load(path, allow_pickle=False) as found:
            names = sorted(found.files)
            return cls(
                {name.partition("/")[2]: found[name] for name in names if name.startswith("input/")},
                [found[name] for name in names if name.startswith("output/")],
            )

    def save_inputs(self, path: Path) -> Path:
        """The inputs as a data set for the converter."""
        np.savez(path, allow_pickle=False, **self.inputs)
        return path


@dataclass(frozen=True)
class Closeness:
    """A TFLite file against the writer's own outputs."""

    max_difference: float
    """Largest absolute difference of any output value."""
    snr_db: float
    r2: float
    """Share of the outputs' variance over the samples that is kept."""


def closeness(file: Path, recorded: Recorded) -> Closeness:
    """Runs ``file`` on the recorded inputs.

    Outputs are matched by their shapes, for their names depend on the way a model was saved: no recorded
    model has two outputs of one shape.
    """
    model = TFLiteModel(file)
    if len(model.inputs) == 1:
        inputs = {model.inputs[0].name: next(iter(recorded.inputs.values()))}
    else:
        inputs = {safe_name(name): array for name, array in recorded.inputs.items()}
    by_shape = {array.shape: array for array in model.run_each(inputs).values()}
    expected = {str(i): array for i, array in enumerate(recorded.outputs)}
    found = {name: by_shape[array.shape] for name, array in expected.items()}
    ratio = snr_db(expected, found)
    return Closeness(
        max(
            float(np.abs(found[n].astype(np.float64) - a.astype(np.float64)).max())
            for n, a in expected.items()
        ),
        200.0 if ratio is None else ratio,
        r2(expected, found),
    )
