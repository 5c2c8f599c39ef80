"""The distribution as people install it: from the package registry, into an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from devcluster.tools.installer import find_uv
from support.paths import REPOSITORY

KREW = REPOSITORY / "operator" / "krew"
_STORE = """
from modelconversion_client.plugin.exits import StoreError
from modelconversion_client.plugin.store import Store
try:
    Store(None)
except StoreError as error:
    print(error.cause)
"""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_wheel_installs_and_runs_without_tensorflow_and_kopf(tmp_path: Path) -> None:
    uv = find_uv()
    assert uv is not None
    run(uv, "build", "--quiet", "--wheel", REPOSITORY / "operator", "--out-dir", tmp_path / "dist")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv = tmp_path / "venv"
    run(uv, "venv", "--quiet", venv)
    python = venv / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--python", python, wheel)
    listed = {row["name"] for row in json.loads(run(uv, "pip", "list", "--python", python, "--format=json"))}
    assert {"model-conversion-client", "kubernetes", "pydantic", "typer"} <= listed
    assert not {
        name for name in listed if "tensorflow" in name or name in ("kopf", "keras", "numpy", "boto3")
    }
    imports = "import modelconversion_client as m; print([getattr(m, n).__name__ for n in m.__all__])"
    assert "AsyncModelConversionClient" in run(python, "-I", "-c", imports)
    program = venv / "bin" / "kubectl-mconv"
    version = tomllib.loads((REPOSITORY / "operator" / "pyproject.toml").read_text())["project"]["version"]
    assert run(program, "--version").split() == ["kubectl-mconv", version]
    assert "RaspberryPi" in run(program, "targets")
    without = run(python, "-I", "-c", _STORE)
    assert without == "boto3 is not installed, which speaks with the store\n"
    # What Krew would install, with the wheel where it would come from.
    links = str(tmp_path / "dist")
    path = f"{Path(uv).parent}{os.pathsep}{os.environ['PATH']}"
    assert run(KREW / "kubectl-mconv", "--version", UV_FIND_LINKS=links, PATH=path).split()[-1] == version
    files = run(python, "-m", "zipfile", "-l", wheel)
    assert "modelconversion_client/LICENSE" in files
    assert "modelconversion_api/py.typed" in files
    assert "modelconversion_operator" not in files


def test_the_manifest_for_krew_is_one_when_it_is_filled_in() -> None:
    """The fields are those of Krew's "Writing Krew plugin manifests"."""
    filled: list[str] = []
    for line in (KREW / "mconv.yaml").read_text().splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        if "{{addURIAndSha" in line:
            filled += [
                f"{indent}uri: https://example.org/kubectl-mconv.tar.gz",
                f"{indent}sha256: {'0' * 64}",
            ]
        else:
            filled.append(
                line.replace("{{ .TagName }}", "v0.1.0").replace("{{ .Homepage }}", "https://example.org")
            )
    manifest = yaml.safe_load("\n".join(filled))
    assert manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert manifest["metadata"] == {"name": "mconv"}
    spec = manifest["spec"]
    assert len(spec["shortDescription"]) <= 50
    (platform,) = spec["platforms"]
    assert set(platform) == {"selector", "uri", "sha256", "files", "bin"}
    assert platform["bin"] in {row["from"] for row in platform["files"]}
    assert os.access(KREW / platform["bin"], os.X_OK)
