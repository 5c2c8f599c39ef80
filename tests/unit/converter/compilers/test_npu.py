"""NPUs: Intel's compiler is real and what it makes is run; of others it is shown what is told without an SDK.

LiteRT's program and plugins are real everywhere. Where an SDK misbehaves, its library is a stand-in
(``npu_stand_in.c``), which the real program loads.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from conversion_engine.sandbox import NO_NETWORK
from modelconversion_api.fields.compilation import Compilations, CompiledFile, NPUReport, NPURun
from modelconversion_api.fields.compilers import NPU, NPU_METHODS, NPU_SOCS, NPUVendor, npu_name
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from support.converter.tflite_files import O, T, floats, ints, tflite
from support.paths import REPOSITORY
from tflite_converter.compilers.compiling import Workplace, believed, compile_alone, compile_file
from tflite_converter.compilers.jobs import NPUJob
from tflite_converter.compilers.npu import Run, lacks_room
from tflite_converter.compilers.npu_sdk import SDKS_ENV, SYSTEM_PLACE, Toolkit, how_to_load, toolkit
from tflite_converter.compilers.options import Compilers
from tflite_converter.compilers.results import other_values
from tflite_converter.console.compilers import show_compilation
from tflite_converter.errors import ConverterError
from tflite_converter.files.workspace import workspace
from tflite_converter.progress import ignore
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel

pytestmark = pytest.mark.slow

ON_CPU = NPU(vendor=NPUVendor.INTEL, socs=["CPU"])
NAME = "m_int8_intel_CPU.tflite"
TENSOR = NPU(vendor=NPUVendor.GOOGLE_TENSOR, socs=["Tensor_G5"])
HEAD = Path(sys.executable).read_bytes()[:64]
"""What a program or library of this machine begins with, and no more of one."""
QUALCOMM_ENV = "TEST_QUALCOMM_SDK"
"""Folder of Qualcomm's libraries, whose licence lets nobody ship them; else its tests are left out."""


def row(values: int = 4, name: str = "row", **more: Any) -> T:
    return T(name, (1, values), "FLOAT32", **more)


def chain(*names: str) -> bytes:
    """A float file of operators one after another."""
    operators = [O(name, (i,), (i + 1,)) for i, name in enumerate(names)]
    rows = [row(name=f"row{i}") for i in range(len(names) + 1)]
    return tflite(rows, operators, outputs=(len(names),))


def split() -> bytes:
    """TANH, SEGMENT_SUM (which OpenVINO does not read), TANH."""
    wide = [T(name, (4, 8), "FLOAT32") for name in ("x", "y")]
    narrow = [T(name, (2, 8), "FLOAT32") for name in ("sums", "z")]
    ids = T("ids", (4,), "INT32", ints(0, 0, 1, 1))
    operators = [O("TANH", (0,), (1,)), O("SEGMENT_SUM", (1, 2), (3,)), O("TANH", (3,), (4,))]
    return tflite([*wide, ids, *narrow], operators, outputs=(4,))


def segments() -> bytes:
    """SEGMENT_SUM alone."""
    tensors = [
        T("x", (4, 8), "FLOAT32"),
        T("y", (2, 8), "FLOAT32"),
        T("ids", (4,), "INT32", ints(0, 0, 1, 1)),
    ]
    return tflite(tensors, [O("SEGMENT_SUM", (0, 2), (1,))])


def integers() -> bytes:
    """LOGISTIC and TANH in int8, with the scales that their kernels ask for."""
    first = T("x", scales=[0.05], zero_points=[3])
    second = T("y", scales=[1 / 256], zero_points=[-128])
    third = T("z", scales=[1 / 128], zero_points=[0])
    return tflite([first, second, third], [O("LOGISTIC"), O("TANH", (1,), (2,))], outputs=(2,))


