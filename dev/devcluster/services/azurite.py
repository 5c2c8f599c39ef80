"""A real server of Azure Blob Storage on 127.0.0.1: Azurite, from npm."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Self

from rich.console import Console

from devcluster.processes import Process, free_ports, wait_until_ready
from devcluster.tools.azurite import ensure_azurite, node

_READY_SECONDS = 60


class Azurite:
    """A server with one account, with a random key, that runs while the context is open.

    Everything is in memory, and gone with it. ``certificate`` and ``key`` are PEM files.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self.account = f"models{secrets.token_hex(4)}"
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._files = certificate, key
        self._state = Path(tempfile.mkdtemp(prefix="devcluster-azurite-"))
        self._process: Process | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """URL of the server; the account's name stands in the path."""
        return f"https://localhost:{self.port}"

    def __enter__(self) -> Self:
        (self.port,) = free_ports(1)
        certificate, key = self._files
        command: list[str | Path] = [
            node(),
            ensure_azurite(Console(stderr=True)),
            *f"--blobHost 127.0.0.1 --blobPort {self.port}".split(),
            *f"--cert {certificate} --key {key}".split(),
            *("--inMemoryPersistence", "--disableTelemetry", "--silent"),
        ]
        environment = os.environ | {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}
        try:
            self._process = Process(
                "Azurite", command, self._state / "azurite.log", environment=environment, folder=self._state
            )
            wait_until_ready(self._process, self._ready, _READY_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None
        shutil.rmtree(self._state, ignore_errors=True)

    def _ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
