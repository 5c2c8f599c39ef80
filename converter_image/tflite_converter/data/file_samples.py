"""Samples for TFLite files that are looked at on their own: a data set's, or random ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array
from tflite_converter.data.binding import random_inputs
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.sampling import draw
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import is_tflite
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.names import tensor_info
from tflite_converter.tflite.types import TFLiteFile


@dataclass(frozen=True)
class Samples:
    """What files are run on."""

    arrays: dict[str, Array]
    """``{input: (n, ...)}``"""
    labels: Array | None
    class_names: tuple[str, ...]
    words: str
    """What they are, for a person."""


def read_tflite(path: Path) -> tuple[bytes, TFLiteFile]:
    """Read a TFLite file; return its bytes and their parsed form.

    Raises:
        ConverterError: SourceNotFound, UnsupportedFormat, UnreadableModel.

    """
    if not path.is_file():
        hint = "correct the path of the TFLite file"
        raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.LOAD, f"File not found: {path}", hint=hint)
    content = path.read_bytes()
    if not is_tflite(content[:8]):
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            f"{path.name} is not a TFLite file",
            hint="make one first: tflite-converter convert --model MODEL",
        )
    return content, read_file(content, path.name)


def samples_for(file: TFLiteFile, data: DataFiles | None, most: int, seed: int, folder: Path) -> Samples:
    """At most ``most`` samples that fit ``file``'s inputs; random ones where there is no data."""
    inputs = [
        tensor_info(
            named.name,
            [1 if i == 0 and size < 0 else size for i, size in enumerate(named.tensor.shape)],
            "float32" if named.tensor.is_quantized else named.tensor.dtype,
        )
        for named in file.inputs
    ]
    if data is None:
        count = min(most, 32)
        return Samples(random_inputs(inputs, count, seed), None, (), f"{count} random inputs")
    whole = load_dataset(data, Stage.EVALUATE, folder)
    chosen = whole.take(draw(whole.count, most, seed, whole.classes))
    saved = chosen.save(folder, "samples")
    bound = saved.bind(inputs, Stage.EVALUATE)
    is_input = saved.has_labels_for_input(bound)
    notes = f" ({'; '.join(whole.notes)})" if whole.notes else ""
    words = f"{chosen.count} samples of {whole.name}{notes}"
    return Samples(bound, None if is_input else chosen.labels, chosen.class_names, words)
