"""What the machine and the container let a process have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tflite_converter.isolation import machine


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000"}, 6),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "900000 100000"}, 6),
        ({"cpu.max": ""}, 6),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, 6),
        ({"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_processors_are_those_of_the_set_within_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = ((tmp_path / "cpu.max",) * 2, (tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us"))
    monkeypatch.setattr(machine, "_QUOTAS", paths)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(6)))
    assert machine.processors() == expected
