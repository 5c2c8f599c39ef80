"""Our pruning and quantization-aware training against the usual toolkit, on one Keras 2 model.

``python tests/benchmarks/training/training_toolkit.py --toolkit PYTHON``

PYTHON is the interpreter of an environment with the toolkit, which wants older packages than ours::

    uv venv toolkit --python 3.11
    uv pip install --python toolkit/bin/python tensorflow-model-optimization==0.8.1 tensorflow-cpu==2.21.0

The model is the small convolutional one of ``training_models.py``, built by Keras 2, on scikit-learn's
digits. Both train on the same samples for as many epochs, with the same highest learning rates; ours holds a
tenth of them out to choose the best epoch, and learns from the original as well as from the labels. Both int8
files are measured here, by LiteRT, on the 600 test samples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from training_gains import VARIANTS, rows_of
from training_models import PROJECT, Case, digit_sets, digits

from modelconversion_api.text import human_latency, human_size
from tflite_converter.conversion.training import share_of_zeros
from tflite_converter.tflite.runtime import TFLiteModel

CHILD = Path(__file__).with_name("training_toolkit_child.py")
COMPARED = ("quantization-aware", "pruned 50 %", "pruned 80 %")


def toolkit_rows(python: Path, case: Case, folder: Path) -> tuple[dict[str, list[str]], str]:
    """Cells by variant, and what the toolkit says of a Keras 3 model."""
    sets = digit_sets()
    np.savez(
        folder / "data.npz",
        train=sets["train"][0],
        labels=sets["train"][1],
        calibration=sets["calibration"][0],
    )
    arguments = [case.model, folder / "data.npz", folder, json.dumps(case.epochs)]
    done = subprocess.run([python, CHILD, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the toolkit ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer = json.loads((folder / "answer.json").read_text())
    cells = {
        name: measured((folder / f"{name}.tflite").read_bytes(), sets["test"], answer["seconds"][name])
        for name in COMPARED
    }
    return cells, answer["keras3"]


def measured(content: bytes, test: tuple[Any, Any], seconds: float) -> list[str]:
    """Accuracy, size, compressed size, zeros, latency, time."""
    model = TFLiteModel(content)
    samples = {model.inputs[0].name: test[0]}
    (outputs,) = model.run_each(samples, lambda _done: None).values()
    latency = model.benchmark({name: array[:1] for name, array in samples.items()}, 200)
    zeros = share_of_zeros(content, "toolkit")
    return [
        f"{float((outputs.argmax(axis=1) == test[1]).mean()):.1%}",
        human_size(len(content)),
        human_size(len(zlib.compress(content, 9))),
        "" if zeros is None else f"{zeros:.0%}",
        human_latency(latency.median_millis),
        f"{seconds:.0f} s",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toolkit", type=Path, required=True, help="Python of the toolkit's environment")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import tf_keras

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = digits(folder, PROJECT, tf_keras)
        ours = rows_of(case, folder, {name: VARIANTS[name] for name in COMPARED})
        theirs, refusal = toolkit_rows(arguments.toolkit.absolute(), case, folder)
    lines = [
        "| int8 file | by | accuracy | size | compressed | zeros | latency | training |",
        f"|{' --- |' * 8}",
    ]
    for row in ours:
        found = row.found
        cells = [
            "" if found.accuracy is None else f"{found.accuracy:.1%}",
            human_size(found.size_bytes),
            human_size(found.compressed_bytes),
            "" if found.sparsity is None else f"{found.sparsity:.0%}",
            "" if found.latency_millis is None else human_latency(found.latency_millis),
            "" if row.seconds is None else f"{row.seconds:.0f} s",
        ]
        lines.append(f"| {row.name} | this converter | {' | '.join(cells)} |")
        if row.name in theirs:
            lines.append(f"| {row.name} | toolkit 0.8.1 | {' | '.join(theirs[row.name])} |")
    sys.stdout.write("\n".join([*lines, "", f"The toolkit on a Keras 3 model: {refusal}", ""]))


if __name__ == "__main__":
    main()