def compiled(content: bytes, folder: Path, npu: NPU = ON_CPU, sdk: Path | None = None) -> Compilations:
    """What the command ``compile`` makes of a file; its output lies in ``folder/out``."""
    (folder / "m_int8.tflite").write_bytes(content)
    with workspace(folder / "out") as work:
        made = compile_alone(folder / "m_int8.tflite", Compilers(npu=npu, npu_sdk=sdk), work, ignore)
        work.publish()
    return made


def alone(content: bytes, folder: Path, npu: NPU = ON_CPU, sdk: Path | None = None) -> NPUReport:
    (report,) = compiled(content, folder, npu, sdk).npu
    return report


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").rglob("*") if path.is_file()}


@pytest.fixture
def intel() -> None:
    """Skips where Intel's package is not there."""
    pytest.importorskip("openvino", reason="the extra npu-intel is for x86-64")


@pytest.mark.usefixtures("intel")
@pytest.mark.parametrize(
    ("content", "operators", "nearness"),
    [(chain("TANH", "LOGISTIC", "TANH"), 3, 0.02), (integers(), 2, 1 / 128)],
    ids=["float", "int8"],
)
def test_a_file_goes_from_intel_s_compiler_to_outputs(tmp_path, content, operators, nearness):
    report = alone(content, tmp_path)
    assert (report.passed, report.compiled, report.reason, report.message) == (True, True, None, None)
    assert (report.operators, report.mapped_operators, report.partitions) == (operators, operators, 1)
    assert (report.fallbacks, report.vendor, report.soc) == ((), NPUVendor.INTEL, "CPU")
    assert (report.compiler or "").startswith("LiteRT 2.")
    # bfloat16, which OpenVINO takes where the processor has it, rounds to about 3 digits
    assert report.run is not None
    assert report.run.max_difference <= nearness
    assert 0.3 < report.run.output_range < 2.1
    assert left(tmp_path) == {NAME}
    made = (tmp_path / "out" / NAME).read_bytes()
    (file,) = report.files
    assert (file.size_bytes, report.size_bytes) == (len(made), len(made))
    assert [operator.name for operator, _ in read_file(made, "made").operators()] == ["DISPATCH_OP"]
    with pytest.raises((RuntimeError, ValueError), match="DISPATCH_OP"):
        TFLiteModel(made)


@pytest.mark.usefixtures("intel")
def test_a_file_that_takes_logarithms_is_compared_on_positive_inputs(tmp_path):
    report = alone(chain("LOG", "TANH"), tmp_path)
    assert (report.passed, report.compiled, report.message) == (True, True, None)
    assert report.run is not None
    assert report.run.max_difference <= 0.02
    assert 0.3 < report.run.output_range <= 2


@pytest.mark.usefixtures("intel")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        # The logarithm of what is negative, whatever goes in.
        (
            chain("ABS", "NEG", "LOG"),
            "the file itself gives no numbers on random inputs, so that nothing can be compared",
        ),
        (
            tflite([row(name="x"), row(name="y")], [O("TANH")], outputs=(1, 0)),
            "it gives inputs back as they are ('x'), which compiled files leave empty",
        ),
        (
            chain("TANH", "FlexMatrixInverse"),
            "the file needs the Flex delegate for FlexMatrixInverse, and nothing can be compared",
        ),
        (
            tflite([row(name="x"), row(name="y")], [O("TANH")], outputs=()),
            "the file itself does not run on the CPU: it has no outputs",
        ),
        (
            tflite([T("x", (1, 4), "FLOAT64"), T("y", (1, 4), "FLOAT64")], [O("ABS")]),
            (
                "the file itself does not run on the CPU: tflite/kernels/elementwise.cc:146 Type FLOAT64 is"
                " unsupported by op Abs (in operator 0, ABS)"
            ),
        ),
    ],
)
def test_what_cannot_be_compared_says_so(tmp_path, content, words):
    report = alone(content, tmp_path)
    assert (report.passed, report.compiled, report.message) == (False, False, words)
    assert left(tmp_path) == set()


