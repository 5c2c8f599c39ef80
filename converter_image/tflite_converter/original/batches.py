"""What a sample is to the original: a row of a batch, a whole input, or one of several that it takes at once.

Data decide where a model does not say: samples with one dimension more than an input are whole inputs of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf

from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array
from tflite_converter.data.binding import GROUPS, random_inputs
from tflite_converter.original.freezing import frozen_graph
from tflite_converter.original.model import OriginalModel


def with_samples(model: OriginalModel, shapes: Mapping[str, tuple[int, ...]]) -> OriginalModel:
    """Return the model as it is converted for data of these shapes, the number of samples first.

    ``shapes``: by input; empty where there are no data.
    """
    wholes = {
        declared.name: _whole(declared, info, shapes.get(declared.name))
        for declared, info in zip(model.declared, model.inputs, strict=True)
        if _is_whole(declared, info, shapes.get(declared.name))
    }
    if wholes:
        inputs = [wholes.get(info.name, info) for info in model.inputs]
        model = replace(model, inputs=inputs, unbatched=frozenset(wholes), open_batch=False)
        return replace(model, warnings=(*model.warnings, _said_of(model)) if shapes else model.warnings)
    sizes = {info.shape[0] for info in model.declared}
    if len(sizes) != 1 or (size := sizes.pop()) <= 1:
        return model
    if (single := _one_by_one(model, size)) is not None:
        text = (
            f"the model takes batches of {size}: its files take one sample at a time, with the same results"
        )
        return replace(single, warnings=(*model.warnings, text))
    text = GROUPS.format(group=size)
    return replace(
        model,
        group=size,
        unbatched=frozenset(info.name for info in model.inputs),
        warnings=(*model.warnings, text),
    )


def _is_whole(declared: TensorInfo, info: TensorInfo, data: tuple[int, ...] | None) -> bool:
    """Whether a sample is a whole input of this kind."""
    rank = len(declared.shape)
    if not rank or data is not None:
        return not rank or (data is not None and len(data) == rank + 1)
    # Without data, an open length that nobody has set stays open.
    return (rank == 1 and declared.shape != [1]) or (declared.shape[0] > 1 and info.shape[0] > 1)


def _whole(declared: TensorInfo, info: TensorInfo, data: tuple[int, ...] | None) -> TensorInfo:
    """Return the input with the sizes that the user gave, else those of the data where they are open."""
    # An open first size is 1 unless somebody has set it: for a batch, which this is not.
    is_default = info.shape[:1] == [1] and declared.shape[:1] == [-1]
    sizes = [-1, *info.shape[1:]] if is_default else list(info.shape)
    if data is not None:
        sizes = [size if size >= 0 else length for size, length in zip(sizes, data[1:], strict=True)]
    return info.model_copy(update={"shape": sizes})


def _said_of(model: OriginalModel) -> str:
    words = ", ".join(f"{info.name} {info.shape}" for info in model.inputs if info.name in model.unbatched)
    return f"a sample is a whole input without a batch dimension: {words}"


def _one_by_one(model: OriginalModel, size: int) -> OriginalModel | None:
    """Return the model with a batch of 1; None where it does not run so, or samples meet in the batch."""
    inputs = [info.model_copy(update={"shape": [1, *info.shape[1:]]}) for info in model.inputs]
    arrays = random_inputs(inputs, size, seed=0)
    names = [info.name for info in model.inputs]
    frozen = frozen_graph(model)
    if frozen.variables:  # it keeps a value for each sample, and a trial would change them
        return None
    try:
        together = model.call({name: tf.constant(array) for name, array in arrays.items()})
    except (ValueError, TypeError, tf.errors.OpError):
        return None
    for call in (model.call, frozen.as_call(names)):
        candidate = replace(model, inputs=inputs, call=call)
        try:
            if _same_alone(candidate, arrays, {name: np.asarray(value) for name, value in together.items()}):
                frozen_graph(candidate)
                return candidate
        except (ValueError, TypeError, tf.errors.OpError):
            continue  # its graph is written for the one batch
    return None


def _same_alone(model: OriginalModel, arrays: Mapping[str, Array], together: Mapping[str, Array]) -> bool:
    """Whether each sample of a batch gives by itself what it gives among the others."""
    call = tf.function(model.call, autograph=False)
    for index in range(len(next(iter(arrays.values())))):
        alone = call({name: tf.constant(array[index : index + 1]) for name, array in arrays.items()})
        for name, values in alone.items():
            expected = together[name][index : index + 1]
            if expected.shape != values.shape or not np.allclose(
                np.asarray(values, np.float64), np.asarray(expected, np.float64), rtol=1e-3, atol=1e-5
            ):
                return False
    return True
