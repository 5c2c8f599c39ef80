"""Whole conversions whose files are run on TFLite Micro as well."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelconversion_api.fields.compilers import Microcontroller
from modelconversion_api.fields.verification import VerificationOutcome, Verifier
from modelconversion_api.methods import Method, Target
from modelconversion_api.reports.conversion import ArtifactReport
from support.converter.converting import convert_into
from support.converter.vulkan import software_driver
from tflite_converter.compilers.arena import estimate
from tflite_converter.compilers.options import Compilers
from tflite_converter.measuring.gates import Gates
from tflite_converter.report.page import render
from tflite_converter.tflite.file import read_file

pytestmark = pytest.mark.slow
pytest.importorskip("tflite_micro", reason="there is no package for this machine")


def test_the_target_s_file_is_verified_unasked(two_dense: Path, tmp_path: Path) -> None:
    found = convert_into(
        tmp_path,
        two_dense / "model.tflite",
        Method.FULL_INTEGER,
        calibration=two_dense / "samples.npy",
        target=Target.MICROCONTROLLER,
    )
    (artifact,) = found.report.artifacts
    (check,) = artifact.verifications
    assert check.outcome is VerificationOutcome.PASSED
    assert check.agreement is not None
    assert check.agreement > 0.9
    arena = estimate(read_file((tmp_path / artifact.file_name).read_bytes(), "m")).total_bytes
    assert check.memory_bytes is not None
    assert 0.5 * arena < check.memory_bytes <= arena
    assert found.report.recommended is not None
    assert "runs on its runtime" in found.report.recommended.reason
    assert "On other runtimes" in render(found.report)


def test_other_files_may_fail_there(two_dense: Path, tmp_path: Path) -> None:
    """Dynamic range has no kernels in TFLite Micro, which nobody has named as the target."""
    found = convert_into(
        tmp_path,
        two_dense / "model.tflite",
        Method.FLOAT32,
        Method.DYNAMIC_RANGE,
        verify_on=(Verifier.MICROCONTROLLER,),
    )
    outcomes = {a.method: _outcome(a) for a in found.report.artifacts}
    assert outcomes == {
        Method.FLOAT32: (VerificationOutcome.PASSED, True),
        Method.DYNAMIC_RANGE: (VerificationOutcome.FAILED, True),
    }


@pytest.mark.parametrize(
    ("signal", "outcome"),
    [("SIGKILL", VerificationOutcome.NOT_VERIFIED), ("SIGSEGV", VerificationOutcome.FAILED)],
)
def test_the_target_s_file_does_not_fail_for_want_of_memory_here(
    two_dense: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signal: str,
    outcome: VerificationOutcome,
) -> None:
    """The kernel kills the fork when memory runs out: a library in the driver's place has it do so."""
    program = shutil.which("cc") or shutil.which("gcc")
    if program is None:
        pytest.skip("no C compiler on PATH")
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "icd.json").write_text("{}")
    (driver / "ends.c").write_text(
        f"#include <signal.h>\n__attribute__((constructor)) static void end(void) {{ raise({signal}); }}\n"
    )
    library = driver / "libvulkan.so.1"
    subprocess.run([program, "-shared", "-fPIC", driver / "ends.c", "-o", library], check=True)
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver / "icd.json"))
    (tmp_path / "out").mkdir()
    source = two_dense / "model.tflite"
    found = convert_into(tmp_path / "out", source, Method.FLOAT32, target=Target.GPU)
    (artifact,) = found.report.artifacts
    assert _outcome(artifact) == (outcome, outcome is VerificationOutcome.NOT_VERIFIED)
    assert signal in (artifact.verifications[0].message or "")


def test_a_check_that_is_no_worse_does_not_pass_beside_a_compilation_that_failed(
    two_dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate lies between the agreement of the first 64 samples, which the GPU runs, and that of all."""
    monkeypatch.setenv("VK_DRIVER_FILES", str(software_driver()))

    def converted(name: str, **options: Any) -> ArtifactReport:
        (tmp_path / name).mkdir()
        samples = two_dense / "samples.npy"
        found = convert_into(
            tmp_path / name,
            two_dense / "model.tflite",
            Method.FULL_INTEGER,
            calibration=samples,
            validation=samples,
            verify_on=(Verifier.GPU,),
            **options,
        )
        (artifact,) = found.report.artifacts
        return artifact

    plain = converted("plain")
    (check,) = plain.verifications
    assert plain.agreement is not None
    assert check.agreement is not None
    assert check.agreement < plain.agreement
    gates = Gates(min_agreement=(check.agreement + plain.agreement) / 2)
    alike = converted("alike", gates=gates)
    assert _outcome(alike) == (VerificationOutcome.PASSED, True)
    assert (alike.verifications[0].message or "").startswith("as on LiteRT here: agreement ")
    too_small = Compilers(microcontroller=Microcontroller(max_arena_bytes=1))
    assert _outcome(converted("failed", gates=gates, compilers=too_small)) == (
        VerificationOutcome.FAILED,
        False,
    )


def _outcome(artifact: ArtifactReport) -> tuple[VerificationOutcome, bool]:
    (check,) = artifact.verifications
    return check.outcome, artifact.passed
