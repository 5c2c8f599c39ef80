"""Keras files, loaded by the Keras generation that wrote them. Child process only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import TensorInfo
from tflite_converter.errors import ConverterError
from tflite_converter.original.errors import custom_class, innermost
from tflite_converter.original.keras_archives import modernised
from tflite_converter.original.keras_files import KerasFile
from tflite_converter.original.model import (
    MAX_UNROLLED_STEPS,
    OriginalModel,
    Tensors,
    bytes_of,
    named,
    pinned,
    tensor_info,
    unique,
)
from tflite_converter.original.scope_names import is_plain, scope_name
from tflite_converter.tflite.names import safe_name

_UNLISTED = {
    *("Functional", "ModuleWrapper", "TensorFlowOpLayer"),
    *("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"),
}
"""Layers that Keras 2 makes by itself and offers nobody."""


def read_keras(file: KerasFile, folder: Path) -> Any:
    """Return the Keras model in ``file``, of the generation that wrote it, uncompiled and in safe mode.

    ``folder`` is a place for a link with the suffix that Keras insists on.

    Raises:
        ConverterError: CustomObject naming the layers; UnreadableModel for a file without weights, or of a
            version that is not read here.

    """
    if not file.has_weights:
        cause = f"{file.path.name} holds the model's architecture without its weights"
        hint = "save the whole model again: model.save('model.keras')"
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=hint)
    link = folder / ("model.h5" if file.format is SourceFormat.KERAS_H5 else "model.keras")
    link.unlink(missing_ok=True)
    is_old_archive = file.format is SourceFormat.KERAS and not file.is_keras_3
    if not (is_old_archive and modernised(file.path, link)):
        link.symlink_to(file.path.resolve())
    try:
        return _loaded_by_keras_3(link, file) if file.is_keras_3 else _loaded_by_keras_2(link, file)
    except Exception as error:
        failure = _of_another_version(file, error) or _custom_object(file, str(error))
        if failure is None:
            raise
        raise failure from error


def _of_another_version(file: KerasFile, error: Exception) -> ConverterError | None:
    """Return the error for a file that the Keras here is too new or too old for."""
    import keras

    if file.major == 1:
        cause = f"the model was written by Keras {file.keras_version}, whose layers Keras 2 and 3 do not read"
        hint = "load it with Keras 2.2 (pip install 'keras<2.3'), which does, and save it again"
        return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=hint)
    is_newer = file.is_keras_3 and _numbers(file.keras_version) > _numbers(keras.__version__)
    if is_newer and not file.foreign():
        words = f"which Keras {keras.__version__} here cannot load ({innermost(str(error))})"
        cause = f"the model was written by Keras {file.keras_version}, {words}"
        hint = "export it as a SavedModel: model.export('folder')"
        return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=hint)
    return None


def _numbers(version: str) -> list[int]:
    """Return the first two numbers of a version: patches read each other's files."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def _loaded_by_keras_3(path: Path, described: KerasFile) -> Any:
    import keras

    # An archive names the modules of operations, an HDF5 file only their classes.
    known = _operations(described.steps(layers=False))
    return keras.saving.load_model(path, custom_objects=known, compile=False, safe_mode=True)


def _loaded_by_keras_2(path: Path, described: KerasFile) -> Any:
    import tf_keras

    known = _first_attention() if "MultiHeadAttention" in described.steps(layers=True) else None
    return tf_keras.models.load_model(path, custom_objects=known, compile=False, safe_mode=True)


def _first_attention() -> dict[str, Any]:
    """Keras 2's attention layer, made to read what TensorFlow 2.4 wrote, which did not note its shapes."""
    import tf_keras

    layer = tf_keras.layers.MultiHeadAttention
    shapes = dict.fromkeys(("query_shape", "key_shape", "value_shape"))

    class MultiHeadAttention(layer):  # type: ignore[misc, valid-type]  # a class of an untyped package
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return layer.from_config(shapes | config)

    return {"MultiHeadAttention": MultiHeadAttention}


def _operations(names: Set[str]) -> dict[str, Any]:
    """Keras 3's own operations by name, which it writes into HDF5 files and does not find again."""
    from keras.src.ops.operation import Operation  # the public API has no list of them

    operations, pending = {}, [Operation]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if kind.__name__ in names and kind.__module__.startswith("keras.src.ops."):
            operations[kind.__name__] = kind
    return operations


def _custom_object(described: KerasFile, complaint: str) -> ConverterError | None:
    """Return the error for a class or function of the user's own, with the layers that need it."""
    # Not every complaint has the name; Keras 2's "'str' object is not callable" is one without.
    for name in (custom_class(complaint), *described.foreign(), *_unknown_layers(described)):
        if name is None:
            continue
        if layers := described.layers_of(name):
            where = f"layer {', '.join(map(repr, layers))} is of class {name!r}"
        elif layers := described.layers_using(name):
            where = f"layer {', '.join(map(repr, layers))} uses the function {name!r}"
        elif described.config.get("class_name") == name:
            where = f"the model is of class {name!r}"
        else:
            continue
        cause = f"{where}, which is not part of Keras"
        return ConverterError(FailureReason.CUSTOM_OBJECT, Stage.LOAD, cause)
    return None


