"""Progress of a long step: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

_PLAIN_EVERY_SECONDS = 20.0
_DETAIL_WIDTH = 26  # so that all of it fits into 80 columns


class Progress:
    """Shows how far a step with ``total`` units is (0 where that is not known)."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._done = 0
        self._started = self._printed = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[detail]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=self._total or None, detail="")
            self._bar.start()
        else:
            self._console.print(f"{self._title} ...", highlight=False, soft_wrap=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int, detail: str) -> None:
        """So many units more are done; ``detail`` says what is being worked on."""
        self._done += units
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, detail=detail[-_DETAIL_WIDTH:])
            return
        now = time.monotonic()
        if now - self._printed >= _PLAIN_EVERY_SECONDS:
            self._printed = now
            self._console.print(
                f"{self._title}: {percent(self._done, self._total)}{now - self._started:.0f} s, {detail}",
                highlight=False,
                soft_wrap=True,
            )


def percent(done: int, total: int) -> str:
    """``"42 %, "``, or nothing where the total is not known; 100 % only when all is done."""
    return f"{min(99 if done < total else 100, 100 * done // total)} %, " if total else ""
