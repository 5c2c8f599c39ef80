"""The fault matrix: ``python tests/support/faults/matrix.py [CASE...] [--markdown docs/FAULTS.md]``.

Runs the cases that the tests run, one after another on one control plane, prints a line for each fault, and
writes the same as a table. A case that fails is a line as well, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # as pytest's setting `pythonpath` does

from rich.console import Console

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_crd, install_operator_rbac
from devcluster.tools.binaries import ensure_control_plane_binaries
from support.faults.cases import OPERATOR_CASES, Case, Stage
from support.faults.cases_cluster import CLUSTER_CASES
from support.faults.cases_owners import OWNER_CASES
from support.faults.cases_replicas import REPLICA_CASES
from support.faults.cases_watches import WATCH_CASES
from support.faults.world import Row

CASES: dict[str, Case] = OPERATOR_CASES | OWNER_CASES | WATCH_CASES | REPLICA_CASES | CLUSTER_CASES

_INTRODUCTION = """\
# What faults do to a conversion

Every line is a fault that was made on purpose, with the operator as a process of its own under its real
permissions, a real API server, etcd and controller manager, and a node that only says that the pods ran. A
conversion ends *right* when its phase, condition and generation are what they are without a fault, when
exactly one Job was ever created for it (counted from the API server's answers, and by a watch), and when
that Job has the TTL that it gets once its result is in the status. `make test` runs the same cases, and
`python tests/support/faults/matrix.py --markdown docs/FAULTS.md` writes this page.

- **The status comes first, its event after it.** Of two writers of a status only one can win, so the event
  of an end is never told twice. A process that dies between the two, or an API server that refuses the
  event, loses it; the status holds the same facts.
- **Killed** is SIGKILL, either before the request is passed on, or after it was carried out and before its
  answer arrives. Something starts the process again, as a kubelet does.
- **A trigger's set and a channel**: a trigger finds a version, makes a set of it, and a channel that follows
  both has its pointer moved. Whatever happens, there is one of each, and the pointer moves once.
- **Clocks.** What the operator reads as the time of day is moved, not the kernel's clock.
- **A store that is put back** (etcd restored from a backup without `--bump-revision`) counts its versions
  from an earlier one. What an operator, or any controller, remembers is then of a history that never was.
  It notices when a listing is older than what it saw before, or newer and yet shows a conversion in an
  older state; then it ends, and its next process lists everything. A watch from a version still to come is
  silent, so Jobs and pods are listed when theirs is for longer than `--watch-silence-seconds`. A run has its
  Job's name from UID and generation, so that no run gets a second Job by this.
- **What a kubelet, a tenant or a mesh does** has tests of its own, at the same API server and on a real node:
  a pod that is drained as it publishes, a result that nobody saw, the Job of an earlier run, injected
  containers, Jobs and pods with forged labels, texts with line breaks
  (`tests/integration/test_job_failures.py`), Secrets that nobody released
  (`tests/integration/test_security.py`), policies that pin a Job's fields
  (`tests/unit/operator/test_operator_line.py`), and a recorded run told in any order and with gaps
  (`tests/unit/operator/test_replay.py`); a node that restarts between two containers
  (`tests/e2e/test_lifecycle.py`): its kubelet leaves the pod Pending for good
  ([kubernetes/kubernetes#118321](https://github.com/kubernetes/kubernetes/issues/118321)), and after 30 s
  another Job takes its place. A set whose operator is killed after each of its members was made
  (`tests/integration/test_sets.py`), one whose members end in any order while it dies at any point
  (`tests/unit/operator/sets/test_sets.py`), and profiles that come late, change or go
  (`tests/integration/test_profiles.py`).
- **Not made here**: a process that freezes between being permitted a write and sending it, for longer than
  the permit; a network that delivers old packets after minutes. The permit ends well before the lease does,
  for their sake.
"""


def markdown(rows: list[Row]) -> str:
    """The matrix as a document."""
    lines = [_INTRODUCTION, "| fault | where | how it ended |", "| --- | --- | --- |"]
    lines += [f"| {row.fault} | {row.where} | {row.end} |" for row in rows]
    return "\n".join(lines) + "\n"


def run(names: list[str], console: Console) -> tuple[list[Row], bool]:
    """Run cases; gives their rows, and whether all went well."""
    rows: list[Row] = []
    well = True
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(ensure_control_plane_binaries(Console(stderr=True))) as cluster,
    ):
        install_crd(cluster)
        stage = Stage(cluster, install_operator_rbac(cluster, "default"), Path(folder))
        for name in names:
            began = time.monotonic()
            try:
                made = asyncio.run(CASES[name](stage))
            except Exception as error:
                console.print_exception()
                made, well = [Row(name.replace("_", " "), "", f"FAILED: {type(error).__name__}")], False
            for row in made:
                console.print(f"{row.fault} | {row.where} | {row.end}", soft_wrap=True, highlight=False)
            console.print(f"[dim]{name}: {time.monotonic() - began:.0f} s[/dim]", highlight=False)
            rows += made
    return rows, well


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Run the fault matrix.")
    parser.add_argument("cases", nargs="*", help=f"some of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    rows, well = run(options.cases or list(CASES), Console())
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
