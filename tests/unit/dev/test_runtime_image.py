"""What boards run: enough for the commands of a board's Job, for both architectures, and no TensorFlow."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from devcluster.cache import REPOSITORY

REQUIREMENTS = REPOSITORY / "converter_image" / "runtime-requirements.txt"
LOCK = tomllib.loads((REPOSITORY / "uv.lock").read_text())

_ONLY_WITH = """
import importlib.abc, importlib.metadata, sys
allowed = set(sys.argv[1].split(","))
owners = {
    name: {d.lower().replace("_", "-") for d in distributions}
    for name, distributions in importlib.metadata.packages_distributions().items()
}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        owner = owners.get(name.partition(".")[0], allowed)
        if not owner & allowed:
            raise ModuleNotFoundError(f"not in the image: {name} of {sorted(owner)}", name=name)

sys.meta_path.insert(0, Missing())
import ai_edge_litert.interpreter, boto3, botocore.session
import tflite_converter.cli.main, tflite_converter.cli.jobs, tflite_converter.job.board
import tflite_converter.job.board_measuring, tflite_converter.report.page
import tflite_converter.job.stores.azure, tflite_converter.job.stores.google
import cryptography.hazmat.primitives.serialization
botocore.session.get_session().create_client("s3", region_name="x")
"""


def required() -> dict[str, set[str]]:
    """The versions of each package that the image may get."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", REQUIREMENTS.read_text(), flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_the_commands_of_a_board_s_job_need_nothing_else() -> None:
    names = ",".join([*required(), "model-conversion-operator"])
    subprocess.run([sys.executable, "-c", _ONLY_WITH, names], check=True, timeout=120)


def test_tensorflow_is_not_there() -> None:
    assert not {n for n in required() if re.match(r"tensorflow|keras|tf-keras|jax|torch|litert-quantizer", n)}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_has_a_wheel(machine: str) -> None:
    packages: list[dict[str, Any]] = LOCK["package"]
    without = []
    for name, versions in required().items():
        wheels = [
            wheel["url"]
            for package in packages
            if package["name"] == name and package["version"] in versions
            for wheel in package.get("wheels", ())
        ]
        # The image has Python 3.13 of Debian trixie, whose C library is glibc 2.41.
        fits = rf"(py3|py2\.py3)-none-any|(cp313-cp313|cp3\d+-abi3|py3-none)-manylinux\w*[_.]{machine}"
        if not any(re.search(rf"-({fits})(\.|$)", wheel.replace("%2E", ".")) for wheel in wheels):
            without.append(name)
    assert without == []
