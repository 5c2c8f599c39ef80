"""Is Keras on JAX a cheaper front half than TensorFlow? Measures both on Keras files of the table of sources.

``python tests/benchmarks/sources/keras_by_jax.py [--writers 2.15.1,2.21.0] [--markdown FILE]``

Each ``.keras`` and ``.h5`` file of :mod:`source_plan` that is to convert, as the writers that this machine
has write it, and a MobileNetV2 for a usual size, goes twice from the file to a float TFLite file and to what
the original computes for the recorded inputs: by Keras 3 on JAX and the JAX engine's converter, and by the
steps that this project's child with TensorFlow takes. Each way is a process of its own, whose processor time
and peak of memory are the kernel's. Files are compared with the writer's own outputs, on LiteRT.
With DRAW_WEIGHTS=1 in the environment Keras on JAX draws weights that the file then replaces, as it always
does by itself.

The environment with Keras, JAX and litert-converter is made for this alone, in the cache; nothing of the
product has it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from source_plan import cases, names
from source_writers import WRITERS, NotAvailableError, find_python, uv_program, write
from written_sources import Recorded, closeness

from devcluster.cache import cache_dir

REPOSITORY: Final = Path(__file__).resolve().parents[3]
ENGINES: Final = REPOSITORY / "converter_image"
HERE: Final = Path(__file__).parent
PACKAGES: Final = ("keras==3.15.1", "h5py==3.15.1")
TITLES: Final = (
    *("writer", "source", "by JAX", "SNR", "time", "memory"),
    *("by TensorFlow", "SNR", "time", "memory"),
)
_DEEP_DB: Final = 60.0
"""What a net of fifty layers reaches whose weights are drawn: rounding adds up, by whatever way."""


@dataclass(frozen=True)
class Way:
    """What became of one file on one way."""

    fault: str
    """Why there is no file, or what is wrong with it; empty where it is right."""
    snr_db: float | None
    processor_seconds: float
    peak_bytes: int

    def cells(self) -> tuple[str, ...]:
        """Return four cells of the table."""
        word = "works" if not self.fault else "fails" if self.snr_db is None else "differs"
        snr = "" if self.snr_db is None else f"{self.snr_db:.0f} dB"
        return (word, snr, f"{self.processor_seconds:.1f} s", f"{self.peak_bytes / 1e6:.0f} MB")


@dataclass(frozen=True)
class Row:
    """One file on both ways."""

    writer: str
    source: str
    jax: Way
    tensorflow: Way

    def line(self) -> str:
        """Return the row of the table."""
        cells = (self.writer, f"`{self.source}`", *self.jax.cells(), *self.tensorflow.cells())
        return f"| {' | '.join(cells)} |"


def environment() -> Path:
    """Return the Python with the JAX engine's packages and Keras; made once."""
    folder = cache_dir() / "keras-by-jax"
    python, stamp = folder / "bin/python", folder / "complete"
    requirements = ENGINES / "engines/jax/requirements.txt"
    wanted = requirements.read_text() + "\n".join(PACKAGES)
    if not stamp.is_file() or stamp.read_text() != wanted:
        uv = uv_program()
        base = next(filter(None, (find_python(version, uv) for version in ("3.12", "3.13"))), None)
        if base is None:
            raise SystemExit("there is no Python 3.12 or 3.13, which JAX and litert-converter need")
        # --no-deps: the lock has them all, and says better than the packages what goes together.
        commands = (
            [uv, "venv", "--quiet", "--clear", "--python", base, folder],
            [uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "-r", requirements],
            [uv, "pip", "install", "--quiet", "--python", python, *PACKAGES],
        )
        for command in commands:
            subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return python


