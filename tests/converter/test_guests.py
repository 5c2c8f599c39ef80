"""Files on emulated processors and on the oldest runtimes: real guests, and one that does harm."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from litert_quantizer import quantizer, recipe

from conversion_engine.files import EVALUATION_FOLDER, REFERENCE_FOLDER
from modelconversion_api.fields.data import Task
from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport
from support.converter import guests, hostile_runtime
from support.converter.converting import convert_into
from support.converter.hard_models import INPUT, OUTPUT, chain
from support.converter.tflite_files import O, T, dense, floats, tflite
from tflite_converter.arrays import Array
from tflite_converter.data.npz import write_folder
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.isolation.protocol import ChildLimits
from tflite_converter.measuring.gates import Gates
from tflite_converter.progress import ignore
from tflite_converter.verifying.guests import GUESTS, GUESTS_ENV, Guest, GuestRun, Workplace, run
from tflite_converter.workers.jobs import GuestCheck, GuestFile, GuestsJob, GuestsResult, LiteRTJob
from tflite_converter.workers.programs import JUDGING

CORTEXES = (Verifier.CORTEX_A53, Verifier.CORTEX_A72, Verifier.CORTEX_A76)
OLD = (Verifier.ARMV7, Verifier.OLDEST_RUNTIME)
LITERT_1 = GUESTS[Verifier.OLDEST_RUNTIME][1]
SAMPLES = np.random.default_rng(0).uniform(-2, 2, (4, 4)).astype(np.float32)
SCORES = (SAMPLES @ (((7 * np.arange(12)) % 11 - 5).reshape(3, 4) / 4).T + [0.5, -1.0, 2.0]).astype(
    np.float32
)
"""What the file of ``dense()`` computes."""


@pytest.fixture(scope="session")
def roots() -> Path:
    return guests.guests()


@pytest.fixture
def with_roots(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GUESTS_ENV, str(roots))


def in_guest(guest: Guest, content: bytes, folder: Path, memory: int | None = None) -> GuestRun:
    stream = io.BytesIO()
    np.savez(stream, x=SAMPLES)
    where = Workplace(folder, memory, ignore)
    return run(guest, content, stream.getvalue(), folder / "work" / "outputs.npz", where)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path


@pytest.mark.usefixtures("with_roots")
@pytest.mark.parametrize(
    ("guest", "runtime"),
    [
        (GUESTS[Verifier.CORTEX_A53][0], "ai-edge-litert 2.3.0, cortex-a53 under qemu"),
        (GUESTS[Verifier.CORTEX_A76][0], "ai-edge-litert 2.3.0, cortex-a76 under qemu"),
        (GUESTS[Verifier.ARMV7][0], "tflite-runtime 2.14.0, armv7 under qemu"),
        (GUESTS[Verifier.OLDEST_RUNTIME][0], "tflite-runtime 2.14.0, x86-64"),
        (LITERT_1, "ai-edge-litert 1.0.1, x86-64"),
    ],
)
def test_a_guest_computes_what_the_file_says(guest: Guest, runtime: str, folder: Path) -> None:
    found = in_guest(guest, dense(), folder)
    assert found == GuestRun(runtime=runtime, outputs="outputs.npz")
    outputs = np.load(folder / "work" / "outputs.npz")
    assert outputs.files == ["scores"]
    np.testing.assert_allclose(outputs["scores"], SCORES, rtol=1e-5)
    assert [path.name for path in folder.iterdir()] == ["work"]  # the guest's own folder is gone


@pytest.mark.usefixtures("with_roots")
@pytest.mark.parametrize(
    ("content", "failure"),
    [
        (
            tflite([T("x", dtype="FLOAT32"), T("y", dtype="FLOAT32")], [O("ABS", version=99)]),
            "it does not load: it has no ABS of version 99",
        ),
        (b"no model", "it does not load: "),
    ],
)
def test_what_a_runtime_lacks_is_its_own_words(content: bytes, failure: str, folder: Path) -> None:
    found = in_guest(GUESTS[Verifier.OLDEST_RUNTIME][0], content, folder)
    assert (found.failure or "").startswith(failure)
    assert (found.outputs, found.missing) == (None, None)


@pytest.mark.usefixtures("with_roots")
def test_a_guest_without_time_runs_one_sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.verifying.guests.SECONDS", 0.0)
    in_guest(LITERT_1, dense(), folder)
    np.testing.assert_allclose(np.load(folder / "work" / "outputs.npz")["scores"], SCORES[:1], rtol=1e-5)


@pytest.mark.usefixtures("with_roots")
def test_what_an_old_runtime_gets_wrong_without_a_word_fails(folder: Path) -> None:
    """The quantizer alone leaves dense weights of many scales at a version that says nothing of them."""
    work = folder / "work"
    sizes = np.array([4.0, 0.04, 1.0])[:, np.newaxis]
    weights = (sizes * np.random.default_rng(3).normal(size=(3, 4))).astype(np.float32)
    content = tflite(
        [
            T("serving_x:0", (1, 4), "FLOAT32"),
            T("StatefulPartitionedCall:0", (1, 3), "FLOAT32"),
            T("weights", (3, 4), "FLOAT32", floats(*weights.ravel())),
            T("bias", (3,), "FLOAT32", floats(0.0, 0.0, 0.0)),
        ],
        [O("FULLY_CONNECTED", (0, 2, 3), (1,))],
        signature=({"x": 0}, {"scores": 1}),
    )
    made = quantizer.Quantizer(content, recipe.dynamic_wi8_afp32()).quantize().quantized_model
    (work / "model.tflite").write_bytes(bytes(made))
    runs = []
    for number, guest in enumerate(GUESTS[Verifier.OLDEST_RUNTIME]):
        found = in_guest(guest, bytes(made), folder)
        (work / "outputs.npz").rename(work / f"{number}.npz")
        runs.append(found.model_copy(update={"outputs": f"{number}.npz"}))
    by_hand = (SAMPLES @ weights.T).astype(np.float32)
    (check,) = judge(work, [runs], Gates(min_agreement=0.9), by_hand, Task.REGRESSION)
    assert check.outcome is VerificationOutcome.FAILED
    assert (check.message or "").startswith("tflite-runtime 2.14.0, x86-64: ")
    assert "agreement 0.0000 is under 0.9" in (check.message or "")
    assert check.runtime == "tflite-runtime 2.14.0, x86-64; ai-edge-litert 1.0.1, x86-64"
    wrong = np.load(work / "0.npz")["scores"]
    assert np.abs(wrong - by_hand).max() > 1
    assert check.largest_difference == pytest.approx(np.abs(wrong - by_hand).max(), rel=0.05)
    np.testing.assert_allclose(np.load(work / "1.npz")["scores"], by_hand, atol=0.1)


def checks(report: ConversionReport, method: Method) -> dict[Verifier, Verification]:
    (artifact,) = [a for a in report.artifacts if a.method is method]
    assert artifact.passed  # none of these has the last word
    return {check.name: check for check in artifact.verifications}


@pytest.mark.usefixtures("with_roots")
def test_a_conversion_is_verified_there(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    sizes = np.geomspace(0.1, 1, 16)[:, np.newaxis]  # so far apart that each output needs a scale of its own
    kernels = [(sizes * generator.normal(0, 0.25, (16, 16))).astype(np.float32) for _ in range(2)]
    (tmp_path / "model.tflite").write_bytes(chain(kernels, ["a", OUTPUT]))
    np.save(tmp_path / "samples.npy", generator.normal(size=(400, 16)).astype(np.float32))
    (tmp_path / "out").mkdir()
    found = convert_into(
        tmp_path / "out",
        tmp_path / "model.tflite",
        Method.FULL_INTEGER,
        Method.DYNAMIC_RANGE,
        calibration=tmp_path / "samples.npy",
        verify_on=(*CORTEXES, *OLD),
    ).report
    assert INPUT in {info.name for info in found.source.inputs}
    integers, dynamic = checks(found, Method.FULL_INTEGER), checks(found, Method.DYNAMIC_RANGE)
    assert [*integers] == [*dynamic] == [*CORTEXES, *OLD]
    assert all(check.outcome is VerificationOutcome.PASSED for check in integers.values())
    assert {name: integers[name].identical for name in CORTEXES} == dict.fromkeys(CORTEXES, True)
    assert all(0 < check.samples <= 64 for check in integers.values())
    assert all(dynamic[name].outcome is VerificationOutcome.PASSED for name in CORTEXES)
    # Weights with a scale for each output came after 2.14, which would take the first scale for all; the file
    # says so by its version, and is refused.
    refused = "it does not load: it has no FULLY_CONNECTED of version 12"
    assert dynamic[Verifier.ARMV7].message == refused
    assert dynamic[Verifier.OLDEST_RUNTIME].message == f"tflite-runtime 2.14.0, x86-64: {refused}"
    assert "ai-edge-litert 1.0.1" in (dynamic[Verifier.OLDEST_RUNTIME].runtime or "")
    assert {dynamic[name].outcome for name in OLD} == {VerificationOutcome.FAILED}


def runs_in_guest(folder: Path) -> bool:
    """Whether a guest's Python runs the script of a folder in this one."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-aarch64") and str(folder).encode() in b" ".join(words):
                return True
    return False


