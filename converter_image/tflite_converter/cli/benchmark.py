"""``tflite-converter benchmark``: how fast TFLite files run here."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from pydantic import BeforeValidator, Field

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.boards import Accelerator
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import FileProfile, Taken
from modelconversion_api.reports.measurements import Performance
from modelconversion_api.spec import Benchmark, Threads
from tflite_converter.cli.flags import Group, Metavar
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import NO_BOARDS, PRINTED, File

if TYPE_CHECKING:  # numpy is not imported for --help
    from tflite_converter.arrays import NamedArrays

Found = TypeVar("Found", bound=ApiModel)


def _split(texts: list[str]) -> list[str]:
    return [part for text in texts for part in text.split(",")]


class BenchmarkArguments(ApiModel):
    """The files to measure, and on what."""

    files: Annotated[list[File], Field(min_length=1)]
    """TFLite files."""
    data: File | None = None
    """Samples to run on, .npy, .npz or .csv; random ones without."""
    threads: Annotated[list[Threads], BeforeValidator(_split), Metavar("NUMBERS")] = Field(default=[1])
    """Numbers of threads, e.g. 1,2,4; each file is measured with each of them."""
    accelerator: Accelerator = Accelerator.CPU
    """What runs the files: CPU, GPU (LiteRT's GPU accelerator, by the Vulkan driver of this machine) or
    EdgeTPU (libedgetpu.so.1, for a file that the Edge TPU compiler has made)."""
    profile: bool = False
    """Time each operator as well, with the first number of threads; on the CPU only."""


class Benchmarked(ApiModel):
    """What one file gave on one number of threads."""

    performance: Performance
    taken: Taken


_ARGUMENTS: Final = Group(BenchmarkArguments, names={"files": "FILES"})
_BENCHMARK: Final = Group(
    Benchmark,
    defaults={"runs": 100},
    by_hand=NO_BOARDS | {"threads": "here it takes several numbers"},
)
GROUPS: Final = (_ARGUMENTS, _BENCHMARK, PRINTED)
_OTHER_FILE: Final = "measure it where its operators and sizes are known, or give a file without them"


@takes(*GROUPS)
def benchmark(given: Given) -> None:
    """Measure latency, throughput, load time and memory of TFLite files.

    Times are those of invoke() alone on this machine: they compare files with
    each other, and are not your device's. With --accelerator GPU they hold the
    way of a sample to the device and back. Each file runs in a process of its
    own, without network and without access to other files.

    \b
    Examples:
      tflite-converter benchmark converted_models/*.tflite
      tflite-converter benchmark model_int8.tflite --threads 1,2,4 --runs 1000
      tflite-converter benchmark model_int8.tflite --profile
      tflite-converter benchmark model_float16.tflite --accelerator GPU
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for numpy and rich.
    from tflite_converter.console.performance import accelerator_line, performance_table, profile_table
    from tflite_converter.console.report import open_console, stream_fd
    from tflite_converter.data.file_samples import read_tflite
    from tflite_converter.errors import UsageError
    from tflite_converter.isolation.isolated import run_isolated
    from tflite_converter.verifying.drivers import devices_of, readable_for

    arguments, as_json = given.build(_ARGUMENTS), given.build(PRINTED).as_json
    options = [given.build(_BENCHMARK, threads=count) for count in arguments.threads]
    console = open_console(stream_fd(json=as_json))
    if arguments.profile and arguments.accelerator is not Accelerator.CPU:
        hint = "leave out --profile, or --accelerator"
        raise UsageError("--profile times what runs on the CPU", hint=hint)
    devices = devices_of(arguments.accelerator)
    system = list(readable_for(arguments.accelerator, os.environ))
    rows: list[tuple[str, int, Performance]] = []
    takings: dict[str, Taken] = {}
    profiles: dict[str, FileProfile] = {}
    for path in arguments.files:
        read_tflite(path)  # a wrong file ends the command before anything runs
        readable = [path] if arguments.data is None else [path, arguments.data]
        for option in options:
            measure = partial(_measure, path, arguments.data, option, arguments.accelerator)
            found = run_isolated(
                f"running {path.name}", Benchmarked, [*readable, *system], measure, devices=devices
            )
            rows.append((path.name, path.stat().st_size, found.performance))
            takings[path.name] = found.taken
        if arguments.profile:
            time_each = partial(_profile, path, arguments.data, options[0])
            profiles[path.name] = run_isolated(f"profiling {path.name}", FileProfile, readable, time_each)
    if as_json:
        document = [
            {"file": n, "sizeBytes": s, "performance": p.to_wire()}
            | (profiles[n].to_wire() if n in profiles else {})
            | ({"accelerator": takings[n].to_wire()} if takings[n].device else {})
            for n, s, p in rows
        ]
        sys.stdout.write(f"{json.dumps(document, indent=2)}\n")
    else:
        console.print(performance_table(rows))
        for name, taken in takings.items():
            if taken.device:
                console.print(accelerator_line(name, taken))
        for name, profiled in profiles.items():
            console.print(profile_table(name, profiled.operators))


def _measure(path: Path, data: Path | None, options: Benchmark, accelerator: Accelerator) -> Benchmarked:
    from tflite_converter.measuring.evaluation import measure_performance
    from tflite_converter.verifying.accelerators import ON_MACHINE, AcceleratedLoad

    load = AcceleratedLoad(accelerator, Stage.EVALUATE, ON_MACHINE)

    def measured(content: bytes, samples: NamedArrays) -> Benchmarked:
        performance = measure_performance(content, samples, options, load)
        return Benchmarked(performance=performance, taken=load.taken)

    return _on_samples(path, data, measured)


def _profile(path: Path, data: Path | None, options: Benchmark) -> FileProfile:
    from tflite_converter.measuring.profile import profile

    def timed(content: bytes, samples: NamedArrays) -> FileProfile:
        first = {name: array[:1] for name, array in samples.items()}
        return FileProfile(operators=profile(content, first, threads=options.threads, runs=options.runs))

    return _on_samples(path, data, timed)


def _on_samples(path: Path, data: Path | None, run: Callable[[bytes, NamedArrays], Found]) -> Found:
    """Run a file on the samples ``{input: (n, ...)}`` of ``data``, or on random ones."""
    from tflite_converter.data.file_samples import read_tflite, samples_for
    from tflite_converter.data.files import DataFiles
    from tflite_converter.errors import ConverterError, first_line
    from tflite_converter.tflite.file import inventory

    content, file = read_tflite(path)
    with tempfile.TemporaryDirectory() as folder:
        samples = samples_for(file, None if data is None else DataFiles(data), 32, 0, Path(folder))
    try:
        return run(content, samples.arrays)
    except (RuntimeError, ValueError, KeyError) as error:
        flex = inventory(file).flex_operators
        why = f"it has operators of TensorFlow: {', '.join(flex)}" if flex else first_line(error)
        hint = "convert the model without --select-tf-ops" if flex else _OTHER_FILE
        cause = f"{path.name} does not run here: {why}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause, hint=hint) from error
