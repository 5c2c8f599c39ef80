"""``tflite-converter compare``: how far one TFLite file does what another does."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images
from modelconversion_api.spec import Benchmark
from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import (
    AUDIO_NAMES,
    DETECTION,
    NO_BOARDS,
    PRINTED,
    ComparisonFiles,
    Draws,
    File,
)


class CompareArguments(ApiModel):
    """The files to compare."""

    a: File
    """The TFLite file to go by."""
    b: File
    """The TFLite file to judge."""


_ARGUMENTS: Final = Group(CompareArguments, names={"a": "A", "b": "B"})
_DATA: Final = Group(
    ComparisonFiles,
    names={"uri": "--data", "labels_uri": "--labels"},
    by_hand=dict.fromkeys(
        ("max_accuracy_drop", "min_accuracy", "min_agreement", "max_size_bytes", "max_latency_millis"),
        "a comparison has no gates",
    ),
)
_IMAGES: Final = Group(Images, prefix="image-", asked_by=("--data",))
_AUDIO: Final = Group(Audio, prefix="audio-", names=AUDIO_NAMES, asked_by=("--data",))
_DRAWS: Final = Group(Draws)
_BENCHMARK: Final = Group(
    Benchmark,
    by_hand=NO_BOARDS | dict.fromkeys(("runs", "batch_size"), "a comparison shows one short measurement"),
)
GROUPS: Final = (_ARGUMENTS, _DATA, _IMAGES, _AUDIO, DETECTION, _DRAWS, _BENCHMARK, PRINTED)


@takes(*GROUPS)
def compare(given: Given) -> None:
    """Compare two TFLite files: size, latency, agreement, error, accuracy.

    B is measured against A on the same samples, each in a process without
    network and without access to other files.

    \b
    Examples:
      tflite-converter compare model_float32.tflite model_int8.tflite --data test.npy
      tflite-converter compare old.tflite new.tflite --data photos/ --image-scaling ZeroToOne
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for numpy and rich.
    from tflite_converter.cli.data import data_files, decoding_of, detection_of
    from tflite_converter.console.performance import comparison_table
    from tflite_converter.console.report import open_console, stream_fd
    from tflite_converter.data.file_samples import read_tflite
    from tflite_converter.isolation.isolated import run_isolated
    from tflite_converter.measuring.comparison import Comparison, compare_files
    from tflite_converter.measuring.grounding import Told

    paths, data = given.build(_ARGUMENTS), given.build(_DATA)
    detection = detection_of(given, data)
    files = data_files(data, decoding_of(given), task=data.task, detection=detection)
    told = Told(data.task, detection, data.ignore_label)
    seed, threads = given.build(_DRAWS).seed, given.build(_BENCHMARK).threads
    as_json = given.build(PRINTED).as_json
    console = open_console(stream_fd(json=as_json))
    for path in (paths.a, paths.b):
        read_tflite(path)  # a wrong file ends the command before anything runs

    def work() -> Comparison:
        with tempfile.TemporaryDirectory() as folder:
            return compare_files(paths.a, paths.b, files, told, data.samples, seed, threads, Path(folder))

    named = (files.path, files.labels) if files is not None else ()
    readable = [path for path in (paths.a, paths.b, *named) if path is not None]
    comparison = run_isolated(f"running {paths.a.name} and {paths.b.name}", Comparison, readable, work)
    if as_json:
        sys.stdout.write(f"{comparison.to_json(indent=2)}\n")
    else:
        console.print(comparison_table(comparison.a, comparison.b))
        metric = comparison.agreement_metric.value
        console.print(f"{comparison.task.value}, compared on {comparison.samples}; agreement by {metric}")
