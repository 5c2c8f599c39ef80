"""Runs a file in a guest: another Python with another runtime, for another processor or of another time.

Runs in the parent, for LiteRT's child may start no programs. A guest reads its own folder (the *root*, as
``guests/roots.sh`` makes it) and the folder of one run, and nothing that it leaves is believed: a child
judges it (``workers.judging``).
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import edge_inference
from modelconversion_api.base import ApiModel
from modelconversion_api.fields.verification import Verifier
from modelconversion_api.limits import VersionText
from modelconversion_api.reasons import Stage
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.files.untrusted import open_regular
from tflite_converter.isolation import guest as confined
from tflite_converter.isolation import machine
from tflite_converter.isolation.parent import Watch, run_child
from tflite_converter.isolation.starting import Launch, child_environment
from tflite_converter.progress import Listener
from tflite_converter.verifying import in_guest
from tflite_converter.verifying.runtimes import NOT_THE_FILES_FAULT

GUESTS_ENV: Final = "TFLITE_CONVERTER_GUESTS"
"""A folder with roots in another place."""
_SYSTEM_PLACE: Final = Path("/opt/verify")
"""Where an image has them."""
HOW_TO_ADD: Final = (
    "take the converter's image that is built with --target verify, or set"
    f" {GUESTS_ENV} to a folder that converter_image/guests/roots.sh has made"
)
MOST_OUTPUT_BYTES: Final = 256 << 20
SECONDS: Final = 20.0
"""How long a guest goes on to the next sample."""
_SILENCE_SECONDS: Final = 240.0
"""How long it may take to start, or for one sample."""
_MOST_SECONDS: Final = 480.0
_MEMORY_BYTES: Final = 4 << 30
"""What it may have where neither the user nor the machine sets a limit."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A runtime in a root."""

    words: str
    """Name in messages."""
    root: str
    """The root's name."""
    package: str
    """The runtime's package."""
    processor: str
    """What it runs on, as the record says it."""
    emulator: str | None = None
    """The program that plays the processor; None where this machine's is the one."""
    model: str | None = None
    """Which processor it plays."""


class GuestRun(ApiModel):
    """What came of a file in a guest; one of the last three is set."""

    runtime: VersionText
    """Package, version and processor."""
    outputs: str | None = None
    """The file with the outputs, by its name in the folder of those who judge."""
    failure: str | None = None
    """Why the file does not run there."""
    missing: str | None = None
    """Why nothing was run, or nothing came of it that says something of the file."""


def _cortex(name: str) -> Guest:
    played = f"{name} under qemu"
    return Guest(f"LiteRT on {name}", "arm64", "ai_edge_litert", played, "qemu-aarch64", name)


GUESTS: Final[Mapping[Verifier, tuple[Guest, ...]]] = MappingProxyType(
    {
        Verifier.CORTEX_A53: (_cortex("cortex-a53"),),
        Verifier.CORTEX_A72: (_cortex("cortex-a72"),),
        Verifier.CORTEX_A76: (_cortex("cortex-a76"),),
        Verifier.ARMV7: (
            Guest(
                "tflite-runtime on armv7",
                "armhf",
                "tflite_runtime",
                "armv7 under qemu",
                "qemu-arm",
                "cortex-a7",
            ),
        ),
        Verifier.OLDEST_RUNTIME: (
            Guest("tflite-runtime 2.14", "amd64", "tflite_runtime", "x86-64"),
            Guest("LiteRT 1.0", "amd64", "ai_edge_litert", "x86-64"),
        ),
    }
)
"""In which guests a file is run; where there are several, the worst of them counts."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where guests run, and how they are watched."""

    around: Path
    """A folder of the parent's; each run gets one inside."""
    memory_limit_bytes: int | None
    listener: Listener


def place(environment: Mapping[str, str]) -> Path:
    """Return the folder of the roots, whether it is there or not."""
    return Path(environment.get(GUESTS_ENV) or _SYSTEM_PLACE).absolute()


def run(guest: Guest, content: bytes, samples: bytes, into: Path, where: Workplace) -> GuestRun:
    """Run a file on samples in a guest, as many of them as its time takes.

    Args:
        guest: Where to run it.
        content: The file.
        samples: A ``.npz`` file, ``{input: (n, ...)}``.
        into: Where the outputs go; its folder is that of those who judge.
        where: The parent's folder, and the limits.

    Returns:
        What came of it. The outputs are as the guest has left them.

    Raises:
        ConverterError: NoSpace or OutputNotWritable, where the parent itself cannot write.

    """
    roots = place(os.environ)
    root = roots / guest.root
    runtime = f"{_version(root, guest.package)}, {guest.processor}"
    if not (root / "opt/site" / guest.package).is_dir():
        return GuestRun(runtime=runtime, missing=f"{root} is not there: {HOW_TO_ADD}")
    try:
        with tempfile.TemporaryDirectory(
            dir=where.around, prefix="guest-", ignore_cleanup_errors=True
        ) as name:
            outputs = _outputs(guest, roots, Path(name), content, samples, where)
        into.unlink(missing_ok=True)  # a child that has ended could have left a link here; "x" opens none
        with into.open("xb") as stream:
            stream.write(outputs)
    except OSError as error:
        raise from_os_error(error, Stage.EVALUATE, f"running {guest.words}") from error
    except ConverterError as error:
        if error.reason in NOT_THE_FILES_FAULT:
            return GuestRun(runtime=runtime, missing=error.cause)
        return GuestRun(runtime=runtime, failure=error.cause)
    return GuestRun(runtime=runtime, outputs=into.name)


