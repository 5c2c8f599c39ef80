"""A file from a stranger: a function that jax.export wrote, or a bare module of StableHLO.

JAX's own reader is not used: it looks up Python types that a file names, and believes every length in it.
What is read here becomes an ``Exported`` of flat inputs and outputs, so that nobody's types are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from jax import export
from jax.tree_util import tree_structure
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from conversion_engine.exported import MODULE, ExportedError, ExportedFile, Leaf, read_exported
from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line
from engine_tools.sizes import Edge, check_bounds, shape_refused
from jax_engine import modules
from jax_engine.naming import input_names, locations, output_names

_MOST_BYTES: Final = 2 << 30
_DEVICE: Final = "cpu"
_WRAPPED: Final = "_wrapped_jax_export_main"
"""The function that jax.export puts behind ``main`` where sizes are open."""
_FLOATS: Final = {"float16", "bfloat16", "float32", "float64"}
_NUMBERS: Final = _FLOATS | {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


@dataclass(frozen=True, slots=True)
class Source:
    """A function that can be called, with names for what goes in and comes out."""

    exported: Any
    """Takes its inputs one after another, and gives a tuple of its outputs."""
    edges: list[Edge]
    places: dict[str, str]
    """Names of inputs by what they are called without the module, e.g. ``args_0``."""
    outputs: list[str]
    output_symbols: list[tuple[str, ...]]
    writer: str
    version: str
    """Of StableHLO that it is in, as far as the file says."""


def read(path: Path) -> Source:
    """Return the function in the file.

    Raises:
        EngineError: UnreadableModel, SourceTooLarge, UnsupportedFormat, UnsupportedOperation,
            UnsupportedShape.

    """
    if (size := path.stat().st_size) > _MOST_BYTES:
        cause = f"{path.name} has {size >> 20} MiB, and a TFLite file ends at 2 GiB"
        raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.LOAD, cause)
    content = path.read_bytes()
    if content.startswith(MODULE):
        module = modules.parsed(content)
        file = _of_module(module)
    else:
        try:
            file = read_exported(content)
        except ExportedError as error:
            cause = f"{path.name} is truncated or corrupt: {error}"
            raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause) from error
        _check(file, path.name)
        module = modules.parsed(bytes(file.module))
    return _source(file, module)


def _check(file: ExportedFile, name: str) -> None:
    """Refuse a file that is for other devices, or of another version, than this JAX can call."""
    oldest = export.minimum_supported_calling_convention_version
    newest = export.maximum_supported_calling_convention_version
    by = f" (written by JAX {file.jax_version})" if file.jax_version else ""
    if not oldest <= file.calling_convention <= newest:
        cause = (
            f"{name} has version {file.calling_convention} of jax.export's calling convention{by}, and JAX"
            f" {jax.__version__} of this engine knows {oldest} to {newest}"
        )
        hint = "export the model with a JAX of about this engine's version"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    if _DEVICE not in file.platforms:
        cause = f"{name} was exported for {', '.join(file.platforms) or 'no platform'}, not for a processor"
        hint = "export it for cpu too: jax.export.export(jax.jit(f), platforms=['cpu', 'tpu'])(…)"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    if file.devices != 1:
        cause = f"{name} was exported for {file.devices} devices at once, and an edge model runs on one"
        hint = "export the function without a mesh and shardings"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    if file.effects:
        cause = f"the function has side effects: {', '.join(sorted(set(file.effects)))}"
        hint = "export it without printing, callbacks and the like"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=hint)


def _source(file: ExportedFile, module: Any) -> Source:
    if not file.inputs or not file.outputs:
        cause = "the function takes nothing, or gives nothing"
        raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause)
    names = input_names(file.inputs, _locations(file, module))
    for name, leaf in zip(names, file.inputs, strict=True):
        _check_dtype("input", name, leaf)
        check_bounds(name, tuple(leaf.sizes))
    outputs = output_names(file.outputs)
    for name, leaf in zip(outputs, file.outputs, strict=True):
        _check_dtype("output", name, leaf)
    modules.check(module)
    return Source(
        exported=_exported(file),
        edges=[
            Edge(name, np.dtype(leaf.dtype), tuple(leaf.sizes), _symbols(leaf))
            for name, leaf in zip(names, file.inputs, strict=True)
        ],
        places={leaf.place: name for name, leaf in zip(names, file.inputs, strict=True)},
        outputs=outputs,
        output_symbols=[_symbols(leaf) for leaf in file.outputs],
        writer=f"jax {file.jax_version}" if file.jax_version else "jax",
        version=modules.version_of(bytes(file.module[:100])),
    )


def _symbols(leaf: Leaf) -> tuple[str, ...]:
    return tuple("" if isinstance(size, int) else size for size in leaf.shape)


def _check_dtype(kind: str, name: str, leaf: Leaf) -> None:
    if leaf.dtype not in _NUMBERS:
        cause = f"{kind} {name!r} is of the type {leaf.dtype}, which TFLite has no numbers for"
        hint = "export a function of real numbers; random keys and complex numbers stay inside"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=hint)


def _locations(file: ExportedFile, module: Any) -> list[str | None]:
    """Return what the module calls each input; those that it does not take have no name there."""
    functions = {
        operation.attributes["sym_name"].value: operation
        for operation in module.body.operations
        if operation.operation.name == "func.func"
    }
    function = functions.get(_WRAPPED) or modules.main_of(module)
    found: list[str | None] = [None] * len(file.inputs)
    for place, name in zip(file.kept, locations(function, len(file.kept)), strict=True):
        if place < len(found):
            found[place] = name
    return found


def _exported(file: ExportedFile) -> Any:
    """Return the function for JAX to call, with flat inputs and outputs."""
    scope = export.SymbolicScope()
    try:
        taken = tuple(_aval(leaf, scope) for leaf in file.inputs)
        given = tuple(_aval(leaf, scope) for leaf in file.outputs)
    except Exception as error:  # of JAX's parser of sizes
        cause = f"a size is written in a way that JAX does not read: {first_line(error)}"
        raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause) from error
    return export.Exported(
        fun_name="model",
        in_tree=tree_structure(((0,) * len(taken), {})),
        in_avals=taken,
        out_tree=tree_structure((0,) * len(given)),
        out_avals=given,
        _in_named_shardings=(None,) * len(taken),
        _out_named_shardings=(None,) * len(given),
        in_shardings_hlo=(None,) * len(taken),
        out_shardings_hlo=(None,) * len(given),
        nr_devices=1,
        platforms=file.platforms,
        ordered_effects=(),
        unordered_effects=(),
        disabled_safety_checks=(),
        mlir_module_serialized=bytes(file.module),
        calling_convention_version=file.calling_convention,
        module_kept_var_idx=file.kept,
        uses_global_constants=file.refines,
        _get_vjp=None,
    )


def _aval(leaf: Leaf, scope: Any) -> Any:
    shape = export.symbolic_shape(",".join(map(str, leaf.shape)), scope=scope) if leaf.shape else ()
    return jax.core.ShapedArray(shape, np.dtype(leaf.dtype))


def _of_module(module: Any) -> ExportedFile:
    """Return a bare module as if jax.export had written it, which says nothing of arguments and pytrees.

    Raises:
        EngineError: UnsupportedFormat, UnsupportedShape.

    """
    function = modules.main_of(module)
    kind = ir.FunctionType(function.attributes["function_type"].value)
    if any("global_constant" in str(attributes) for attributes in function.attributes.get("arg_attrs", ())):
        cause = "the module belongs to a file of jax.export: it takes what such a file says of it"
        hint = "give that file: what Exported.serialize() returns"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    inputs = [_leaf(place, value) for place, value in enumerate(kind.inputs)]
    outputs = [_leaf(place, value) for place, value in enumerate(kind.results)]
    return ExportedFile(
        function="main",
        jax_version=None,
        calling_convention=export.maximum_supported_calling_convention_version,
        platforms=(_DEVICE,),
        devices=1,
        effects=(),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        kept=tuple(range(len(inputs))),
        refines=False,
        module=memoryview(modules.serialized(module, stablehlo.get_current_version())),
    )


def _leaf(place: int, kind: Any) -> Leaf:
    if not isinstance(kind, ir.RankedTensorType):
        cause = f"the module takes or gives {str(kind)[:60]}, which is no array"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause)
    if not kind.has_static_shape:
        hint = "export fixed sizes, or give the file of jax.export, which says what they are called"
        raise shape_refused("the module leaves sizes open, and says nothing of them", hint)
    return Leaf((place,), modules.dtype_name(kind.element_type), tuple(kind.shape))
