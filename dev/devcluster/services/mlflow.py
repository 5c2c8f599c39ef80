"""A real MLflow server of this machine, with users: its database and artifacts are in a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import httpx
from rich.console import Console

from devcluster.processes import Process, free_ports
from devcluster.services.service import Service, answers
from devcluster.tools.mlflow import ensure_mlflow

Json = dict[str, Any]


class MLflowServer(Service):
    """A server with one user, who may do everything, that runs while the context is open.

    ``address`` is one of this machine's own.
    """

    ready_seconds: ClassVar[float] = 400
    """It imports for long, more so on a busy machine."""
    username = "admin"

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address
        self.password = secrets.token_urlsafe(16)
        self._state = Path(tempfile.mkdtemp(prefix="devcluster-mlflow-"))
        self.uri = ""

    def _start(self) -> Process:
        (port,) = free_ports(1)
        self.uri = f"http://{self._address}:{port}"
        users = self._state / "users.ini"
        users.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = sqlite:///{self._state}/users.db\n"
            f"admin_username = {self.username}\nadmin_password = {self.password}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        environment = os.environ | {
            "MLFLOW_AUTH_CONFIG_PATH": str(users),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command: list[str | Path] = [
            ensure_mlflow(Console(stderr=True)),
            *("server", "--app-name", "basic-auth", "--host", self._address, "--port", str(port)),
            *("--allowed-hosts", f"{self._address}:{port}"),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self._state}/runs.db"),
            *("--artifacts-destination", str(self._state / "artifacts")),
        ]
        log = self._state / "mlflow.log"
        return Process("MLflow", command, log, environment=environment, folder=self._state)

    def _clean(self) -> None:
        shutil.rmtree(self._state, ignore_errors=True)

    def ask(self, path: str, /, **query: str) -> Json:
        """Return what the server says to ``GET`` of a path of its API, as its user."""
        answer = self.get(f"/api/2.0/mlflow/{path}", **query)
        answer.raise_for_status()
        document: Json = answer.json()
        return document

    def get(self, path: str, /, **query: str) -> httpx.Response:
        """Return the answer to ``GET`` of any path."""
        login = (self.username, self.password)
        return httpx.get(f"{self.uri}{path}", params=query, auth=login, trust_env=False, timeout=60)

    def _ready(self) -> bool:
        return answers(f"{self.uri}/health")
