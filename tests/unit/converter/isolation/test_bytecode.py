"""Libraries are compiled once before a child that may not write their bytecode starts."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tflite_converter.isolation.bytecode import compile_imports


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of two modules that has no bytecode; gives its ``__init__``."""
    folder = tmp_path / "site" / "slow_to_start"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from slow_to_start import part\n")
    (folder / "part.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder / "__init__.py"


def compiled(source: Path) -> bool:
    return Path(importlib.util.cache_from_source(str(source))).exists()


def environment(package: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(package.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}


def test_what_is_not_compiled_is_compiled_once(package: Path) -> None:
    messages: list[str] = []
    for _ in range(2):
        compile_imports(["slow_to_start"], environment(package), messages.append)
    assert compiled(package)
    assert compiled(package.with_name("part.py"))
    assert len(messages) == 1
    assert "once" in messages[0]


def test_an_installation_that_cannot_be_written_is_told_with_the_command(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    messages: list[str] = []
    compile_imports(["slow_to_start"], environment(package), messages.append)
    assert not compiled(package)
    assert f"compileall -q -j 0 {package.parents[1]}" in messages[0]


def test_what_is_missing_or_broken_is_left_to_the_child(package: Path) -> None:
    package.write_text("raise ImportError\n")
    compile_imports(["slow_to_start"], environment(package), lambda _: None)
    compile_imports(["not_installed_at_all"], {}, pytest.fail)
    compile_imports([], {}, pytest.fail)
