"""A way from this machine to a port of a Service in a cluster."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final, Self

from devcluster.control_plane.kubectl import Kubectl
from devcluster.errors import ProcessError
from devcluster.local import installed_program
from devcluster.processes import Process

_READY_SECONDS: Final = 30
_LISTENING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


class PortForward:
    """Forwards a free port of 127.0.0.1 to ``target``, e.g. ``service/name``, while the context is open.

    It follows one pod, and ends with it; :meth:`again` starts anew, on the same port.
    """

    def __init__(self, kubectl: Kubectl, namespace: str, target: str, port: int, log: Path) -> None:
        self._kubectl = kubectl
        self._arguments = (namespace, target, port)
        self._log = log
        self._process: Process | None = None
        self.port = 0
        """The port of 127.0.0.1."""

    def __enter__(self) -> Self:
        self.again()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def again(self) -> None:
        """Start, or start anew. Raises :class:`ProcessError` when nothing listens there."""
        self.__exit__()
        namespace, target, port = self._arguments
        self._log.unlink(missing_ok=True)
        command = [installed_program("kubectl"), "port-forward", "-n", namespace, target]
        self._process = Process(
            f"port-forward to {target}",
            [*command, f"{self.port or ''}:{port}"],
            self._log,
            environment=self._kubectl.environment(),
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not (match := _LISTENING.search(self._log.read_text())):
            self._process.check()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self._process.name} did not start:\n{self._process.tail()}")
            time.sleep(0.05)
        self.port = int(match[1])
