"""Run one command and leave nothing of it behind: ``python -I -S supervise.py LIFELINE COMMAND...``.

LIFELINE is the reading end of a pipe whose other end the starter holds. When that end closes, because the
starter wants it or because it died (even by SIGKILL), the command and all its descendants are killed.
SIGTERM and SIGINT are passed on to the command alone, as a container runtime does. When the command ends,
what it left running is killed, and its exit code is returned; 128+n where signal n ended it.

A parent-death signal alone would not do: it follows the thread that started the child, not the process, and
grandchildren do not get it. This file imports the standard library only and is run as a script, because it
starts in the environment of a container.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_MILLIS = 20


def main() -> int:
    """Supervise the command of ``sys.argv``."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: received.append(n))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    child = os.fork()
    if child == 0:
        _execute(command, libc)
    exit_code: int | None = None
    while exit_code is None:
        ready, _, _ = select.select([lifeline, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
        if lifeline in ready:
            os.kill(child, signal.SIGKILL)
        while received:
            os.kill(child, received.pop())
        exit_code = _reap(child)
    _kill_descendants()
    return exit_code


def _execute(command: list[str], libc: ctypes.CDLL) -> None:
    """Become the command; the process group is its own, and it dies with its supervisor."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        os.execvpe(command[0], command, _environment())  # noqa: S606 - to run it without a shell is the purpose
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _environment() -> dict[bytes, bytes]:
    """Return the variables that this process was started with.

    Python adds LC_CTYPE to them in the C locale.
    """
    block = Path("/proc/self/environ").read_bytes()
    return dict(entry.split(b"=", 1) for entry in block.split(b"\0") if b"=" in entry)


def _reap(child: int) -> int | None:
    """Return the child's exit code once it has ended; adopted orphans that ended are collected on the way."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_descendants() -> None:
    """Kill what the command left running; this process adopts orphans, so its children are all there is."""
    while True:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        for pid in _children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        select.select([], [], [], _POLL_MILLIS / 1000)


def _children() -> list[int]:
    own = str(os.getpid())
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if fields[1] == own:
            pids.append(int(stat.parent.name))
    return pids


if __name__ == "__main__":
    sys.exit(main())
