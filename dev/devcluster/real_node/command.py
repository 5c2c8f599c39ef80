"""Brings a real node up and leaves it: ``python -m devcluster.real_node up|down|status [--name NAME]``.

A node ends with the program that holds it. ``up`` therefore starts one that does nothing else, and returns
when the node is ready; ``down`` ends it and takes away what is left, also after a node that died.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.errors import HostError
from devcluster.programs import tells_errors
from devcluster.real_node import cleanup as node_cleanup
from devcluster.real_node.layout import NodeLayout
from devcluster.real_node.node import DEFAULT_NAME, RealNode, layout_of, only_node

_POLL_SECONDS: Final = 0.2
_DOWN_SECONDS: Final = 60


def _log(layout: NodeLayout) -> Path:
    return layout.state.with_suffix(".log")


def _holder(layout: NodeLayout) -> Path:
    """Return the file with the process that holds the node: its number, and when it started."""
    return layout.state.with_suffix(".pid")


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: a number alone may belong to another process by now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _running(layout: NodeLayout) -> int | None:
    """Return the process that holds the node."""
    try:
        pid, started = _holder(layout).read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def up(layout: NodeLayout) -> None:
    """Start a process that holds the node, and wait until the node is ready."""
    if _running(layout):
        print(f"The node {layout.name} is already up: export KUBECONFIG={layout.state}/admin.kubeconfig")
        return
    log = _log(layout)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        holder = subprocess.Popen(
            [sys.executable, "-m", "devcluster.real_node", "hold", "--name", layout.name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with log.open() as lines:
        while not _holder(layout).exists():
            print(lines.read(), end="", flush=True)
            if holder.poll() is not None:
                print(lines.read(), end="")
                raise HostError(f"the node {layout.name} did not come up")
            time.sleep(_POLL_SECONDS)
        print(lines.read(), end="")
    print(f"export KUBECONFIG={layout.state}/admin.kubeconfig")


def hold(layout: NodeLayout) -> None:
    """Hold the node until somebody ends this process."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    holder = _holder(layout)
    holder.unlink(missing_ok=True)
    try:
        with RealNode(Console(), layout.name):
            partial = holder.with_suffix(".partial")
            partial.write_text(f"{os.getpid()} {_start_time(os.getpid())}")
            partial.rename(holder)
            signal.pause()
    except KeyboardInterrupt:
        return
    finally:
        holder.unlink(missing_ok=True)


def down(layout: NodeLayout) -> None:
    """End the process that holds the node, and take away what it did not."""
    if os.geteuid() != 0:
        raise HostError("only root can take a node down")
    if pid := _running(layout):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_SECONDS
        while _running(layout) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    with only_node():
        node_cleanup.clean(layout)
    for file in (_holder(layout), _log(layout)):
        file.unlink(missing_ok=True)
    if left := node_cleanup.leftovers(layout):
        raise HostError("still there: " + ", ".join(left))
    print("Nothing is left of the node.")


def status(layout: NodeLayout) -> None:
    """Say whether the node is up, and what is on the machine."""
    print(f"The node {layout.name} is {'up' if _running(layout) else 'not up'}.")
    for thing in node_cleanup.leftovers(layout):
        print(f"  {thing}")


@tells_errors
def main() -> int:
    """Do what the command line says."""
    actions = {"up": up, "down": down, "status": status, "hold": hold}
    parser = argparse.ArgumentParser(prog="python -m devcluster.real_node", description=__doc__)
    parser.add_argument("action", choices=actions, help="hold is what up starts")
    parser.add_argument("--name", default=DEFAULT_NAME, help="of the node (%(default)s)")
    options = parser.parse_args()
    actions[options.action](layout_of(options.name))
    return 0
