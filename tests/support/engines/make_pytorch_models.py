"""Writes exported PyTorch models with samples, and what torch itself computes for them.

``python make_pytorch_models.py FOLDER [NAME ...]`` runs on the Python of the PyTorch engine, and uses nothing
of the product. For each ``NAME`` there are ``.pt2``, ``.samples.npz`` (in the model's own layout) and
``.expected.npz``, whose outputs are called as the export calls them.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

SAMPLES = 48
Forward = Callable[..., Any]


@dataclass
class Case:
    """A model, and what it takes."""

    forward: Forward
    """Takes the module with the layers, and the inputs."""
    layers: dict[str, nn.Module]
    inputs: dict[str, tuple[int, ...]]
    """Shapes of one sample, the batch of 1 first."""
    highest: dict[str, int] = field(default_factory=dict)
    """Inputs of whole numbers, and what they stay below."""
    dtype: Any = torch.float32
    batch: int = 1
    """Samples of the example that the model is exported with."""
    open: dict[str, dict[int, Any]] | None = None
    """Sizes that the model leaves open."""


class Model(nn.Module):
    """Layers, and a function that uses them; its inputs are those of the function."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(case.layers)
        self.call = case.forward

    def forward(self, **inputs: Any) -> Any:
        """Run the function on all inputs by name."""
        return self.call(self.layers, **inputs)


def conv(channels: int, out: int, size: int = 3, **more: Any) -> nn.Module:
    return nn.Conv2d(channels, out, size, **({"padding": size // 2} | more))


def cnn_layers() -> dict[str, nn.Module]:
    body = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 16, stride=2), nn.ReLU()
    )
    return {"body": body, "head": nn.Linear(16, 10)}


def cnn(m: Any, image: Any) -> Any:
    return m["head"](m["body"](image).mean((2, 3)))


def residual(m: Any, image: Any) -> Any:
    x = F.relu(m["n1"](m["c1"](image)))
    return m["head"](F.relu(x + m["n2"](m["c2"](x))).mean((2, 3)))


def unet(m: Any, image: Any) -> Any:
    down = F.relu(m["down"](image))
    up = F.interpolate(F.relu(m["mid"](down)), scale_factor=2.0, mode="nearest")
    return m["out"](torch.cat([up, image], 1)).softmax(1)


def squeeze(m: Any, image: Any) -> Any:
    x = F.hardswish(m["c"](image))
    scale = F.hardsigmoid(m["up"](F.relu(m["down"](F.adaptive_avg_pool2d(x, 1)))))
    return m["head"]((x * scale).mean((2, 3)))


def several(m: Any, image: Any) -> Any:
    x = F.relu(m["c"](image))
    return {
        "map": m["map"](x),
        "score": m["score"](x.mean((2, 3))),
        "box": (m["box"](x.flatten(1)).sigmoid(),),
    }


def attention(m: Any, tokens: Any) -> Any:
    return m["norm"](tokens + m["attention"](tokens, tokens, tokens, need_weights=False)[0])


def product(m: Any, q: Any, k: Any) -> Any:
    return F.scaled_dot_product_attention(m["q"](q), m["k"](k), k)


def embedding(m: Any, ids: Any) -> Any:
    return m["out"](m["table"](ids).mean(1))


def two_kinds(m: Any, ids: Any, weights: Any) -> Any:
    return m["out"]((m["table"](ids) * weights.unsqueeze(-1)).sum(1))


def activations(_m: Any, x: Any) -> Any:
    names = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "softplus", "tanh")
    return torch.cat([getattr(F, name)(x) for name in names], 1)


def pools(_m: Any, image: Any) -> Any:
    pooled = [F.max_pool2d(image, 2), F.avg_pool2d(image, 2), F.adaptive_avg_pool2d(image, 4)]
    return torch.cat(pooled, 1)


def patches(m: Any, image: Any) -> Any:
    x = m["patch"](image).flatten(2).transpose(1, 2) + m["place"].weight
    return m["head"](m["block"](x)[:, 0])


def shifted(m: Any, image: Any) -> Any:
    rolled = torch.roll(image, (2, -3), (2, 3))
    return m["c"](F.pad(rolled, (1, 2, 2, 1), mode="reflect"))


def reductions(_m: Any, x: Any) -> Any:
    return torch.stack([x.sum(-1), x.mean(-1), x.amax(-1), x.std(-1), x.norm(dim=-1), x.logsumexp(-1)], -1)


def choices(_m: Any, x: Any) -> Any:
    values, places = torch.topk(x, 3)
    return torch.where(x > 0.1, x, x * 0.5), values, places


