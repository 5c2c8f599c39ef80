"""Operations that litert-converter writes wrongly, or not as TFLite's own, in a form that it writes well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jax_engine.modules import operations, owner


def rewrite(module: Any) -> None:
    """Change the module in its place."""
    with module.context, ir.Location.unknown():
        for operation in list(operations(module)):
            if operation.name == "chlo.erfc":
                _write_erfc(operation)
            elif operation.name == "stablehlo.convolution":
                _widen(operation)


def _write_erfc(operation: Any) -> None:
    """Write ``erfc(x)`` as ``1 - erf(x)``, and ``erfc(-x)`` as ``1 + erf(x)``: the form of a GELU.

    As it is, it becomes a composite of forty operators in a subgraph of its own. Far out ``erfc`` has digits
    that the difference has not; what it is there is nearly zero.
    """
    kind = operation.results[0].type
    with ir.InsertionPoint(operation):
        opposite = _opposite(operation.operands[0], kind)
        inner = operation.operands[0] if opposite is None else opposite
        erf = _made("chlo.erf", kind, [inner])
        one = ir.DenseElementsAttr.get_splat(kind, ir.FloatAttr.get(kind.element_type, 1.0))
        ones = _made("stablehlo.constant", kind, [], value=one)
        sign = "stablehlo.subtract" if opposite is None else "stablehlo.add"
        whole = _made(sign, kind, [ones, erf])
    operation.results[0].replace_all_uses_with(whole)
    operation.erase()


def _opposite(value: Any, kind: Any) -> Any:
    """Return ``x`` where ``value`` is ``-x``, or ``c * x`` where it is ``c * -x``; None for others."""
    computed = owner(value)
    if computed is None:
        return None
    if computed.name == "stablehlo.negate":
        return computed.operands[0]
    if computed.name == "stablehlo.multiply":
        for place, factor in enumerate(computed.operands):
            inner = owner(factor)
            if inner is not None and inner.name == "stablehlo.negate":
                return _made("stablehlo.multiply", kind, [inner.operands[0], computed.operands[1 - place]])
    return None


def _widen(operation: Any) -> None:
    """Give a transposed convolution all of its values, and cut off those that its padding leaves out.

    litert-converter makes another output size of what has less padding than the kernel reaches.
    """
    dilation = _integers(operation, "lhs_dilation")
    if not any(step > 1 for step in dilation) or any(s > 1 for s in _integers(operation, "window_strides")):
        return
    numbers = stablehlo.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
    kernel = operation.operands[1].type.shape
    steps = _integers(operation, "rhs_dilation") or [1] * len(dilation)
    reach = [
        (kernel[place] - 1) * step
        for place, step in zip(numbers.kernel_spatial_dimensions, steps, strict=True)
    ]
    padding = np.zeros((len(reach), 2), np.int64)
    if "padding" in operation.attributes:
        padding = np.array(operation.attributes["padding"]).reshape(padding.shape)
    kind = operation.results[0].type
    low, high, shape = [0] * len(kind.shape), [0] * len(kind.shape), list(kind.shape)
    for place, whole, (before, after) in zip(numbers.output_spatial_dimensions, reach, padding, strict=True):
        low[place], high[place] = int(before) - whole, int(after) - whole
        shape[place] -= low[place] + high[place]
    if not any(low + high):
        return
    full = np.repeat(np.array(reach, np.int64)[:, None], 2, axis=1)
    wide = ir.RankedTensorType.get(shape, kind.element_type)
    with ir.InsertionPoint.after(operation):
        zero = ir.DenseElementsAttr.get_splat(
            ir.RankedTensorType.get([], kind.element_type), ir.FloatAttr.get(kind.element_type, 0.0)
        )
        nothing = _made("stablehlo.constant", zero.type, [], value=zero)
        cut = ir.Operation.create(
            "stablehlo.pad",
            results=[kind],
            operands=[operation.results[0], nothing],
            attributes={
                "edge_padding_low": ir.DenseI64ArrayAttr.get(low),
                "edge_padding_high": ir.DenseI64ArrayAttr.get(high),
                "interior_padding": ir.DenseI64ArrayAttr.get([0] * len(low)),
            },
        )
    operation.results[0].replace_all_uses_except(cut.results[0], [cut])
    operation.results[0].set_type(wide)
    operation.attributes["padding"] = ir.DenseIntElementsAttr.get(full)


def _integers(operation: Any, name: str) -> list[int]:
    if name not in operation.attributes:
        return []
    return [int(number) for number in ir.DenseI64ArrayAttr(operation.attributes[name])]


def _made(name: str, kind: Any, operands: Sequence[Any], **attributes: Any) -> Any:
    return ir.Operation.create(name, results=[kind], operands=list(operands), attributes=attributes).results[
        0
    ]