@pytest.mark.usefixtures("intel")
def test_what_stays_on_the_cpu_is_told_and_the_rest_runs_around_it(tmp_path):
    report = alone(split(), tmp_path)
    assert (report.passed, report.operators, report.mapped_operators, report.partitions) == (True, 3, 2, 2)
    assert [(f.operator, f.count) for f in report.fallbacks] == [("SEGMENT_SUM", 1)]
    assert "Intel's compiler does not take it; replace the layer" in report.fallbacks[0].reason
    assert report.run is not None
    assert report.run.max_difference < 0.02


@pytest.mark.usefixtures("intel")
@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ({"min_delegated_fraction": "0.66"}, None),
        ({"min_delegated_fraction": "0.67"}, "2 of 3 operators map to Intel CPU, less than 67%"),
        ({"max_partitions": 2}, None),
        ({"max_partitions": 1}, "the graph is cut into 2 parts, more than 1"),
    ],
)
def test_operators_and_partitions_are_gates(tmp_path, gates, words):
    report = alone(split(), tmp_path, ON_CPU.changed(**gates))
    assert (report.compiled, report.passed, report.reason) == (True, words is None, None)
    assert words is None or report.message == f"{words}; behind stay SEGMENT_SUM (1x)"
    assert left(tmp_path) == {NAME}


@pytest.mark.usefixtures("intel")
def test_where_nothing_maps_there_is_no_file(tmp_path):
    report = alone(segments(), tmp_path)
    assert (report.passed, report.compiled, report.reason) == (False, False, "NothingMapped")
    assert report.message == "none of 1 operators maps to Intel CPU"
    assert [f.operator for f in report.fallbacks] == ["SEGMENT_SUM"]
    assert left(tmp_path) == set()


@pytest.mark.usefixtures("intel")
def test_a_file_without_a_signature_and_with_an_open_batch_is_run_too(tmp_path):
    tensors = [row(name=name, open_shape=(-1, 4)) for name in ("x", "y")]
    report = alone(tflite(tensors, [O("TANH")]), tmp_path)
    assert (report.passed, report.partitions) == (True, 1)
    assert report.run is not None


@pytest.mark.usefixtures("intel")
def test_a_file_that_is_compiled_and_does_not_run_is_none(tmp_path):
    """Tensors that share a name: Intel's compiler takes them for one, and says nothing."""
    content = tflite([row() for _ in range(3)], [O("TANH"), O("LOGISTIC", (1,), (2,))], outputs=(2,))
    report = alone(content, tmp_path)
    assert (report.passed, report.compiled, report.reason) == (False, False, "CompilationFailed")
    assert (report.message or "").startswith("the compiled file does not run: ")
    assert (report.files, report.mapped_operators, left(tmp_path)) == ((), 0, set())


@pytest.mark.usefixtures("intel")
def test_intel_s_chips_want_the_compiler_that_no_registry_has(tmp_path):
    with pytest.raises(ConverterError) as caught:
        compiled(chain("TANH"), tmp_path, NPU(vendor=NPUVendor.INTEL, socs=["CPU", "LNL"]))
    assert (caught.value.reason, caught.value.stage) == (FailureReason.COMPILER_NOT_FOUND, Stage.LOAD)
    assert "libopenvino_intel_npu_compiler_loader.so of Intel's SDK" in caught.value.cause
    assert "OpenVINO toolkit archive" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("vendor", list(NPUVendor))
