"""Writes functions of JAX by jax.export, with samples and what JAX itself computes for them.

``python make_jax_models.py FOLDER [NAME ...]`` runs on the Python of the JAX engine, and uses nothing of the
product. For each name there are ``.jax``, ``.samples.npz`` and ``.expected.npz``, by the names that the files
are to have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax, nn

SAMPLES = 48
IMAGES = ("NHWC", "HWIO", "NHWC")


class Builder:
    """Weights of a function, and what it takes."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.specs: dict[str, Any] = {}
        self.samples: dict[str, np.ndarray[Any, Any]] = {}
        self.names: list[str] = []
        self.outputs = ["output"]
        self.scope = export.SymbolicScope()

    def weights(self, *shape: int, scale: float | None = None) -> Any:
        """Return random weights, scaled so that activations keep their size."""
        size = scale if scale is not None else 1.0 / np.sqrt(max(1, np.prod(shape[:-1])))
        return jnp.asarray(self.random.standard_normal(shape) * size, jnp.float32)

    def takes(self, name: str, *shape: int | str, dtype: Any = jnp.float32, high: int = 2) -> Any:
        """Return an input of samples with one row each, and draw them; open sizes are names."""
        sizes = [1 if isinstance(size, str) else size for size in shape[1:]]
        if jnp.issubdtype(dtype, jnp.floating):
            values = self.random.standard_normal((SAMPLES, *sizes)).astype(np.float32)
        else:
            values = self.random.integers(0, high, (SAMPLES, *sizes)).astype(dtype)
        self.samples[name] = values
        sized = export.symbolic_shape(",".join(map(str, shape)), scope=self.scope)
        return jax.ShapeDtypeStruct(sized, dtype)

    def conv(self, x: Any, features: int, size: int = 3, strides: int = 1, **more: Any) -> Any:
        """Return a convolution of images with its bias."""
        given = x.shape[-1] // more.get("feature_group_count", 1)
        kernel = self.weights(size, size, given, features)
        padding = more.pop("padding", "SAME")
        y = lax.conv_general_dilated(x, kernel, (strides, strides), padding, dimension_numbers=IMAGES, **more)
        return y + self.weights(features, scale=0.1)

    def dense(self, x: Any, features: int) -> Any:
        """Return a dense layer with its bias."""
        return x @ self.weights(x.shape[-1], features) + self.weights(features, scale=0.1)


