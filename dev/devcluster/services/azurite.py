"""A real server of Azure Blob Storage on 127.0.0.1: Azurite, from npm."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from devcluster.processes import Process, free_ports
from devcluster.services.service import Service, listens
from devcluster.tools.azurite import ensure_azurite, node


class Azurite(Service):
    """A server with one account, with a random key, that runs while the context is open.

    Everything is in memory, and gone with it. ``certificate`` and ``key`` are PEM files.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self.account = f"models{secrets.token_hex(4)}"
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._files = certificate, key
        self._state = Path(tempfile.mkdtemp(prefix="devcluster-azurite-"))
        self.port = 0

    @property
    def endpoint(self) -> str:
        """URL of the server; the account's name stands in the path."""
        return f"https://localhost:{self.port}"

    def _start(self) -> Process:
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
        log = self._state / "azurite.log"
        return Process("Azurite", command, log, environment=environment, folder=self._state)

    def _clean(self) -> None:
        shutil.rmtree(self._state, ignore_errors=True)

    def _ready(self) -> bool:
        return listens(self.port)