def best(m: Any, image: Any) -> Any:
    return m["c"](image).argmax(1)


def simple(layer: str) -> Forward:
    def forward(m: Any, x: Any) -> Any:
        result = m[layer](x)
        return result[0] if isinstance(result, tuple) else result

    return forward


def image_layer(layer: nn.Module, channels: int = 4, side: int = 8) -> Case:
    def forward(m: Any, image: Any) -> Any:
        return m["layer"](image)

    return Case(forward, {"layer": layer}, {"image": (1, channels, side, side)})


def row_layer(layer: nn.Module, *shape: int) -> Case:
    return Case(simple("layer"), {"layer": layer}, {"x": (1, *shape)})


def image_case(forward: Forward, side: int = 8, **layers: nn.Module) -> Case:
    return Case(forward, layers, {"image": (1, 3, side, side)})


def cases() -> dict[str, Case]:
    """Return all models; their weights are random."""
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=2, max=64)
    heads = nn.MultiheadAttention(16, 4, batch_first=True)
    encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    rows = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 5), nn.Softmax(-1))
    halves = {"body": conv(3, 4), "head": nn.Linear(4, 3)}
    vision = {"patch": nn.Conv2d(3, 16, 4, 4), "place": nn.Embedding(16, 16), "head": nn.Linear(16, 5)}
    return {
        "cnn": Case(cnn, cnn_layers(), {"image": (1, 3, 16, 16)}),
        "cnn_open_batch": Case(
            cnn, cnn_layers(), {"image": (1, 3, 16, 16)}, batch=2, open={"image": {0: batch}}
        ),
        "cnn_batch_of_four": Case(cnn, cnn_layers(), {"image": (1, 3, 16, 16)}, batch=4),
        "cnn_float16": Case(cnn, copy.deepcopy(halves), {"image": (1, 3, 8, 8)}, dtype=torch.float16),
        "cnn_bfloat16": Case(cnn, copy.deepcopy(halves), {"image": (1, 3, 8, 8)}, dtype=torch.bfloat16),
        "cnn_float64": Case(cnn, copy.deepcopy(halves), {"image": (1, 3, 8, 8)}, dtype=torch.float64),
        "residual_batchnorm": image_case(
            residual,
            c1=conv(3, 8),
            n1=nn.BatchNorm2d(8),
            c2=conv(8, 8),
            n2=nn.BatchNorm2d(8),
            head=nn.Linear(8, 4),
        ),
        "depthwise": image_layer(
            nn.Sequential(conv(4, 4, groups=4), nn.ReLU6(), conv(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU6())
        ),
        "grouped_conv": image_layer(conv(4, 8, groups=2)),
        "dilated_conv": image_layer(conv(4, 6, padding=2, dilation=2)),
        "transposed_conv": image_layer(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)),
        "conv3d": Case(
            lambda m, volume: m["c"](volume),
            {"c": nn.Conv3d(2, 4, 3, padding=1)},
            {"volume": (1, 2, 6, 6, 6)},
        ),
        "conv1d": row_layer(
            nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 4, 3)),
            4,
            20,
        ),
        "segmentation": image_case(unet, down=conv(3, 8, stride=2), mid=conv(8, 8), out=conv(11, 4)),
        "squeeze_excite": image_case(
            squeeze, c=conv(3, 8), down=conv(8, 4, 1), up=conv(4, 8, 1), head=nn.Linear(8, 4)
        ),
        "pools": Case(pools, {}, {"image": (1, 4, 8, 8)}),
        "upsample_nearest": image_layer(nn.Sequential(nn.Upsample(scale_factor=2), conv(4, 4))),
        "upsample_bilinear": image_layer(
            nn.Sequential(conv(4, 4), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        ),
        "pixel_shuffle": image_layer(nn.Sequential(conv(4, 8), nn.PixelShuffle(2))),
        "group_norm": image_layer(nn.Sequential(conv(4, 8), nn.GroupNorm(2, 8), nn.SiLU())),
        "instance_norm": image_layer(nn.Sequential(conv(4, 8), nn.InstanceNorm2d(8, affine=True))),
        "pad_and_roll": image_case(shifted, c=conv(3, 4)),
        "argmax_output": image_case(best, c=conv(3, 4)),
        "several_outputs": image_case(
            several, c=conv(3, 8), map=conv(8, 2), score=nn.Linear(8, 3), box=nn.Linear(512, 4)
        ),
        "one_tensor_twice": Case(lambda m, x: (y := m["l"](x), x, y), {"l": nn.Linear(6, 6)}, {"x": (1, 6)}),
        "mlp": Case(simple("rows"), {"rows": rows}, {"x": (1, 12)}),
        "layer_norm": row_layer(nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 8), nn.GELU()), 6, 16),
        "lstm": row_layer(nn.LSTM(8, 12, batch_first=True), 10, 8),
        "lstm_two_ways": row_layer(nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True), 6, 8),
        "gru": row_layer(nn.GRU(8, 12, batch_first=True), 10, 8),
        "attention": Case(attention, {"attention": heads, "norm": nn.LayerNorm(16)}, {"tokens": (1, 7, 16)}),
        "attention_product": Case(
            product, {"q": nn.Linear(8, 8), "k": nn.Linear(8, 8)}, {"q": (1, 5, 8), "k": (1, 6, 8)}
        ),
        "transformer_block": row_layer(encoder, 7, 16),
        "vision_transformer": Case(
            patches,
            vision | {"block": nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)},
            {"image": (1, 3, 16, 16)},
        ),
        "embedding": Case(
            embedding,
            {"table": nn.Embedding(20, 8), "out": nn.Linear(8, 4)},
            {"ids": (1, 9)},
            {"ids": 20},
        ),
        "two_inputs_of_two_kinds": Case(
            two_kinds,
            {"table": nn.Embedding(20, 8), "out": nn.Linear(8, 4)},
            {"ids": (1, 9), "weights": (1, 9)},
            {"ids": 20},
        ),
        "open_length": Case(
            simple("layer"),
            {"layer": nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 2, 1))},
            {"x": (1, 4, 20)},
            batch=2,
            open={"x": {0: batch, 2: length}},
        ),
        "activations": Case(activations, {}, {"x": (1, 4, 10)}),
        "reductions": Case(reductions, {}, {"x": (1, 4, 10)}),
        "choices": Case(choices, {}, {"x": (1, 10)}),
        "einsum": Case(
            lambda m, a, b: torch.einsum("bij,bjk->bik", m["l"](a), b),
            {"l": nn.Linear(6, 5)},
            {"a": (1, 4, 6), "b": (1, 5, 3)},
        ),
    }


