"""Writes ONNX models with samples, and what onnxruntime itself computes for them.

``python make_onnx_models.py FOLDER [NAME-OPSET ...]`` runs on the Python of the ONNX engine, and uses nothing
of the product. For each ``NAME-OPSET`` there are ``.onnx``, ``.samples.npz`` (in the model's own layout) and
``.expected.npz``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SAMPLES = 48
FLOAT, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL


class Builder:
    """A graph in the making."""

    def __init__(self, opset: int, seed: int) -> None:
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.inputs: dict[str, tuple[int, list[Any]]] = {}
        self.outputs: dict[str, tuple[int, list[Any] | None]] = {}
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.samples: dict[str, np.ndarray[Any, Any]] = {}

    def input(self, name: str, shape: list[Any], kind: int = FLOAT, high: int = 2) -> str:
        """Add an input with random samples; open sizes are names, and are 1 in the samples."""
        sizes = [1 if isinstance(size, str) else size for size in shape[1:]]
        self.inputs[name] = (kind, shape)
        if kind == FLOAT:
            self.samples[name] = self.random.standard_normal((SAMPLES, *sizes)).astype(np.float32)
        else:
            values = self.random.integers(0, high, (SAMPLES, *sizes))
            self.samples[name] = values.astype(helper.tensor_dtype_to_np_dtype(kind))
        return name

    def weights(self, *shape: int, scale: float | None = None) -> str:
        """Add random weights, scaled so that activations keep their size."""
        fan = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        size = scale if scale is not None else 1.0 / np.sqrt(max(1, fan))
        return self.constant((self.random.standard_normal(shape) * size).astype(np.float32))

    def constant(self, values: Any, kind: Any = None) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, kind)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def output(self, tensor: str, name: str = "y", kind: int = FLOAT) -> None:
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs[name] = (kind, None)

    def axes(self, kind: str, tensor: str, axes: list[int], since: int, **more: Any) -> Any:
        """Add an operator whose axes are an attribute before opset ``since``, and an input from it on."""
        if self.opset < since:
            return self.op(kind, tensor, axes=axes, **more)
        return self.op(kind, tensor, self.constant(axes, np.int64), **more)

    def none(self) -> str:
        """Return an input that is left out, which Resize may only from opset 13 on."""
        return "" if self.opset >= 13 else self.constant([], np.float32)

    def model(self) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(n, k, s) for n, (k, s) in self.inputs.items()],
            [helper.make_tensor_value_info(n, k, s) for n, (k, s) in self.outputs.items()],
            [numpy_helper.from_array(v, n) for n, v in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="make_onnx_models")
        model.ir_version = min(model.ir_version, 10)
        return onnx.shape_inference.infer_shapes(model)


Case = Callable[[Builder], None]
CASES: dict[str, tuple[Case, tuple[int, ...]]] = {}
ALL = (11, 13, 17, 21, 25)
FEW = (11, 17, 25)


def case(*opsets: int) -> Callable[[Case], Case]:
    """Register a model for these opsets, under its function's name."""

    def add(function: Case) -> Case:
        CASES[function.__name__] = (function, opsets)
        return function

    return add


def head(b: Builder, tensor: str, channels: int, classes: int = 5) -> None:
    """End an image model as most do."""
    pooled = b.op("Flatten", b.op("GlobalAveragePool", tensor))
    b.output(b.op("Gemm", pooled, b.weights(channels, classes), b.weights(classes, scale=0.1)))


@case(*ALL)
def cnn(b: Builder) -> None:
    x = b.input("image", ["N", 3, 16, 16])
    c = b.op("Relu", b.op("Conv", x, b.weights(8, 3, 3, 3), b.weights(8, scale=0.1), pads=[1, 1, 1, 1]))
    c = b.op("MaxPool", c, kernel_shape=[2, 2], strides=[2, 2])
    c = b.op("Relu", b.op("Conv", c, b.weights(16, 8, 3, 3), pads=[1, 1, 1, 1]))
    head(b, c, 16)