def test_each_vendor_has_the_same_door(tmp_path, vendor):
    """An empty folder, as packages leave it whose download has failed without a word."""
    sdk = tmp_path / "sdk"
    sdk.mkdir()
    npu = NPU(vendor=vendor, socs=[NPU_SOCS[vendor][-1]])
    with pytest.raises(ConverterError) as caught:
        compiled(chain("TANH"), tmp_path, npu, sdk)
    assert (caught.value.reason, caught.value.stage) == (FailureReason.COMPILER_NOT_FOUND, Stage.LOAD)
    assert f"{vendor.value}'s SDK in {sdk} is not there" in caught.value.cause
    hint = caught.value.hint or ""
    assert str(SYSTEM_PLACE / vendor.value.lower()) in hint
    assert f"{SDKS_ENV}={vendor.value.lower()}=FOLDER" in hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is no library"),
        (b"\x7fELF, cut off", "is no library"),
        (HEAD[:18] + b"\xfe\xfe" + HEAD[20:], "is for another processor"),
    ],
)
def test_a_library_of_no_bytes_is_none(tmp_path, content, words):
    for name in ("libQnnHtp.so", "libQnnIr.so", "libQnnLpai.so", "libQnnSaver.so", "libQnnSystem.so"):
        (tmp_path / name).write_bytes(HEAD)
    (tmp_path / "libQnnIr.so").write_bytes(content)
    npu = NPU(vendor=NPUVendor.QUALCOMM, socs=["SM8750"])
    with pytest.raises(ConverterError, match=f"libQnnIr.so of Qualcomm's SDK in .* {words}") as caught:
        toolkit(npu, tmp_path, {})
    assert "AI Stack License" in (caught.value.hint or "")


def test_an_sdk_is_found_by_the_environment_and_the_flag_has_the_last_word(tmp_path):
    named, given = tmp_path / "named", tmp_path / "given"
    for folder in (named, given):
        folder.mkdir()
        (folder / "liblitert_plugin_compiler.so").write_bytes(HEAD)
    environment = {SDKS_ENV: f"qualcomm=/nowhere, googletensor={named}"}
    assert toolkit(TENSOR, None, environment).sdk == named
    assert toolkit(TENSOR, given, environment).sdk == given
    with pytest.raises(ConverterError, match="no SDK of GoogleTensor in /opt/npu-sdk/googletensor"):
        toolkit(TENSOR, None, {})


@pytest.mark.parametrize("text", ["qualcomm", "apple=/opt/x", "intel=here", "=/opt/x"])
def test_a_variable_that_cannot_be_read_is_no_sdk_left_out(text):
    with pytest.raises(ConverterError, match=f"{SDKS_ENV} has the entry") as caught:
        toolkit(ON_CPU, None, {SDKS_ENV: text})
    assert caught.value.reason is FailureReason.INVALID_REQUEST


@pytest.mark.parametrize(
    ("unloaded", "words"),
    [
        ("libQnnHtp.so: cannot open shared object file", "bring the x86-64 libraries of Qualcomm's QAIRT"),
        ("libatomic.so.1: cannot open shared object file", "install the system's package that has it"),
        ("undefined symbol: _ZN2ov3Any4BaseD2Ev", "bring the x86-64 libraries of Qualcomm's QAIRT"),
    ],
)
def test_a_library_of_the_system_is_told_from_the_vendor_s(unloaded, words):
    assert words in how_to_load(NPUVendor.QUALCOMM, unloaded)


def test_what_only_looks_like_a_library_is_found_out_by_the_real_program(tmp_path):
    for name in ("libopenvino.so.2631", "libopenvino_tensorflow_lite_frontend.so.2631"):
        (tmp_path / name).write_bytes(HEAD)
    report = alone(chain("TANH"), tmp_path, sdk=tmp_path)
    assert (report.passed, report.compiled, report.reason) == (False, False, "CompilerNotFound")
    assert "a library cannot be loaded: " in (report.message or "")
    assert "install the package openvino" in (report.message or "")
    assert left(tmp_path) == set()


@pytest.fixture
def misbehaving(tmp_path: Path) -> Callable[..., Path]:
    """Makes an SDK of Google Tensor by name, whose library does what is asked when it is loaded."""
    program = shutil.which("cc") or shutil.which("gcc")
    if program is None:
        pytest.skip("no C compiler on PATH")

    def made(mode: str, secret: str = "") -> Path:
        folder = tmp_path / "sdk"
        folder.mkdir()
        library = folder / "liblitert_plugin_compiler.so"
        source = REPOSITORY / "tests/support/converter/npu_stand_in.c"
        macros = [f"-DMODE={mode}", f'-DSECRET="{secret}"']
        command = [program, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *macros, source, "-o", library]
        subprocess.run(command, check=True)
        return folder

    return made


