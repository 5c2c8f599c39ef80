"""A process that dies while it makes or measures one file, and a conversion that is told to stop.

The source is a TFLite file: no test waits for TensorFlow.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import Benchmark
from support.converter.converting import SCRIPTS, convert_into
from support.converter.tiny_tflite import write_tiny_tflite
from tflite_converter.conversion import pipeline
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import machine
from tflite_converter.progress import Event

SLOW = Benchmark(runs=4000, batch_size=1)
"""On :func:`slow_source`: a second for each method, and so time to strike."""


@pytest.fixture(scope="module")
def slow_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_tflite(tmp_path_factory.mktemp("slow") / "slow.tflite", (1, 300_000))


def family(word: str) -> dict[int, int]:
    """The running processes with ``word`` on their command line, and their parents."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if word.encode() in command and state not in "ZX":
            found[int(entry.name)] = int(parent)
    return found


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has one fork at work at a time, so that a blow hits the one that is meant."""
    monkeypatch.setattr(machine, "processors", lambda: 1)


class Striker:
    """A listener that kills the fork at work as soon as it says what it is at."""

    def __init__(self, folder: Path, blows: dict[str, signal.Signals]) -> None:
        self._folder = folder
        self._blows = blows

    def __call__(self, event: Event) -> None:
        if (number := self._blows.pop(event.text, None)) is not None:
            members = family(str(self._folder))
            (fork,) = [pid for pid, parent in members.items() if parent in members]
            os.kill(fork, number)


@pytest.mark.usefixtures("one_at_a_time")
def test_a_death_costs_its_method_only(slow_source: Path, tmp_path: Path) -> None:
    blows = {
        "timing float32": signal.SIGSEGV,
        "making dynamic_range": signal.SIGABRT,
    }
    found = convert_into(
        tmp_path / "out",
        slow_source,
        Method.FLOAT32,
        Method.DYNAMIC_RANGE,
        Method.FLOAT16,
        benchmark=SLOW,
        listener=Striker(tmp_path, blows),
    )
    assert [a.method for a in found.report.artifacts] == [Method.FLOAT16]
    assert {p.name for p in found.output.iterdir()} == {"model_float16.tflite", "model_float16.graph.json"}
    failed = {f.method: f for f in found.report.failed_methods}
    assert {m: f.reason for m, f in failed.items()} == dict.fromkeys(
        (Method.FLOAT32, Method.DYNAMIC_RANGE), FailureReason.CONVERTER_CRASHED
    )
    assert "died of SIGSEGV while timing float32" in failed[Method.FLOAT32].message
    assert "died of SIGABRT while making dynamic_range" in failed[Method.DYNAMIC_RANGE].message
    assert any("dynamic_range was not made" in warning for warning in found.report.warnings)


def _grow(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(3 << 30)


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is not the file that was measured"),
        (lambda path: path.write_bytes(b"TFL3"), "is not the file that was measured"),
        (
            lambda path: path.unlink() or path.symlink_to("/etc/hostname"),
            "cannot be opened as a regular file",
        ),
        (lambda path: path.unlink() or os.mkfifo(path), "is not a regular file"),
        (lambda path: path.unlink() or path.mkdir(), "is not a regular file"),
        (lambda path: path.unlink(), "No such file"),
        (_grow, "is larger than 2048 MiB"),
    ],
)
def test_what_a_child_leaves_in_the_place_of_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Path], object], says: str
) -> None:
    """The real child, and a hand that changes its file once it has measured it."""
    real = pipeline.run_worker

    def tampered(program: Any, job: Any, result: Any, folder: Path, *others: Any) -> Any:
        found = real(program, job, result, folder, *others)
        tamper(folder / "model_float32.tflite")
        return found

    monkeypatch.setattr(pipeline, "run_worker", tampered)
    source = write_tiny_tflite(tmp_path / "tiny.tflite", (1, 4))
    with pytest.raises(ConverterError, match=says) as caught:
        convert_into(tmp_path / "out", source, Method.FLOAT32)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.tflite"]


@pytest.mark.usefixtures("one_at_a_time")
def test_a_death_of_the_only_method_is_the_end(slow_source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterError, match=r"SIGKILL.* while timing float32") as caught:
        convert_into(
            tmp_path / "out",
            slow_source,
            Method.FLOAT32,
            benchmark=SLOW,
            listener=Striker(tmp_path, {"timing float32": signal.SIGKILL}),
        )
    assert caught.value.reason is FailureReason.OUT_OF_MEMORY
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Programs started in a shell's background inherit that Ctrl-C is ignored, and hand it on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(slow_source: Path, tmp_path: Path, number: signal.Signals) -> None:
    arguments = [
        "--model",
        slow_source,
        "--method",
        "float32",
        "--runs",
        "10000",
        "--output",
        tmp_path / "out",
    ]
    with subprocess.Popen(
        [sys.executable, SCRIPTS / "convert_to_tflite.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any("timing float32" in line for line in process.stdout)
        assert len(family(str(tmp_path))) == 3, "the command, its child and the fork of that"
        process.send_signal(number)
        _, told = process.communicate()
    while family(str(tmp_path)):  # until pytest's own timeout
        time.sleep(0.01)
    if number is signal.SIGKILL:
        return  # what it has left is for the next conversion to remove
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in told
    assert process.returncode == {signal.SIGTERM: 64, signal.SIGINT: 130}[number]