@case(*ALL)
def residual_batchnorm(b: Builder) -> None:
    x = b.input("image", ["N", 8, 12, 12])
    scale = b.constant(b.random.uniform(0.5, 1.5, 8), np.float32)
    variance = b.constant(b.random.uniform(0.5, 1.5, 8), np.float32)
    c = b.op("Conv", x, b.weights(8, 8, 3, 3), pads=[1, 1, 1, 1])
    n = b.op("BatchNormalization", c, scale, b.weights(8, scale=0.1), b.weights(8, scale=0.1), variance)
    head(b, b.op("Relu", b.op("Add", b.op("Relu", n), x)), 8)


@case(*FEW)
def depthwise(b: Builder) -> None:
    x = b.input("image", [1, 8, 12, 12])
    c = b.op("Conv", x, b.weights(8, 1, 3, 3), group=8, pads=[1, 1, 1, 1], strides=[2, 2])
    c = b.op("Clip", c, b.constant(0.0, np.float32), b.constant(6.0, np.float32))
    head(b, b.op("Conv", c, b.weights(16, 8, 1, 1)), 16)


@case(*FEW)
def grouped_conv(b: Builder) -> None:
    x = b.input("image", ["N", 8, 10, 10])
    head(b, b.op("Relu", b.op("Conv", x, b.weights(16, 2, 3, 3), group=4, pads=[1, 1, 1, 1])), 16)


@case(*FEW)
def dilated_conv(b: Builder) -> None:
    x = b.input("image", [1, 4, 14, 14])
    b.output(b.op("Conv", x, b.weights(6, 4, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2]))


@case(*FEW)
def asymmetric_pads(b: Builder) -> None:
    x = b.input("image", [1, 3, 9, 9])
    b.output(b.op("Conv", x, b.weights(5, 3, 3, 3), pads=[0, 1, 2, 1], strides=[2, 1]))


@case(*FEW)
def transposed_conv(b: Builder) -> None:
    x = b.input("image", [1, 4, 6, 6])
    c = b.op("ConvTranspose", x, b.weights(4, 6, 2, 2), strides=[2, 2])
    b.output(b.op("Relu", c))


@case(11, 17)
def transposed_conv_padded(b: Builder) -> None:
    x = b.input("image", [1, 4, 6, 6])
    w = b.weights(4, 6, 3, 3)
    b.output(b.op("ConvTranspose", x, w, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]))


@case(*FEW)
def conv1d(b: Builder) -> None:
    x = b.input("signal", ["N", 6, 40])
    c = b.op("Relu", b.op("Conv", x, b.weights(12, 6, 5), pads=[2, 2], strides=[2]))
    b.output(b.axes("ReduceMean", c, [2], 18, keepdims=0))


@case(17)
def conv3d(b: Builder) -> None:
    x = b.input("volume", [1, 2, 6, 6, 6])
    b.output(b.op("Relu", b.op("Conv", x, b.weights(4, 2, 3, 3, 3), pads=[1] * 6)))


@case(*FEW)
def pools(b: Builder) -> None:
    x = b.input("image", [1, 4, 12, 12])
    first = b.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2])
    second = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    b.output(b.op("Concat", first, second, axis=1))


@case(11, 19)
def average_pool_padded(b: Builder) -> None:
    x = b.input("image", [1, 4, 9, 9])
    b.output(b.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))


