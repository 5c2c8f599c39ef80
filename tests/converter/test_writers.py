"""Models that older TensorFlows wrote, against the outputs that those computed with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sources.written_sources import Recorded, closeness
from modelconversion_api.methods import Method
from support.converter.converting import convert_into
from support.paths import DATA

WRITTEN_BY = DATA / "written_by"

FLOAT_SNR_DB = 100.0
HALF_SNR_DB = 45.0
"""Where the writer computed in float16, which has three digits."""
QUANTIZED_SNR_DB = 15.0
"""What a small model with few calibration samples reaches; a wrong one is below 0."""


@pytest.mark.parametrize("name", sorted(path.stem for path in WRITTEN_BY.glob("*.npz")))
def test_files_give_what_their_writer_computed(name: str, tmp_path: Path) -> None:
    (source,) = (path for path in WRITTEN_BY.glob(f"{name}*") if path.suffix != ".npz")
    recorded = Recorded.read(WRITTEN_BY / f"{name}.npz")
    found = convert_into(
        tmp_path / "out",
        source,
        *(Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FULL_INTEGER),
        calibration=recorded.save_inputs(tmp_path / "inputs.npz"),
    )
    assert found.report.failed_methods == ()
    close = {
        artifact.method: closeness(found.file(artifact.method), recorded)
        for artifact in found.report.artifacts
    }
    expected = HALF_SNR_DB if "mixed_precision" in name else FLOAT_SNR_DB
    assert close[Method.FLOAT32].snr_db >= expected
    assert close[Method.DYNAMIC_RANGE].snr_db >= QUANTIZED_SNR_DB
    assert close[Method.FULL_INTEGER].snr_db >= QUANTIZED_SNR_DB


def test_there_are_fixtures() -> None:
    assert len(list(WRITTEN_BY.glob("*.npz"))) >= 8
