"""The page as the process in a cluster serves it, and the people who ask it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.processes import free_ports

_START_SECONDS = 60


class ViewerProcess:
    """The page's process, with nothing of this program's environment but its paths.

    Args:
        control_plane: Whom it asks.
        folder: Where its log and the certificate of the API server go.
        scheme: ``https`` where it is told to serve with a certificate.
        settings: Further settings, without their prefix.

    """

    def __init__(
        self, control_plane: ControlPlane, folder: Path, scheme: str = "http", **settings: str
    ) -> None:
        cluster = yaml.safe_load(control_plane.kubeconfig.read_text())["clusters"][0]["cluster"]
        ca = folder / "api-server.crt"
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        (port,) = free_ports(1)
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.log = folder / "viewer.log"
        given = {
            "http_host": "127.0.0.1",
            "http_port": str(port),
            "api_server": cluster["server"],
            "api_server_ca": str(ca),
        } | settings
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **{f"MODELCONVERSION_VIEWER_{name.upper()}": value for name, value in given.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "modelconversion_client.viewer"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        end = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(20) == 0, self.log.read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", verify=False, trust_env=False).status_code == 200  # noqa: S501 - a test's own certificate
        except httpx.TransportError:
            return False

    def get(
        self,
        page: str = "",
        token: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """What a person with a token, or without one, gets."""
        sent = dict(headers or {}) | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return httpx.request(
            method, f"{self.url}/{page}", params=query or None, headers=sent, timeout=60, trust_env=False
        )


def token_of(kubeconfig: Path) -> str:
    """The token in a kubeconfig."""
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])
