"""One frozen graph with the batch pinned to 1, and the one float TFLite file made from it. Child only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,  # the public API has no freezing for TensorFlow 2
)

from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.original.graph_repairs import HALVES, in_float32, set_list_shapes, stack_list_items
from tflite_converter.original.model import OriginalModel

_LARGEST_BATCH = 32
_BATCH_BYTES = 1 << 20
"""How much the original is given at once; in small portions it takes no longer."""


def freeze(model: OriginalModel, folder: Path) -> list[TensorInfo]:
    """Write the model as a SavedModel without variables, signature ``serving_default``, into ``folder``.

    Returns the outputs as the frozen graph has them. The signature's names are the model's own, so
    they are the names in every artifact too.
    """
    specs = [_spec(info) for info in model.inputs]
    names = [info.name for info in model.inputs]

    def traced(*tensors: Any) -> dict[str, Any]:
        # Identity gives every output a node of its own, also where two outputs are one tensor.
        outputs = model.call(dict(zip(names, tensors, strict=True)))
        return {name: tf.identity(tensor, name=name) for name, tensor in outputs.items()}

    concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
    output_names = sorted(concrete.structured_outputs)
    # Inlined, for an embedding inside a SavedModel's function keeps the function from being frozen.
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    outputs = [
        TensorInfo(
            name=name,
            shape=[-1 if size is None else int(size) for size in tensor.shape],
            dtype=tensor.dtype.name,
        )
        for name, tensor in zip(output_names, frozen.outputs, strict=True)
    ]

    graph = frozen.graph.as_graph_def()
    set_list_shapes(graph, model.inputs)
    stack_list_items(graph)
    in_float32(graph)

    def serve(*tensors: Any) -> dict[str, Any]:
        entries = {
            entry.op.name: _single(tensor) for entry, tensor in zip(frozen.inputs, tensors, strict=True)
        }
        names = [tensor.name for tensor in frozen.outputs]
        results = tf.graph_util.import_graph_def(graph, input_map=entries, return_elements=names, name="")
        return {
            name: tf.cast(tensor, before.dtype) if before.dtype in HALVES else tensor
            for name, tensor, before in zip(output_names, results, frozen.outputs, strict=True)
        }

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    # Autograph would rewrite TensorFlow's own wrapper of the signature, which has nothing in it to rewrite.
    tf.autograph.experimental.do_not_convert(tf.saved_model.save)(
        module,
        str(folder),
        signatures={"serving_default": module.serve},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
    return outputs


def _single(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float32) if tensor.dtype in HALVES else tensor


def convert_float(frozen: Path, *, select_tensorflow_ops: bool) -> bytes:
    """Convert a frozen SavedModel to a float32 TFLite file."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(frozen))
    if select_tensorflow_ops:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return bytes(converter.convert())


def convert_int8(frozen: Path, samples: NamedArrays) -> bytes:
    """TensorFlow's own full-integer file (int8 in and out): the second way, where litert-quantizer fails.

    ``samples``: ``{input: (n, ...)}``.
    """
    count = len(next(iter(samples.values())))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(frozen))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    converter.representative_dataset = lambda: (
        {name: array[i : i + 1] for name, array in samples.items()} for i in range(count)
    )
    return bytes(converter.convert())


def run_original(
    model: OriginalModel, samples: NamedArrays, after_each: Callable[[int], None]
) -> dict[str, Array]:
    """Run the original on ``{input: (n, ...)}``; return ``{output: (n, ...)}``."""
    sample_bytes = sum(array[:1].nbytes for array in samples.values())
    # Activations grow with the batch, to several times the model itself for large images.
    batch = max(1, min(_LARGEST_BATCH, _BATCH_BYTES // sample_bytes)) if model.open_batch else 1
    count = len(next(iter(samples.values())))
    # Traced once: a layer-by-layer call from Python costs more than the layers of a small model.
    call = tf.function(model.call, autograph=False, reduce_retracing=True)
    parts: dict[str, list[Array]] = {}
    for start in range(0, count, batch):
        part = {name: tf.constant(array[start : start + batch]) for name, array in samples.items()}
        for name, tensor in call(part).items():
            parts.setdefault(name, []).append(tensor.numpy())
        after_each(min(start + batch, count))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _spec(info: TensorInfo) -> Any:
    return tf.TensorSpec([None if size < 0 else size for size in info.shape], info.dtype, name=info.name)
