"""What the demonstration prints."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from devcluster.demo.clusters import DemoCluster
from modelconversion_api.text import human_latency

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_METRICS = (
    "modelconversion_conversions_total",
    "modelconversion_duration_seconds",
    "modelconversion_artifact_bytes",
)


class DemoView:
    """Prints the parts of the demonstration, each with the seconds since its start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._parts = 0

    def part(self, title: str) -> None:
        """Begin a part."""
        self._parts += 1
        self._console.print(f"\n[bold]{self._parts}. {escape(title)}[/bold]")

    def say(self, text: str) -> None:
        """Tell something."""
        self._console.print(escape(text))

    def done(self, what: str) -> None:
        """Tell that something is there now."""
        self._console.print(f"[dim]{self._seconds:6.1f} s[/dim]  {escape(what)}")

    def command(self, text: str) -> None:
        """Show a command that is being run."""
        self._console.print(f"[cyan]$ {escape(text)}[/cyan]")

    def output(self, text: str) -> None:
        """Show what a command printed."""
        if text:
            self._console.print(text, markup=False, end="")

    @contextmanager
    def conversion(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Follow a conversion: yields a function that is given its status again and again."""
        spinner = Status("waiting for the operator", console=self._console)
        last = ""

        def show(status: dict[str, Any]) -> None:
            nonlocal last
            progress = status.get("progress") or {}
            text = f"{status.get('phase', 'Pending'):9}"
            if progress:
                text += f" {progress['percent']:3} %  {progress['stage']}"
            if text == last:
                return
            last = text
            spinner.update(text)
            if not self._console.is_terminal or status.get("phase") in ("Succeeded", "Failed"):
                self.done(text)

        if self._console.is_terminal:
            with spinner:
                yield show
        else:
            yield show

    def artifacts(self, status: dict[str, Any]) -> None:
        """Show the artifacts and the recommendation of a conversion that succeeded."""
        table = Table(box=box.SIMPLE_HEAD)
        for title in ("Method", "Size", "Of original", "Agreement", "Accuracy", "Latency", "Gates"):
            table.add_column(title, justify="left" if title in ("Method", "Gates") else "right")
        for artifact in status["artifacts"]:
            table.add_row(
                artifact["method"],
                f"{artifact['sizeBytes']:,} B",
                _percent(artifact["sizeFraction"]),
                _percent(artifact.get("agreement")),
                _percent(artifact.get("accuracy")),
                human_latency(float(artifact["latencyMillis"])) if "latencyMillis" in artifact else "-",
                "passed" if artifact["passed"] else "missed",
            )
        self._console.print(table, soft_wrap=False)
        if recommended := status.get("recommended"):
            self.say(f"Recommended: {recommended['method']}, {recommended['reason']}")

    def bucket(self, name: str, objects: Sequence[ObjectTypeDef]) -> None:
        """List objects of a bucket."""
        self.command(f"list s3://{name}/converted/")
        for entry in objects:
            self._console.print(f"{entry['Size']:>9,} B  {escape(entry['Key'])}")

    def metrics(self, url: str, text: str) -> None:
        """Show the conversion metrics among all metrics."""
        self.command(f"curl {url}/metrics | grep -E '{'|'.join(_METRICS)}'")
        for line in text.splitlines():
            if line.startswith(_METRICS) and "_bucket" not in line and not line.endswith(" 0.0"):
                self._console.print(escape(line))

    def keep(self, cluster: DemoCluster) -> None:
        """Say how to look around."""
        self.part("Everything is up until you press Ctrl-C. To look around, in another terminal:")
        lines = (
            f"export KUBECONFIG={cluster.control_plane.kubeconfig} PATH={Path(sys.executable).parent}:$PATH",
            "kubectl get mconv,jobs,pods",
            "kubectl describe mconv gesture-classifier",
            "kubectl get mconv gesture-classifier -o yaml",
            "kubectl delete mconv gesture-classifier; kubectl apply -f examples/gesture-classifier.yaml",
            f"curl {cluster.operator_url}/metrics",
            cluster.logs,
            f"# S3: {cluster.endpoint}, access key {cluster.access_key}, secret key {cluster.secret_key}",
        )
        for line in lines:
            self._console.print(f"  {escape(line)}")

    def end(self) -> None:
        """Say that this was all."""
        self._console.print(
            f"\nDone in {self._seconds:.0f} s; everything is stopped again. "
            "`make demo KEEP=1` leaves it up to look around; `make clean-cache` removes what is cached."
        )

    def forget(self) -> None:
        """Let the picture begin here."""
        if self._console.record:
            self._console.export_text(clear=True)

    def save_picture(self, path: Path) -> None:
        """Save what was printed since :meth:`forget` as an SVG file that loads nothing from elsewhere."""
        svg = self._console.export_svg(title="make demo")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _percent(share: str | None) -> str:
    return "-" if share is None else f"{float(share):.1%}"
