"""Predicting with a TFLite classifier, float or quantized, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .runtime import TFLiteModel


class TFLiteInference:
    """A TFLite classifier with one input and one output of class scores.

    Takes and gives plain floats for every method: int8 inputs and outputs are quantized and dequantized by
    the file's own scale and zero point.

    Raises:
        FileNotFoundError: when there is no file at ``path``.
        ValueError: when the file is no TFLite model, or has several inputs or outputs.

    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"File not found: {path}")
        self._model = TFLiteModel(self.path, threads=threads)
        if len(self._model.inputs) != 1 or len(self._model.outputs) != 1:
            raise ValueError(f"{self.path.name} has several inputs or outputs: it is no plain classifier")
        self._input, self._output = self._model.inputs[0], self._model.outputs[0]
        self.input_shape = self._input.shape[1:]
        """Shape of one sample."""
        self.input_dtype = self._input.dtype
        self.output_dtype = self._output.dtype
        self._batch_is_free = True

    def predict_single(self, features: ArrayLike) -> tuple[int, float]:
        """Class and confidence of one sample of shape :attr:`input_shape`.

        The confidence is the greatest score, which is a probability where the model ends in a softmax. An
        int8 output has steps of 1/256, so confidences come in those steps.
        """
        sample = np.asarray(features, dtype=np.float32)
        if sample.shape != self.input_shape:
            raise ValueError(f"a sample has the shape {self.input_shape}, got {sample.shape}")
        (scores,) = self.scores(sample[np.newaxis])
        best = int(np.argmax(scores))
        return best, float(scores[best])

    def predict_batch(self, batch: ArrayLike) -> list[tuple[int, float]]:
        """Class and confidence of each sample of ``batch``, shape ``(n, *input_shape)``, in its order."""
        samples = np.asarray(batch, dtype=np.float32)
        if samples.shape[1:] != self.input_shape:
            raise ValueError(
                f"a batch has the shape (n, {', '.join(map(str, self.input_shape))}), got {samples.shape}"
            )
        scores = self.scores(samples)
        best = np.argmax(scores, axis=1)
        return [(int(b), float(row[b])) for b, row in zip(best, scores, strict=True)]

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of shape ``(n, classes)`` for ``(n, *input_shape)``.

        The whole batch runs at once where the graph allows it, sample by sample where it does not.
        """
        name = self._input.name
        if len(batch) == 0:
            return np.empty((0, self._output.shape[-1]), dtype=np.float32)
        if self._batch_is_free:
            try:
                found = self._model.run({name: batch})[self._output.name]
            except (RuntimeError, ValueError):
                found = np.empty((0,), dtype=np.float32)
            if len(found) == len(batch):
                return found.astype(np.float32)
            self._batch_is_free = False
            self._model = TFLiteModel(self.path, threads=self._model.threads)
        return self._model.run_each({name: batch})[self._output.name].astype(np.float32)
