"""How long a stranger waits: ``python tests/benchmarks/install_times.py``, as root.

Begins with a cluster whose node has no image, and a registry on this machine with a release of this tree.
Then the commands of the section "Install" of docs/INSTALL.md are run as they stand there, with the
registry's address in place of REGISTRY, and ``examples/gesture-classifier.yaml`` until it has succeeded,
twice. Times are those of the clock; registry, node and Jobs share this machine, so the network costs
nothing.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.images.build import object_store_image
from devcluster.real_node.node import RealNode
from devcluster.services.deploy import S3Keys
from devcluster.services.registry import LocalRegistry
from devcluster.tools.helm import ensure_helm

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.chart.charts import helm_homes
from support.cluster.e2e_cluster import Conversions
from support.cluster.example import EXAMPLE, object_store, trained_gesture
from support.cluster.published import Published
from support.paths import REPOSITORY

STORE_NAMESPACE: Final = "storage"
_PULLED: Final = re.compile(r'Successfully pulled image "([^"]+)" in ([0-9.ms]+)')


class Clock:
    """Rows of a table: what was waited for, and how long."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    @contextmanager
    def row(self, what: str) -> Iterator[None]:
        """Time the block."""
        begin = time.monotonic()
        yield
        self.add(what, time.monotonic() - begin)

    def add(self, what: str, seconds: float) -> None:
        """Note a time, and show it."""
        self.rows.append((what, seconds))
        sys.stderr.write(f"{what}: {seconds:.1f} s\n")

    def markdown(self) -> str:
        """Return the table."""
        lines = ["| step | seconds |", "| --- | --- |", *(f"| {what} | {s:.1f} |" for what, s in self.rows)]
        return "\n".join(lines) + "\n"


def documented_commands() -> list[str]:
    """Return the Helm commands of the section "Install", each on one line."""
    page = (REPOSITORY / "docs" / "INSTALL.md").read_text()
    section = page.partition("\n## Install\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [" ".join(line.split()) for line in re.findall(r"^ *\$ (helm .+)$", text, re.MULTILINE)]


def main() -> None:
    """Print the table."""
    clock, console = Clock(), Console(stderr=True)
    with tempfile.TemporaryDirectory() as name, RealNode(console, "stranger") as node:
        folder = Path(name)
        (folder / "registry").mkdir()
        with LocalRegistry(folder / "registry") as registry:
            node.trust_plain_registry(registry.host)
            (folder / "release").mkdir()
            with clock.row("`make release`: images built where they have changed, pushed, signed, attested"):
                Published.make(registry.host, folder / "release")
            _install(node, registry.host, folder, clock)
            image = object_store_image()
            node.load_image(image)
            keys, log = S3Keys("installer", "installer-secret"), folder / "forward.log"
            with object_store(node.kubectl, STORE_NAMESPACE, image.reference, keys, log) as store:
                conversions = Conversions(node.kubectl, store)
                conversions.upload(trained_gesture(folder))
                _convert(conversions, "first", clock)
                _convert(conversions, "second", clock)
    sys.stdout.write(clock.markdown())


def _install(node: RealNode, host: str, folder: Path, clock: Clock) -> None:
    helm = str(ensure_helm(Console(stderr=True)))
    environment = node.kubectl.environment() | helm_homes(folder / "helm")
    for command in documented_commands():
        words = [helm, *shlex.split(command)[1:]]
        if "oci://REGISTRY/" in command:
            # The registry is plain; and "installed" is meant to be "runs".
            words = [word.replace("REGISTRY", f"{host}/edge") for word in words]
            words += ["--plain-http", "--wait"]
        with clock.row(f"`{command}`"):
            subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)


def _convert(conversions: Conversions, name: str, clock: Clock) -> None:
    """Apply the example, and time it; the pull of the image is what the kubelet's event says."""
    with clock.row(f"{name} conversion: from `kubectl apply` to Succeeded, four methods"):
        conversions.apply(EXAMPLE, name=name)
        status = conversions.ended(name, 900)
    if status["phase"] != "Succeeded":
        raise SystemExit(conversions.describe(status))
    for event in conversions.kubectl.list("events", conversions.namespace):
        pulled = _PULLED.search(event["message"])
        if pulled and name in event["involvedObject"]["name"]:
            repository, seconds = pulled[1].rpartition("/")[2].partition("@")[0], _seconds(pulled[2])
            clock.add(f"of it, the node's pull of {repository}", seconds)


def _seconds(text: str) -> float:
    """Convert Go's notation, e.g. ``1m2.5s`` or ``812ms``."""
    units = {"m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(value) * units[unit] for value, unit in re.findall(r"([0-9.]+)(ms|m|s)", text))


if __name__ == "__main__":
    main()
