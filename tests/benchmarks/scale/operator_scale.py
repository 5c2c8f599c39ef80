"""What a conversion costs the operator: a thousand and more at once, and a steady stream of them.

``python tests/benchmarks/scale/operator_scale.py --count 1000 [--count 10000] [--steady 20 --seconds 120]
[--naive 1000] [--sets 100 10] [--finished 10000] [--idle 60] [--profile FOLDER] [--markdown]``

Everything but the node is real: etcd, API server and controller manager, the operator's process under the
rules of its chart, conversions created by a second process. A stub node
(``tests/support/operator/stub_node.py``) ends each pod after half a second and publishes a summary; the Job
controller makes the pods and ends the Jobs, so its limit of 200 requests a second decides how long a run
takes. CPU time and memory are the operator's process alone, from /proc. Each run has a control plane of its
own.

(The file cannot be called operator.py: the standard library's ``operator`` would be shadowed for every
program of this folder.)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
sys.path.append(str(TESTS))

import httpx  # noqa: E402 - what follows lies in the folder above, or comes after it
from operator_watch import (  # noqa: E402
    Observer,
    cpu_seconds,
    median,
    memory_mib,
    pace_millis,
    percentile,
    writes,
)
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from devcluster.control_plane.control_plane import ControlPlane  # noqa: E402
from devcluster.control_plane.install import install_crd, install_operator_rbac  # noqa: E402
from devcluster.processes import Process, free_ports  # noqa: E402
from devcluster.services.release import release_manifests  # noqa: E402
from devcluster.tools.binaries import ensure_control_plane_binaries  # noqa: E402
from support.operator.async_api import AsyncApi  # noqa: E402

NAMESPACES = [f"team-{number}" for number in range(10)]
PATIENCE_SECONDS = 300
"""A run ends when nothing has changed for so long; a control plane at its limits can take minutes."""
console = Console(stderr=True)


@dataclass(frozen=True)
class Plan:
    """One run."""

    count: int
    rate: float = 0
    naive: bool = False
    finished: bool = False
    """Whether they have all ended before the operator starts."""
    members: int = 0
    """Members of each set; 0 for conversions without sets."""
    idle_seconds: float = 0
    profile: Path | None = None
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call it in tables."""
        who = "naive" if self.naive else "operator"
        if self.finished:
            return f"{who}, {self.count:,} finished before it starts"
        if self.members:
            return f"{who}, {self.count // self.members:,} sets of {self.members:,}"
        return f"{who}, {self.count:,} " + (f"at {self.rate:g} a second" if self.rate else "at once")


@dataclass
class Result:
    """What came of it."""

    plan: Plan
    seconds: float = 0
    cpu: float = 0
    start_mib: float = 0
    end_mib: float = 0
    peak_mib: float = 0
    idle_percent: float | None = None
    delays: list[float] = field(default_factory=list)
    writes: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    """Conversions that had not ended although their Job had."""
    unended: int = 0
    """Conversions that had not ended because their Job had not, or was not there yet."""
    doubled: int = 0
    failed: int = 0
    slowed: float = 1
    """Times more CPU time than before the run that a fixed piece of work took during it."""
    most_jobs: int = 0
    """Jobs at a time, at most."""

    @property
    def cpu_millis(self) -> float:
        """CPU time of one conversion."""
        return 1000 * self.cpu / self.plan.count


def run(plan: Plan) -> Result:
    """One run on a new control plane."""
    console.print(f"[bold]{plan.name}")
    pace = min(pace_millis() for _ in range(50))
    with ExitStack() as stack:
        cluster = stack.enter_context(ControlPlane(ensure_control_plane_binaries(console)))
        install_crd(cluster)
        for namespace in NAMESPACES:
            cluster.create_namespace(namespace)
            cluster.apply(release_manifests(namespace, "s3-credentials"))
        log = Path(f"{plan.profile}.log") if plan.profile else cluster.state / "benchmark.log"
        if plan.finished and _load(plan, cluster, log, "--finished").wait() != 0:
            raise RuntimeError(f"the conversions could not be created:\n{log.read_text()[-3000:]}")
        operator = _start_operator(plan, cluster, log)
        stack.callback(operator.kill)
        node = _python(log, TESTS / "support/operator/stub_node.py", "--kubeconfig", cluster.kubeconfig)
        stack.callback(node.kill)
        result, paces = asyncio.run(_measure(plan, cluster, operator, log))
        result.slowed = median(paces) / pace
        if plan.profile:
            operator.terminate()
            operator.wait(60)
        return result


def _start_operator(plan: Plan, cluster: ControlPlane, log: Path) -> subprocess.Popen[bytes]:
    (port,) = free_ports(1)
    kubeconfig = cluster.kubeconfig if plan.naive else install_operator_rbac(cluster, "default")
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "MODELCONVERSION_CONVERTER_IMAGE": "converter:test",
        "MODELCONVERSION_HTTP_HOST": "127.0.0.1",
        "MODELCONVERSION_HTTP_PORT": str(port),
    }
    runner = [str(HERE / "operator_profiled.py"), str(plan.profile)] if plan.profile else ["-m"]
    command = [sys.executable, *runner, "modelconversion_operator", *plan.flags]
    if plan.naive:
        liveness = f"--liveness=http://127.0.0.1:{port}/readyz"
        script = ["run", str(HERE / "operator_naive.py"), "-A", "--standalone", liveness]
        command = [sys.executable, *runner, "kopf", *script]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while not _is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the operator did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    return process


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _load(plan: Plan, cluster: ControlPlane, log: Path, *more: str) -> Process:
    spaces = [f"--namespace={name}" for name in NAMESPACES]
    amount = f"--count={plan.count}", f"--rate={plan.rate}", f"--members={plan.members}"
    script = HERE / "operator_load.py"
    return _python(log, script, f"--kubeconfig={cluster.kubeconfig}", *spaces, *amount, *more)


