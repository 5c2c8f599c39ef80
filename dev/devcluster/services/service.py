"""A server of this machine that runs while a context is open, and is gone after it."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

import httpx

from devcluster.processes import Process, wait_until_ready


class Service(ABC):
    """One process: started, waited for, and killed. What is left of one that does not start is cleaned up."""

    ready_seconds: ClassVar[float] = 60
    """How long it may take until it answers."""
    _process: Process | None = None

    def __enter__(self) -> Self:
        try:
            self._process = self._start()
            wait_until_ready(self._process, self._ready, self.ready_seconds)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None
        self._clean()

    @abstractmethod
    def _start(self) -> Process:
        """Write what the server reads, and start it."""

    @abstractmethod
    def _ready(self) -> bool:
        """Say whether it serves."""

    def _clean(self) -> None:  # noqa: B027 - most leave nothing
        """Remove what it leaves."""


def listens(port: int) -> bool:
    """Whether somebody takes connections at a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    """Whether a URL is answered, with an error of the client's at most."""
    try:
        return not httpx.get(url, trust_env=False, timeout=5).is_server_error
    except httpx.HTTPError:
        return False
