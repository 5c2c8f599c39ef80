"""kubectl as the user of a kubeconfig."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from devcluster.errors import ProcessError
from devcluster.local import installed_program

Json = dict[str, Any]


class Kubectl:
    """Runs kubectl; ``cache`` is where it keeps what it discovered about the cluster."""

    def __init__(self, kubeconfig: Path, cache: Path) -> None:
        self.kubeconfig = kubeconfig
        self._cache = cache

    def __call__(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - named as subprocess.run names it
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, as the user of another kubeconfig if one is given.

        Raises :class:`ProcessError` with kubectl's message unless it succeeds or ``check`` is False.
        """
        result = subprocess.run(
            [installed_program("kubectl"), *args],
            input=input,
            env=self.environment(kubeconfig),
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            raise ProcessError(f"kubectl {' '.join(args)} failed: {result.stderr.strip()}")
        return result

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Return the environment of a program that talks to the cluster, for instance Helm."""
        return os.environ | {
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "KUBECACHEDIR": str(self._cache),
        }

    def apply(self, what: Path | Iterable[Mapping[str, Any]]) -> None:
        """``kubectl apply`` a file, a folder, or objects."""
        if isinstance(what, Path):
            self("apply", "-f", str(what))
        else:
            items = {"apiVersion": "v1", "kind": "List", "items": list(what)}
            self("apply", "-f", "-", input=json.dumps(items))

    def get(self, kind: str, name: str, namespace: str) -> Json | None:
        """Read an object; None where there is none."""
        result = self("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        document: Json | None = json.loads(result.stdout) if result.stdout.strip() else None
        return document

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Json]:
        """Return the objects of a kind in a namespace."""
        result = self("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        items: list[Json] = json.loads(result.stdout)["items"]
        return items

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace and wait until Pods can be created in it."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        while self.get("serviceaccount", "default", name) is None:
            time.sleep(0.1)
