"""Write the tree of rooms in docs/ARCHITECTURE.md from the packages' own docstrings.

``python -m devcluster.generated.rooms [--check]``
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from devcluster.cache import REPOSITORY
from devcluster.errors import DevClusterError
from devcluster.programs import generate

PAGE: Final = REPOSITORY / "docs" / "ARCHITECTURE.md"
PACKAGES: Final = (
    "operator/modelconversion_api",
    "operator/modelconversion_client",
    "operator/modelconversion_operator",
    "converter_image/tflite_converter",
    "converter_image/conversion_engine",
    "converter_image/engine_tools",
    "converter_image/engines/onnx/onnx_engine",
    "converter_image/engines/pytorch/pytorch_engine",
    "converter_image/engines/jax/jax_engine",
    "converter_image/edge_inference",
    "converter_image/gesture_sample",
    "dev/devcluster",
)
_BEGIN: Final = "<!-- rooms: written by `python -m devcluster.generated.rooms` -->"
_END: Final = "<!-- end of rooms -->"
_WORDS_AT: Final = 34


def summary(package: Path) -> str:
    """Return the first line of a package's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    return docstring.partition("\n")[0].rstrip(".")


def rooms(package: Path) -> list[Path]:
    """Return the sub-packages of a package, by name."""
    return sorted(p.parent for p in package.glob("*/__init__.py"))


def tree(package: Path) -> Iterator[str]:
    """Yield a line for the package and one for each of its rooms, with what each is about."""
    yield f"{package.relative_to(REPOSITORY)}/".ljust(_WORDS_AT) + f"  {summary(package)}"
    for room in rooms(package):
        yield f"    {room.name}/".ljust(_WORDS_AT) + f"  {summary(room)}"


def page(current: str) -> str:
    """Return the page ``current`` with today's rooms.

    Raises:
        DevClusterError: The page has lost the lines between which they go.

    """
    before, begin, rest = current.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise DevClusterError(f"{PAGE.name} has lost the lines {_BEGIN} and {_END}")
    trees = "\n\n".join("\n".join(tree(REPOSITORY / name)) for name in PACKAGES)
    return f"{before}{_BEGIN}\n\n```text\n{trees}\n```\n\n{_END}{after}"


def main() -> int:
    """Write the page; with ``--check`` only say whether it is up to date."""
    return generate(
        lambda: {PAGE: page(PAGE.read_text())},
        program="devcluster.generated.rooms",
        words="Write the tree of rooms in docs/ARCHITECTURE.md from the packages' docstrings.",
        source="the packages' docstrings",
    )


if __name__ == "__main__":
    sys.exit(main())
