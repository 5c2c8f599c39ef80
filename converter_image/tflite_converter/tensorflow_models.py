"""Original models behind one interface: named inputs in, named outputs out. Child process only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import TensorInfo

from .datasets import safe_name
from .errors import ConverterError
from .keras_files import describe

Tensors = dict[str, Any]
"""TensorFlow tensors by name."""


@dataclass(frozen=True)
class OriginalModel:
    """A loaded model."""

    inputs: tuple[TensorInfo, ...]
    """Shapes as the model declares them; the batch is -1 where it is open."""
    call: Callable[[Tensors], Tensors]
    """Inference (``training=False``) on ``{input: (n, ...)}``."""
    writer: str


def load_model(path: Path, source_format: SourceFormat, folder: Path) -> OriginalModel:
    """Loads the model with the Keras generation that wrote it, uncompiled and in safe mode.

    ``folder`` is a place for a link with the suffix that Keras insists on.
    """
    if source_format is SourceFormat.SAVED_MODEL:
        return _load_saved_model(path)
    described = describe(path, source_format)
    link = folder / ("model.h5" if source_format is SourceFormat.KERAS_H5 else "model.keras")
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())
    if described.is_keras_3:
        import keras

        model = keras.saving.load_model(link, compile=False, safe_mode=True)
    else:
        import tf_keras

        model = tf_keras.models.load_model(link, compile=False, safe_mode=True)
    return _keras_model(model, f"keras {described.keras_version}")


def _keras_model(model: Any, writer: str) -> OriginalModel:
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
    inputs = tuple(_info(n, leaf.shape, leaf.dtype) for n, leaf in zip(names, leaves, strict=True))
    output_names = [safe_name(name) for name in _output_names(model)]

    def call(tensors: Tensors) -> Tensors:
        packed = tf.nest.pack_sequence_as(structure, [tensors[name] for name in names])
        return _named(model(packed, training=False), output_names)

    return OriginalModel(inputs, call, writer)


def _output_names(model: Any) -> list[str]:
    """The output names of Keras 2; for Keras 3, which names outputs anew, the layers they come from."""
    if names := getattr(model, "output_names", None):
        return list(names)
    layers = [getattr(getattr(t, "_keras_history", None), "operation", None) for t in model.outputs]
    return [layer.name for layer in layers if layer is not None]


def _load_saved_model(path: Path) -> OriginalModel:
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
    inputs = tuple(_info(safe, specs[name].shape, specs[name].dtype) for safe, name in original.items())

    def call(tensors: Tensors) -> Tensors:
        # The loaded object must live as long as its signature: it owns the variables.
        assert loaded is not None  # noqa: S101 - keeps the reference
        found = signature(**{original[safe]: tensor for safe, tensor in tensors.items()})
        return _named(found, [])

    version = getattr(loaded, "tensorflow_version", "")
    return OriginalModel(inputs, call, f"tensorflow {version}".strip())


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
