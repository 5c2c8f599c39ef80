"""A module in half or double precision as the same module in float32, which TFLite's kernels compute in."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from jaxlib.mlir import ir

from conversion_engine.messages import EngineError, Reason, Stage
from jax_engine.modules import dtype_name, operations

_OTHERS: Final = ("float16", "bfloat16", "float64")


def in_float32(module: Any) -> tuple[str, ...]:
    """Change the module in its place; return the types that it was in.

    Raises:
        EngineError: UnsupportedOperation where it looks at the bits of such numbers.

    """
    found: set[str] = set()
    with module.context, ir.Location.unknown():
        for operation in list(operations(module)):
            kinds = {_other(value.type) for value in (*operation.operands, *operation.results)} - {None}
            if operation.name == "stablehlo.bitcast_convert" and kinds:
                cause = f"the function looks at the bits of numbers in {min(map(str, kinds))}"
                hint = "export it in float32"
                raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=hint)
        for operation in list(operations(module)):
            _change(operation, found)
    return tuple(sorted(found))


def _change(operation: Any, found: set[str]) -> None:
    for region in operation.regions:
        for block in region.blocks:
            for argument in block.arguments:
                _retype(argument, found)
    if operation.name == "func.func":
        kind = ir.FunctionType(operation.attributes["function_type"].value)
        changed = ir.FunctionType.get([_float32(t) for t in kind.inputs], [_float32(t) for t in kind.results])
        operation.attributes["function_type"] = ir.TypeAttr.get(changed)
    if operation.name == "stablehlo.constant":
        _change_constant(operation, found)
        return
    for result in operation.results:
        _retype(result, found)


def _change_constant(operation: Any, found: set[str]) -> None:
    value = operation.attributes["value"]
    other = _other(value.type)
    if other is None:
        return
    found.add(other)
    kind = _float32(value.type)
    if other == "bfloat16":
        # The bindings show no such numbers: the converter computes what they are.
        with ir.InsertionPoint.after(operation):
            number = ir.Operation.create("stablehlo.convert", results=[kind], operands=[operation.results[0]])
        operation.results[0].replace_all_uses_except(number.results[0], [number])
        return
    if value.is_splat:
        number = np.float32(value.get_splat_value().value)
        operation.attributes["value"] = ir.DenseElementsAttr.get_splat(
            kind, ir.FloatAttr.get_f32(float(number))
        )
    else:
        array = np.ascontiguousarray(np.array(value).astype(np.float32))
        operation.attributes["value"] = ir.DenseElementsAttr.get(array, type=kind)
    operation.results[0].set_type(kind)


def _retype(value: Any, found: set[str]) -> None:
    other = _other(value.type)
    if other is not None:
        found.add(other)
        value.set_type(_float32(value.type))


def _other(kind: Any) -> str | None:
    """Return the precision of an array that is not in float32; None for all others."""
    if not isinstance(kind, ir.RankedTensorType):
        return None
    name = dtype_name(kind.element_type)
    return name if name in _OTHERS else None


def _float32(kind: Any) -> Any:
    return ir.RankedTensorType.get(kind.shape, ir.F32Type.get()) if _other(kind) else kind
