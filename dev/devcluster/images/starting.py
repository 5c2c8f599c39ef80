"""How long a program takes to start: run by the Python in an image, which has nothing else of this package.

The arguments are the number of runs, and the engine that answers ``about``, or nothing for the converter's
``--version``. The medians go to standard output as JSON.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from conversion_engine import wire
from conversion_engine.messages import Request, Task


def measured(command: Sequence[str], given: str, runs: int) -> dict[str, float]:
    """Return the medians of ``runs``: seconds until the program has ended, and of processor time."""
    seconds, processor = [], []
    for _ in range(runs):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, input=given.encode(), stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"seconds": statistics.median(seconds), "processor": statistics.median(processor)}


def main() -> None:
    """Measure what the arguments name."""
    runs, engine = int(sys.argv[1]), sys.argv[2]
    if not engine:
        sys.stdout.write(json.dumps(measured(["tflite-converter", "--version"], "", runs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        python = [f"/opt/engines/{engine}/bin/python", "-P", "-m", f"{engine}_engine"]
        given = wire.dumped(Request(source=""))
        sys.stdout.write(json.dumps(measured([*python, Task.ABOUT.value, folder], given, runs)))


if __name__ == "__main__":
    main()
