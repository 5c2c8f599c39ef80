"""Parts of arrays at places that are known once loops are written out: plain slices, and arrays joined.

Each step of a scan takes its part of the inputs, and puts its part into the outputs, at a place that it
computes. TFLite's operators for such places are known to few devices.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from jaxlib.mlir import ir

from jax_engine.modules import direction_of, operations, owner

_TAKE, _PUT = "stablehlo.dynamic_slice", "stablehlo.dynamic_update_slice"
_DEEPEST: Final = 16
_COMPUTED: Final[dict[str, Any]] = {
    "stablehlo.add": np.add,
    "stablehlo.subtract": np.subtract,
    "stablehlo.multiply": np.multiply,
    "stablehlo.maximum": np.maximum,
    "stablehlo.minimum": np.minimum,
    "stablehlo.clamp": lambda low, value, high: np.minimum(np.maximum(low, value), high),
    "stablehlo.convert": lambda value: value,
    "stablehlo.reshape": lambda value: value,
    "stablehlo.select": lambda which, yes, no: yes if which else no,
}
_COMPARED: Final = {
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
    "EQ": np.equal,
}


def write_known_places(module: Any) -> None:
    """Change the module in its place."""
    with module.context, ir.Location.unknown():
        for operation in [operation for operation in operations(module) if operation.name == _TAKE]:
            _take(operation)
        puts = [operation for operation in operations(module) if operation.name == _PUT]
        ends = [operation for operation in puts if not _is_continued(operation)]
        for operation in ends:
            _join(operation)


def _take(operation: Any) -> None:
    kind, whole = operation.results[0].type, operation.operands[0].type
    starts = _starts(operation, 1, kind.shape)
    if starts is None:
        return
    ends = [start + size for start, size in zip(starts, kind.shape, strict=True)]
    with ir.InsertionPoint(operation):
        part = ir.Operation.create(
            "stablehlo.slice",
            results=[kind],
            operands=[operation.operands[0]],
            attributes={
                "start_indices": ir.DenseI64ArrayAttr.get(starts),
                "limit_indices": ir.DenseI64ArrayAttr.get(ends),
                "strides": ir.DenseI64ArrayAttr.get([1] * len(whole.shape)),
            },
        )
    operation.results[0].replace_all_uses_with(part.results[0])
    operation.erase()


def _is_continued(operation: Any) -> bool:
    """Whether another part is put into what this one gives, and nothing else reads it."""
    uses = list(operation.results[0].uses)
    return len(uses) == 1 and uses[0].owner.operation.name == _PUT and uses[0].operand_number == 0


def _join(last: Any) -> None:
    """Write an array into which parts are put one after another as these parts, where they are all of it."""
    kind = last.results[0].type
    parts: dict[int, Any] = {}
    axis, chain, operation = None, [], last
    while (
        operation is not None and operation.name == _PUT and (operation is last or _is_continued(operation))
    ):
        part = operation.operands[1]
        starts = _starts(operation, 2, part.type.shape)
        shorter = [
            n for n, (size, all_) in enumerate(zip(part.type.shape, kind.shape, strict=True)) if size != all_
        ]
        if (
            starts is None
            or len(shorter) != 1
            or axis not in (None, shorter[0])
            or part.type.shape[shorter[0]] != 1
        ):
            return
        axis = shorter[0]
        parts.setdefault(starts[axis], part)  # the last that was put there counts
        chain.append(operation)
        if len(parts) == kind.shape[axis]:
            break
        operation = owner(operation.operands[0])
    if axis is None or len(parts) != kind.shape[axis]:
        return
    with ir.InsertionPoint(last):
        joined = ir.Operation.create(
            "stablehlo.concatenate",
            results=[kind],
            operands=[parts[place] for place in sorted(parts)],
            attributes={"dimension": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), axis)},
        )
    last.results[0].replace_all_uses_with(joined.results[0])
    for operation in chain:
        operation.erase()


def _starts(operation: Any, first: int, sizes: Any) -> list[int] | None:
    """Return where a part begins, kept inside of the array as StableHLO does; None where it is not known."""
    whole = operation.operands[0].type.shape
    starts = []
    for value, size, all_ in zip(list(operation.operands)[first:], sizes, whole, strict=True):
        number = 0 if size == all_ else _number(value, 0)
        if number is None:
            return None
        starts.append(int(min(max(number, 0), all_ - size)))
    return starts


def _number(value: Any, depth: int) -> Any:
    """Return the number that a scalar is; None where it is computed from inputs."""
    operation = owner(value)
    if operation is None or value.type.shape or depth > _DEEPEST:
        return None
    if operation.name == "stablehlo.constant":
        array = np.array(operation.attributes["value"])
        return array.reshape(()).astype(np.int64) if array.dtype.kind in "iub" else None
    compute = _COMPUTED.get(operation.name)
    if operation.name == "stablehlo.compare":
        compute = _COMPARED.get(direction_of(operation))
    if compute is None:
        return None
    numbers = [_number(operand, depth + 1) for operand in operation.operands]
    return None if any(number is None for number in numbers) else compute(*numbers)
