"""Ports for servers that several test processes start at once."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.cache import cache_dir


def _ports(given: Path, seed: int) -> list[int]:
    os.environ["XDG_CACHE_HOME"] = str(given)
    random.seed(seed)
    return processes.free_ports(5)


def test_no_two_processes_get_the_same_port(tmp_path: Path) -> None:
    """All draw the same numbers."""
    with ProcessPoolExecutor(4) as pool:
        found = list(pool.map(_ports, [tmp_path] * 8, [7] * 8))
    ports = [port for some in found for port in some]
    assert len(ports) == len(set(ports)) == 40


def test_a_port_that_was_given_long_ago_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    random.seed(3)
    first = set(processes.free_ports(3))
    random.seed(3)
    assert not first & set(processes.free_ports(3))
    later = time.time() + 2 * processes._START_SECONDS
    monkeypatch.setattr(time, "time", lambda: later)
    random.seed(3)
    assert set(processes.free_ports(3)) == first
    assert len((cache_dir() / "ports").read_text().splitlines()) == 3