def measured(command: Sequence[str | Path], folder: Path, recorded: Recorded, at_least_db: float) -> Way:
    """Run one way in a process of its own, and hold its file against the writer's outputs."""
    sources = [ENGINES, ENGINES / "engines/jax"]
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    if (failed := folder / "failed.txt").is_file():
        return Way(failed.read_text(), None, seconds, peak)
    if process.returncode:
        return Way(f"ended with {process.returncode}", None, seconds, peak)
    try:
        found = closeness(folder / "float.tflite", recorded)
    except (KeyError, ValueError, RuntimeError) as error:
        return Way(f"its file cannot be compared: {error!r}", None, seconds, peak)
    fault = "" if found.snr_db >= at_least_db else f"{found.snr_db:.0f} dB from the writer's outputs"
    return Way(fault, found.snr_db, seconds, peak)


def both(python: Path, writer: str, source: Path, recorded: Recorded, at_least_db: float) -> Row:
    """Return the row of one file."""
    ways = []
    for program, by in (("keras_by_jax_child.py", python), ("keras_by_tensorflow_child.py", sys.executable)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            inputs = recorded.save_inputs(folder / "inputs.npz")
            command = [by, "-W", "ignore", HERE / program, source, inputs, folder]
            ways.append(measured(command, folder, recorded, at_least_db))
    return Row(writer, source.name, *ways)


def rows(python: Path, versions: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of all writers, and of the larger model."""
    for writer in WRITERS:
        if versions and writer.version not in versions:
            continue
        try:
            library = write(writer, list(names(writer.version)), _say)
        except NotAvailableError as error:
            _say(f"TensorFlow {writer.version} is not available here: {error}")
            continue
        wanted = {
            case.name: case.min_snr_db
            for case in cases(writer.version)
            if case.suffix.endswith(("h5", "keras")) and case.refused is None
        }
        for name, at_least_db in wanted.items():
            if name not in library.failed and (path := library.recorded(name)).is_file():
                yield both(python, writer.version, library.folder / name, Recorded.read(path), at_least_db)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "mobilenet_v2.keras"
        program = HERE / "keras_by_jax_child.py"
        subprocess.run([python, "-W", "ignore", program, "--write", path], check=True)
        yield both(python, "Keras 3.15.1", path, Recorded.read(path.with_suffix(".npz")), _DEEP_DB)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def summary(found: Sequence[Row]) -> list[str]:
    """Return how many work on each way, and what those cost that work on both."""
    by_jax, by_tensorflow = (sum(not way.fault for way in ways) for ways in _ways(found))
    lines = [f"Of {len(found)} files {by_jax} work by JAX and {by_tensorflow} by TensorFlow.", ""]
    shared = [row for row in found if not row.jax.fault and not row.tensorflow.fault]
    for title, ways in zip(("JAX", "TensorFlow"), _ways(shared), strict=True):
        if not ways:
            continue
        seconds = median(way.processor_seconds for way in ways)
        peak = median(way.peak_bytes for way in ways) / 1e6
        lines.append(
            f"- {title}, median of the {len(shared)} that work on both: {seconds:.1f} s, {peak:.0f} MB"
        )
    faults = [(row, " ".join(row.jax.fault.split())) for row in found if row.jax.fault]
    told = [f"- `{row.source}` of {row.writer}: {fault[:160]}" for row, fault in faults]
    return [*lines, "", "What JAX does not do:", "", *told]


def _ways(found: Sequence[Row]) -> tuple[list[Way], list[Way]]:
    return [row.jax for row in found], [row.tensorflow for row in found]


def main() -> None:
    """Print rows as they come, then all of it, into a file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", default="", help="versions with commas between them; all otherwise")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    found = []
    for row in rows(environment(), [v for v in arguments.writers.split(",") if v]):
        found.append(row)
        _say(f"{row.line()} {row.jax.fault[:100]!r} {row.tensorflow.fault[:100]!r}")
    head = [f"| {' | '.join(TITLES)} |", f"| {' | '.join(['---'] * len(TITLES))} |"]
    text = "\n".join([*head, *(row.line() for row in found), "", *summary(found), ""])
    if arguments.markdown is None:
        sys.stdout.write(text)
    else:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
