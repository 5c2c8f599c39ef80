"""An ONNX file from a stranger: read, bounded, and refused by name where it can be no float TFLite file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line

OLDEST_OPSET: Final = 11
_MOST_BYTES: Final = 2 << 30
"""Neither a protobuf message nor a TFLite file can be larger."""
_OWN_DOMAINS: Final = ("", "ai.onnx", "com.microsoft")
"""Operators of these are tried; whether TFLite has them is found out by converting."""
_QUANTIZED: Final = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear", "ConvInteger"),
    *("MatMulInteger", "QAttention", "QGemm", "MatMulNBits", "GatherBlockQuantized"),
)
"""Beginnings of the names of operators on integers that stand for real numbers."""
_SHOWN: Final = 8
_BITS: Final = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.BFLOAT16: 16,
}


def read(path: Path, belonging: Iterable[Path]) -> Any:
    """Return the ``ModelProto`` in the file, with the external data of ``belonging``, its functions inlined.

    Raises:
        EngineError: UnreadableModel, UnsafeModel, SourceTooLarge, UnsupportedFormat, UnsupportedOperation.

    """
    size = path.stat().st_size + sum(other.stat().st_size for other in belonging)
    if size > _MOST_BYTES:
        cause = f"{path.name} has {size >> 20} MiB with its external data, and a TFLite file ends at 2 GiB"
        raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.LOAD, cause)
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise _unreadable(f"{path.name} is truncated or corrupt: {first_line(error)}") from error
    if not model.graph.output:
        raise _unreadable(f"{path.name} has no outputs")
    _check_opset(model, path.name)
    _load_external(model, path, set(belonging))
    for tensor in tensors(model):
        _check_size(tensor)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_operators(model)
    return model


def opset_of(model: Any) -> int:
    """Return the version of ONNX's own operators that the model uses."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def nodes(model: Any) -> Iterator[Any]:
    """Yield every operator, also those inside of branches and loops."""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def graphs_of(model: Any) -> Iterator[Any]:
    """Yield the graph, and those of branches and loops."""
    yield model.graph
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def tensors(model: Any) -> Iterator[Any]:
    """Yield every constant."""
    for graph in graphs_of(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in [*nodes(model), *(node for function in model.functions for node in function.node)]:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_opset(model: Any, name: str) -> None:
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if not opset:
        return  # only operators of other domains, which are refused by name
    if opset < OLDEST_OPSET:
        cause = f"{name} is of ONNX opset {opset}, and {OLDEST_OPSET} is the oldest that is read"
        hint = (
            f"export it again with opset {OLDEST_OPSET} or newer, or in Python:"
            " onnx.version_converter.convert_version(onnx.load('model.onnx'), 17)"
        )
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    if opset > newest:
        cause = f"{name} is of ONNX opset {opset}, and {newest} is the newest that this engine knows"
        hint = f"export it again with opset {newest} or older"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)


def _load_external(model: Any, path: Path, belonging: set[Path]) -> None:
    """Read constants that lie in files of their own; only files that were handed over are opened."""
    folder = path.parent
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entry = external_data_helper.ExternalDataInfo(tensor)
        parts = Path(entry.location).parts
        if not parts or Path(entry.location).is_absolute() or ".." in parts:
            cause = f"{path.name} has data outside of its folder: {entry.location[:80]!r}"
            raise EngineError(Reason.UNSAFE_MODEL, Stage.LOAD, cause, hint=_BESIDE)
        place = folder / entry.location
        if place not in belonging:
            cause = f"{path.name} has data in {entry.location[:80]!r}, which is not there"
            raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=_BESIDE)
        _load(tensor, entry, place)


_BESIDE: Final = "give the folder, or an archive of it, that holds the .onnx file and its external data"


def _load(tensor: Any, entry: Any, place: Path) -> None:
    offset, wanted = entry.offset or 0, _bytes_of(tensor)
    length = wanted if entry.length is None else entry.length
    if offset < 0 or length != wanted or offset + length > place.stat().st_size:
        raise _unreadable(f"the data of {tensor.name[:80]!r} does not fit into {entry.location[:80]!r}")
    with place.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _bytes_of(tensor: Any) -> int:
    """Return how many bytes a constant has to have.

    Raises:
        EngineError: it cannot have so many, or its type is none that a TFLite file has.

    """
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in _KINDS else tensor.data_type
        cause = f"the constant {tensor.name[:80]!r} is of the type {kind}, which TFLite has no numbers for"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause)
    if any(size < 0 for size in tensor.dims):
        raise _unreadable(f"the constant {tensor.name[:80]!r} has a negative size")
    size = math.prod(tensor.dims) * bits // 8
    if size > _MOST_BYTES:
        cause = f"the constant {tensor.name[:80]!r} of the sizes {list(tensor.dims)} has more than 2 GiB"
        raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.LOAD, cause)
    return int(size)


_KINDS: Final = set(TensorProto.DataType.values())


def _check_size(tensor: Any) -> None:
    """Refuse a constant that says that it is larger, or smaller, than what there is of it."""
    wanted = _bytes_of(tensor)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != wanted:
            raise _unreadable(
                f"the constant {tensor.name[:80]!r} has {len(tensor.raw_data)} bytes, its sizes say {wanted}"
            )
        return
    count = math.prod(tensor.dims)
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    if max(map(len, fields)) != count:
        raise _unreadable(f"the constant {tensor.name[:80]!r} does not have the {count} values that it says")


def _check_operators(model: Any) -> None:
    foreign = sorted({(n.op_type, n.domain) for n in nodes(model) if n.domain not in _OWN_DOMAINS})
    if foreign:
        names = ", ".join(f"{kind} of {domain}" for kind, domain in foreign[:_SHOWN])
        more = ", …" if len(foreign) > _SHOWN else ""
        cause = f"TFLite has no operators for {names}{more}"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=_way_from(foreign))
    kinds = {node.op_type for node in nodes(model)}
    own = {node.op_type for node in nodes(model) if node.domain in ("", "ai.onnx")}
    if unknown := sorted(kind for kind in own if not onnx.defs.has(kind)):
        cause = f"ONNX has no operator {', '.join(unknown[:_SHOWN])} that this engine knows"
        hint = "export the model with ONNX's own operators, of an opset that is no newer"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=hint)
    if quantized := sorted(kind for kind in kinds if kind.startswith(_QUANTIZED)):
        cause = f"the model is quantized already: it has {', '.join(quantized[:_SHOWN])}"
        hint = "give the float ONNX model that it was made from"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)


def _way_from(foreign: list[tuple[str, str]]) -> str:
    if any(domain.startswith("ai.onnx.ml") for _, domain in foreign):
        return "trees, scalers and kernels of scikit-learn have no TFLite form: train the model as a network"
    return "export the model with ONNX's own operators only"


def _unreadable(cause: str) -> EngineError:
    return EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause)