@pytest.mark.parametrize(
    ("mode", "reason", "words"),
    [
        ("HANGS", "CompilerTimedOut", "the compiler's time was up"),
        ("DIES", "CompilationFailed", "the compiler died of SIGSEGV"),
        ("FAILS", "CompilationFailed", "the compiler ended with exit code 7 without a reason"),
        ("EMPTY", "CompilationFailed", "left no file, or an empty one"),
        ("GARBAGE", "CompilationFailed", "a file that cannot be read"),
        ("SILENT", "CompilationFailed", "does not say how many operators it took"),
        ("SIZE", "CompilationFailed", "the compiler says 849 bytes, and left 848 bytes"),
        ("COUNTS", "CompilationFailed", "it says 1 partitions and 0 operators beside them"),
    ],
)
def test_a_compiler_that_hangs_dies_or_lies_has_not_succeeded(misbehaving, tmp_path, mode, reason, words):
    npu = TENSOR.changed(timeout_seconds=2)
    content = chain("TANH", "LOGISTIC", "TANH")
    words = words.replace("848", f"{len(content):,}").replace("849", f"{len(content) + 1:,}")
    report = alone(content, tmp_path, npu, misbehaving(mode))
    assert (report.passed, report.compiled, report.reason) == (False, False, reason)
    assert words in (report.message or "")
    assert (report.operators, report.mapped_operators, report.files) == (3, 0, ())
    assert left(tmp_path) == set()


def test_no_compiler_is_left_behind_by_a_converter_that_is_killed(misbehaving, tmp_path):
    """SIGKILL, as of a machine that is out of memory: nobody is there to end the compiler."""
    (tmp_path / "m_int8.tflite").write_bytes(chain("TANH"))
    arguments = ["--npu", "GoogleTensor", "--npu-soc", "Tensor_G5", "--npu-sdk", str(misbehaving("HANGS"))]
    command = [sys.executable, "-m", "tflite_converter", "compile", "m_int8.tflite", *arguments]
    process = subprocess.Popen([*command, "--output", "out"], cwd=tmp_path, stderr=subprocess.DEVNULL)

    def compilers() -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0].endswith("apply_plugin_main") and str(tmp_path) in " ".join(words):
                    found.append(folder.name)
        return found

    try:
        assert until(compilers)
        process.kill()
        assert until(lambda: not compilers())
    finally:
        process.kill()
        process.wait()
        for number in compilers():
            os.kill(int(number), signal.SIGKILL)


def until(holds: Callable[[], object], seconds: float = 30) -> bool:
    """Wait until it holds; return whether it did in time."""
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            return False
        time.sleep(0.1)
    return True


def test_a_compiler_that_was_taken_over_reaches_neither_secret_nor_network(
    misbehaving, tmp_path, monkeypatch
):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    sdk, spied = misbehaving("SPIES", str(secret)), {}
    work = tmp_path / "work"
    work.mkdir()
    (work / "m_int8.tflite").write_bytes(chain("TANH"))
    compile_file("m_int8.tflite", Compilers(npu=TENSOR, npu_sdk=sdk), Workplace(work, None, ignore))
    found = work / "m_int8_googletensor_Tensor_G5.tflite.spied"
    for line in found.read_text().splitlines():
        name, _, value = line.partition(": ")
        spied[name] = value
    if spied["network"] == "open":
        pytest.skip(f"this kernel does not offer {NO_NETWORK}")
    assert spied == {"network": "Permission denied", "secret": "Permission denied", "key": "not there"}
    # the logs were read, and are gone
    assert {path.name for path in work.iterdir()} == {
        "m_int8.tflite",
        found.name,
        "compiler.result.json",
    }


