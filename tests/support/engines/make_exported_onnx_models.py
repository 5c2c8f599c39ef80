"""Writes ONNX models as torch exports them, with samples and what torch itself computes for them.

``python make_exported_onnx_models.py FOLDER PACKAGES [NAME-EXPORTER ...]`` runs on the Python of the PyTorch
engine; ``PACKAGES`` is the ``site-packages`` of the ONNX engine, which has what torch's exporters need (onnx,
onnxscript). It uses nothing of the product. EXPORTER is ``dynamo`` (torch.export first) or ``trace`` (the one
before it, which records one run). For each there are ``.onnx``, ``.samples.npz`` (in the model's own layout)
and ``.expected.npz``, or ``.failed.txt`` with torch's reason where it exports nothing. Where onnxruntime
gives something else for the exported file than torch for the model, ``.differs.txt`` says by how much.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from make_pytorch_models import SAMPLES, Case, as_array, cases, drawn
from torch import nn

EXPORTERS: Final = ("dynamo", "trace")
SMALL: Final = (
    *("activations", "argmax_output", "attention", "attention_product", "choices", "cnn"),
    *("cnn_open_batch", "conv1d", "conv3d", "depthwise", "einsum", "embedding", "group_norm"),
    *("grouped_conv", "gru", "instance_norm", "layer_norm", "lstm", "lstm_two_ways", "mlp"),
    *("one_tensor_twice", "open_length", "pad_and_roll", "pixel_shuffle", "pools", "reductions"),
    *("residual_batchnorm", "segmentation", "several_outputs", "squeeze_excite", "transformer_block"),
    *("transposed_conv", "two_inputs_of_two_kinds", "upsample_bilinear", "upsample_nearest"),
    "vision_transformer",
)
LARGE: Final = "large_encoder"
_WIDTH: Final = 768
_SAME_DB: Final = 100.0
"""Signal-to-noise ratio in dB from which two files compute the same in float32."""


class Positional(nn.Module):
    """Layers, and a function that uses them; its inputs have places, for a trace knows no others."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(case.layers)
        self.call = case.forward

    def forward(self, *inputs: Any) -> Any:
        """Run the function on all inputs in order."""
        return self.call(self.layers, *inputs)


def large_encoder() -> Case:
    """Return two blocks as BERT has them, behind an embedding of 30,522 words: 151 MB of weights."""

    def forward(m: Any, ids: Any) -> Any:
        return m["head"](m["blocks"](m["table"](ids))[:, 0])

    block = nn.TransformerEncoderLayer(_WIDTH, 12, 4 * _WIDTH, batch_first=True, activation="gelu")
    layers = {
        "table": nn.Embedding(30522, _WIDTH),
        "blocks": nn.TransformerEncoder(block, 2, enable_nested_tensor=False),
        "head": nn.Linear(_WIDTH, 4),
    }
    return Case(forward, layers, {"ids": (1, 16)}, {"ids": 30522})


def write(path: Path, case: Case, exporter: str) -> None:
    """Export one model, and run it on samples, one at a time."""
    model = Positional(case).eval()
    samples = drawn(model, case, len(path.stem))
    rows: list[list[Any]] = []
    with torch.no_grad():
        for index in range(SAMPLES):
            result = model(*(values[index : index + 1] for values in samples.values()))
            rows.append([as_array(value) for value in torch.utils._pytree.tree_leaves(result)])
    names = [f"out_{place}" for place in range(len(rows[0]))]
    example = tuple(values[: case.batch] for values in samples.values())
    named: dict[str, Any] = {"input_names": list(samples), "output_names": names}
    try:
        torch.onnx.export(
            model, example, path, dynamo=exporter == "dynamo", verbose=False, **named, **_open(case, exporter)
        )
    except Exception as error:  # torch has no tree of its own; the table shows what it said
        # Long advice, then the summary, which begins with the first cause.
        cause = str(error).partition("## Exception summary")[2].strip() or str(error)
        line = cause.splitlines()[0].removeprefix("<class '").replace("'>:", ":")
        path.with_suffix(".failed.txt").write_text(line)
        path.unlink(missing_ok=True)
        return
    arrays = {key: values.numpy() for key, values in samples.items()}
    np.savez(path.with_suffix(".samples.npz"), **arrays)
    stacked = {each: np.stack(values) for each, values in zip(names, zip(*rows, strict=True), strict=True)}
    np.savez(path.with_suffix(".expected.npz"), **stacked)
    if (worst := _exporters_distance(path, arrays, stacked)) < _SAME_DB:
        path.with_suffix(".differs.txt").write_text(f"{worst:.0f} dB")


def _exporters_distance(path: Path, samples: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the signal-to-noise ratio in dB of onnxruntime on the exported file, the worst output's."""
    import onnxruntime  # the ONNX engine's, found since main

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = []
    for index in range(SAMPLES):
        feeds = {key: values[index : index + 1] for key, values in samples.items()}
        found.append(session.run(list(expected), feeds))
    distances = []
    for wanted, given in zip(expected.values(), zip(*found, strict=True), strict=True):
        noise = float(np.sum((wanted.astype(np.float64) - np.stack(given)) ** 2))
        signal = float(np.sum(wanted.astype(np.float64) ** 2))
        distances.append(np.inf if noise == 0 else 10 * np.log10(signal / noise))
    return min(distances)


def _open(case: Case, exporter: str) -> dict[str, Any]:
    """Return the sizes that stay open, as an exporter wants them told."""
    if case.open is None:
        return {}
    if exporter == "dynamo":
        return {"dynamic_shapes": (tuple(case.open.get(key, {}) for key in case.inputs),)}
    axes = {key: {axis: size.__name__ for axis, size in sizes.items()} for key, sizes in case.open.items()}
    return {"dynamic_axes": axes}


def main() -> None:
    """Write the models that are named, or all."""
    folder, packages, wanted = Path(sys.argv[1]), sys.argv[2], set(sys.argv[3:])
    sys.path.append(packages)  # behind torch's own: what both have is torch's
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    small = cases()
    for name in [*SMALL, LARGE]:
        for exporter in EXPORTERS:
            if not wanted or f"{name}-{exporter}" in wanted:
                case = large_encoder() if name == LARGE else small[name]
                write(folder / f"{name}-{exporter}.onnx", case, exporter)


if __name__ == "__main__":
    main()
