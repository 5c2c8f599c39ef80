"""The chart of a release: its images are those just pushed, by digest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from devcluster.errors import ReleaseError
from devcluster.release.credentials import Credentials, docker_config
from devcluster.release.registry import authorities
from devcluster.release.source import CHART

Json = dict[str, Any]

NAME: Final = CHART.name
FOLDER: Final = "charts"
"""Below the registry's prefix: an image of the chart's name lies beside it."""
_ARCHITECTURE: Final = "kubernetes.io/arch"
_ENGINES: Final = "converter.engines."
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


def node_values(platforms: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return values that keep pods away from nodes that an image of theirs is not there for.

    An engine's image that is there for fewer than the converter's keeps the Jobs of its own format only.

    Args:
        platforms: Platforms (``linux/amd64``) of each image, by the value that names it.

    """
    operator = set(platforms["image"])
    converter = set(platforms["converter.image"])
    values: dict[str, Any] = {}
    if len(operator) == 1:
        values["nodeSelector"] = {"kubernetes.io/os": "linux", _ARCHITECTURE: _architecture(operator)}
    if len(converter) == 1:
        values["defaults.job.nodeSelector"] = {_ARCHITECTURE: _architecture(converter)}
    engines = {
        value.removeprefix(_ENGINES): set(found)
        for value, found in platforms.items()
        if value.startswith(_ENGINES) and set(found) < converter
    }
    if engines:
        values["converter.engineArchitectures"] = {
            source: _architecture(found) for source, found in sorted(engines.items())
        }
    return values


def _architecture(platforms: set[str]) -> str:
    (platform,) = platforms
    return platform.partition("/")[2]


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Return a ``values.yaml`` with other values, and its comments as they are.

    Args:
        text: The file.
        values: New values by their paths. A path into an empty mapping adds to that.

    Raises:
        ReleaseError: The file has no such value.

    """
    wanted = {path: value for path, value in values.items() if _node(text, path) is not None}
    added: dict[str, Json] = {}
    for path in values.keys() - wanted.keys():
        above, _, name = path.rpartition(".")
        if _node(text, above) is None or _loaded(text, above) != {}:
            raise ReleaseError(f"the chart's values.yaml has no place for {path}")
        added.setdefault(above, {})[name] = values[path]
    for path, value in (
        wanted | {above: dict(sorted(inner.items())) for above, inner in added.items()}
    ).items():
        node = _node(text, path)
        assert node is not None  # noqa: S101 - looked for above
        text = text[: node.start_mark.index] + json.dumps(value) + text[_end(node) :]
    return text


def _end(node: yaml.Node) -> int:
    """Return where a value ends: in block style with its last part, before comments that follow."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return _end(node.value[-1])
    return int(node.end_mark.index)


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


def package(helm: Path, values: Mapping[str, Any], annotations: Mapping[str, str], into: Path) -> Path:
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
