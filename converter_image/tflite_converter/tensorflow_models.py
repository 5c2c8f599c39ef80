"""Original models behind one interface: named inputs in, named outputs out. Child process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import TensorInfo

from .datasets import safe_name
from .errors import ConverterError
from .formats import MAX_TFLITE_BYTES, too_large
from .keras_files import describe
from .tensorflow_errors import custom_class

Tensors = dict[str, Any]
"""TensorFlow tensors by name."""

MAX_UNROLLED_STEPS = 128
"""Unrolling writes a recurrent layer's operations once a step; beyond this the file grows out of hand."""


@dataclass(frozen=True)
class OriginalModel:
    """A loaded model."""

    inputs: list[TensorInfo]
    """As the files will have them: the batch 1 and other open sizes -1, unless the user has said otherwise."""
    open_batch: bool
    """Whether the model itself takes any number of samples at once."""
    call: Callable[[Tensors], Tensors]
    """Inference (``training=False``) on ``{input: (n, ...)}``."""
    writer: str
    parameter_bytes: int
    unroll: Callable[[], bool]
    """Makes recurrent layers unroll their time steps from now on; False where there is nothing to unroll."""


def load_model(
    path: Path, source_format: SourceFormat, folder: Path, shapes: Mapping[str, tuple[int, ...]]
) -> OriginalModel:
    """Loads the model with the Keras generation that wrote it, uncompiled and in safe mode.

    ``folder`` is a place for a link with the suffix that Keras insists on. ``shapes`` sets the sizes of
    inputs that the model leaves open.

    Raises:
        ConverterError: UnreadableModel, CustomObject naming the layers, UnsafeModel, UnsupportedShape,
            SourceTooLarge, and others of loading.

    """
    if source_format is SourceFormat.SAVED_MODEL:
        model = _load_saved_model(path, shapes)
    else:
        model = _load_keras(path, source_format, folder, shapes)
    if model.parameter_bytes > MAX_TFLITE_BYTES:
        raise too_large(path.name, model.parameter_bytes)
    return model


def _load_keras(
    path: Path, source_format: SourceFormat, folder: Path, shapes: Mapping[str, tuple[int, ...]]
) -> OriginalModel:
    described = describe(path, source_format)
    link = folder / ("model.h5" if source_format is SourceFormat.KERAS_H5 else "model.keras")
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())
    try:
        if described.is_keras_3:
            import keras

            model = keras.saving.load_model(link, compile=False, safe_mode=True)
        else:
            import tf_keras

            model = tf_keras.models.load_model(link, compile=False, safe_mode=True)
    except Exception as error:
        if (class_name := custom_class(str(error))) is None:
            raise
        names = ", ".join(map(repr, described.layers_of(class_name)))
        where = f"layer {names} is of" if names else "the model uses"
        cause = f"{where} class {class_name!r}, which is not part of Keras"
        raise ConverterError(FailureReason.CUSTOM_OBJECT, Stage.LOAD, cause) from error
    return _keras_model(model, f"keras {described.keras_version}", shapes)


def _keras_model(model: Any, writer: str, shapes: Mapping[str, tuple[int, ...]]) -> OriginalModel:
    import tensorflow as tf

    if not getattr(model, "inputs", None):
        raise ConverterError(
            FailureReason.UNSUPPORTED_SHAPE,
            Stage.LOAD,
            "the model does not say what its inputs look like",
            hint="give the model an Input layer, or export it as a SavedModel",
        )
    # The nested structure that the model was built with; a dict of inputs cannot be called with a list.
    structures = (getattr(model, name, None) for name in ("_inputs_struct", "_nested_inputs", "inputs"))
    structure = next(found for found in structures if found is not None)
    leaves = tf.nest.flatten(structure)
    names = _unique([safe_name(getattr(leaf, "name", "") or f"input_{i}") for i, leaf in enumerate(leaves)])
    declared = [_info(n, leaf.shape, leaf.dtype) for n, leaf in zip(names, leaves, strict=True)]
    inputs = pinned(declared, shapes)
    output_names = [safe_name(name) for name in _output_names(model)]

    def call(tensors: Tensors) -> Tensors:
        packed = tf.nest.pack_sequence_as(structure, [tensors[name] for name in names])
        return _named(model(packed, training=False), output_names)

    return OriginalModel(
        inputs=inputs,
        open_batch=all(info.shape[:1] == [-1] for info in declared),
        call=call,
        writer=writer,
        parameter_bytes=_bytes_of(model.weights),
        unroll=lambda: _unroll(model, inputs),
    )


