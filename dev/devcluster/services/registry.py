"""A container registry on this machine: ``docker-registry`` (CNCF distribution) from its Debian package.

Where it is not on PATH, the package is unpacked into the cache folder, which changes nothing of the machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from devcluster.processes import Process, free_ports
from devcluster.services.service import Service, answers
from devcluster.tools.debian import files_of_package

_PROGRAM: Final = "docker-registry"

Json = dict[str, Any]


def ensure_registry() -> Path:
    """Return the path of the program.

    Raises :class:`~devcluster.errors.PackageUnavailableError`.
    """
    if installed := shutil.which(_PROGRAM):
        return Path(installed)
    return files_of_package(_PROGRAM, [f"usr/bin/{_PROGRAM}"]) / _PROGRAM


class LocalRegistry(Service):
    """A registry on an address of this machine that speaks HTTP without TLS.

    Args:
        state: A folder for what is pushed, and its log.
        settings: More of its configuration
            (https://distribution.github.io/distribution/about/configuration), such as ``auth``.
        address: Where it listens.

    """

    ready_seconds: ClassVar[float] = 30

    def __init__(
        self, state: Path, settings: Mapping[str, Any] | None = None, address: str = "127.0.0.1"
    ) -> None:
        self._state = state
        (port,) = free_ports(1)
        self.host = f"{address}:{port}"
        self._config: Json = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(state / "blobs")}},
            "http": {"addr": self.host},
        } | dict(settings or {})

    def _start(self) -> Process:
        program = ensure_registry()
        self._state.mkdir(parents=True, exist_ok=True)
        file = self._state / "config.yml"
        file.write_text(json.dumps(self._config))  # JSON is YAML
        return Process(_PROGRAM, [program, "serve", file], self._state / "registry.log")

    def _ready(self) -> bool:
        return answers(f"http://{self.host}/v2/")
