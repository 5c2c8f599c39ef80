"""A model whose loading runs its author's graph over the machine's files gets nothing: end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport
from support.converter.converting import Script
from support.paths import REPOSITORY
from tflite_converter.tflite.runtime import TFLiteModel

CANARY = "canary-3f2a"
TOKEN = "var/run/secrets/kubernetes.io/serviceaccount/token"


@dataclass(frozen=True)
class Victim:
    """A person's files, and what a hostile model makes of them without the converter around it."""

    home: Path
    model: Path
    stolen_unconfined: str


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    home = tmp_path_factory.mktemp("home")
    for name in (".aws/credentials", TOKEN):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(f"{CANARY} of {name}\n")
    model = home / "models" / "innocent"
    program = REPOSITORY / "tests/support/converter/make_hostile_model.py"
    patterns = [str(home / ".aws/credentials"), str(home / TOKEN), "/proc/[0-9]*/environ"]
    made = subprocess.run(
        [sys.executable, program, model, *patterns],
        env=os.environ | {"AWS_SECRET_ACCESS_KEY": CANARY},
        check=True,
        capture_output=True,
        text=True,
    )
    (home / ".aws/credentials.planted").unlink()
    return Victim(home, model, made.stdout)


def test_the_model_is_what_it_is_said_to_be(victim: Victim) -> None:
    """Without confinement it gets the files; what follows would fail."""
    assert f"{CANARY} of .aws/credentials" in victim.stolen_unconfined
    assert f"{CANARY} of {TOKEN}" in victim.stolen_unconfined


def test_a_hostile_model_gets_nothing(victim: Victim, tmp_path: Path) -> None:
    found = Script(tmp_path)(
        "convert_to_tflite.py",
        *("--model", victim.model, "--method", "all", "--output", "out"),
        AWS_SECRET_ACCESS_KEY=CANARY,
        HOME=str(victim.home),
    )
    assert found.returncode == 0, found.stderr
    assert CANARY not in found.stdout + found.stderr
    assert not (victim.home / ".aws/credentials.planted").exists()
    report = ConversionReport.model_validate_json((tmp_path / "out" / "innocent_report.json").read_text())
    assert report.provenance is not None
    if report.provenance.isolation != ("no-network", "no-other-programs", "own-files-only"):
        pytest.skip("this kernel has no Landlock, or no seccomp, and the report says so")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert CANARY.encode() not in content
        assert np.frombuffer(CANARY.encode(), np.uint8).astype(np.float32).tobytes() not in content
    model = TFLiteModel(tmp_path / "out" / Method.FLOAT32.file_name("innocent"))
    (output,) = model.run({"x": np.ones((1, 4), np.float32)}).values()
    assert bytes(output[0, 4:].astype(np.uint8)).strip() == b""
    assert output[0, :4].tolist() == [2.0] * 4