def _unroll(model: Any, inputs: Sequence[TensorInfo]) -> bool:
    """Sets ``unroll`` on every recurrent layer, also those inside wrappers.

    A loop (WHILE) cannot be quantized to integers; the same steps written one after another can.
    """
    recurrent = [layer for layer in model._flatten_layers() if hasattr(layer, "unroll")]
    steps = max((size for info in inputs for size in info.shape[1:2]), default=0)
    is_open = any(size < 0 for info in inputs for size in info.shape)
    if not recurrent or is_open or steps > MAX_UNROLLED_STEPS:
        return False
    for layer in recurrent:
        layer.unroll = True
        # Keras 2 chooses a fused kernel that loops, unless told that it cannot be used.
        if hasattr(layer, "_could_use_gpu_kernel"):
            layer._could_use_gpu_kernel = False
    return True


def _bytes_of(variables: Any) -> int:
    import tensorflow as tf

    return sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in variables)


def pinned(declared: Sequence[TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> list[TensorInfo]:
    """The inputs with the sizes that the user has given; a batch that is left open becomes 1.

    Raises:
        ConverterError: UnsupportedShape for an input that is not there, or a size that the model contradicts.

    """
    wanted = {safe_name(name): shape for name, shape in shapes.items()}
    if unknown := sorted(wanted.keys() - {info.name for info in declared}):
        cause = f"there is no input {', '.join(map(repr, unknown))}: the model takes {_words(declared)}"
        raise ConverterError(
            FailureReason.UNSUPPORTED_SHAPE, Stage.LOAD, cause, hint="correct the name in the input shape"
        )
    found = []
    for info in declared:
        shape = wanted.get(info.name)
        if shape is None:
            shape = tuple(1 if size < 0 and axis == 0 else size for axis, size in enumerate(info.shape))
        elif len(shape) != len(info.shape) or any(
            size not in (-1, given) for size, given in zip(info.shape, shape, strict=True)
        ):
            raise ConverterError(
                FailureReason.UNSUPPORTED_SHAPE,
                Stage.LOAD,
                f"input {info.name!r} cannot have the shape {list(shape)}: the model takes {_words([info])}",
                hint="give every dimension, the batch first; only those that are -1 can be chosen",
            )
        found.append(info.model_copy(update={"shape": list(shape)}))
    return found


def _words(inputs: Sequence[TensorInfo]) -> str:
    return ", ".join(f"{info.name!r} {info.shape}" for info in inputs)


def _output_names(model: Any) -> list[str]:
    """The output names of Keras 2; for Keras 3, which names outputs anew, the layers they come from."""
    if names := getattr(model, "output_names", None):
        return list(names)
    layers = [getattr(getattr(t, "_keras_history", None), "operation", None) for t in model.outputs]
    return [layer.name for layer in layers if layer is not None]


def _load_saved_model(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> OriginalModel:
    import tensorflow as tf

    # Registers the classes of Keras 2: without them a SavedModel with optimizer slots fails with
    # "'_UserObject' object has no attribute 'add_slot'".
    import tf_keras

    assert tf_keras is not None  # noqa: S101 - the import is for its side effect
    loaded = tf.saved_model.load(str(path))
    signatures = loaded.signatures
    if not signatures:
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            "the SavedModel has no signature to call",
            hint="export it with model.export(path), or save it with signatures=",
        )
    signature = (
        signatures["serving_default"] if "serving_default" in signatures else next(iter(signatures.values()))
    )
    specs = signature.structured_input_signature[1]
    original = {safe_name(name): name for name in sorted(specs)}
    declared = [_info(safe, specs[name].shape, specs[name].dtype) for safe, name in original.items()]

    def call(tensors: Tensors) -> Tensors:
        # The loaded object must live as long as its signature: it owns the variables.
        assert loaded is not None  # noqa: S101 - keeps the reference
        found = signature(**{original[safe]: tensor for safe, tensor in tensors.items()})
        return _named(found, [])

    version = getattr(loaded, "tensorflow_version", "")
    return OriginalModel(
        inputs=pinned(declared, shapes),
        open_batch=all(info.shape[:1] == [-1] for info in declared),
        call=call,
        writer=f"tensorflow {version}".strip(),
        parameter_bytes=_bytes_of(signature.variables),
        unroll=lambda: False,
    )


def _named(outputs: Any, names: Sequence[str]) -> Tensors:
    """The outputs by name: a dict's keys, else the model's own output names, else ``output_0`` …."""
    import tensorflow as tf

    if isinstance(outputs, dict) and not any(
        isinstance(value, (dict, list, tuple)) for value in outputs.values()
    ):
        return {safe_name(str(key)): outputs[key] for key in sorted(outputs)}
    leaves = tf.nest.flatten(outputs)
    if len(names) != len(leaves):
        names = [f"output_{i}" for i in range(len(leaves))]
    return dict(zip(_unique(names), leaves, strict=True))


def _unique(names: Sequence[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.append(candidate)
    return taken


def _info(name: str, shape: Any, dtype: Any) -> TensorInfo:
    sizes = [-1 if size is None else int(size) for size in tuple(shape)]
    return TensorInfo(name=name, shape=sizes, dtype=str(getattr(dtype, "name", dtype)))