def _unknown_layers(described: KerasFile) -> list[str]:
    """Classes of layers that Keras 2 knows nothing of."""
    import tf_keras

    return sorted(
        name
        for name in described.steps(layers=True) - _UNLISTED
        if not (hasattr(tf_keras.layers, name) or hasattr(tf_keras, name))
    )


def keras_model(model: Any, writer: str, shapes: Mapping[str, tuple[int, ...]]) -> OriginalModel:
    """Return a Keras model of either generation behind the interface.

    Raises:
        ConverterError: UnsupportedShape.

    """
    declared, _ = _entries(model)
    inputs = pinned(declared, shapes)
    run = keras_call(model)
    original = OriginalModel(
        inputs=inputs,
        declared=declared,
        open_batch=all(info.shape[:1] == [-1] for info in declared),
        call=lambda tensors: run(tensors, False),
        writer=writer,
        parameter_bytes=bytes_of(model.weights),
        unroll=lambda: _unrolled(model, original),
    )
    return original


def in_place_of(
    original: OriginalModel, model: Any, call: Callable[[Tensors, bool], Tensors]
) -> OriginalModel:
    """Return a Keras model behind the interface of the ``original`` that it was trained from.

    It has the original's inputs; ``call`` runs it on them, as :func:`keras_call` does for its own.
    """
    trained = replace(
        original,
        call=lambda tensors: call(tensors, False),
        parameter_bytes=bytes_of(model.weights),
        unroll=lambda: _unrolled(model, trained),
    )
    return trained


def keras_call(model: Any) -> Callable[[Tensors, bool], Tensors]:
    """Return how to run a Keras model: on ``{input: (n, ...)}``, in training mode or not.

    The outputs are ``{output: (n, ...)}``.

    Raises:
        ConverterError: UnsupportedShape.

    """
    import tensorflow as tf

    declared, structure = _entries(model)
    output_names = [safe_name(name) for name in _output_names(model)]
    odd = [layer for layer in _layers(model) if not is_plain(layer.name)]

    def call(tensors: Tensors, training: bool) -> Tensors:
        packed = tf.nest.pack_sequence_as(structure, [tensors[info.name] for info in declared])
        with contextlib.ExitStack() as before:
            for layer in odd:  # a layer opens a scope of its name, which a graph may not be able to have
                # Keras 2 has the name behind a property.
                attribute = "_name" if isinstance(getattr(type(layer), "name", None), property) else "name"
                _set(before, layer, attribute, value=scope_name(layer.name))
            outputs = model(packed, training=training)
        return named(outputs, output_names)

    return call


def _entries(model: Any) -> tuple[list[TensorInfo], Any]:
    """Return the inputs, open sizes -1, and the nested structure that the model was built with.

    A dict of inputs cannot be called with a list.
    """
    import tensorflow as tf

    if not getattr(model, "inputs", None):
        raise ConverterError(
            FailureReason.UNSUPPORTED_SHAPE,
            Stage.LOAD,
            "the model does not say what its inputs look like",
            hint="give the model an Input layer, or export it as a SavedModel",
        )
    structures = (getattr(model, name, None) for name in ("_inputs_struct", "_nested_inputs", "inputs"))
    structure = next(candidate for candidate in structures if candidate is not None)
    leaves = tf.nest.flatten(structure)
    names = unique([safe_name(getattr(leaf, "name", "") or f"input_{i}") for i, leaf in enumerate(leaves)])
    return [tensor_info(n, leaf.shape, leaf.dtype) for n, leaf in zip(names, leaves, strict=True)], structure


def _unrolled(model: Any, original: OriginalModel) -> OriginalModel | None:
    """Return the model with ``unroll`` set on every recurrent layer at any depth while it runs.

    A loop (WHILE) cannot be quantized to integers; the same steps written one after another can.
    """
    inputs = original.inputs
    recurrent = [layer for layer in _layers(model) if hasattr(layer, "unroll")]
    steps = max((size for info in inputs for size in info.shape[1:2]), default=0)
    is_open = any(size < 0 for info in inputs for size in info.shape)
    if not recurrent or is_open or steps > MAX_UNROLLED_STEPS:
        return None

    def call(tensors: Tensors) -> Tensors:
        with contextlib.ExitStack() as before:
            for layer in recurrent:
                _set(before, layer, "unroll", value=True)
                # Keras 2 chooses a fused kernel that loops, unless told that it cannot be used.
                if hasattr(layer, "_could_use_gpu_kernel"):
                    _set(before, layer, "_could_use_gpu_kernel", value=False)
            return original.call(tensors)

    return replace(original, call=call, unroll=lambda: None)


def _set(before: contextlib.ExitStack, owner: Any, name: str, *, value: object) -> None:
    """Set an attribute until ``before`` is left."""
    before.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _layers(model: Any) -> list[Any]:
    """Return all layers at any depth, also those inside wrappers."""
    return list(model._flatten_layers())  # noqa: SLF001 - the public API of neither generation lists them


def _output_names(model: Any) -> list[str]:
    """Return the output names of Keras 2; for Keras 3, which renames outputs, the layers they come from."""
    if names := getattr(model, "output_names", None):
        return list(names)
    layers = [getattr(getattr(t, "_keras_history", None), "operation", None) for t in model.outputs]
    return [layer.name for layer in layers if layer is not None]