Made = tuple[Callable[..., Any], tuple[Any, ...]]
Case = Callable[[Builder], Made]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a function under its name."""
    CASES[function.__name__] = function
    return function


def image(function: Callable[[Builder, Any], Any], *shape: int | str) -> Case:
    """Return a case whose one input is ``image``."""

    def make(b: Builder) -> Made:
        def model(image: Any) -> Any:
            b.random = np.random.default_rng(7)  # the same weights each time that it is traced
            return function(b, image)

        return model, (b.takes("image", *shape),)

    return make


def max_pool(x: Any, size: int = 2, padding: Any = "VALID") -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, 2, 2, 1), padding)


def head(b: Builder, x: Any, classes: int = 5) -> Any:
    """End an image model as most do."""
    return b.dense(x.mean((1, 2)), classes)


def register(name: str, function: Callable[[Builder, Any], Any], *shape: int | str) -> None:
    """Register a case of one image."""
    CASES[name] = image(function, *shape)


def _cnn(b: Builder, x: Any) -> Any:
    x = max_pool(nn.relu(b.conv(x, 8)))
    return nn.softmax(head(b, nn.relu(b.conv(x, 16))))


def _residual(b: Builder, x: Any) -> Any:
    scale, variance = (jnp.asarray(b.random.uniform(0.5, 1.5, 8), jnp.float32) for _ in range(2))
    y = b.conv(x, 8)
    y = (y - b.weights(8, scale=0.1)) * scale / jnp.sqrt(variance + 1e-3) + b.weights(8, scale=0.1)
    return head(b, nn.relu(nn.relu(y) + x))


def _depthwise(b: Builder, x: Any) -> Any:
    y = nn.relu6(b.conv(x, 8, strides=2, feature_group_count=8))
    return head(b, nn.relu6(b.conv(y, 16, 1)))


def _transposed(b: Builder, x: Any) -> Any:
    y = lax.conv_transpose(x, b.weights(3, 3, 4, 6), (2, 2), "SAME", dimension_numbers=IMAGES)
    return b.conv(nn.relu(y), 2)


def _pools(b: Builder, x: Any) -> Any:
    padded = max_pool(x, 3, "SAME")
    summed = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jnp.concatenate([padded, summed / 4], -1)


def _padded_average(b: Builder, x: Any) -> Any:
    window = ((1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    count = lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window)
    return lax.reduce_window(x, 0.0, lax.add, *window) / count


def _group_norm(b: Builder, x: Any) -> Any:
    y = x.reshape(*x.shape[:3], 2, -1)
    mean, variance = y.mean((1, 2, 4), keepdims=True), y.var((1, 2, 4), keepdims=True)
    y = ((y - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape)
    return y * b.weights(x.shape[-1], scale=1.0) + b.weights(x.shape[-1], scale=0.1)


def _segmentation(b: Builder, x: Any) -> Any:
    small = nn.relu(b.conv(x, 8, strides=2))
    large = jax.image.resize(nn.relu(b.conv(small, 8)), (1, *x.shape[1:3], 8), "bilinear")
    return nn.sigmoid(b.conv(jnp.concatenate([large, x], -1), 2, 1))


def _pixel_shuffle(b: Builder, x: Any) -> Any:
    n, h, w, c = x.shape
    y = x.reshape(n, h, w, 2, 2, c // 4)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)


register("cnn", _cnn, "b", 16, 16, 3)
register("residual_batchnorm", _residual, "b", 12, 12, 8)
register("depthwise", _depthwise, 1, 12, 12, 8)
register("grouped_conv", lambda b, x: head(b, nn.relu(b.conv(x, 8, feature_group_count=2))), 1, 10, 10, 8)
register("dilated_conv", lambda b, x: head(b, nn.relu(b.conv(x, 8, rhs_dilation=(2, 2)))), 1, 12, 12, 4)
register("asymmetric_pads", lambda b, x: b.conv(x, 4, padding=((1, 0), (0, 2)), strides=2), 1, 11, 11, 4)
register("transposed_conv", _transposed, 1, 6, 6, 4)
register("pools", _pools, 1, 8, 8, 4)
register("average_pool_padded", _padded_average, 1, 9, 9, 4)
register("resize_linear", lambda b, x: jax.image.resize(x, (1, 12, 12, 3), "bilinear"), 1, 6, 6, 3)
register("resize_nearest", lambda b, x: jax.image.resize(x, (1, 12, 12, 3), "nearest"), 1, 6, 6, 3)
register("group_norm", _group_norm, 1, 6, 6, 8)
register("segmentation", _segmentation, 1, 12, 12, 3)
register("pixel_shuffle", _pixel_shuffle, 1, 5, 5, 8)


@case
def conv1d(b: Builder) -> Made:
    kernel, more = b.weights(5, 6, 8), b.weights(3, 8, 4)

    def model(signal: Any) -> Any:
        kinds = ("NWC", "WIO", "NWC")
        y = nn.relu(lax.conv_general_dilated(signal, kernel, (2,), "SAME", dimension_numbers=kinds))
        return lax.conv_general_dilated(y, more, (1,), "VALID", dimension_numbers=kinds)

    return model, (b.takes("signal", "b", 32, 6),)


@case
def conv3d(b: Builder) -> Made:
    kernel = b.weights(3, 3, 3, 2, 4)

    def model(volume: Any) -> Any:
        kinds = ("NDHWC", "DHWIO", "NDHWC")
        return nn.relu(lax.conv_general_dilated(volume, kernel, (1, 1, 1), "SAME", dimension_numbers=kinds))

    return model, (b.takes("volume", 1, 6, 6, 6, 2),)


@case
def mlp(b: Builder) -> Made:
    sizes = [(20, 32), (32, 32), (32, 4)]
    layers = [(b.weights(*size), b.weights(size[1], scale=0.1)) for size in sizes]

    def model(x: Any) -> Any:
        for number, (kernel, bias) in enumerate(layers):
            x = x @ kernel + bias
            x = nn.relu(x) if number < 2 else x
        return x

    return model, (b.takes("x", "b", 20),)


def attention(x: Any, kernels: tuple[Any, ...], heads: int) -> Any:
    """Return what several heads of attention give."""
    n, length, width = x.shape
    q, k, v = (jnp.reshape(x @ kernel, (n, length, heads, -1)) for kernel in kernels[:3])
    scores = nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(width // heads), -1)
    return jnp.einsum("nhqk,nkhd->nqhd", scores, v).reshape(n, length, width) @ kernels[3]


def layer_norm(x: Any, scale: Any, bias: Any) -> Any:
    """Return what a layer normalization gives."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-6) * scale + bias


