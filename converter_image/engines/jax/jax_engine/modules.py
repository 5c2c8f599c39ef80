"""A module of StableHLO from a stranger: parsed, bounded, and refused by name before anything of it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from jax._src.interpreters.mlir import make_ir_context
from jaxlib import _jax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line

_PRODUCER: Final = re.compile(rb"ML\xefR.(?P<name>[ -~]{1,80})\0", re.DOTALL)
_STABLEHLO: Final = re.compile(r"StableHLO_v(\d+\.\d+\.\d+)")
_OWN_DIALECTS: Final = {"builtin", "func", "stablehlo", "chlo"}
_OF_SHAPES: Final = {"shape_assertion"}
"""Calls that jax.export writes for open sizes; they are gone once the sizes are there."""
_OF_SEVERAL_DEVICES: Final = {
    *("all_gather", "all_reduce", "all_to_all", "collective_broadcast", "collective_permute"),
    *("partition_id", "reduce_scatter", "replica_id", "cross-replica-sum"),
    *("infeed", "outfeed", "send", "recv", "after_all", "create_token"),
}
_MOST_BYTES: Final = 2 << 30
_MOST_VALUES: Final = 1 << 31
"""Of what one operation gives."""
_SHOWN: Final = 8


def parsed(content: bytes) -> Any:
    """Return the module that ``content`` is: a portable artifact of StableHLO, or bytecode of MLIR.

    Raises:
        EngineError: UnreadableModel; UnsupportedFormat for one of a newer version.

    """
    match = _PRODUCER.match(content)
    producer = match["name"].decode() if match else ""
    version = _STABLEHLO.fullmatch(producer)
    newest = stablehlo.get_current_version()
    if version and stablehlo.get_smaller_version(version[1], newest) != version[1]:
        cause = f"the module is of StableHLO {version[1]}, and {newest} is the newest that this engine knows"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=_OLDER)
    with make_ir_context():
        try:
            if version:
                return _jax.mlir.deserialize_portable_artifact(content)
            return ir.Module.parse(content)
        except Exception as error:  # bindings raise what they like
            if isinstance(error, MemoryError):
                raise
            cause = f"the module is corrupt: {first_line(error)}"
            raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause) from error


_OLDER: Final = "export the model with an older JAX, or bring the engine up to date"


def serialized(module: Any, version: str) -> bytes:
    """Return the module as a portable artifact of a version of StableHLO; it stays what it is.

    Mixed: operations of CHLO, such as erf, are written as they are.
    """
    with module.context:
        return bytes(_jax.mlir.serialize_portable_artifact(module, version, use_mixed_serialization=True))


def operations(module: Any) -> Iterator[Any]:
    """Yield every operation, also those inside of functions, branches and loops."""
    waiting = [module.operation]
    while waiting:
        operation = waiting.pop()
        yield operation
        for region in operation.regions:
            for block in region.blocks:
                waiting += [inner.operation for inner in block.operations]


def owner(value: Any) -> Any:
    """Return the operation that computes a value; None for an argument of a function or a block."""
    return None if isinstance(value.owner, ir.Block) else value.owner.operation


def direction_of(compare: Any) -> str:
    """Return what a comparison asks, e.g. ``LT``."""
    return str(stablehlo.ComparisonDirectionAttr(compare.attributes["comparison_direction"]).value)


def main_of(module: Any) -> Any:
    """Return the function that is called from outside.

    Raises:
        EngineError: UnreadableModel where there is none.

    """
    for operation in module.body.operations:
        if operation.operation.name == "func.func" and operation.attributes["sym_name"].value == "main":
            return operation
    raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, "the module has no function 'main'")


def check(module: Any) -> None:
    """Refuse what no file can have, what is no computation, and what is too large.

    A call of something outside of StableHLO is refused whatever it is: JAX would run it, in this process.

    Raises:
        EngineError: UnsupportedOperation, with names; SourceTooLarge, UnsupportedShape.

    """
    weights, refused = 0, set()
    for operation in operations(module):
        name = operation.name
        dialect, _, kind = name.partition(".")
        if name == "stablehlo.custom_call":
            target = operation.attributes["call_target_name"].value
            refused |= {f"a call of {target[:80]!r}"} - {f"a call of {known!r}" for known in _OF_SHAPES}
        elif dialect not in _OWN_DIALECTS or kind in _OF_SEVERAL_DEVICES:
            refused.add(name)
        for result in operation.results:
            size = _bytes_of(result.type)
            if name == "stablehlo.constant":
                weights += size
                if weights > _MOST_BYTES:
                    raise EngineError(
                        Reason.SOURCE_TOO_LARGE, Stage.LOAD, "it has more than 2 GiB of weights"
                    )
    if refused:
        names = ", ".join(sorted(refused)[:_SHOWN]) + (", …" if len(refused) > _SHOWN else "")
        cause = f"the model has what is outside of StableHLO's operations for one device: {names}"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=_WAY)


_WAY: Final = (
    "export the part of the model without it: no callbacks, kernels of a device, solvers of linear algebra,"
    " or collectives"
)


def _bytes_of(kind: Any) -> int:
    """Return how many bytes a value of fixed sizes takes; 0 for others.

    Raises:
        EngineError: UnsupportedShape where no device has so many.

    """
    if not isinstance(kind, ir.RankedTensorType) or not kind.has_static_shape:
        return 0
    count = math.prod(kind.shape)
    if count > _MOST_VALUES:
        cause = f"an operation gives {list(kind.shape)}, more than fits into a device"
        raise EngineError(Reason.UNSUPPORTED_SHAPE, Stage.LOAD, cause)
    element = kind.element_type
    width = int(getattr(element, "width", 64))
    return int(count * width // 8)


def version_of(content: bytes) -> str:
    """Return the version of StableHLO that bytecode is in; an empty text where it does not say."""
    match = _PRODUCER.match(content)
    version = _STABLEHLO.fullmatch(match["name"].decode()) if match else None
    return version[1] if version else ""


def dtype_name(element: Any) -> str:
    """Return what numpy calls the type of an array's elements; another word where it has none."""
    text = str(element)
    if match := re.fullmatch(r"(ui|i|f|bf)(\d+)", text):
        return (
            {"ui": "uint", "i": "int", "f": "float", "bf": "bfloat"}[match[1]] + match[2]
            if text != "i1"
            else "bool"
        )
    return text