@pytest.mark.parametrize(("name", "words"), [("absent.tflite", "is not there"), (".", "is no file")])
def test_a_file_that_is_not_there_says_so(tmp_path, name, words):
    with workspace(tmp_path / "out") as work, pytest.raises(ConverterError, match=words) as caught:
        compile_alone(tmp_path / name, Compilers(npu=ON_CPU), work, ignore)
    assert caught.value.reason is FailureReason.SOURCE_NOT_FOUND


def test_one_chip_that_is_refused_does_not_keep_the_others_from_theirs():
    good = NPUReport(
        passed=True, compiled=True, operators=3, mapped_operators=3, vendor=NPUVendor.QUALCOMM, soc="SM8750"
    )
    refused = good.changed(
        soc="SM8350", passed=False, compiled=False, reason="CompilationFailed", message="it does not know"
    )
    both = Compilations(npu=(good, refused))
    assert (both.passed, both.reason) == (False, FailureReason.COMPILATION_FAILED)
    assert both.message == "Qualcomm SM8350: it does not know"


@pytest.mark.parametrize(
    "changes",
    [
        {"soc": "SM8350"},
        {"vendor": NPUVendor.INTEL},
        {"files": ()},
        {"files": (CompiledFile(file_name="m_int8.tflite", size_bytes=1, sha256="a" * 64),)},
        {"compiled": False},
    ],
)
def test_a_child_s_report_on_something_else_is_not_believed(changes):
    npu = NPUJob(
        options=NPU(vendor=NPUVendor.QUALCOMM, socs=["SM8750"]),
        soc="SM8750",
        toolkit=Toolkit(program=Path("p"), vendor_folder=Path("v"), sdk=Path("s")),
    )
    name = npu_name("m_int8.tflite", NPUVendor.QUALCOMM, "SM8750")
    good = NPUReport(
        passed=True,
        compiled=True,
        operators=3,
        mapped_operators=3,
        vendor=NPUVendor.QUALCOMM,
        soc="SM8750",
        files=(CompiledFile(file_name=name, size_bytes=1, sha256="a" * 64),),
    )
    assert believed(good, npu, "m_int8.tflite") is good
    for report in (good.changed(**changes), None):
        with pytest.raises(ConverterError, match="reports on something else than Qualcomm SM8750") as caught:
            believed(report, npu, "m_int8.tflite")
        assert caught.value.reason is FailureReason.ARTIFACT_INVALID


