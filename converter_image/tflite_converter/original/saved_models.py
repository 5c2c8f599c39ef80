"""SavedModels, called by their signatures: these need none of the classes that made them. Child only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import too_large
from tflite_converter.original.model import OriginalModel, Tensors, bytes_of, named, pinned, tensor_info
from tflite_converter.original.signatures import Signature, choose_signature
from tflite_converter.original.tensorflow1 import frozen_signature, has_references
from tflite_converter.tflite.names import safe_name

_NOT_THE_MODEL = ("/.OPTIMIZER_SLOT/", "optimizer/", "keras_api/metrics/", "_CHECKPOINTABLE_OBJECT_GRAPH")
"""In names of a checkpoint: what training left there."""


def load_saved_model(
    path: Path, shapes: Mapping[str, tuple[int, ...]], wanted: str | None = None
) -> OriginalModel:
    """Load the SavedModel at ``path`` by the signature ``wanted``, or the usual one.

    Raises:
        ConverterError: UnsupportedFormat without a signature, InvalidRequest for one that is not there,
            UnsupportedShape, SourceTooLarge.

    """
    import tensorflow as tf

    # Registers the classes of Keras 2: without them a SavedModel with optimizer slots fails with
    # "'_UserObject' object has no attribute 'add_slot'".
    import tf_keras

    assert tf_keras is not None  # noqa: S101 - the import is for its side effect
    _refuse_too_large(path)
    tags = _tags(path)
    loaded = tf.saved_model.load(str(path), tags=tags)
    signatures = loaded.signatures
    if not signatures:
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            "the SavedModel has no signature to call",
            hint="export it with model.export(path), or save it with signatures=",
        )
    choice = choose_signature([_described(name, signatures[name]) for name in signatures], wanted)
    key, signature = choice.name, signatures[choice.name]
    specs = signature.structured_input_signature[1]
    original = {safe_name(name): name for name in sorted(specs)}
    declared = [tensor_info(safe, specs[name].shape, specs[name].dtype) for safe, name in original.items()]

    function = frozen_signature(path, tags, key) if has_references(signature.graph) else signature

    def call(tensors: Tensors) -> Tensors:
        # The loaded object must live as long as its signature: it owns the variables.
        assert loaded is not None  # noqa: S101 - keeps the reference
        return named(function(**{original[safe]: tensor for safe, tensor in tensors.items()}), [])

    version = getattr(loaded, "tensorflow_version", "")
    return OriginalModel(
        inputs=pinned(declared, shapes),
        declared=declared,
        open_batch=all(info.shape[:1] == [-1] for info in declared),
        call=call,
        writer=f"tensorflow {version}".strip(),
        parameter_bytes=bytes_of(signature.variables),
        unroll=lambda: None,
        warnings=choice.warnings,
    )


def _described(name: str, signature: Any) -> Signature:
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    return Signature(
        name,
        tuple(tensor_info(key, inputs[key].shape, inputs[key].dtype) for key in sorted(inputs)),
        tuple(tensor_info(key, outputs[key].shape, outputs[key].dtype) for key in sorted(outputs)),
    )


def _tags(path: Path) -> list[str]:
    """Return the tags of the graph to load: those for serving, where there are several."""
    from tensorflow.python.tools.saved_model_utils import (
        get_saved_model_tag_sets,  # the public loader only says that it needs tags
    )

    sets: list[list[str]] = get_saved_model_tag_sets(str(path))
    return next((tags for tags in sets if "serve" in tags), sets[0])


def _refuse_too_large(path: Path) -> None:
    """Add up the variables as the checkpoint's index declares them, before any is read."""
    import tensorflow as tf

    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return
    reader = tf.train.load_checkpoint(str(prefix))
    dtypes = reader.get_variable_to_dtype_map()
    total = sum(
        int(np.prod(shape)) * dtypes[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if not any(mark in name for mark in _NOT_THE_MODEL)
    )
    if total > MAX_TFLITE_BYTES:
        raise too_large(path.name, total)
