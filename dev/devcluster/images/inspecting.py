"""Looks into built images: a bill of materials of each, and a table of their sizes, packages and starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from devcluster.cache import locked
from devcluster.errors import ImageError
from devcluster.images import starting
from devcluster.images.buildah import Buildah
from devcluster.images.node_images import Image
from devcluster.images.oci_archive import layers
from devcluster.images.packages import DebianPackage, PythonPackage, debian_packages, python_packages, system
from devcluster.images.sbom import bill

RUNS: Final = 5
TITLES: Final = (
    *("image", "packed (MB)", "unpacked (MB)", "Python packages", "Debian packages"),
    *("start (s)", "processor time (s)"),
)
BEGIN, END = "<!-- images: written by python -m devcluster.images sbom -->", "<!-- end of images -->"
_PYTHON: Final = "/opt/venv/bin/python"


@dataclass(frozen=True)
class Found:
    """What one image holds, and how its program starts."""

    packed_bytes: int
    unpacked_bytes: int
    python: list[PythonPackage]
    debian: list[DebianPackage]
    seconds: float
    """Until the program has answered and ended, median of :data:`RUNS`."""
    processor_seconds: float
    bill: str

    def cells(self, name: str) -> tuple[str, ...]:
        """Return the image's row of a table with :data:`TITLES`."""
        return (
            name,
            f"{self.packed_bytes / 1e6:.0f}",
            f"{self.unpacked_bytes / 1e6:.0f}",
            str(len(self.python)),
            str(len(self.debian)),
            f"{self.seconds:.2f}",
            f"{self.processor_seconds:.2f}",
        )


def inspect(images: Mapping[str, Image], into: Path, page: Path | None, console: Console) -> None:
    """Write ``NAME.cdx.json`` of each image into a folder, print the table, and put it into a page.

    Args:
        images: Images of the store by the engine in them; "" is the converter alone.
        into: The folder of the documents; made where it is not there.
        page: A file of Markdown with the lines :data:`BEGIN` and :data:`END`, or None.
        console: Where the table goes.

    Raises:
        ImageError: An image cannot be opened, or its program does not start; the page has no such lines.

    """
    into.mkdir(parents=True, exist_ok=True)
    rows = []
    with locked("images", lambda: console.print("Another run is building images: waiting")):
        for engine, image in images.items():
            name = image.reference.rpartition("/")[2].partition(":")[0]
            found = look(image, engine)
            (into / f"{name}.cdx.json").write_text(found.bill)
            rows.append(found.cells(name))
    table = Table(*TITLES, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if page is not None:
        page.write_text(with_table(page.read_text(), rows))


def look(image: Image, engine: str) -> Found:
    """Return what is in an image, and how its engine starts, or the converter where ``engine`` is empty."""
    buildah = Buildah()
    unpacked = buildah.layer_sizes()
    parts = layers(image.archive)
    with buildah.container(image.reference) as (container, root):
        python, debian = python_packages(root), debian_packages(root)
        program = Path(starting.__file__).read_text()
        start = json.loads(buildah.run_in(container, _PYTHON, "-c", program, str(RUNS), engine))
        return Found(
            packed_bytes=sum(layer.size for layer in parts),
            unpacked_bytes=sum(unpacked.get(layer.content, layer.size) for layer in parts),
            python=python,
            debian=debian,
            seconds=start["seconds"],
            processor_seconds=start["processor"],
            bill=bill(image.reference, buildah.digest(image.reference), system(root), python, debian),
        )


def with_table(text: str, rows: list[tuple[str, ...]]) -> str:
    """Return a page whose table is the one of ``rows``.

    Raises:
        ImageError: The page has no place for it.

    """
    before, begins, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not (begins and ends):
        raise ImageError(f"the page has no lines {BEGIN} and {END}")
    lines = [f"| {' | '.join(cells)} |" for cells in (TITLES, ["---"] * len(TITLES), *rows)]
    return "\n".join([before + BEGIN, "", *lines, "", END]) + after
