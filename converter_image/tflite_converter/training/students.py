"""The student of a distillation: a narrowed copy of the original, or a model of the user's. Child only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import tensorflow as tf

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, first_line

_WIDTHS: Final = ("filters", "units")
_GIVE_ONE: Final = "give a student of your own (--distill student.keras, distillation.studentUri)"


def narrowed(model: Any, width: float, seed: int) -> Any:
    """Return a new model like ``model`` whose layers have ``width`` times as many filters and units.

    Layers that decide the size of an output keep theirs. Its weights are new, drawn from ``seed``.

    Raises:
        ConverterError: TrainingFailed where the architecture does not allow it, or has nothing to narrow.

    """
    _seed(model, seed)
    deciding = {layer.name for layer in _deciding(model)}
    config = _scaled(model.get_config(), width, deciding)
    try:
        student = type(model).from_config(config)
    except Exception as error:
        cause = f"the model cannot be narrowed to {width:g} of its width: {first_line(error)}"
        raise _failed(cause, _GIVE_ONE) from error
    before, after = ([tuple(t.shape) for t in m.outputs] for m in (model, student))
    if before != after:
        cause = f"narrowed, the model gives {after} instead of {before}"
        raise _failed(cause, _GIVE_ONE)
    if _size(student) >= _size(model):
        cause = f"the model has no layer that {width:g} of its width makes smaller"
        raise _failed(cause, _GIVE_ONE)
    return student


def check_student(student: Any, model: Any) -> None:
    """Refuses a student that does not take and give what the original does.

    Raises:
        ConverterError: TrainingFailed.

    """
    for what in ("inputs", "outputs"):
        before, after = (
            [tuple(t.shape[1:]) for t in tf.nest.flatten(getattr(m, what, None) or ())]
            for m in (model, student)
        )
        if before != after:
            verb = "takes" if what == "inputs" else "gives"
            cause = f"the student {verb} {after}, the original {before}"
            raise _failed(cause, "build the student with the original's inputs and outputs, in their order")


def _failed(cause: str, hint: str) -> ConverterError:
    return ConverterError(FailureReason.TRAINING_FAILED, Stage.TRAIN, cause, hint=hint)


def _seed(model: Any, seed: int) -> None:
    """Seed the initial weights of new layers."""
    if type(model).__module__.startswith("tf_keras"):
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(seed)


def _size(model: Any) -> int:
    return sum(math.prod(tuple(v.shape)) for v in model.weights)


def _deciding(model: Any) -> Iterator[Any]:
    """Yield the layers that decide an output's size: the nearest ones before it that have a width."""
    pending = [tensor._keras_history for tensor in tf.nest.flatten(model.outputs)]  # noqa: SLF001 - see below
    seen = set()
    while pending:
        layer, place, *_ = pending.pop()
        if (id(layer), place) in seen:
            continue
        seen.add((id(layer), place))
        if hasattr(layer, "layers"):
            yield from _deciding(layer)
        elif any(hasattr(layer, name) for name in _WIDTHS):
            yield layer
        else:
            # Neither generation has a public way back from a tensor to its layer.
            nodes = layer._inbound_nodes  # noqa: SLF001
            tensors = tf.nest.flatten(nodes[place].input_tensors) if place < len(nodes) else []
            pending += [t._keras_history for t in tensors if hasattr(t, "_keras_history")]  # noqa: SLF001


def _scaled(node: Any, width: float, deciding: set[str]) -> Any:
    """Return a configuration with the widths scaled, but for layers called as in ``deciding``."""
    if isinstance(node, dict):
        inner = node.get("config")
        if isinstance(inner, dict) and str(inner.get("name", node.get("name"))) in deciding:
            # What Keras 3 notes of shapes at building is of the wide model.
            rest = {
                k: _scaled(v, width, deciding) for k, v in node.items() if k not in ("config", "build_config")
            }
            return rest | {"config": inner}
        return {
            key: _narrow(value, width, node)
            if key in _WIDTHS and isinstance(value, int)
            else _scaled(value, width, deciding)
            for key, value in node.items()
            if key not in ("build_config", "build_input_shape")
        }
    if isinstance(node, (list, tuple)):
        return type(node)(_scaled(value, width, deciding) for value in node)
    return node


def _narrow(value: int, width: float, config: dict[str, Any]) -> int:
    """At least one for each group of a convolution."""
    groups = config.get("groups") or 1
    return max(1, round(value * width / groups)) * groups
