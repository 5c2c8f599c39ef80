"""Writes ONNX files that have to be refused, or read with care: ``python make_odd_onnx_models.py FOLDER``.

Runs on the Python of the ONNX engine, and uses nothing of the product.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
_RANDOM = np.random.default_rng(5)


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return (_RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


def made(
    nodes: list[Any],
    shape: list[Any] | None = None,
    constants: list[Any] | None = None,
    opset: int = 17,
    *,
    kind: int = FLOAT,
    out: int = FLOAT,
    domains: dict[str, int] | None = None,
) -> Any:
    """Return a model from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, [1, 4] if shape is None else shape)],
        [helper.make_tensor_value_info("y", out, None)],
        constants or [],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(kind: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), ["y"], **attributes)


def array(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def external(location: str, *, sizes: tuple[int, ...] = (4, 3)) -> Any:
    """Return a model with its weights in another file."""
    tensor = TensorProto(name="w", data_type=FLOAT, dims=sizes, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "48"}.items():
        tensor.external_data.add(key=key, value=value)
    return made([node("MatMul", "x", "w")], constants=[tensor])


def part(number: int, content: bytes) -> bytes:
    """Return a field of a protobuf message, by hand: the library refuses to nest as deep as strangers do."""
    length, size = len(content), b""
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def nested(depth: int) -> bytes:
    """Return a model with a graph in a graph in a graph."""
    graph = part(1, part(1, b"x") + part(2, b"y") + part(4, b"Relu")) + part(12, part(1, b"y"))
    for _ in range(depth):
        attribute = part(1, b"then_branch") + part(6, graph)
        graph = part(1, part(2, b"y") + part(4, b"If") + part(5, attribute)) + part(12, part(1, b"y"))
    return b"\x08\x08" + part(7, graph) + part(8, b"\x10\x11")


def write_models(folder: Path) -> None:
    """Write whole models."""
    huge = TensorProto(name="w", data_type=FLOAT, dims=[1 << 40, 1 << 20], raw_data=b"\0" * 16)
    wrong = TensorProto(name="w", data_type=FLOAT, dims=[4, 3], raw_data=b"\0" * 16)
    dense = [node("MatMul", "x", "w")]
    models = {
        "custom": made([node("Fancy", "x", domain="my.domain")], domains={"my.domain": 1}),
        "sklearn": made(
            [node("Scaler", "x", domain="ai.onnx.ml", offset=[0.0] * 4, scale=[1.0] * 4)],
            domains={"ai.onnx.ml": 3},
        ),
        "unknown_operator": made([node("Nonesuch", "x")]),
        "opset10": made([node("Relu", "x")], opset=10),
        "opset99": made([node("Relu", "x")], opset=99),
        "huge_constant": made(dense, constants=[huge]),
        "wrong_constant": made(dense, constants=[wrong]),
        "huge_input": made([node("Relu", "x")], shape=[1, 1 << 40]),
        "no_shape": made([node("Relu", "x")], shape=[]),
        "text_input": made([node("Identity", "x")], kind=TensorProto.STRING, out=TensorProto.STRING),
        "quantized": made(
            [
                helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                node("DequantizeLinear", "q", "s", "z"),
            ],
            constants=[array("s", np.float32(0.1)), array("z", np.int8(0))],
        ),
        "bomb": made(
            [
                helper.make_node("ConstantOfShape", ["n"], ["big"]),
                helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
                node("Add", "x", "sum"),
            ],
            constants=[array("n", np.array([1 << 36], np.int64))],
        ),
        "float16": made(
            [node("MatMul", "x", "w")],
            constants=[array("w", weights(4, 3).astype(np.float16))],
            kind=TensorProto.FLOAT16,
            out=TensorProto.FLOAT16,
        ),
        "float64": made(
            dense,
            constants=[array("w", weights(4, 3).astype(np.float64))],
            kind=TensorProto.DOUBLE,
            out=TensorProto.DOUBLE,
        ),
        "random": made(
            [helper.make_node("RandomNormalLike", ["x"], ["r"]), node("Add", "x", "r")],
        ),
        "batch_of_four": made(dense, shape=[4, 4], constants=[array("w", weights(4, 3))]),
        "batch_meets": made([node("Softmax", "x", axis=0)], shape=[4, 3]),
        "passes_through": made([node("Identity", "x")]),
        "outside": external("../secret.bin"),
        "absolute": external("/etc/passwd"),
        "link": external("link.bin"),
        "missing": external("nowhere.bin"),
        "short_data": external("short.bin"),
        "external": external("weights.bin"),
        "external_here": external("./weights.bin"),
    }
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def write_files(folder: Path) -> None:
    """Write what lies beside models, and what is none."""
    (folder.parent / "secret.bin").write_bytes(weights(4, 3).tobytes())
    (folder / "weights.bin").write_bytes(weights(4, 3).tobytes())
    (folder / "short.bin").write_bytes(b"\0" * 12)
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    whole = (folder / "custom.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "nested.onnx").write_bytes(nested(2_000))
    (folder / "nested_a_little.onnx").write_bytes(nested(80))
    (folder / "text.onnx").write_text("This is no model.\n")
    (folder / "empty.onnx").write_bytes(b"")
    damaged = bytearray((folder / "batch_of_four.onnx").read_bytes())
    damaged[30:40] = b"\xff" * 10
    (folder / "damaged.onnx").write_bytes(bytes(damaged))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    write_models(place)
    write_files(place)
