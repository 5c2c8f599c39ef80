"""The function in the sizes that its file will have: StableHLO of fixed sizes, in one function."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import jax
from jax._src.interpreters.mlir import make_ir_context
from jaxlib import _jax
from jaxlib.mlir import ir

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line

_HINT: Final = "give sizes that the function takes: --input-shape NAME=SIZES (spec.source.inputs)"


def lowered(exported: Any, sizes: Sequence[tuple[int, ...]]) -> Any:
    """Return the module of the function for inputs of these sizes.

    Raises:
        EngineError: UnsupportedShape where it takes no such sizes; ConversionFailed where JAX cannot call it.

    """
    samples = [
        jax.ShapeDtypeStruct(shape, aval.dtype) for shape, aval in zip(sizes, exported.in_avals, strict=True)
    ]
    try:
        module = jax.jit(exported.call).lower(*samples).compiler_ir("stablehlo")
        content = io.BytesIO()
        module.operation.write_bytecode(content)
        # Also where no size is open: it writes the functions that call one another as one.
        refined = _jax.mlir.refine_polymorphic_shapes(
            content.getvalue(), enable_shape_assertions=True, validate_static_shapes=True
        )
    except MemoryError:
        raise
    except Exception as error:  # JAX's own of many classes
        raise _failed(exported, error) from error
    with make_ir_context():
        return ir.Module.parse(refined)


def _failed(exported: Any, error: Exception) -> EngineError:
    words = first_line(error)
    if any(not isinstance(size, int) for aval in exported.in_avals for size in aval.shape):
        cause = f"the function cannot be given fixed sizes: {words}"
        return EngineError(Reason.UNSUPPORTED_SHAPE, Stage.CONVERT, cause, hint=_HINT)
    return EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, f"JAX cannot call the function: {words}")
