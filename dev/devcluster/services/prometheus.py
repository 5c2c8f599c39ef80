"""A Prometheus server that scrapes what it is told to, and its rule checker ``promtool``.

Programs on PATH are taken as they are. Elsewhere the Debian package is unpacked into the cache folder, which
changes nothing of the machine: both programs need nothing but the C library.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx

from devcluster.processes import Process, free_ports
from devcluster.services.service import Service, answers
from devcluster.tools.debian import files_of_package

PROGRAMS: Final = ("prometheus", "promtool")

Json = dict[str, Any]


def ensure_prometheus() -> dict[str, Path]:
    """Return the paths of :data:`PROGRAMS`.

    Raises :class:`~devcluster.errors.PackageUnavailableError`.
    """
    installed = {name: shutil.which(name) for name in PROGRAMS}
    if all(installed.values()):
        return {name: Path(path) for name, path in installed.items() if path is not None}
    folder = files_of_package("prometheus", [f"usr/bin/{name}" for name in PROGRAMS])
    return {name: folder / name for name in PROGRAMS}


class Prometheus(Service):
    """A server on 127.0.0.1 that scrapes every second.

    Args:
        state: A folder for its data and its log.
        targets: What it scrapes: addresses (``host:port``) by the name of the job.
        labels: Labels that every target gets, as service discovery gives them in a cluster.
        rules: Rule files.

    """

    ready_seconds: ClassVar[float] = 30

    def __init__(
        self,
        state: Path,
        targets: Mapping[str, Sequence[str]],
        labels: Mapping[str, str] | None = None,
        rules: Sequence[Path] = (),
    ) -> None:
        self._state = state
        (self._port,) = free_ports(1)
        self._config: Json = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [{"targets": list(addresses), "labels": dict(labels or {})}],
                }
                for job, addresses in targets.items()
            ],
        }

    def _start(self) -> Process:
        program = ensure_prometheus()["prometheus"]
        file = self._state / "prometheus.yml"
        file.write_text(json.dumps(self._config))  # JSON is YAML
        return Process(
            "prometheus",
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={self._state / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--storage.tsdb.retention.time=1d",
            ],
            self._state / "prometheus.log",
        )

    def query(self, expression: str) -> list[Json]:
        """Return the series that an expression gives now."""
        return self._result("query", query=expression)

    def query_range(self, expression: str, seconds: float, step: float = 1) -> list[Json]:
        """Return the series that an expression gave in the last ``seconds``."""
        now = time.time()
        return self._result(
            "query_range", query=expression, start=f"{now - seconds}", end=f"{now}", step=f"{step}"
        )

    def rules(self) -> list[Json]:
        """All rules, with their state."""
        groups: list[Json] = self._get("rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _result(self, kind: str, **parameters: str) -> list[Json]:
        result: list[Json] = self._get(kind, **parameters)["data"]["result"]
        return result

    def _get(self, path: str, **parameters: str) -> Json:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}"
        answer: Json = httpx.get(url, params=parameters, trust_env=False, timeout=30).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']}: {parameters}")
        return answer

    def _ready(self) -> bool:
        return answers(f"http://127.0.0.1:{self._port}/-/ready")
