"""The chart of a release: its images are those just pushed, by digest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from devcluster.errors import ReleaseError
from devcluster.release.credentials import Credentials, docker_config
from devcluster.release.registry import authorities
from devcluster.release.source import CHART

NAME: Final = CHART.name
FOLDER: Final = "charts"
"""Below the registry's prefix: an image of the chart's name lies beside it."""
_EPOCH: Final = 315532800
"""1980: the time of every file of the package, so that alike charts give alike packages."""


def image_values(images: Mapping[str, str]) -> dict[str, str]:
    """Return values of the chart by their paths.

    Args:
        images: References with digests, by the value that names the image: a path to a string, or to a
            mapping with ``repository`` and ``digest``.

    """
    values: dict[str, str] = {}
    for path, reference in images.items():
        if path == "image" or path.endswith(".image"):
            repository, _, digest = reference.partition("@")
            values |= {f"{path}.repository": repository, f"{path}.digest": digest}
        else:
            values[path] = reference
    return values


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return a ``values.yaml`` with other values, and its comments as they are.

    Args:
        text: The file.
        values: New strings by their paths. A path into an empty mapping adds to that.

    Raises:
        ReleaseError: The file has no such value.

    """
    wanted: dict[str, Any] = {}
    for path, value in values.items():
        above, _, name = path.rpartition(".")
        if _node(text, path) is None:
            wanted.setdefault(above, {})[name] = value
        else:
            wanted[path] = value
    for path, value in wanted.items():
        node = _node(text, path)
        if node is None or (isinstance(value, dict) and _loaded(text, path)):
            raise ReleaseError(f"the chart's values.yaml has no place for {path}")
        text = text[: node.start_mark.index] + json.dumps(value) + text[node.end_mark.index :]
    return text


def _node(text: str, path: str) -> yaml.Node | None:
    """Return where a value is in the text."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in path.split("."):
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == name), None)
    return node


def _loaded(text: str, path: str) -> Any:
    value = yaml.safe_load(text)
    for name in path.split("."):
        value = value[name]
    return value


def package(helm: Path, values: Mapping[str, str], annotations: Mapping[str, str], into: Path) -> Path:
    """Pack the chart into a folder; alike for alike values.

    Args:
        helm: The program.
        values: What takes the place of defaults, by path.
        annotations: What is added to those of ``Chart.yaml``.
        into: The folder.

    Returns:
        The package.

    Raises:
        ReleaseError: Helm finds something wrong with it.

    """
    with tempfile.TemporaryDirectory(prefix="devcluster-") as name:
        chart = Path(name, NAME)
        shutil.copytree(CHART, chart)
        file = chart / "values.yaml"
        file.write_text(with_values(file.read_text(), values))
        description = chart / "Chart.yaml"
        known = yaml.safe_load(description.read_text())
        known["annotations"] |= dict(annotations)
        description.write_text(yaml.safe_dump(known, sort_keys=False))
        _helm(helm, "lint", "--strict", str(chart))
        for entry in chart.rglob("*"):
            os.utime(entry, (_EPOCH, _EPOCH))
        said = _helm(helm, "package", str(chart), "--destination", str(into))
    packed = Path(_found(r"saved it to: (.+)", said))
    os.utime(packed, (_EPOCH, _EPOCH))
    return packed


def push(
    helm: Path, packed: Path, registry: str, *, plain_http: bool, credentials: Credentials | None
) -> str:
    """Push a package below a registry's prefix; return its digest.

    Raises:
        ReleaseError: The registry does not take it.

    """
    host = registry.partition("/")[0]
    with tempfile.TemporaryDirectory(prefix="devcluster-") as name:
        config = Path(name, "config.json")
        config.touch(mode=0o600)
        config.write_text(docker_config(host, credentials))
        options = [f"--registry-config={config}", *(["--plain-http"] if plain_http else [])]
        options += [f"--ca-file={file}"] if (file := authorities(host)) else []
        said = _helm(helm, "push", str(packed), f"oci://{registry}/{FOLDER}", *options)
    return _found(r"Digest: (sha256:[0-9a-f]{64})", said)


def _helm(helm: Path, *arguments: str) -> str:
    done = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"helm {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-1000:]}")
    return done.stdout + done.stderr


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ReleaseError(f"Helm said something else than was expected: {text.strip()[-500:]}")
    return match[1].strip()
