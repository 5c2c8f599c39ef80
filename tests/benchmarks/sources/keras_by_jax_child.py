"""One Keras file by JAX: loaded by Keras 3 on JAX, converted by the JAX engine, run on samples.

``python keras_by_jax_child.py SOURCE INPUTS.npz FOLDER`` runs on the Python that ``keras_by_jax.py`` makes,
with the JAX engine's packages and sources. It leaves ``float.tflite`` and ``outputs.npz`` in FOLDER, or
``failed.txt`` with where it ended and why. ``--write FILE`` writes a MobileNetV2 and samples instead.

Keras draws weights before it reads those of the file, and JAX compiles a program for each shape that is
drawn. They are not drawn here, unless the variable DRAW_WEIGHTS is set.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from jax import export
from keras.src.initializers import random_initializers


def do_not_draw() -> None:
    """Have every initializer that draws give zeros."""

    def zeros(_self: Any, shape: Any, dtype: Any = None, **_more: Any) -> Any:
        return np.zeros(shape, dtype or "float32")

    for kind in vars(random_initializers).values():
        if isinstance(kind, type) and "__call__" in vars(kind):
            kind.__call__ = zeros


class Function:
    """A model's inference, as a function of its weights and of its inputs in order."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.weights = (
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
        )

    def call(self, weights: Any, *inputs: Any) -> Any:
        """Return the model's outputs, in order."""
        structure = jax.tree_util.tree_structure(self._model.input)
        given = jax.tree_util.tree_unflatten(structure, inputs)
        outputs, _ = self._model.stateless_call(*weights, given, training=False)
        return jax.tree_util.tree_leaves(outputs)

    def constant(self) -> Any:
        """Return the function of the inputs alone, whose arguments are called as the inputs."""

        def call(*inputs: Any) -> Any:
            return self.call(self.weights, *inputs)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        names = [re.sub(r"\W", "_", tensor.name) for tensor in self._model.inputs]
        call.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        return call


def samples_of(model: Any, recorded: dict[str, Any]) -> list[Any]:
    """Return the recorded inputs in the order of the model, in its types."""
    tensors = list(model.inputs)
    if len(tensors) == 1:
        return [np.asarray(next(iter(recorded.values())), tensors[0].dtype)]
    return [np.asarray(recorded[tensor.name], tensor.dtype) for tensor in tensors]


def convert(source: Path, inputs: Path, folder: Path) -> None:
    """Do all of it, one step after another."""
    from conversion_engine.messages import Request, Stage
    from conversion_engine.process import Process
    from jax_engine.task import convert as convert_exported

    step = "loading with Keras"
    try:
        if "DRAW_WEIGHTS" not in os.environ:
            do_not_draw()
        model = keras.saving.load_model(source, compile=False, safe_mode=True)
        samples = samples_of(model, dict(np.load(inputs)))
        step = "lowering with JAX"
        function = Function(model)
        one = [jax.ShapeDtypeStruct((1, *values.shape[1:]), values.dtype) for values in samples]
        exported = folder / "model.jax"
        exported.write_bytes(export.export(jax.jit(function.constant()))(*one).serialize())
        step = "converting with the JAX engine"
        convert_exported(Request(source=str(exported)), Process(folder, Stage.LOAD), {})
        step = "running on JAX"
        call = jax.jit(function.call)
        rows = [call(function.weights, *(v[i : i + 1] for v in samples)) for i in range(len(samples[0]))]
        outputs = [np.concatenate(each) for each in zip(*rows, strict=True)]
        np.savez(folder / "outputs.npz", *outputs)
    except Exception as error:  # whatever it is, it is the row's result
        cause = str(error) or repr(error)
        (folder / "failed.txt").write_text(f"{step}: {type(error).__name__}: {cause}")


def write(path: Path) -> None:
    """Write a model of a usual size, and what it computes for samples, as the writers of the table do."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), weights=None, classes=10, classifier_activation=None
    )
    drawn = np.random.default_rng(1)
    for layer in model.layers:  # as drawn, each normalization makes values smaller, until none is left
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(drawn.uniform(0.01, 0.1, layer.moving_variance.shape))
    model.save(path)
    samples = np.random.default_rng(0).uniform(-1, 1, (16, 96, 96, 3)).astype(np.float32)
    outputs = np.asarray(model.predict(samples, verbose=0))
    np.savez(path.with_suffix(".npz"), **{"input/image": samples, "output/0": outputs})


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(Path(sys.argv[2]))
    else:
        convert(*map(Path, sys.argv[1:4]))