@case
def attention_layer(b: Builder) -> Made:
    kernels = tuple(b.weights(16, 16) for _ in range(4))
    return lambda x: attention(x, kernels, 4), (b.takes("x", "b", 8, 16),)


@case
def transformer_block(b: Builder) -> Made:
    kernels = tuple(b.weights(16, 16) for _ in range(4))
    first, second = b.weights(16, 32), b.weights(32, 16)
    norms = [(1 + b.weights(16, scale=0.1), b.weights(16, scale=0.1)) for _ in range(2)]

    def model(x: Any) -> Any:
        x = x + attention(layer_norm(x, *norms[0]), kernels, 2)
        return x + nn.gelu(layer_norm(x, *norms[1]) @ first) @ second

    return model, (b.takes("x", 1, 8, 16),)


@case
def dot_product_attention(b: Builder) -> Made:
    def model(q: Any, k: Any, v: Any) -> Any:
        return nn.dot_product_attention(q, k, v, is_causal=True)

    return model, tuple(b.takes(name, 1, 6, 2, 8) for name in "qkv")


@case
def softmax_layernorm(b: Builder) -> Made:
    scale, bias = 1 + b.weights(24, scale=0.1), b.weights(24, scale=0.1)
    return lambda x: nn.softmax(layer_norm(x, scale, bias), -1), (b.takes("x", "b", 24),)


def _recurrent(b: Builder, gates: int, step: Callable[..., Any], states: int) -> Made:
    taken, kept, bias = b.weights(4, gates * 8), b.weights(8, gates * 8), b.weights(gates * 8, scale=0.1)

    def model(x: Any) -> Any:
        begin = tuple(jnp.zeros((x.shape[0], 8), jnp.float32) for _ in range(states))
        _, outputs = lax.scan(lambda s, v: step(s, v, taken, kept, bias), begin, jnp.swapaxes(x, 0, 1))
        return jnp.swapaxes(outputs, 0, 1)

    return model, (b.takes("x", 1, 6, 4),)


@case
def gru(b: Builder) -> Made:
    def step(state: Any, x: Any, taken: Any, kept: Any, bias: Any) -> Any:
        (h,) = state
        (ri, zi, ni), (rh, zh, nh) = (jnp.split(p, 3, -1) for p in (x @ taken + bias, h @ kept))
        r, z = nn.sigmoid(ri + rh), nn.sigmoid(zi + zh)
        h = (1 - z) * jnp.tanh(ni + r * nh) + z * h
        return (h,), h

    return _recurrent(b, 3, step, 1)


@case
def lstm(b: Builder) -> Made:
    def step(state: Any, x: Any, taken: Any, kept: Any, bias: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x @ taken + h @ kept + bias, 4, -1)
        c = nn.sigmoid(f + 1) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return _recurrent(b, 4, step, 2)


@case
def embedding(b: Builder) -> Made:
    table, kernel = b.weights(50, 16, scale=1.0), b.weights(16, 4)
    tokens = b.takes("tokens", "b", 7, dtype=jnp.int32, high=50)
    return lambda tokens: nn.relu(table[tokens].mean(1)) @ kernel, (tokens,)


