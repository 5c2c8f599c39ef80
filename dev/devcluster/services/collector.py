"""A real OpenTelemetry Collector on 127.0.0.1, which takes traces by OTLP and passes them on at once.

It keeps nothing: what its own receiver does not take, it does not take either, and says so in OTLP's words.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from devcluster.processes import Process, free_ports
from devcluster.services.service import Service, listens
from devcluster.tools.collector import ensure_collector


class Collector(Service):
    """A Collector that runs while the context is open.

    Args:
        state: A folder for its configuration and its log.
        receiver: URL that it passes traces on to, as OTLP over HTTP in JSON.

    """

    def __init__(self, state: Path, receiver: str) -> None:
        self._state, self._receiver = state, receiver
        (self.port,) = free_ports(1)

    @property
    def endpoint(self) -> str:
        """URL that takes OTLP over HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def _configuration(self) -> dict[str, object]:
        passes_on = {
            "endpoint": self._receiver,
            "encoding": "json",
            "compression": "none",
            "sending_queue": {"enabled": False},
            "retry_on_failure": {"enabled": False},
        }
        return {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.port}"}}}},
            "exporters": {"otlp_http": passes_on},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
            },
        }

    def _start(self) -> Process:
        file = self._state / "collector.yaml"
        file.write_text(json.dumps(self._configuration))  # JSON is YAML
        program = ensure_collector(Console(stderr=True))
        log = self._state / "collector.log"
        return Process("the Collector", [program, "--config", f"file:{file}"], log)

    def _ready(self) -> bool:
        return listens(self.port)