@case(*FEW)
def segmentation(b: Builder) -> None:
    x = b.input("image", [1, 3, 16, 16])
    down = b.op("Relu", b.op("Conv", x, b.weights(8, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2]))
    scales = b.constant([1, 1, 2, 2], np.float32)
    up = b.op(
        *("Resize", down, b.none(), scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    b.output(b.op("Conv", up, b.weights(4, 8, 1, 1)), "mask")


@case(*FEW)
def resize_linear(b: Builder) -> None:
    x = b.input("image", [1, 3, 8, 8])
    sizes = b.constant([1, 3, 16, 16], np.int64)
    b.output(
        b.op(
            "Resize", x, b.none(), b.none(), sizes, mode="linear", coordinate_transformation_mode="half_pixel"
        )
    )


@case(*FEW)
def mlp(b: Builder) -> None:
    x = b.input("features", ["N", 20])
    h = b.op("Relu", b.op("Gemm", x, b.weights(32, 20), b.weights(32, scale=0.1), transB=1))
    b.output(b.op("Softmax", b.op("Gemm", h, b.weights(32, 6), b.weights(6, scale=0.1)), axis=1))


@case(*ALL)
def constant_matmul(b: Builder) -> None:
    x = b.input("features", ["N", 24])
    h = b.op("Tanh", b.op("Add", b.op("MatMul", x, b.weights(24, 32)), b.weights(32, scale=0.1)))
    b.output(b.op("MatMul", h, b.weights(32, 5)))


@case(*FEW)
def sequence_matmul(b: Builder) -> None:
    x = b.input("tokens", ["N", 10, 16])
    b.output(b.op("Sigmoid", b.op("MatMul", x, b.weights(16, 24))))


@case(*FEW)
def batch_matmul(b: Builder) -> None:
    x, z = b.input("first", ["N", 6, 8]), b.input("second", ["N", 8, 5])
    b.output(b.op("MatMul", x, z))


def layer_norm(b: Builder, x: str, size: int) -> str:
    scale = b.constant(b.random.uniform(0.8, 1.2, size), np.float32)
    shift = b.weights(size, scale=0.1)
    if b.opset >= 17:
        return str(b.op("LayerNormalization", x, scale, shift, axis=-1))
    centred = b.op("Sub", x, b.axes("ReduceMean", x, [-1], 18))
    variance = b.axes("ReduceMean", b.op("Mul", centred, centred), [-1], 18)
    spread = b.op("Sqrt", b.op("Add", variance, b.constant(1e-5, np.float32)))
    return str(b.op("Add", b.op("Mul", b.op("Div", centred, spread), scale), shift))


def gelu(b: Builder, x: str) -> str:
    if b.opset >= 20:
        return str(b.op("Gelu", x))
    inner = b.op("Erf", b.op("Div", x, b.constant(np.sqrt(2.0), np.float32)))
    return str(
        b.op(
            "Mul",
            b.op("Mul", x, b.op("Add", inner, b.constant(1.0, np.float32))),
            b.constant(0.5, np.float32),
        )
    )


@case(*ALL)
def transformer_block(b: Builder) -> None:
    x = b.input("tokens", ["N", 8, 16])
    n = layer_norm(b, x, 16)
    heads = []
    for _ in range(3):
        part = b.op("MatMul", n, b.weights(16, 16))
        part = b.op("Reshape", part, b.constant([-1, 8, 4, 4], np.int64))
        heads.append(b.op("Transpose", part, perm=[0, 2, 1, 3]))
    q, k, v = heads
    scores = b.op(
        "Mul", b.op("MatMul", q, b.op("Transpose", k, perm=[0, 1, 3, 2])), b.constant(0.5, np.float32)
    )
    mixed = b.op("Transpose", b.op("MatMul", b.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    mixed = b.op("Reshape", mixed, b.constant([-1, 8, 16], np.int64))
    x = b.op("Add", x, b.op("MatMul", mixed, b.weights(16, 16)))
    h = gelu(b, b.op("MatMul", layer_norm(b, x, 16), b.weights(16, 32)))
    b.output(b.op("Add", x, b.op("MatMul", h, b.weights(32, 16))))


@case(23, 25)
def attention_operator(b: Builder) -> None:
    x = b.input("tokens", [1, 8, 16])
    q, k, v = (b.op("MatMul", x, b.weights(16, 16)) for _ in range(3))
    b.output(b.op("Attention", q, k, v, q_num_heads=4, kv_num_heads=4))


@case(*FEW)
def softmax_layernorm(b: Builder) -> None:
    x = b.input("tokens", ["N", 6, 12])
    b.output(b.op("Softmax", layer_norm(b, x, 12), axis=-1))


@case(*FEW)
def embedding(b: Builder) -> None:
    ids = b.input("ids", ["N", 7], INT64, high=30)
    e = b.op("Gather", b.weights(30, 12, scale=1.0), ids)
    b.output(b.op("Gemm", b.axes("ReduceMean", e, [1], 18, keepdims=0), b.weights(12, 4)))


@case(11, 21)
def two_inputs_of_two_kinds(b: Builder) -> None:
    ids, x = b.input("ids", ["N", 4], INT64, high=10), b.input("features", ["N", 6])
    e = b.op("Flatten", b.op("Gather", b.weights(10, 5, scale=1.0), ids))
    b.output(b.op("Gemm", b.op("Concat", e, x, axis=1), b.weights(26, 3)))


@case(*FEW)
def several_outputs(b: Builder) -> None:
    x = b.input("image", [1, 3, 10, 10])
    c = b.op("Relu", b.op("Conv", x, b.weights(6, 3, 3, 3), pads=[1, 1, 1, 1]))
    pooled = b.op("Flatten", b.op("GlobalAveragePool", c))
    b.output(b.op("Gemm", pooled, b.weights(6, 4)), "z_scores")
    b.output(c, "a_features")
    b.output(b.op("Gemm", pooled, b.weights(6, 2)), "m_box")


@case(11, 17)
def one_tensor_twice(b: Builder) -> None:
    x = b.input("features", [1, 8])
    h = b.op("Gemm", x, b.weights(8, 4))
    b.output(h, "first")
    b.output(h, "second")


@case(11, 17)
def odd_names(b: Builder) -> None:
    x = b.input("/model/input:0", ["N", 3, 8, 8])
    c = b.op("Conv", x, b.weights(4, 3, 3, 3))
    b.output(c, "/model/output:0")


@case(*FEW)
def slice_split_concat(b: Builder) -> None:
    x = b.input("features", ["N", 12, 6])
    cut = b.op("Slice", x, *(b.constant(v, np.int64) for v in ([1], [11], [1], [2])))
    if b.opset < 13:
        parts = b.op("Split", cut, outputs=2, axis=2, split=[2, 4])
    else:
        parts = b.op("Split", cut, b.constant([2, 4], np.int64), outputs=2, axis=2)
    b.output(b.op("Concat", parts[1], parts[0], axis=2))


@case(11, 13)
def gather_elements_nd(b: Builder) -> None:
    x = b.input("features", [1, 6, 5])
    g = b.op("Gather", x, b.constant([4, 0, 2], np.int64), axis=1)
    b.output(b.op("GatherND", g, b.constant([[0, 1], [0, 2]], np.int64)))


@case(*FEW)
def pads_of_three_kinds(b: Builder) -> None:
    x = b.input("image", [1, 3, 6, 6])
    pads = b.constant([0, 0, 1, 2, 0, 0, 2, 1], np.int64)
    parts = [b.op("Pad", x, pads, mode=mode) for mode in ("constant", "reflect")]
    b.output(b.op("Concat", *parts, axis=1))


@case(11, 17)
def pad_edge(b: Builder) -> None:
    x = b.input("image", [1, 3, 6, 6])
    b.output(b.op("Pad", x, b.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), mode="edge"))


@case(*FEW)
def reductions(b: Builder) -> None:
    x = b.input("features", ["N", 5, 7])
    parts = [b.axes("ReduceSum", x, [2], 13, keepdims=0)]
    parts += [b.axes(kind, x, [2], 18, keepdims=0) for kind in ("ReduceMax", "ReduceMin", "ReduceMean")]
    parts += [b.axes(kind, x, [2], 18, keepdims=0) for kind in ("ReduceL2", "ReduceProd")]
    b.output(b.op("Concat", *parts, axis=1))


@case(*FEW)
def unary_operators(b: Builder) -> None:
    x = b.input("features", ["N", 16])
    positive = b.op("Add", b.op("Abs", x), b.constant(0.5, np.float32))
    parts = [
        b.op(kind, x) for kind in ("Exp", "Neg", "Sin", "Cos", "Floor", "Ceil", "Erf", "Sign", "Softsign")
    ]
    parts += [b.op(kind, positive) for kind in ("Sqrt", "Log", "Reciprocal")]
    b.output(b.op("Concat", *parts, axis=1))


@case(*FEW)
def activations(b: Builder) -> None:
    x = b.input("features", ["N", 16])
    kinds = ("LeakyRelu", "Elu", "Selu", "HardSigmoid", "Softplus", "Sigmoid", "Tanh")
    parts = [b.op(kind, x) for kind in kinds]
    parts.append(b.op("PRelu", x, b.constant(b.random.uniform(0.1, 0.4, 16), np.float32)))
    if b.opset >= 14:
        parts.append(b.op("HardSwish", x))
    b.output(b.op("Concat", *parts, axis=1))


@case(*FEW)
def scalar_arithmetic(b: Builder) -> None:
    x = b.input("features", ["N", 9])
    y = b.op("Mul", b.op("Sub", x, b.constant(0.25, np.float32)), b.constant(3.0, np.float32))
    y = b.op("Div", y, b.constant(1.5, np.float32))
    b.output(b.op("Pow", b.op("Max", y, b.constant(0.1, np.float32)), b.constant(2.0, np.float32)))


@case(*FEW)
def where_and_compare(b: Builder) -> None:
    x, z = b.input("first", ["N", 10]), b.input("second", ["N", 10])
    mask = b.op("And", b.op("Greater", x, z), b.op("Not", b.op("Less", x, b.constant(0.0, np.float32))))
    b.output(b.op("Where", mask, x, b.op("Neg", z)))


@case(*FEW)
def casts(b: Builder) -> None:
    x = b.input("features", ["N", 10])
    whole = b.op("Cast", b.op("Mul", x, b.constant(4.0, np.float32)), to=INT32)
    b.output(b.op("Mul", b.op("Cast", whole, to=FLOAT), b.constant(0.5, np.float32)))


@case(*FEW)
def argmax_output(b: Builder) -> None:
    x = b.input("features", ["N", 12])
    h = b.op("Gemm", x, b.weights(12, 6))
    b.output(b.op("ArgMax", h, axis=1, keepdims=0), "label", INT64)
    b.output(h, "scores")


@case(11, 17)
def top_k(b: Builder) -> None:
    x = b.input("features", [1, 12])
    values, _ = b.op("TopK", x, b.constant([4], np.int64), outputs=2, axis=1)
    b.output(values)


@case(*FEW)
def shape_arithmetic(b: Builder) -> None:
    """Flatten by hand, as older exports of PyTorch do."""
    x = b.input("image", ["N", 4, 6, 6])
    batch = b.op("Gather", b.op("Shape", x), b.constant(0, np.int64))
    batch = b.axes("Unsqueeze", batch, [0], 13)
    shape = b.op("Concat", batch, b.constant([-1], np.int64), axis=0)
    b.output(b.op("MatMul", b.op("Reshape", x, shape), b.weights(144, 5)))


@case(*FEW)
def transposes(b: Builder) -> None:
    x = b.input("features", [1, 4, 5, 6])
    t = b.op("Transpose", x, perm=[0, 2, 3, 1])
    b.output(b.op("Reshape", t, b.constant([1, 30, 4], np.int64)))


@case(11, 17)
def square_image(b: Builder) -> None:
    """Channels, height and width are of one size: shapes do not say which is which."""
    x = b.input("image", [1, 6, 6, 6])
    b.output(b.op("Conv", x, b.weights(6, 6, 3, 3), pads=[1, 1, 1, 1]))


@case(11, 17)
def pixel_shuffle(b: Builder) -> None:
    x = b.input("image", [1, 8, 5, 5])
    b.output(b.op("DepthToSpace", x, blocksize=2, mode="CRD"))


@case(11, 17)
def instance_norm(b: Builder) -> None:
    x = b.input("image", [1, 4, 7, 7])
    scale = b.constant(b.random.uniform(0.8, 1.2, 4), np.float32)
    b.output(b.op("InstanceNormalization", x, scale, b.weights(4, scale=0.1)))


@case(21)
def group_norm(b: Builder) -> None:
    x = b.input("image", [1, 8, 7, 7])
    scale = b.constant(b.random.uniform(0.8, 1.2, 8), np.float32)
    b.output(b.op("GroupNormalization", x, scale, b.weights(8, scale=0.1), num_groups=4))


@case(11, 17)
def einsum_or_matmul(b: Builder) -> None:
    x = b.input("tokens", [1, 6, 8])
    if b.opset < 12:
        b.output(b.op("MatMul", x, b.weights(8, 5)))
    else:
        b.output(b.op("Einsum", x, b.weights(8, 5), equation="bij,jk->bik"))


@case(11, 17, 22)
def lstm(b: Builder) -> None:
    x = b.input("steps", [6, 1, 5])  # time first, as ONNX has it
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    y, last, _ = b.op(
        "LSTM",
        x,
        b.weights(1, 32, 5),
        b.weights(1, 32, 8),
        b.weights(1, 64, scale=0.1),
        outputs=3,
        hidden_size=8,
    )
    b.output(b.axes("Squeeze", y, [1], 13), "all")
    b.output(b.axes("Squeeze", last, [0], 13), "last")


@case(17)
def gru_last_only(b: Builder) -> None:
    """The first output is left out, as it may be."""
    x = b.input("steps", [6, 1, 5])
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    weights = [b.weights(1, 12, 5), b.weights(1, 12, 4), b.weights(1, 24, scale=0.1)]
    _, last = b.op("GRU", x, *weights, outputs=2, hidden_size=4)
    b.nodes[-1].output[0] = ""
    b.output(last, "last")


def two_ways(b: Builder, kind: str, gates: int, states: dict[str, str]) -> None:
    """Add a layer that goes both ways and begins with ``states``, and all its outputs."""
    x = b.input("steps", [6, 1, 5])
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    weights = [b.weights(2, gates * 4, 5), b.weights(2, gates * 4, 4), b.weights(2, gates * 8, scale=0.1)]
    counts = 1 + len(states)
    made = b.op(kind, x, *weights, "", *states, outputs=counts, hidden_size=4, direction="bidirectional")
    for tensor, name in zip(made, ("all", *states.values()), strict=True):
        b.output(tensor, name)


@case(17)
def lstm_two_ways_with_states(b: Builder) -> None:
    """Of the states that it begins with, one is an input and one a constant."""
    h = b.input("h", [2, 1, 4])
    b.samples["h"] = b.random.standard_normal((SAMPLES, 2, 1, 4)).astype(np.float32)
    two_ways(b, "LSTM", 4, {h: "last_h", b.weights(2, 1, 4): "last_c"})


@case(17)
def gru_two_ways_with_states(b: Builder) -> None:
    h = b.input("h", [2, 1, 4])
    b.samples["h"] = b.random.standard_normal((SAMPLES, 2, 1, 4)).astype(np.float32)
    two_ways(b, "GRU", 3, {h: "last"})


@case(17)
def lstm_from_states(b: Builder) -> None:
    """One way, from a state that was learnt and one that is zero; only the last output counts."""
    x = b.input("steps", [6, 1, 5])
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    weights = [b.weights(1, 16, 5), b.weights(1, 16, 4), b.weights(1, 32, scale=0.1)]
    states = [b.weights(1, 1, 4), b.constant(np.zeros((1, 1, 4)), np.float32)]
    _, last, _ = b.op("LSTM", x, *weights, "", *states, outputs=3, hidden_size=4)
    b.output(last, "last")


@case(17)
def gru_backwards_from_states(b: Builder) -> None:
    x = b.input("steps", [6, 1, 5])
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    weights = [b.weights(1, 12, 5), b.weights(1, 12, 4), b.weights(1, 24, scale=0.1)]
    named = {"hidden_size": 4, "direction": "reverse", "linear_before_reset": 1}
    y, last = b.op("GRU", x, *weights, "", b.weights(1, 1, 4), outputs=2, **named)
    b.output(y, "all")
    b.output(last, "last")


@case(17)
def rnn_two_ways_with_states(b: Builder) -> None:
    h = b.input("h", [2, 1, 4])
    b.samples["h"] = b.random.standard_normal((SAMPLES, 2, 1, 4)).astype(np.float32)
    two_ways(b, "RNN", 1, {h: "last"})


@case(17)
def gru_from_states(b: Builder) -> None:
    h = b.input("h", [1, 1, 4])
    x = b.input("steps", [6, 1, 5])
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    b.samples["h"] = b.random.standard_normal((SAMPLES, 1, 1, 4)).astype(np.float32)
    weights = [b.weights(1, 12, 5), b.weights(1, 12, 4), b.weights(1, 24, scale=0.1)]
    _, last = b.op("GRU", x, *weights, "", h, outputs=2, hidden_size=4)
    b.output(last, "last")


@case(17)
def lstm_two_ways_from_zero(b: Builder) -> None:
    """As torch's older exporter writes every one."""
    states = [b.constant(np.zeros((2, 1, 4)), np.float32) for _ in range(2)]
    two_ways(b, "LSTM", 4, dict(zip(states, ("last_h", "last_c"), strict=True)))


@case(11, 17, 22)
def gru(b: Builder) -> None:
    x = b.input("steps", [6, 1, 5])
    b.samples["steps"] = b.random.standard_normal((SAMPLES, 6, 1, 5)).astype(np.float32)
    _, last = b.op(
        "GRU",
        x,
        b.weights(1, 24, 5),
        b.weights(1, 24, 8),
        b.weights(1, 48, scale=0.1),
        outputs=2,
        hidden_size=8,
        linear_before_reset=1,
    )
    b.output(b.axes("Squeeze", last, [0], 13))


@case(11, 17)
def open_length(b: Builder) -> None:
    x = b.input("signal", ["N", 4, "T"])
    b.samples["signal"] = b.random.standard_normal((SAMPLES, 4, 20)).astype(np.float32)
    c = b.op("Relu", b.op("Conv", x, b.weights(6, 4, 3), pads=[1, 1]))
    b.output(b.axes("ReduceMean", c, [2], 18, keepdims=0))


@case(13, 17)
def branch(b: Builder) -> None:
    """A branch that the input decides."""
    x = b.input("features", [1, 6])
    total = b.axes("ReduceSum", x, [0, 1], 13, keepdims=0)
    positive = b.op("Greater", total, b.constant(0.0, np.float32))

    def graph(name: str, kind: str) -> Any:
        made = helper.make_node(kind, [x], [f"{name}_out"])
        return helper.make_graph(
            [made], name, [], [helper.make_tensor_value_info(f"{name}_out", FLOAT, [1, 6])]
        )

    b.output(b.op("If", positive, then_branch=graph("yes", "Relu"), else_branch=graph("no", "Neg")))


def write(folder: Path, name: str, opset: int) -> None:
    """Write one model, its samples and what onnxruntime gives for each."""
    builder = Builder(opset, seed=sum(name.encode()) + opset)
    CASES[name][0](builder)
    path = folder / f"{name}-{opset}.onnx"
    onnx.save(builder.model(), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    rows: dict[str, list[Any]] = {each: [] for each in names}
    for index in range(SAMPLES):
        feeds = {}
        for each, (_, shape) in builder.inputs.items():
            sample = builder.samples[each]
            feeds[each] = sample[index] if sample.ndim == len(shape) + 1 else sample[index : index + 1]
        for each, values in zip(names, session.run(None, feeds), strict=True):
            rows[each].append(values)
    np.savez(folder / f"{name}-{opset}.samples.npz", **builder.samples)
    np.savez(folder / f"{name}-{opset}.expected.npz", **{n: np.stack(v) for n, v in rows.items()})


def main() -> None:
    """Write those cases whose ``NAME-OPSET`` is named, or all."""
    folder, wanted = Path(sys.argv[1]), set(sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)
    onnxruntime.set_default_logger_severity(3)
    for name, (_, opsets) in CASES.items():
        for opset in opsets:
            if not wanted or f"{name}-{opset}" in wanted:
                write(folder, name, opset)


if __name__ == "__main__":
    main()
