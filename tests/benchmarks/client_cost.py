"""What the client costs to install and to start: ``python tests/benchmarks/client_cost.py``.

Builds the wheel, installs it from the package registry into environments of their own, with and without the
extra ``s3``, and starts the program in each. Sizes are of site-packages; the times are the processor's,
medians of the rounds: another load on the machine changes them little.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from devcluster.cache import REPOSITORY
from devcluster.tools.installer import find_uv

_ROUNDS = 7
_COMMANDS = {
    "targets": ["kubectl-mconv", "targets"],
    "--help": ["kubectl-mconv", "--help"],
    "import the client": ["python", "-c", "from modelconversion_client import ModelConversionClient"],
    "python alone": ["python", "-c", "pass"],
}


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(_ROUNDS + 1):  # the first one compiles
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime)
    return statistics.median(times[1:])


def main() -> None:
    """Print the table."""
    uv = find_uv() or "uv"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [uv, "build", "--quiet", "--wheel", str(REPOSITORY / "operator"), "--out-dir", name]
        subprocess.run(build, check=True)
        (wheel,) = folder.glob("*.whl")
        sys.stdout.write(f"wheel: {wheel.stat().st_size / 1024:.0f} KiB\n")
        for extra in ("", "[s3]"):
            venv = folder / f"venv{len(extra)}"
            subprocess.run([uv, "venv", "--quiet", str(venv)], check=True)
            python = str(venv / "bin" / "python")
            install = [uv, "pip", "install", "--quiet", "--link-mode=copy", "--python", python]
            subprocess.run([*install, f"{wheel}{extra}"], check=True)
            (packages,) = venv.glob("lib/python*/site-packages")
            size = sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file())
            count = len(list(packages.glob("*.dist-info")))
            sys.stdout.write(f"installed{extra}: {size / 1e6:.0f} MB in {count} distributions\n")
            for words, (program, *rest) in _COMMANDS.items():
                sys.stdout.write(f"  {words}: {_seconds([str(venv / 'bin' / program), *rest]):.2f} s\n")


if __name__ == "__main__":
    main()
