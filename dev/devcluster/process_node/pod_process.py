"""One Pod as local processes: its volumes are folders, its containers are processes."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devcluster.errors import ContainerConfigError
from devcluster.process_node import pod_status
from devcluster.process_node.environment import (
    Lookup,
    PathMap,
    container_environment,
    expand,
    find_object,
    object_data,
)
from devcluster.processes import Process

Json = dict[str, Any]

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MESSAGE_BYTES = 4096
_FALLBACK_BYTES, _FALLBACK_LINES = 2048, 80
_START_ERROR = 128


class PodProcess:
    """Runs the containers of one Pod, in the order and with the status that a kubelet gives.

    ``report(status)`` is called at every change; ``lookup`` reads Secrets and ConfigMaps; ``entrypoint`` is
    the command of a container that names none, and ``image_environment`` the variables of its image.
    :meth:`run` returns when the Pod is over.
    """

    retry_seconds = 1.0
    """How long to wait for a Secret or ConfigMap that is missing before looking again."""

    def __init__(
        self,
        pod: Json,
        folder: Path,
        lookup: Lookup,
        report: Callable[[Json], None],
        entrypoint: str,
        image_environment: Mapping[str, str],
        claims: Path,
    ) -> None:
        self.pod = pod
        self._claims = claims
        self._folder = folder
        self._lookup = lookup
        self._report_status = report
        self._entrypoint = entrypoint
        self._image_environment = image_environment
        self._inits: list[Json] = pod["spec"].get("initContainers", [])
        self._mains: list[Json] = pod["spec"]["containers"]
        first = pod_status.INITIALIZING if self._inits else pod_status.CREATING
        self._states = {c["name"]: first for c in [*self._inits, *self._mains]}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._processes: dict[str, Process] = {}

    def run(self) -> None:
        """Run init containers one after another, then all containers, and report what becomes of them."""
        self._report()
        for container in self._inits:
            if self._run_container(container) != 0:
                break
        else:
            threads = [threading.Thread(target=self._run_container, args=(c,)) for c in self._mains[1:]]
            for thread in threads:
                thread.start()
            self._run_container(self._mains[0])
            for thread in threads:
                thread.join()
        self._remove_volumes()

    def stop(self, grace_seconds: float) -> None:
        """Ask the processes to end, and kill those that have not after the grace."""
        self._stopping.set()
        with self._lock:
            processes = list(self._processes.values())
        for process in processes:
            process.terminate()
        for process in processes:
            if process.wait(grace_seconds) is None:
                process.kill()

    # One container.

    def _run_container(self, container: Json) -> int:
        """Run a container to its end; its exit code, 137 when the Pod was stopped before it could start."""
        name = container["name"]
        while not self._stopping.is_set():
            try:
                command, environment, folder, message_file = self._prepare(container)
            except ContainerConfigError as error:
                self._set(name, pod_status.waiting("CreateContainerConfigError", str(error)))
                self._stopping.wait(self.retry_seconds)
                continue
            break
        else:
            self._set(name, pod_status.lost(pod_status.now()))
            return 137
        started = pod_status.now()
        if shutil.which(command[0], path=environment["PATH"]) is None:
            message = f'exec: "{command[0]}": executable file not found in $PATH'
            self._set(name, pod_status.terminated(_START_ERROR, started, message, "StartError"))
            return _START_ERROR
        log = self._folder / f"{name}.log"
        with self._lock:
            process = Process(name, command, log, environment=environment, folder=folder)
            self._processes[name] = process
        if self._stopping.is_set():  # stop() may have come too early to see this process
            process.kill()
        self._set(name, pod_status.running(started))
        process.wait()
        code = process.kill()
        self._set(
            name, pod_status.terminated(code, started, self._message(container, message_file, log, code))
        )
        return code

    def _prepare(self, container: Json) -> tuple[list[str], dict[str, str], Path, Path]:
        """Command, environment, working folder and termination message file of a container."""
        own = self._folder / "containers" / container["name"]
        own.mkdir(parents=True, exist_ok=True)
        message_file = own / "termination-log"
        message_file.write_bytes(b"")
        folders = {m["mountPath"]: str(self._mount(m)) for m in container.get("volumeMounts", ())}
        folders[container.get("terminationMessagePath", "/dev/termination-log")] = str(message_file)
        paths = PathMap(folders)
        variables = container_environment(container, self.pod, self._lookup, paths)
        command = container.get("command") or shlex.split(self._entrypoint)
        command = [paths.apply(expand(c, variables)) for c in [*command, *container.get("args", ())]]
        home = own / "home"
        home.mkdir(exist_ok=True)
        work = Path(paths.apply(container.get("workingDir", "")) or home)
        scripts = str(Path(sys.executable).parent)
        base = {"PATH": os.pathsep.join([scripts, _SYSTEM_PATH]), "HOME": str(home)}
        return (
            command,
            {**base, **self._image_environment, **variables},
            work if work.is_dir() else home,
            message_file,
        )

    def _message(self, container: Json, file: Path, log: Path, code: int) -> str:
        data = file.read_bytes()[:_MESSAGE_BYTES]
        if not data and code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            data = b"\n".join(log.read_bytes()[-_FALLBACK_BYTES:].splitlines()[-_FALLBACK_LINES:])
        return data.decode(errors="replace")

    # Volumes.

    def _mount(self, mount: Json) -> Path:
        """Return the folder behind a volume mount, made when it is first wanted."""
        name: str = mount["name"]
        (volume,) = [v for v in self.pod["spec"].get("volumes", ()) if v["name"] == name]
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            # Of the namespace, and so of every Pod that mounts it; it stays when they go.
            return self._claim(claim["claimName"])
        folder = self._folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        for source in volume.get("projected", {}).get("sources", [volume]):
            self._write_files(source, folder)
        target = folder / str(mount.get("subPath", ""))
        if not target.exists():
            target.mkdir(parents=True)
        return target

    def _claim(self, name: str) -> Path:
        folder: Path = self._claims / self.pod["metadata"]["namespace"] / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write_files(self, source: Json, folder: Path) -> None:
        """Write the files of a Secret or ConfigMap; the node leaves out service account tokens on purpose."""
        for kind, field in (("secrets", "secret"), ("configmaps", "configMap")):
            if (reference := source.get(field)) is None:
                continue
            name = reference.get("secretName") or reference["name"]
            obj = find_object(kind, name, reference.get("optional", False), self._lookup)
            data = {} if obj is None else object_data(obj)
            items = reference.get("items") or [{"key": key, "path": key} for key in data]
            for item in items:
                if item["key"] not in data:
                    if reference.get("optional"):
                        continue
                    raise ContainerConfigError(f"references non-existent {field} key: {item['key']}")
                path = folder / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data[item["key"]])

    def _remove_volumes(self) -> None:
        """Remove a Pod's volumes; its logs stay."""
        for name in ("volumes", "containers"):
            shutil.rmtree(self._folder / name, ignore_errors=True)

    # Status.

    def _set(self, name: str, state: Json) -> None:
        with self._lock:
            if self._states[name] == state:
                return
            self._states[name] = state
        self._report()

    def _report(self) -> None:
        with self._lock:
            status = pod_status.pod_status(self.pod, self._states)
            self.pod = {**self.pod, "status": {**self.pod.get("status", {}), **status}}
            self._report_status(status)
