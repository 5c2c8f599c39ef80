"""The Edge TPU compiler: what it says is read by label, and a success is believed only when all agrees.

The compiler is a stand-in (``edgetpu_stand_in.py``): the real one is closed, and was not run here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_engine.sandbox import NO_NETWORK
from modelconversion_api.fields.compilation import EdgeTPUReport
from modelconversion_api.fields.compilers import EdgeTPU, edge_tpu_names
from modelconversion_api.reasons import FailureReason
from support.converter.tflite_files import O, T, tflite
from support.paths import REPOSITORY
from tflite_converter.compilers.compiling import Workplace, compile_alone, compile_file
from tflite_converter.compilers.edge_tpu import compile_edge_tpu
from tflite_converter.compilers.edge_tpu_output import (
    STATUSES,
    read_log,
    read_output,
    read_size,
    status_words,
)
from tflite_converter.compilers.options import Compilers
from tflite_converter.errors import ConverterError
from tflite_converter.files.workspace import workspace
from tflite_converter.progress import ignore
from tflite_converter.targets.edge_tpu_prediction import BEHIND, predict
from tflite_converter.tflite.file import read_file

pytestmark = pytest.mark.slow

ROW = T("row", (1, 4), scales=[0.1], zero_points=[0])


def chain(*names: str) -> bytes:
    """A file of operators one after another on int8 rows."""
    tensors = [ROW] * (len(names) + 1)
    operators = [O(name, (i,), (i + 1,)) for i, name in enumerate(names)]
    return tflite(tensors, operators, outputs=(len(names),))


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts the stand-in on the PATH as the vendor's package has it: a shell script before the program."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(REPOSITORY / "tests/support/converter/edgetpu_stand_in.py", folder)
    # The compiler's child may run what lies beside the compiler; this Python may lie anywhere.
    shutil.copy(os.path.realpath(sys.executable), folder / "python")
    script = folder / "edgetpu_compiler"
    script.write_text(
        f"#!/bin/sh\nexport PYTHONHOME={sys.base_prefix} PYTHONPATH={sysconfig.get_path('purelib')}\n"
        f'exec {folder}/python {folder}/edgetpu_stand_in.py "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def behaves(mode: str, **more: Any) -> Path:
        (folder / "behaviour.json").write_text(json.dumps({"mode": mode, **more}))
        return script

    return behaves


def in_the_child(content: bytes, folder: Path, **options: Any) -> EdgeTPUReport:
    """What the command ``compile`` makes of a file; its output lies in ``folder/out``."""
    (folder / "m_int8.tflite").write_bytes(content)
    with workspace(folder / "out") as work:
        made = compile_alone(folder / "m_int8.tflite", Compilers(EdgeTPU(**options)), work, ignore)
        work.publish()
    assert made.edge_tpu is not None
    return made.edge_tpu


def compiled(content: bytes, folder: Path, **options: Any) -> EdgeTPUReport:
    """The same in this process, which is faster."""
    (folder / "out").mkdir()
    path = folder / "m_int8.tflite"
    path.write_bytes(content)
    program = folder / "bin" / "edgetpu_compiler"
    return compile_edge_tpu(program, path, EdgeTPU(**options), folder / "out", lambda *_: None)


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").glob("*.tflite")}


def test_a_whole_model_that_maps(compiler, tmp_path):
    compiler("compiles")
    report = in_the_child(chain("TANH", "LOGISTIC", "TANH"), tmp_path)
    assert (report.passed, report.compiled, report.reason, report.message) == (True, True, None, None)
    assert (report.operators, report.mapped_operators, report.predicted_operators) == (3, 3, 3)
    assert (report.subgraphs, report.tries, report.fallbacks) == (1, 1, ())
    assert report.compiler == "edgetpu_compiler 16.0.384591198"
    assert report.on_chip_bytes == round(6.03 * 2**20)
    assert report.on_chip_remaining_bytes == round(1.21 * 2**20)
    assert report.off_chip_bytes == 512
    (file,) = report.files
    assert left(tmp_path) == {"m_int8_edgetpu.tflite"}
    content = (tmp_path / "out" / "m_int8_edgetpu.tflite").read_bytes()
    assert (file.size_bytes, report.size_bytes) == (len(content), len(content))
    assert [o.name for o, _ in read_file(content, "x").operators()] == ["edgetpu-custom-op"]


def test_what_falls_back_has_a_reason_that_says_what_to_do(compiler, tmp_path):
    compiler("compiles", mapped=2)
    report = compiled(chain("TANH", "LOGISTIC", "EXP", "TANH"), tmp_path)
    assert (report.passed, report.operators, report.mapped_operators) == (True, 4, 2)
    assert [(f.operator, f.count) for f in report.fallbacks] == [("EXP", 1), ("TANH", 1)]
    assert "the Edge TPU does not have it" in report.fallbacks[0].reason
    assert report.fallbacks[1].reason == STATUSES["Operation not supported"]


@pytest.mark.parametrize("status", list(STATUSES))
def test_every_documented_status_has_words(compiler, tmp_path, status):
    compiler("compiles", mapped=1, status=status)
    report = compiled(chain("TANH", "LOGISTIC"), tmp_path)
    assert [f.reason for f in report.fallbacks] == [STATUSES[status]]


@pytest.mark.parametrize(("fraction", "passes"), [("0.5", True), ("0.51", False), ("1", False), (None, True)])
def test_the_mapped_share_is_a_gate(compiler, tmp_path, fraction, passes):
    compiler("compiles", mapped=1)
    report = compiled(chain("TANH", "LOGISTIC"), tmp_path, min_mapped_fraction=fraction)
    assert (report.compiled, report.passed, report.reason) == (True, passes, None)
    assert passes or "1 of 2 operators map to the Edge TPU" in (report.message or "")
    assert left(tmp_path) == {"m_int8_edgetpu.tflite"}


@pytest.mark.parametrize(
    ("mode", "reason", "words", "tries"),
    [
        ("not-quantized", "CompilationFailed", "the file is not full integer", 1),
        ("not-parsed", "CompilationFailed", "the compiler cannot read the file", 1),
        ("op-version", "CompilationFailed", "make the file with TensorFlow 2.8 or older", 1),
        ("dynamic", "CompilationFailed", "give every dimension a fixed size", 1),
        ("activations", "CompilationFailed", "an activation is too large for the chip", 1),
        ("overflow", "CompilationFailed", "a scale overflows", 1),
        ("internal", "CompilationFailed", "internal error of the compiler", 2),
        ("alone", "CompilationFailed", "the compiler failed without a reason", 2),
        ("segfault", "CompilationFailed", "the compiler died of SIGSEGV", 2),
        ("silent", "CompilationFailed", "ended with exit code 0", 2),
        ("maps-nothing", "NothingMapped", "mapped no operator", 1),
        ("stub", "CompilationFailed", "a file that cannot be read", 2),
        ("no-file", "CompilationFailed", "left no m_int8_edgetpu.tflite", 2),
        ("no-custom", "CompilationFailed", "no Edge TPU operator in the file", 1),
        ("counts-differ", "CompilationFailed", "prints 2 mapped operators, and logs 1", 1),
        ("times-out", "CompilerTimedOut", "time was up", 1),
    ],
)
def test_every_documented_error_and_trap_is_a_failure_and_leaves_no_file(
    compiler, tmp_path, mode, reason, words, tries
):
    compiler(mode, mapped=1)
    report = compiled(chain("TANH", "LOGISTIC"), tmp_path, timeout_seconds=1)
    assert (report.passed, report.compiled) == (False, False)
    assert report.reason == reason
    assert words in (report.message or "")
    assert (report.tries, report.mapped_operators, report.files) == (tries, 0, ())
    assert left(tmp_path) == set()


def test_a_success_with_another_exit_status_is_none(compiler, tmp_path):
    compiler("compiles", code=1)
    report = compiled(chain("TANH"), tmp_path)
    assert (report.reason, report.compiled) == (FailureReason.COMPILATION_FAILED, False)


def test_a_failure_that_passes_is_tried_once_more(compiler, tmp_path):
    compiler("flaky")
    report = compiled(chain("TANH"), tmp_path)
    assert (report.passed, report.tries) == (True, 2)


def test_lines_that_another_version_prints_do_not_move_the_others(compiler, tmp_path):
    compiler("newer-lines")
    report = compiled(chain("TANH", "TANH"), tmp_path)
    assert (report.passed, report.mapped_operators, report.subgraphs) == (True, 2, 1)
    assert (report.on_chip_bytes, report.off_chip_bytes) == (None, None)


def test_segments_are_a_file_each_and_their_figures_together(compiler, tmp_path):
    compiler("compiles")
    report = compiled(chain("TANH", "TANH"), tmp_path, num_segments=3)
    assert report.passed
    assert [f.file_name for f in report.files] == list(edge_tpu_names("m_int8.tflite", 3))
    assert (report.segments, report.subgraphs, report.mapped_operators) == (3, 3, 6)
    assert report.on_chip_bytes == 3 * round(6.03 * 2**20)
    assert left(tmp_path) == set(edge_tpu_names("m_int8.tflite", 3))


def test_options_reach_the_compiler_and_the_environment_does_not(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    compiler("compiles")
    place = tmp_path / "place"
    place.mkdir()
    (place / "m_int8.tflite").write_bytes(chain("TANH"))
    options = EdgeTPU(min_runtime_version=13, search_delegate=True, num_segments=2, timeout_seconds=77)
    made = compile_file("m_int8.tflite", Compilers(options), Workplace(place, None, ignore))
    assert made.passed
    asked = json.loads((place / "asked.json").read_text())
    assert (asked["min_runtime_version"], asked["num_segments"], asked["timeout_sec"]) == (13, 2, 77)
    assert asked["search_delegate"] is True
    assert not any("AWS" in name for name in asked["environment"])


def test_a_compiler_that_was_taken_over_reaches_neither_secret_nor_network(compiler, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    compiler("spies", secret=str(secret), pid=os.getpid())
    place = tmp_path / "place"
    place.mkdir()
    (place / "m_int8.tflite").write_bytes(chain("TANH"))
    assert compile_file("m_int8.tflite", Compilers(EdgeTPU()), Workplace(place, None, ignore)).passed
    found = json.loads((place / "spied.json").read_text())
    if found["network"] == "open":
        pytest.skip(f"this kernel does not offer {NO_NETWORK}")
    assert found["network"] == "PermissionError"
    assert (found["secret"], found["environment"]) == ("PermissionError", "PermissionError")


def test_without_the_compiler_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConverterError) as caught:
        in_the_child(chain("TANH"), tmp_path)
    assert caught.value.reason is FailureReason.COMPILER_NOT_FOUND
    assert not (tmp_path / "out").exists()


def test_what_should_map_is_told_before_the_compiler_is_asked(compiler, tmp_path):
    program = compiler("internal")
    path = tmp_path / "m_int8.tflite"
    path.write_bytes(chain("TANH", "EXP", "TANH"))
    said: list[str] = []
    (tmp_path / "out").mkdir()
    compile_edge_tpu(program, path, EdgeTPU(), tmp_path / "out", lambda text, _: said.append(text))
    assert said[0] == "1 of 3 operators should map, by the documented limits"


def test_a_prediction_needs_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    report = in_the_child(chain("TANH", "EXP", "TANH"), tmp_path, compile=False, min_mapped_fraction="0.5")
    assert (report.compiled, report.passed, report.reason) == (False, False, None)
    assert (report.operators, report.mapped_operators) == (3, 1)
    assert "by the documented limits 1 of 3 operators map" in (report.message or "")
    assert [(f.operator, f.reason == BEHIND) for f in report.fallbacks] == [("EXP", False), ("TANH", True)]


def test_the_prediction_says_how_to_mend_what_stands_in_the_way():
    found = predict(read_file(chain("TANH"), "m.tflite"))
    assert (found.operators, found.mapped, found.fallbacks, found.fraction) == (1, 1, (), 1.0)
    open_size = T("x", (1, 1, 4), open_shape=(-1, -1, 4), scales=[0.1])
    found = predict(read_file(tflite([open_size, ROW], [O("TANH")]), "m.tflite"))
    assert found.fraction == 0.0
    assert "give every dimension a fixed size" in (found.reason("TANH") or "")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.00B", 0),
        ("512.00B", 512),
        ("6.03KiB", 6175),
        ("1MiB", 2**20),
        ("2.5GiB", 5 * 2**29),
        ("", None),
        ("6 MB", None),
    ],
)
def test_sizes(text, size):
    assert read_size(text) == size


@given(st.text())
def test_whatever_a_compiler_prints_is_read_without_an_error(text):
    output = read_output(text)
    assert output.operators is None or output.operators >= 0
    for row in read_log(f"Operator Count Status\n{text}"):
        assert status_words(row.status)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.lists(st.sampled_from(["", "x: y", "Note: 3"]), max_size=4),
)
def test_counts_are_found_wherever_they_stand(on_tpu, on_cpu, noise):
    lines = [
        f"Number of operations that will run on CPU: {on_cpu}",
        *noise,
        f"Number of operations that will run on Edge TPU: {on_tpu}",
        f"Total number of operations: {on_tpu + on_cpu}",
    ]
    output = read_output("\n".join(lines))
    assert (output.mapped, output.operators) == (on_tpu, on_tpu + on_cpu)
