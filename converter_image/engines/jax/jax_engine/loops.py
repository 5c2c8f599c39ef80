"""Loops of a known number of steps, written as their steps one after another.

litert-converter has no form of a loop that it can write, and quantizers look into none. ``lax.scan`` and
``lax.fori_loop`` count from one constant to another; what ends by the data stays a loop, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxlib.mlir import ir

from conversion_engine.messages import EngineError, Reason, Stage
from jax_engine.modules import direction_of, operations, owner

_LOOP: Final = "stablehlo.while"
_MOST_OPERATIONS: Final = 50_000
"""Of all steps of all loops."""
_COMPARISONS: Final = {
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
    "NE": np.not_equal,
}


@dataclass(frozen=True, slots=True)
class _Counter:
    """What counts the steps of a loop."""

    place: int
    """Which of the values that the loop carries it is."""
    values: list[int]
    """In each step."""


def unroll(module: Any) -> None:
    """Change the module in its place: inner loops first, for theirs are steps of the outer ones.

    Raises:
        EngineError: UnsupportedOperation for a loop that ends by the data, or is too long.

    """
    written = 0
    with module.context, ir.Location.unknown():
        loops = [operation for operation in operations(module) if operation.name == _LOOP]
        for loop in sorted(loops, key=_depth, reverse=True):
            counter = _counter(loop)
            if counter is None:
                cause = "the function has a loop whose number of steps depends on the data (stablehlo.while)"
                hint = "write it with a fixed number of steps: lax.scan, or lax.fori_loop between constants"
                raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=hint)
            written += len(counter.values) * _count(loop.regions[1])
            if written > _MOST_OPERATIONS:
                raise _too_long()
            _write_steps(loop, counter)


def _too_long() -> EngineError:
    cause = f"its loops would be more than {_MOST_OPERATIONS} operations, step by step"
    hint = "export a function of shorter sequences"
    return EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=hint)


def _depth(operation: Any) -> int:
    depth, parent = 0, operation.parent
    while parent is not None:
        depth, parent = depth + 1, parent.parent
    return depth


def _count(region: Any) -> int:
    return sum(
        1 + sum(_count(inner) for inner in operation.regions)
        for block in region.blocks
        for operation in block
    )


def _counter(loop: Any) -> _Counter | None:
    """Return what counts a loop's steps; None where the data decide how many there are."""
    condition, body = (region.blocks[0] for region in loop.regions)
    (result,) = condition.operations[len(condition.operations) - 1].operands
    compare = owner(result)
    if compare is None or compare.name != "stablehlo.compare":
        return None
    place = _place(compare.operands[0], condition)
    end = _constant(compare.operands[1], loop, condition)
    if place is None or end is None:
        return None
    begin = _constant(loop.operands[place], loop, condition)
    step = _step(body, place, loop)
    direction = direction_of(compare)
    if begin is None or not step or direction not in _COMPARISONS:
        return None
    values, value = [], begin
    while _COMPARISONS[direction](value, end):
        values.append(value)
        value += step
        if len(values) > _MOST_OPERATIONS:
            raise _too_long()
    return _Counter(place, values)


def _step(body: Any, place: int, loop: Any) -> int | None:
    """Return what a step adds to the counter; None where it is something else."""
    add = owner(body.operations[len(body.operations) - 1].operands[place])
    if add is None or add.name != "stablehlo.add":
        return None
    for first, second in ((0, 1), (1, 0)):
        if _place(add.operands[first], body) == place:
            return _constant(add.operands[second], loop, body)
    return None


def _place(value: Any, block: Any) -> int | None:
    """Return which argument of a block a value is; None for others."""
    if owner(value) is not None:
        return None
    return next((n for n, argument in enumerate(block.arguments) if argument == value), None)


def _constant(value: Any, loop: Any, block: Any) -> int | None:
    """Return the number that a scalar value is, also where the loop carries it unchanged."""
    computed = owner(value)
    if computed is None:
        place = _place(value, block)
        if place is None:
            return None
        body = loop.regions[1].blocks[0]
        given = body.operations[len(body.operations) - 1].operands[place]
        is_kept = _place(given, body) == place
        return _constant(loop.operands[place], loop, block) if is_kept else None
    if computed.name != "stablehlo.constant" or value.type.shape:
        return None
    number = np.array(computed.attributes["value"])
    return int(number) if number.dtype.kind in "iu" else None


def _write_steps(loop: Any, counter: _Counter) -> None:
    body = loop.regions[1].blocks[0]
    carried = list(loop.operands)
    kind = loop.operands[counter.place].type
    with ir.InsertionPoint(loop):
        for value in counter.values:
            number = ir.DenseElementsAttr.get_splat(kind, ir.IntegerAttr.get(kind.element_type, value))
            carried[counter.place] = ir.Operation.create(
                "stablehlo.constant", results=[kind], attributes={"value": number}
            ).results[0]
            known = dict(zip(body.arguments, carried, strict=True))
            *steps, end = body.operations
            for operation in steps:
                copy = operation.operation.clone()
                _connect(copy, known)
                known |= dict(zip(operation.operation.results, copy.results, strict=True))
            carried = [known.get(given, given) for given in end.operands]
    for result, value in zip(loop.results, carried, strict=True):
        result.replace_all_uses_with(value)
    loop.erase()


def _connect(operation: Any, known: dict[Any, Any]) -> None:
    """Give a copied operation, and those inside of it, the values of this step."""
    for place, operand in enumerate(operation.operands):
        if operand in known:
            operation.operands[place] = known[operand]
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                _connect(inner.operation, known)
