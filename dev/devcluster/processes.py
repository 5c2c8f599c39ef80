"""Child processes that log to a file, can be waited for, and never outlive this program."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from devcluster.cache import cache_dir, locked
from devcluster.errors import ProcessError

_SUPERVISOR = str(Path(__file__).with_name("supervise.py"))
_TAIL_LINES = 15
_START_SECONDS = 120.0
"""How long a server may take until it listens on a port that it was given."""


class Process:
    """One child process with a log file.

    It runs under :mod:`devcluster.supervise`, so that it and all its descendants end when this program does,
    however that ends. ``environment`` is the child's whole environment, this program's where None.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._lock = threading.Lock()
        reading, writing = os.pipe()
        try:
            with log.open("ab") as output:
                self._popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", _SUPERVISOR, str(reading), *map(str, command)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if environment is None else dict(environment),
                    cwd=folder,
                    pass_fds=(reading,),
                    start_new_session=True,  # Ctrl-C in the terminal is for this program, which stops it
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._lifeline: int | None = writing

    @property
    def exit_code(self) -> int | None:
        """The exit code, 128+n where signal n ended it; None while it runs."""
        code = self._popen.poll()
        return 128 - code if code is not None and code < 0 else code

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, or None when it still runs after so many seconds."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.exit_code

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM)."""
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """Kill the process and all its descendants, and return the exit code."""
        with self._lock:
            if self._lifeline is not None:
                os.close(self._lifeline)
                self._lifeline = None
        self._popen.wait()
        return self.exit_code or 0

    def stop(self, grace_seconds: float = 10) -> int:
        """Ask the process to end, kill it when it has not after the grace, and return the exit code."""
        if self.exit_code is None:
            self.terminate()
            self.wait(grace_seconds)
        return self.kill()

    def check(self) -> None:
        """Raise :class:`ProcessError` with the log's tail when the process has ended."""
        if (code := self.exit_code) is not None:
            raise ProcessError(
                f"{self.name} ended with exit code {code}; its log {self.log} ends:\n{self.tail()}"
            )

    def tail(self) -> str:
        """Return the end of the log, for messages."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])


def wait_until_ready(process: Process, ready: Callable[[], bool], seconds: float) -> None:
    """Wait until ``ready()``.

    Raises :class:`ProcessError` with the log's tail when the process ends first, or is not ready in time.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        process.check()
        if time.monotonic() > deadline:
            raise ProcessError(
                f"{process.name} was not ready after {seconds:.0f} s; "
                f"its log {process.log} ends:\n{process.tail()}"
            )
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, and that no other process has been given for its servers.

    They lie below the range from which the kernel takes ports for outgoing connections, so that none of those
    gets in the way between this call and the server's start.
    """
    ports: set[int] = set()
    with locked("ports", lambda: None), (cache_dir() / "ports").open("a+") as given:
        taken = _given_lately(given)
        while len(ports) < count:
            port = random.randint(20000, 32000)  # noqa: S311 - a port is no secret
            if port not in ports | taken and port_is_free(port):
                ports.add(port)
        given.writelines(f"{port} {time.time()}\n" for port in ports)
    return list(ports)


def _given_lately(given: IO[str]) -> set[int]:
    """Return the ports whose servers may still be about to start; those of long ago are forgotten."""
    given.seek(0)
    rows = [line.split() for line in given]
    lately = [(port, at) for port, at in rows if time.time() - float(at) < _START_SECONDS]
    given.truncate(0)
    given.writelines(f"{port} {at}\n" for port, at in lately)
    return {int(port) for port, _ in lately}


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
