"""Write what the container images install, from uv.lock.

``python -m devcluster.generated.requirements [--check]``

pip reads these files in the images' builds, where uv is not wanted. Every package has its digests, so that a
registry cannot give a build anything but what the lock has seen.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from devcluster.cache import REPOSITORY
from devcluster.errors import ProcessError
from devcluster.programs import generate
from devcluster.tools.installer import find_uv

_ONNX: Final = "converter_image/engines/onnx"
_JAX: Final = "converter_image/engines/jax"
_PYTORCH: Final = "converter_image/engines/pytorch"
FILES: Final = {
    "operator/requirements.txt": ("--no-dev", "--extra", "operator"),
    "converter_image/requirements.txt": ("--no-dev", "--extra", "converter"),
    "converter_image/runtime-requirements.txt": ("--no-dev", "--extra", "runtime"),
    "converter_image/npu-requirements.txt": ("--no-dev", "--extra", "npu-intel"),
    "examples/monitor/requirements.txt": ("--no-dev", "--extra", "edge"),
    "dev/build-requirements.txt": ("--only-group", "build"),
    f"{_ONNX}/requirements.txt": ("--frozen", "--project", _ONNX),
    f"{_JAX}/requirements.txt": ("--frozen", "--project", _JAX),
    # torch is that of torch-cpu.txt.
    f"{_PYTORCH}/requirements.txt": ("--frozen", "--project", _PYTORCH, "--no-emit-package", "torch"),
}
"""Each file, and which part of uv.lock is in it; of an engine, of its own lock."""
_HEADER: Final = "# From uv.lock, by `make generated`; `make lint` checks that it is up to date.\n"


def exported(selection: tuple[str, ...]) -> str:
    """Return a part of uv.lock, as pip reads it."""
    uv = find_uv()
    if uv is None:
        raise ProcessError("uv is missing: `source dev/bootstrap.sh` installs it")
    # An engine's Python is another one, which need not be here: its lock is taken as it is.
    checked = () if "--frozen" in selection else ("--locked",)
    command = [uv, "export", "--quiet", *checked, "--no-emit-project", "--format=requirements-txt"]
    command += ["--no-header", "--no-annotate", *selection]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ProcessError(f"{' '.join(command)} failed: {result.stderr.strip()}")
    return _HEADER + result.stdout


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    return generate(
        lambda: {REPOSITORY / name: exported(selection) for name, selection in FILES.items()},
        program="devcluster.generated.requirements",
        words="Write what the container images install, from uv.lock.",
        source="uv.lock",
    )


if __name__ == "__main__":
    sys.exit(main())