@pytest.mark.usefixtures("with_roots")
def test_a_conversion_that_is_stopped_while_a_guest_runs_ends(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(dense())
    arguments = ["--method", "float32", "--verify-on", "cortex-a53", "--output", "out"]
    command = [sys.executable, "-m", "tflite_converter", "convert", "--model", "model.tflite", *arguments]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("verifying float32 on cortex-a53" in line for line in process.stdout)
        while not runs_in_guest(tmp_path):  # until pytest's own timeout
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 64
    assert "error: stopped by SIGTERM" in told
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@pytest.mark.shared_models
@pytest.mark.usefixtures("with_roots")
def test_integers_of_a_published_model_are_those_of_the_processor_here(
    shared_models: Path, tmp_path: Path
) -> None:
    samples = np.random.default_rng(1).random((40, 96, 96, 3), dtype=np.float32)
    np.save(tmp_path / "samples.npy", samples)
    (tmp_path / "out").mkdir()
    found = convert_into(
        tmp_path / "out",
        shared_models / "vww_96_float.tflite",
        Method.FULL_INTEGER,
        calibration=tmp_path / "samples.npy",
        verify_on=CORTEXES,
    )
    found_there = checks(found.report, Method.FULL_INTEGER)
    assert {name: check.identical for name, check in found_there.items()} == dict.fromkeys(CORTEXES, True)
    assert {check.largest_difference for check in found_there.values()} == {0.0}


@pytest.fixture(scope="module")
def hostile_roots(roots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(hostile_runtime.__file__).read_text()
    # Beside the roots, so that their files can be linked to.
    return guests.with_runtime(roots, tmp_path_factory.mktemp("hostile") / "roots", source)


@pytest.fixture
def with_hostile_roots(hostile_roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GUESTS_ENV, str(hostile_roots))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.usefixtures("with_hostile_roots")
@pytest.mark.parametrize(
    ("does", "missing", "failure"),
    [
        ("died", None, "LiteRT 1.0 died of SIGSEGV"),
        ("wordless", None, "outputs.npz cannot be opened as a regular file: No such file or directory"),
        (
            "linked",
            None,
            "outputs.npz cannot be opened as a regular file: Too many levels of symbolic links",
        ),
        ("large", None, "it does not load: [Errno 27] File too large"),
        ("full", "it does not load: [Errno 28] No space left on device", None),
        ("silent", "LiteRT 1.0 has said nothing for ", None),
        ("talkative", "LiteRT 1.0 was not done after 3 s, while still at it", None),
    ],
)
def test_how_a_guest_ends(
    does: str, missing: str | None, failure: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflite_converter.verifying.guests._SILENCE_SECONDS", 2.0)
    monkeypatch.setattr("tflite_converter.verifying.guests._MOST_SECONDS", 3.0)
    found = in_guest(LITERT_1, does.encode(), folder)
    assert (found.missing or "").startswith(missing or "\0") is (missing is not None)
    assert (found.failure or "").startswith(failure or "\0") is (failure is not None)
    assert found.outputs is None
    assert [path.name for path in folder.iterdir()] == ["work"]


@pytest.mark.usefixtures("with_hostile_roots")
def test_a_guest_has_only_so_much_memory(folder: Path) -> None:
    found = in_guest(LITERT_1, b"hungry", folder, memory=400 << 20)
    assert "Unable to allocate 32.0 MiB" in (found.missing or "")
    assert (found.failure, found.outputs) == (None, None)


@pytest.mark.usefixtures("with_hostile_roots")
def test_a_guest_reaches_nothing_of_the_parents(folder: Path) -> None:
    found = in_guest(LITERT_1, b"reaches_out", folder)
    own = [
        *("HOME", "LD_LIBRARY_PATH", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"),
        *("PYTHONHASHSEED", "PYTHONHOME", "PYTHONPATH", "TMPDIR"),
    ]
    assert found.failure == f"it does not load: got {own}".replace("'", '"')


LIES = {
    "garbage": "its outputs cannot be read: ",
    "shape": "it gives 'scores' with shape (4, 3, 7), the original (4, 3)",
    "short_header": "its outputs cannot be read: its array 'scores' is bad: it is truncated",
    "bomb": "its outputs cannot be read: it unpacks to more than 256.0M",
    "pickled": "its outputs cannot be read: its array 'scores' is bad: it holds pickled Python objects",
    "none": "it gave outputs of no sample",
    "not_a_number": "it gives NaN or infinite values in 'scores' where the original does not",
}


@pytest.mark.usefixtures("with_hostile_roots")
def test_lies_about_outputs_are_told_as_such(folder: Path) -> None:
    work = folder / "work"
    (work / "model.tflite").write_bytes(dense())
    runs = []
    for does in LIES:
        found = in_guest(LITERT_1, does.encode(), folder)
        assert found.outputs == "outputs.npz"
        runs.append(found.model_copy(update={"outputs": f"{does}.npz"}))
        (work / "outputs.npz").rename(work / f"{does}.npz")
    judged = judge(work, [[each] for each in runs])
    assert {check.outcome for check in judged} == {VerificationOutcome.FAILED}
    said = dict(zip(LIES, (check.message or "" for check in judged), strict=True))
    assert {does: words[: len(LIES[does])] for does, words in said.items()} == LIES


def test_what_is_given_is_compared_with_the_processor_here(folder: Path) -> None:
    """A verdict for each of several outputs, which no guest has given; the comparison is real."""
    work = folder / "work"
    (work / "model.tflite").write_bytes(dense())
    other = SCORES.copy()
    other[:2] = -other[:2]
    for name, values in (("other", other), ("fewer", SCORES[:2])):
        with zipfile.ZipFile(work / f"{name}.npz", "w") as archive, archive.open("scores.npy", "w") as member:
            np.lib.format.write_array(member, values)
    runs = [
        GuestRun(runtime="a 1", outputs="other.npz"),
        GuestRun(runtime="b 1", outputs="fewer.npz"),
        GuestRun(runtime="c 1", missing="it took too long"),
    ]
    differs, fewer, missing = judge(work, [[each] for each in runs], Gates(min_agreement=0.9))
    assert differs.outcome is VerificationOutcome.FAILED
    assert (differs.samples, differs.identical) == (4, False)
    assert differs.largest_difference == pytest.approx(2 * np.abs(SCORES[:2]).max())
    assert "agreement" in (differs.message or "")
    assert (fewer.outcome, fewer.samples, fewer.agreement) == (VerificationOutcome.PASSED, 2, 1)
    assert (missing.outcome, missing.message) == (VerificationOutcome.NOT_VERIFIED, "it took too long")


def judge(
    work: Path,
    runs: Sequence[Sequence[GuestRun]],
    gates: Gates | None = None,
    expected: Array = SCORES,
    task: Task = Task.CLASSIFICATION,
) -> tuple[Verification, ...]:
    """Judge what guests gave for ``model.tflite`` in ``work``: the runs of each check."""
    write_folder(work / EVALUATION_FOLDER, {"x": SAMPLES})
    write_folder(work / REFERENCE_FOLDER, {"scores": expected})
    limits = ChildLimits(memory_limit_bytes=2 << 30)
    basis = LiteRTJob(limits=limits, base_name="model", methods=(), source_bytes=1, task=task)
    made = tuple(GuestCheck(name=Verifier.OLDEST_RUNTIME, runs=tuple(each)) for each in runs)
    file = GuestFile(name="model.tflite", gates=gates or Gates(), checks=made)
    job = GuestsJob(limits=limits, basis=basis, files=(file,))
    result = run_worker(JUDGING, job, GuestsResult, work, Watch(60, None), ignore)
    return result.verifications["model.tflite"]
