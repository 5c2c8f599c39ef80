"""SavedModels of graphs as TensorFlow 1 made them, with variables by reference. Child process only.

TensorFlow 2 runs such a graph, and still writes it (``tf.compat.v1``, estimators), but freezes only variables
that are resources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_REFERENCES = ("Variable", "VariableV2")


def has_references(graph: Any) -> bool:
    """Whether a signature's graph has variables of the old kind."""
    return any(operation.type in _REFERENCES for operation in graph.get_operations())


def frozen_signature(path: Path, tags: Sequence[str], key: str) -> Callable[..., dict[str, Any]]:
    """Return the signature ``key`` of the SavedModel at ``path`` as a function without variables."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, list(tags), str(path)).signature_def[key]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        nodes = sorted({tensor.partition(":")[0] for tensor in outputs.values()})
        graph = v1.graph_util.convert_variables_to_constants(session, session.graph_def, nodes)
    inputs = {name: info.name for name, info in signature.inputs.items()}

    def function(**tensors: Any) -> dict[str, Any]:
        entries = {inputs[name]: tensor for name, tensor in tensors.items()}
        results = tf.graph_util.import_graph_def(graph, entries, list(outputs.values()), name="")
        return dict(zip(outputs, results, strict=True))

    return function
