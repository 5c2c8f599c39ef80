"""``--recipe``: files with recipes of the user's own, as the options of a conversion."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelconversion_api.fields.recipes import MAX_RECIPES, MAX_RULES_BYTES, Recipe
from modelconversion_api.methods import Method
from tflite_converter.errors import UsageError
from tflite_converter.files.names import readable
from tflite_converter.quantizing.recipes import fault_of, needs_ranges, read_rules

_HINT = "give one object of spec.recipes, or a list of them, or ai-edge-quantizer's list of rules"


def recipes_of(paths: Sequence[Path]) -> tuple[list[Recipe], dict[str, bytes]]:
    """Read recipes, and what files of ai-edge-quantizer's rules hold, by the recipe's name.

    A file of rules gives a recipe of the file's own name.

    Raises:
        UsageError: A file cannot be read, is no recipe, or two have one name.
        ConverterError: InvalidRequest where rules are none that litert-quantizer takes.

    """
    recipes: list[Recipe] = []
    rules: dict[str, bytes] = {}
    for path in paths:
        content = _read(path)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"--recipe {readable(str(path))}: the file is no JSON: {error}", hint=_HINT
            ) from error
        if _is_rules(found):
            name = _name_of(path)
            base = Method.FULL_INTEGER if needs_ranges(read_rules(name, content)) else Method.DYNAMIC_RANGE
            recipe = _recipe(path, {"name": name, "base": base})
            rules[recipe.name] = content
            recipes.append(recipe)
            continue
        recipes += [_recipe(path, item) for item in (found if isinstance(found, list) else [found])]
    names = [recipe.name for recipe in recipes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--recipe: {', '.join(twice)} is there twice", hint="give each recipe its own name")
    if len(recipes) > MAX_RECIPES:
        raise UsageError(f"--recipe: {len(recipes)} recipes are more than {MAX_RECIPES}", hint="give fewer")
    return recipes, rules


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_RULES_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--recipe {readable(str(path))}: {error.strerror}", hint=_HINT) from error
    if len(content) > MAX_RULES_BYTES:
        raise UsageError(
            f"--recipe {readable(str(path))}: larger than {MAX_RULES_BYTES >> 10} KiB", hint=_HINT
        )
    return content


def _is_rules(found: Any) -> bool:
    """Whether a document is in ai-edge-quantizer's form; what is wrong in it, its own reader says."""
    return isinstance(found, list) and any(isinstance(item, dict) and "regex" in item for item in found)


def _name_of(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:32].strip("-")


def _recipe(path: Path, item: Any) -> Recipe:
    if isinstance(item, dict) and "rules" in item:
        cause = f"--recipe {readable(str(path))}: rules name an object in a store, which is for the cluster"
        raise UsageError(cause, hint="give the file of rules itself to --recipe")
    file = readable(str(path))
    try:
        recipe = Recipe.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        words = first["msg"].removeprefix("Value error, ")
        cause = f"--recipe {file}: {f'{place}: ' if place else ''}{words}"
        raise UsageError(cause, hint=_HINT) from error
    for number, rule in enumerate(recipe.layers):
        if (fault := fault_of(rule.match)) is not None:
            cause = f"--recipe {file}: layers.{number}.match is no regular expression: {fault}"
            raise UsageError(cause, hint=_HINT)
    return recipe