def _outputs(
    guest: Guest, roots: Path, folder: Path, content: bytes, samples: bytes, where: Workplace
) -> bytes:
    """Run the guest in a folder of its own, and return the file that it leaves.

    Raises:
        ConverterError: what the guest says of the file, how it ended otherwise, or that it left nothing.

    """
    _furnish(folder, content, samples)
    _start(guest, roots, folder, where)
    with open_regular(folder / in_guest.OUTPUTS, MOST_OUTPUT_BYTES, Stage.EVALUATE) as stream:
        return stream.read(MOST_OUTPUT_BYTES)


def _furnish(folder: Path, content: bytes, samples: bytes) -> None:
    """Write what the script needs: the file, the samples, and our modules that it imports."""
    (folder / in_guest.MODEL).write_bytes(content)
    (folder / in_guest.SAMPLES).write_bytes(samples)
    ours = folder / "program"
    package = Path(edge_inference.__file__).parent
    (ours / package.name).mkdir(parents=True)
    for path in package.glob("*.py"):  # not by copytree, whose error of many files says no reason
        shutil.copy(path, ours / package.name)
    shutil.copy(in_guest.__file__, ours / "in_guest.py")


def _start(guest: Guest, roots: Path, folder: Path, where: Workplace) -> None:
    """Run the guest to its good end.

    Raises:
        ConverterError: what the guest says of the file, or how it ended otherwise.

    """
    memory = where.memory_limit_bytes or machine.memory_limit_bytes() or _MEMORY_BYTES
    request = confined.request(
        [*command(guest, roots), str(folder / "program/in_guest.py"), guest.package, str(SECONDS)],
        environment(roots / guest.root, folder),
        readable=[roots / guest.root],
        writable=folder,
        memory_bytes=memory,
    )
    launch = Launch(
        confined.NAME,
        guest.words,
        (sys.executable, "-P", "-m", confined.__name__, request),
        child_environment(folder, os.environ),
        b"",
    )
    watch = Watch(_SILENCE_SECONDS, memory, _MOST_SECONDS)
    run_child(launch, folder, watch, where.listener)


def command(guest: Guest, roots: Path) -> list[str]:
    """Return how the guest's Python starts; the script and its arguments follow."""
    root = roots / guest.root
    # No site, no folder of the script: what it imports is in PYTHONPATH.
    python = [str(root / "usr/bin/python3.11"), "-S", "-s", "-P"]
    if guest.emulator is not None:
        return [
            *(str(roots / "bin" / guest.emulator), "-L", str(root), "-cpu", guest.model or "max"),
            *python,
        ]
    # Its own loader, for the system's C library is another.
    loader = next(iter(sorted(root.glob("lib/*/ld-linux-*.so.*"))), root / "lib/ld-linux.so")
    return [str(loader), "--library-path", os.pathsep.join(map(str, _libraries(root))), *python]


def environment(root: Path, folder: Path) -> dict[str, str]:
    """Return all variables of a guest; nothing of the parent's.

    Paths are this machine's: qemu finds a root's files by them, whatever call asks, and by the root's own
    paths for some calls only.
    """
    searched = [root / "opt/site", root / "usr/lib/python3/dist-packages", folder / "program"]
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": os.pathsep.join(map(str, searched)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, _libraries(root))),
    }


def _libraries(root: Path) -> Iterator[Path]:
    """Yield where a root's libraries are: also those that Debian's alternatives would link to."""
    found = (sorted(root.glob(pattern)) for pattern in ("lib/*-linux-*", "usr/lib/*-linux-*"))
    for folder in itertools.chain.from_iterable(found):
        yield from (folder, *(folder / name for name in ("blas", "lapack") if (folder / name).is_dir()))


def _version(root: Path, package: str) -> str:
    """Return a package's name and version, as the root has it."""
    described = next(iter(sorted((root / "opt/site").glob(f"{package}-*.dist-info"))), None)
    name = package.replace("_", "-")
    return name if described is None else f"{name} {described.name.split('-')[1].removesuffix('.dist')}"
