"""The flags that a person has typed, and the models that they give.

Every check of a value is the model's own. Here its errors become usage errors, which name the flag instead of
the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelconversion_api.base import NumberText
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.cli.flags import Group, M, marked, signature, spelling, unquoted
from tflite_converter.errors import UsageError


@dataclass(frozen=True, slots=True)
class Given:
    """The flags of one command line; those that were left to their defaults are not in it."""

    groups: tuple[Group[Any], ...]
    """All groups of the command."""
    values: Mapping[str, Any]
    """What was typed, by flag, e.g. ``{"--runs": 20}``."""

    def fields(self, group: Group[Any]) -> dict[str, Any]:
        """Return the typed values of a group's flags by field."""
        flags = {name: spelling(flag) for name, flag in group.flags.items()}
        return {name: self.values[flag] for name, flag in flags.items() if flag in self.values}

    def asks_for(self, group: Group[Any]) -> bool:
        """Return whether a flag that asks for the group was typed, or none is needed."""
        return not group.asked_by or any(flag in self.values for flag in group.asked_by)

    def build(self, group: Group[M], **fields: object) -> M:
        """Return the group's model of the typed flags, the command's defaults and ``fields``, which win.

        Raises:
            UsageError: A value is out of its limits, two do not fit together, or one is missing.

        """
        try:
            return group.model(**{**group.defaults, **self.fields(group), **fields})
        except ValidationError as error:
            raise self._usage_error(group, error) from None

    def build_asked(self, group: Group[M], **fields: object) -> M | None:
        """Return the group's model as :meth:`build` does; None where no flag asks for it."""
        return self.build(group, **fields) if self.asks_for(group) else None

    def refuse_orphans(self) -> None:
        """Refuse flags of models that no flag asks for.

        Raises:
            UsageError: Such a flag was typed: it would be ignored.

        """
        for flag in self.values:
            owners = [group for group in self.groups if flag in map(spelling, group.flags.values())]
            if not any(self.asks_for(group) for group in owners):
                needed = " or ".join(dict.fromkeys(flag for group in owners for flag in group.asked_by))
                raise UsageError(
                    f"{flag} without {needed}", hint=f"{flag} would change nothing: leave it out"
                )

    def _usage_error(self, group: Group[Any], error: ValidationError) -> UsageError:
        problems = [self._problem(group, details) for details in error.errors()]
        return UsageError("; ".join(dict.fromkeys(problems)), hint="--help has the limits of every option")

    def _problem(self, group: Group[Any], details: ErrorDetails) -> str:
        names = {info.alias: name for name, info in group.model.model_fields.items()}
        name = str(details["loc"][0]) if details["loc"] else ""
        name = names.get(name, name)
        if details["type"] == "missing":
            typed = ", ".join(group.flag(field) for field in self.fields(group))
            return f"{typed} without {group.flag(name)}"
        message = details["msg"].removeprefix("Value error, ")
        if not name:
            # The model's rules over several fields speak of fields as the YAML spells them.
            return re.sub(r"\b[a-z]+[A-Za-z]*\b", lambda word: group.flag(word[0]), unquoted(message))
        number = marked(group.model.model_fields[name], NumberText)
        if number is not None:
            message = f"{unquoted(number.message)} ({number.limits}, at most {number.decimals} decimals)"
        elif details["type"].startswith("string_"):
            message = _TEXTS.get(name, message)
        value = details["input"] or "''"
        return f"{group.flag(name)} {value}: {message[:1].lower()}{message[1:]}"


_TEXTS: Final = {"sha256": "a digest is 64 hexadecimal digits (0 to 9, a to f), as sha256sum prints it"}
"""What the text in a field must be, where the contract says it by a regular expression."""


def takes(*groups: Group[Any]) -> Callable[[Callable[[Given], None]], Callable[..., None]]:
    """Return a decorator that gives a command the flags of ``groups``.

    The command ends with a message and the contract's exit code, as
    :func:`~tflite_converter.cli.errors.ends_with_a_message` says.
    """
    shape, flags = signature(groups)

    def decorate(command: Callable[[Given], None]) -> Callable[..., None]:
        @wraps(command)
        def run(context: typer.Context, **values: object) -> None:
            typed = {flags[name]: value for name, value in values.items() if _is_typed(context, name)}
            with ends_with_a_message():
                given = Given(groups, typed)
                given.refuse_orphans()
                command(given)

        run.__signature__ = shape  # type: ignore[attr-defined]  # typer reads it, mypy does not know it
        run.__annotations__ = {}
        return run

    return decorate


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