@case
def activations(b: Builder) -> Made:
    functions = (nn.relu, nn.relu6, nn.elu, nn.leaky_relu, nn.sigmoid, jnp.tanh, nn.softplus, nn.silu)
    functions = (*functions, nn.hard_swish, nn.hard_sigmoid, nn.selu, nn.mish)
    return lambda x: jnp.concatenate([f(x) for f in functions], -1), (b.takes("x", 1, 16),)


@case
def gelu(b: Builder) -> Made:
    def model(x: Any) -> Any:
        return jnp.concatenate([nn.gelu(x, approximate=way) for way in (True, False)], -1)

    return model, (b.takes("x", 1, 16),)


@case
def unary_operators(b: Builder) -> Made:
    def model(x: Any) -> Any:
        positive = jnp.abs(x) + 0.5
        parts = [
            jnp.exp(x),
            jnp.log(positive),
            jnp.sqrt(positive),
            lax.rsqrt(positive),
            jnp.sin(x),
            jnp.cos(x),
        ]
        parts += [jnp.floor(x), jnp.ceil(x), jnp.round(x), jnp.sign(x), x**2, 1 / positive, -x, lax.erf(x)]
        return jnp.concatenate(parts, -1)

    return model, (b.takes("x", 1, 12),)


@case
def reductions(b: Builder) -> Made:
    def model(x: Any) -> Any:
        parts = (x.sum(1), x.mean(1), x.max(1), x.min(1), x.std(1), jnp.linalg.norm(x, axis=1))
        return jnp.concatenate([*parts, nn.logsumexp(x, 1)], -1)

    return model, (b.takes("x", "b", 5, 6),)


@case
def several_outputs(b: Builder) -> Made:
    kernel, box = b.weights(8, 5), b.weights(8, 4)
    b.outputs = ["aux.0", "aux.1", "boxes", "classes"]

    def model(x: Any) -> Any:
        h = nn.relu(x)
        scores = h @ kernel
        return {"boxes": h @ box, "classes": jnp.argmax(scores, -1), "aux": (scores, h)}

    return model, (b.takes("x", "b", 8),)


@case
def inputs_of_a_tree(b: Builder) -> Made:
    kernel = b.weights(6, 4)
    b.outputs = ["output_0", "output_1"]
    batch = {
        "mask": b.takes("batch.mask", "b", 6, dtype=jnp.int32),
        "image": b.takes("batch.image", "b", 6),
    }
    state = [b.takes("state.0", "b", 4)]
    # The order of a dictionary in a pytree is that of its keys.
    b.names = ["batch.image", "batch.mask", "state.0"]

    def model(batch: Any, state: Any) -> Any:
        new = jnp.tanh((batch["image"] * batch["mask"]) @ kernel + state[0])
        return new, (new > 0).astype(jnp.int32)

    return model, (batch, state)


@case
def argmax_output(b: Builder) -> Made:
    kernel = b.weights(12, 6)
    b.outputs = ["output_0", "output_1"]
    return lambda x: (jnp.argmax(x @ kernel, -1), x @ kernel), (b.takes("x", "b", 12),)


@case
def batch_matmul(b: Builder) -> Made:
    return lambda left, right: left @ right, (b.takes("left", 1, 3, 4, 5), b.takes("right", 1, 3, 5, 2))


@case
def einsum(b: Builder) -> Made:
    kernel = b.weights(6, 2, 8)
    return lambda x: jnp.einsum("nti,iho->nhto", x, kernel), (b.takes("x", 1, 5, 6),)


@case
def gather_and_take(b: Builder) -> Made:
    indices = jnp.asarray(b.random.permutation(8)[:5])
    b.outputs = ["output_0", "output_1"]

    def model(x: Any, place: Any) -> Any:
        return jnp.take(x, indices, 2), jnp.take_along_axis(x, place, 1)

    return model, (b.takes("x", 1, 4, 8), b.takes("place", 1, 3, 8, dtype=jnp.int32, high=4))


@case
def slice_split_concat(b: Builder) -> Made:
    def model(x: Any) -> Any:
        one, two = jnp.split(x, 2, 1)
        return jnp.concatenate([two[:, ::-1], one[:, :, 1::2].repeat(2, 2)], 1)

    return model, (b.takes("x", 1, 6, 8),)


