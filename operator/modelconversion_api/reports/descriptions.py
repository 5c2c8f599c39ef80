"""What the fields of the contract's models mean: the texts under them, read where somebody asks.

pydantic can read them as it makes a class (``use_attribute_docstrings``): a third of the time that the whole
contract takes to import. Of all programs only the command line's help and the generator of the CRD ask.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel


def description(model: type[BaseModel], name: str) -> str | None:
    """Return what a field of ``model`` means; None where nothing is written, or no source is there."""
    written: str | None = model.model_fields[name].description
    if written is not None:
        return written
    # Read as it is written: a class that says the field anew may say what it means there.
    found = (_texts(part.__module__).get(part.__qualname__, {}).get(name) for part in model.__mro__)
    return next((text for text in found if text is not None), None)


def describe(model: type[BaseModel]) -> None:
    """Give the fields of ``model``, and of the models in it, their descriptions, for its JSON schema."""
    _describe(model, set())


def _describe(model: type[BaseModel], seen: set[type[BaseModel]]) -> None:
    seen.add(model)
    for name, info in model.model_fields.items():
        for part in _models(info.annotation):
            if part not in seen:
                _describe(part, seen)
        info.description = description(model, name)
    model.model_rebuild(force=True)  # a schema that was made before has none


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


@cache
def _texts(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the texts under the fields of a module's classes, by class and field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {node.name: dict(_under(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _under(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(text.value.value)