def drawn(model: nn.Module, case: Case, seed: int) -> dict[str, Any]:
    """Draw what batch norms have seen, which is nothing otherwise; return samples."""
    generator = torch.Generator().manual_seed(seed)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return {
        key: torch.randint(0, case.highest[key], (SAMPLES, *shape[1:]), generator=generator)
        if key in case.highest
        else torch.randn((SAMPLES, *shape[1:]), generator=generator)
        for key, shape in case.inputs.items()
    }


def write(folder: Path, name: str, case: Case) -> None:
    """Export one model, and run it on samples, one at a time."""
    model = Model(case).eval().to(case.dtype)
    samples = drawn(model, case, len(name))
    typed = {key: v.to(case.dtype) if v.is_floating_point() else v for key, v in samples.items()}
    example = {key: values[: case.batch] for key, values in typed.items()}
    exported = torch.export.export(model, (), example, dynamic_shapes=_shapes(case))
    torch.export.save(exported, folder / f"{name}.pt2")
    rows: list[list[Any]] = []
    with torch.no_grad():
        for index in range(SAMPLES):
            result = model(**{key: values[index : index + 1] for key, values in typed.items()})
            rows.append([as_array(value) for value in torch.utils._pytree.tree_leaves(result)])
    given = [*exported.graph_signature.user_inputs, *exported.graph_signature.user_outputs]
    firsts = len(exported.graph_signature.user_inputs)
    # What comes a second time, as an input or an output before, has a number.
    counts = [given[: place + 1].count(each) for place, each in enumerate(given)]
    names = [each if n == 1 else f"{each}_{n}" for each, n in zip(given, counts, strict=True)][firsts:]
    np.savez(folder / f"{name}.samples.npz", **{key: values.numpy() for key, values in samples.items()})
    stacked = {each: np.stack(values) for each, values in zip(names, zip(*rows, strict=True), strict=True)}
    np.savez(folder / f"{name}.expected.npz", **stacked)


def _shapes(case: Case) -> Any:
    if case.open is None:
        return None
    return {"inputs": {key: case.open.get(key, {}) for key in case.inputs}}


def as_array(value: Any) -> Any:
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()


def main() -> None:
    """Write the models that are named, or all."""
    folder, wanted = Path(sys.argv[1]), set(sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name, case in cases().items():
        if not wanted or name in wanted:
            write(folder, name, case)


if __name__ == "__main__":
    main()