@case
def pads_of_three_kinds(b: Builder) -> Made:
    def model(x: Any) -> Any:
        kinds = ("constant", "edge", "reflect")
        return jnp.concatenate([jnp.pad(x, ((0, 0), (1, 2), (2, 0)), mode=kind) for kind in kinds], -1)

    return model, (b.takes("x", 1, 6, 6),)


@case
def where_and_compare(b: Builder) -> Made:
    def model(x: Any, y: Any) -> Any:
        return jnp.where((x > y) & (y != 0) | (x < -1), x, jnp.maximum(y, 0.25 * x))

    return model, (b.takes("x", 1, 9), b.takes("y", 1, 9))


@case
def top_k(b: Builder) -> Made:
    b.outputs = ["output_0", "output_1"]
    return lambda x: lax.top_k(x, 3), (b.takes("x", 1, 10),)


@case
def casts(b: Builder) -> Made:
    def model(x: Any, n: Any) -> Any:
        return (
            (x * 3).astype(jnp.int32).astype(jnp.float32)
            + n.astype(jnp.float32)
            + (x > 0).astype(jnp.float32)
        )

    return model, (b.takes("x", 1, 8), b.takes("n", 1, 8, dtype=jnp.int32, high=9))


@case
def one_hot_and_cumsum(b: Builder) -> Made:
    labels = b.takes("labels", 1, 5, dtype=jnp.int32, high=7)
    return lambda labels: jnp.cumsum(nn.one_hot(labels, 7), 1), (labels,)


@case
def sort(b: Builder) -> Made:
    return lambda x: jnp.sort(x, -1), (b.takes("x", 1, 12),)


@case
def branch(b: Builder) -> Made:
    def model(x: Any) -> Any:
        return lax.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - 1, x)

    return model, (b.takes("x", 1, 8),)


@case
def loop_until(b: Builder) -> Made:
    def model(x: Any) -> Any:
        return lax.while_loop(lambda v: jnp.abs(v).max() > 0.5, lambda v: v * 0.5, x)

    return model, (b.takes("x", 1, 6),)


@case
def open_length(b: Builder) -> Made:
    kernel = b.weights(6, 8)
    made = b.takes("x", "b", "t", 6)
    b.samples["x"] = b.random.standard_normal((SAMPLES, 9, 6)).astype(np.float32)
    return lambda x: nn.relu(x @ kernel).mean(1), (made,)


@case
def one_tensor_twice(b: Builder) -> Made:
    kernel = b.weights(6, 6)
    b.outputs = ["first", "second"]

    def model(x: Any) -> Any:
        y = nn.relu(x @ kernel)
        return {"first": y, "second": y}

    return model, (b.takes("x", 1, 6),)


@case
def passes_through(b: Builder) -> Made:
    b.outputs = ["same", "twice"]
    return lambda x: {"same": x, "twice": x * 2}, (b.takes("x", 1, 6),)


@case
def random_key_inside(b: Builder) -> Made:
    noise = jax.random.normal(jax.random.key(0), (8,))
    return lambda x: x + noise, (b.takes("x", 1, 8),)


def main() -> None:
    """Write the models."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or sorted(CASES):
        b = Builder(seed=sorted(CASES).index(name))
        model, specs = CASES[name](b)
        jitted = jax.jit(model)
        (folder / f"{name}.jax").write_bytes(export.export(jitted)(*specs).serialize())
        names = b.names or list(b.samples)
        tree = jax.tree.structure(specs)
        each = []
        for index in range(SAMPLES):
            leaves = [b.samples[key][index : index + 1] for key in names]
            each.append(
                [np.asarray(leaf) for leaf in jax.tree.leaves(jitted(*jax.tree.unflatten(tree, leaves)))]
            )
        stacked = [np.stack(values) for values in zip(*each, strict=True)]
        np.savez(folder / f"{name}.samples.npz", **b.samples)
        np.savez(folder / f"{name}.expected.npz", **dict(zip(b.outputs, stacked, strict=True)))


if __name__ == "__main__":
    main()