@pytest.mark.parametrize(
    ("snr", "words"), [(None, None), (20.0, None), (19.9, "gives other values than on the CPU: 0.5 apart")]
)
def test_other_values_are_a_failure(snr, words):
    run = NPURun(runtime="r", samples=8, max_difference=0.5, output_range=2, snr_db=snr)
    message = other_values(run)
    assert (message is None) is (words is None)
    assert words is None or words in (message or "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vendor": "Qualcomm", "socs": ["LNL"]}, "socs has a chip that is not the maker's"),
        ({"vendor": "Apple", "socs": ["M4"]}, "Input should be"),
        ({"vendor": "Intel", "socs": []}, "at least 1 item"),
        ({"vendor": "Intel", "socs": ["CPU", "CPU"]}, "socs names a chip twice"),
        ({"vendor": "Intel", "socs": ["CPU"], "maxPartitions": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_asked(fields, words):
    with pytest.raises(ValidationError, match=words):
        NPU.model_validate(fields)


@pytest.mark.parametrize(
    ("said", "left_bytes", "free", "expected"),
    [
        ("643683", 573_440, 0, True),
        ("643683", 573_440, 70_242, True),
        ("643683", 0, 643_682, True),
        ("643683", 573_440, 70_243, False),
        ("643683", 643_683, 0, False),
        ("643683", 643_684, 0, False),
        # No file has so many bytes: it is the compiler's lie, and not the disk's fault.
        (str(3 << 30), 0, 0, False),
        (None, 0, 0, False),
    ],
)
def test_a_file_that_is_cut_off_by_a_full_disk_is_told_apart(said, left_bytes, free, expected):
    text = "" if said is None else f"[LITERT_TOOLS:APPLY] Serialized a model of size {said} bytes\n"
    assert lacks_room(Run(0, text, bytes(left_bytes)), free) is expected


def test_only_files_that_passed_and_that_npus_take_are_compiled():
    compilers = Compilers(npu=ON_CPU)
    assert compilers.methods == (Method.FULL_INTEGER, Method.FLOAT32, Method.FLOAT16)
    for method in Method:
        taken = compilers.of(method, passed=True)
        assert bool(taken) is (method in NPU_METHODS)
        assert not compilers.of(method, passed=False)


def test_the_name_has_the_vendor_and_the_chip():
    assert npu_name("a.b_int8.tflite", NPUVendor.QUALCOMM, "SM8750") == "a.b_int8_qualcomm_SM8750.tflite"


def test_a_person_sees_operators_partitions_and_what_was_run():
    report = NPUReport(
        passed=True,
        compiled=True,
        operators=31,
        mapped_operators=30,
        partitions=2,
        vendor=NPUVendor.INTEL,
        soc="CPU",
        run=NPURun(runtime="r", samples=8, max_difference=0.0123, output_range=3.5, snr_db=44.0),
    )
    console = Console(record=True, width=200)
    show_compilation(console, Compilations(npu=(report, report.changed(soc="LNL", run=None))))
    shown = console.export_text()
    assert (
        "Intel CPU: 30 of 31 operators mapped (97%), 2 partitions, run on 8 random inputs, at most" in shown
    )
    assert "0.0123 from LiteRT on the CPU, where outputs span 3.5" in shown
    assert "Intel LNL: 30 of 31 operators mapped (97%), 2 partitions, not run" in shown


@pytest.fixture
def qualcomm() -> Path:
    folder = os.environ.get(QUALCOMM_ENV)
    if folder is None:
        pytest.skip(f"{QUALCOMM_ENV} names no folder: Qualcomm's licence lets nobody ship these libraries")
    return Path(folder)


def test_qualcomm_compiles_for_three_chips_in_a_file_each(qualcomm, tmp_path):
    socs = ["SM8650", "SM8750", "SM8850"]
    made = compiled(split(), tmp_path, NPU(vendor=NPUVendor.QUALCOMM, socs=socs), qualcomm)
    assert [report.soc for report in made.npu] == socs
    for report in made.npu:
        assert (report.passed, report.operators, report.mapped_operators) == (True, 3, 2)
        assert (report.partitions, report.run) == (2, None)
        assert [f.operator for f in report.fallbacks] == ["SEGMENT_SUM"]
        assert "SDK v2." in (report.compiler or "")
    assert left(tmp_path) == {f"m_int8_qualcomm_{soc}.tflite" for soc in socs}


def test_qualcomm_says_why_it_refuses_weights_by_channel(qualcomm, tmp_path):
    """DEQUANTIZE of a constant by channel, as weight-only files have it."""
    weights = T("w", (3, 4), "INT8", bytes(range(12)), [0.1, 0.2, 0.3], [0, 0, 0])
    wide = T("wide", (3, 4), "FLOAT32")
    bias = T("bias", (3,), "FLOAT32", floats(0, 0, 0))
    tensors = [row(), weights, wide, bias, row(3, name="result")]
    operators = [O("DEQUANTIZE", (1,), (2,)), O("FULLY_CONNECTED", (0, 2, 3), (4,))]
    content = tflite(tensors, operators, outputs=(4,))
    npu = NPU(vendor=NPUVendor.QUALCOMM, socs=["SM8750"])
    report = alone(content, tmp_path, npu, qualcomm)
    assert (report.passed, report.reason) == (False, "CompilationFailed")
    assert "give the full-integer or the float file" in (report.message or "")
    assert left(tmp_path) == set()
