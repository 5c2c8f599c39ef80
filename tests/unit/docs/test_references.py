"""References in docstrings (``:mod:`` and its kin) name something that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import REPOSITORY

SOURCES = {
    "modelconversion_api": REPOSITORY / "operator",
    "modelconversion_operator": REPOSITORY / "operator",
    "tflite_converter": REPOSITORY / "converter_image",
    "conversion_engine": REPOSITORY / "converter_image",
    "engine_tools": REPOSITORY / "converter_image",
    "onnx_engine": REPOSITORY / "converter_image/engines/onnx",
    "pytorch_engine": REPOSITORY / "converter_image/engines/pytorch",
    "jax_engine": REPOSITORY / "converter_image/engines/jax",
    "edge_inference": REPOSITORY / "converter_image",
    "gesture_sample": REPOSITORY / "converter_image",
    "devcluster": REPOSITORY / "dev",
}
ROLE = re.compile(r":(?:mod|func|class|data|meth|attr):`~?([\w.]+)`")


def names_in(module: Path) -> set[str]:
    """Everything that a module's text defines or imports, methods and fields included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.arg):
            names.add(node.id if isinstance(node, ast.Name) else node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return names


def resolves(reference: str, module: Path) -> bool:
    """Whether a reference leads to a module of ours and a name in it, or to a name that ``module`` knows."""
    first, *rest = reference.split(".")
    if first not in SOURCES:
        return first in names_in(module) and set(rest) <= names_in(module) | {*rest[:-1]}
    place = SOURCES[first] / first
    while rest and (place / rest[0]).is_dir():
        place /= rest.pop(0)
    if rest and (place / f"{rest[0]}.py").exists():
        place /= f"{rest.pop(0)}.py"
    file = place if place.suffix else place / "__init__.py"
    return file.exists() and set(rest) <= names_in(file)


def references(folder: Path) -> Iterator[tuple[Path, str]]:
    for module in sorted(folder.rglob("*.py")):
        for reference in ROLE.findall(module.read_text()):
            yield module, reference


@pytest.mark.parametrize("package", SOURCES)
def test_references_lead_somewhere(package: str) -> None:
    library = {"numpy", "tarfile", "zipfile"}
    lost = [
        f"{module.relative_to(REPOSITORY)}: {reference}"
        for module, reference in references(SOURCES[package] / package)
        if reference.split(".")[0] not in library and not resolves(reference, module)
    ]
    assert lost == []


def test_a_reference_to_nowhere_would_be_found() -> None:
    here = Path(__file__)
    assert resolves("names_in", here)
    assert resolves("modelconversion_api.reasons.FailureReason", here)
    assert not resolves("modelconversion_api.reasons.Reasonable", here)
    assert not resolves("tflite_converter.worker", here)
    assert not resolves("datasets.load_dataset", here)