def _python(log: Path, *command: str | Path) -> Process:
    return Process(Path(command[0]).stem, [sys.executable, *command], log)


async def _measure(
    plan: Plan, cluster: ControlPlane, operator: subprocess.Popen[bytes], log: Path
) -> tuple[Result, list[float]]:
    result = Result(plan)
    async with AsyncApi(cluster.kubeconfig) as api:
        observer = Observer(api)
        watching = asyncio.create_task(observer.run())
        await asyncio.sleep(2)
        result.start_mib = memory_mib(operator.pid)[0]
        # What a new process does with all that has ended belongs to its cost, and it is at it already.
        cpu = 0.0 if plan.finished else cpu_seconds(operator.pid)
        started, before = time.monotonic(), await writes(api)
        load = None if plan.finished else _load(plan, cluster, log)
        observer.changed = time.monotonic()
        await observer.wait(plan.count, PATIENCE_SECONDS)
        if load is not None:
            load.kill()
        result.seconds = time.monotonic() - started
        await asyncio.sleep(5)  # the last event, and what is tidied up behind it
        result.cpu = cpu_seconds(operator.pid) - cpu
        result.writes = {k: v - before.get(k, 0) for k, v in (await writes(api)).items()}
        result.delays, result.doubled = observer.delays(), observer.doubled
        result.most_jobs = observer.most_jobs
        result.lost = observer.lost
        result.unended = plan.count - len(observer.ended) - result.lost
        result.failed = sum(phase == "Failed" for phase in observer.phases.values())
        if plan.idle_seconds:
            await asyncio.sleep(10)
            cpu, started = cpu_seconds(operator.pid), time.monotonic()
            await asyncio.sleep(plan.idle_seconds)
            spent = cpu_seconds(operator.pid) - cpu
            result.idle_percent = 100 * spent / (time.monotonic() - started)
        result.end_mib, result.peak_mib = memory_mib(operator.pid)
        watching.cancel()
        await asyncio.wait([watching])
    return result, observer.paces


_HEADINGS = (
    "run",
    "CPU each, ms",
    "machine slowed",
    "MiB start / end / peak",
    "Job end to status p50 / p99, s",
    "writes each",
    "idle, % of a core",
    "lost / unended / doubled / failed",
    "Jobs at a time",
    "wall, s",
)


def _row(result: Result) -> tuple[str, ...]:
    count = result.plan.count
    each = {name: number / count for name, number in result.writes.items() if number}
    return (
        result.plan.name,
        f"{result.cpu_millis:.1f}",
        f"{result.slowed:.2f} times",
        f"{result.start_mib:.0f} / {result.end_mib:.0f} / {result.peak_mib:.0f}",
        f"{median(result.delays):.2f} / {percentile(result.delays, 0.99):.2f}",
        f"{sum(each.values()):.2f} ({', '.join(f'{n:.2f} {k}' for k, n in sorted(each.items()))})",
        "" if result.idle_percent is None else f"{result.idle_percent:.2f}",
        f"{result.lost} / {result.unended} / {result.doubled} / {result.failed}",
        f"{result.most_jobs}",
        f"{result.seconds:.0f}",
    )


def _show(results: list[Result], markdown: bool) -> None:
    rows = [_row(result) for result in results]
    if markdown:
        for row in (_HEADINGS, ("---",) * len(_HEADINGS), *rows):
            sys.stdout.write(f"| {' | '.join(row)} |\n")
        return
    table = Table(*_HEADINGS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, action="append", default=[], help="so many at once")
    parser.add_argument(
        "--sets", type=int, nargs=2, action="append", default=[], metavar=("SETS", "MEMBERS"), help="in sets"
    )
    parser.add_argument("--steady", type=float, help="so many a second")
    parser.add_argument("--seconds", type=float, default=120, help="how long they come steadily")
    parser.add_argument("--naive", type=int, action="append", default=[], help="the naive operator, at once")
    parser.add_argument("--finished", type=int, action="append", default=[], help="ended before it starts")
    parser.add_argument("--idle", type=float, default=0, help="seconds of idleness measured after each run")
    parser.add_argument("--profile", type=Path, help="folder for profiles (cProfile; slows everything down)")
    parser.add_argument("--flag", action="append", default=[], help="passed on to the operator")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    flags = tuple(options.flag)
    plans = [Plan(count, naive=True, idle_seconds=options.idle) for count in options.naive]
    plans += [Plan(count, idle_seconds=options.idle, flags=flags) for count in options.count]
    plans += [Plan(n, finished=True, idle_seconds=options.idle, flags=flags) for n in options.finished]
    plans += [
        Plan(sets * members, members=members, idle_seconds=options.idle, flags=flags)
        for sets, members in options.sets
    ]
    if options.steady:
        count = int(options.steady * options.seconds)
        plans.append(Plan(count, options.steady, idle_seconds=options.idle, flags=flags))
    results = []
    for plan in plans:
        if options.profile:
            options.profile.mkdir(parents=True, exist_ok=True)
            where = options.profile / plan.name.replace(" ", "-").replace(",", "")
            plan = replace(plan, profile=where)
        results.append(run(plan))
        _show(results[-1:], options.markdown)
    if len(results) > 1:
        _show(results, options.markdown)


if __name__ == "__main__":
    main()
