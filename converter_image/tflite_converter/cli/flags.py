"""Flags from models: each field of a pydantic model is a flag with the field's limits, default and help.

A command declares the models that it reads as :class:`Group` objects. :func:`signature` makes the parameters
of a function from them, which typer turns into options; :class:`~tflite_converter.cli.given.Given` builds the
models from the flags that a person has typed::

    model        -- Group, signature -->  flags in --help
    typed flags  -- Given            -->  model, or a usage error that names the flag and its limit
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modelconversion_api.base import ApiModel, NumberText
from modelconversion_api.reports.descriptions import description

M = TypeVar("M", bound=ApiModel)

_LONGEST_CHOICES = 20
"""Characters of choices that fit beside a flag; longer ones are listed in its help."""
_LONGEST_NUMBER = 28
"""Characters of a number that is worth reading."""


@dataclass(frozen=True, slots=True)
class Metavar:
    """The placeholder that ``--help`` shows for a field's value, e.g. ``PATH``."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Group(Generic[M]):
    """The flags that give one model its fields.

    Fields that are models themselves are groups of their own. Two groups may share a flag: it then sets the
    field of both.
    """

    model: type[M]
    panel: str | None = None
    """Heading in ``--help``; None for the options that come first."""
    prefix: str = ""
    """Begins each flag that ``names`` does not name, e.g. ``ethos-u-``."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Flags that are not spelled like their field, by field. A name without dashes is a positional argument;
    a second spelling follows after a space."""
    panels: Mapping[str, str] = field(default_factory=dict)
    """Headings of the fields that stand elsewhere than under ``panel``."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Defaults of this command where they are not the model's."""
    by_hand: Mapping[str, str] = field(default_factory=dict)
    """Fields that get no flag here, each with the reason."""
    asked_by: tuple[str, ...] = ()
    """Flags of which one must be given for the others to make sense; none where the model is always there."""
    introduced: bool = False
    """Whether the help of the flag that asks for the model begins with the model's own description."""

    @property
    def flags(self) -> dict[str, str]:
        """Declaration of the flag of each field that has one, by field."""
        return {
            name: self.names.get(name, f"--{self.prefix}{name.replace('_', '-')}")
            for name, info in self.model.model_fields.items()
            if name not in self.by_hand and not _is_model(info)
        }

    def flag(self, name: str) -> str:
        """Return the flag of a field as messages spell it; the field's own name where it has none.

        ``name`` may be the field's name or its alias.
        """
        flags = {**self.names, **self.flags}
        aliases = {info.alias: field for field, info in self.model.model_fields.items()}
        return spelling(flags.get(aliases.get(name, name), name))


def spelling(declaration: str) -> str:
    """Return the first spelling of a flag, which messages use."""
    return declaration.split()[0]


def parts(info: FieldInfo) -> tuple[Any, tuple[object, ...]]:
    """Return a field's plain type, without ``None``, and all that its annotations say of it."""
    return _parts(info.annotation, tuple(info.metadata))


def marked(info: FieldInfo, kind: type[Any]) -> Any:
    """Return the mark of ``kind`` in a field's annotations; None where there is none."""
    return next((mark for mark in parts(info)[1] if isinstance(mark, kind)), None)


def decimal(text: str) -> str:
    """Return a number as the contract writes it: ``2e-2`` and ``.02`` become ``0.02``.

    Text that is no finite number of reasonable size comes back as it is, for the contract to refuse.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or len(text) > _LONGEST_NUMBER or abs(number.adjusted()) > _LONGEST_NUMBER:
        return text
    return f"{number.normalize():f}"


def unquoted(text: str) -> str:
    """Return a text of the contract with its numbers as a person types them: ``"0.95"`` becomes ``0.95``."""
    return re.sub(r'"([0-9.]+)"', r"\1", " ".join(text.split())).replace(" in quotes", "")


def signature(groups: tuple[Group[Any], ...]) -> tuple[inspect.Signature, dict[str, str]]:
    """Return the parameters that typer makes options of, and the flag of each by the parameter's name."""
    owners: dict[str, list[_Field]] = {}
    for group in groups:
        for name, declaration in group.flags.items():
            owners.setdefault(declaration, []).append(_Field(group, name))
    headings = list(dict.fromkeys(fields[0].panel for fields in owners.values()))
    # --help shows the panels in the order of their first flags; arguments come before options.
    ordered = sorted(owners, key=lambda d: (d.startswith("-"), headings.index(owners[d][0].panel)))
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [_parameter(declaration, owners[declaration]) for declaration in ordered]
    flags = {_identifier(declaration): spelling(declaration) for declaration in ordered}
    return inspect.Signature([context, *parameters]), flags


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a group's model."""

    group: Group[Any]
    name: str

    @property
    def info(self) -> FieldInfo:
        fields: dict[str, FieldInfo] = self.group.model.model_fields
        return fields[self.name]

    @property
    def panel(self) -> str | None:
        return self.group.panels.get(self.name, self.group.panel) or None

    @property
    def asks(self) -> bool:
        """Whether this flag alone asks for the model."""
        return self.group.asked_by == (self.group.flags[self.name],)

    @property
    def default(self) -> Any:
        """The default that ``--help`` shows; ``inspect.Parameter.empty`` where the flag must be given."""
        if self.name in self.group.defaults:
            return self.group.defaults[self.name]
        if self.asks or self.info.default_factory is not None:
            return None
        if self.info.is_required():
            return None if self.group.asked_by else inspect.Parameter.empty
        return self.info.default

    @property
    def help(self) -> str:
        """The field's description, after that of the whole model where it introduces it."""
        texts = [description(self.group.model, self.name) or ""]
        if self.asks and self.group.introduced:
            texts.insert(0, inspect.cleandoc(self.group.model.__doc__ or "").partition("\n\n")[0])
        choices = _choices(parts(self.info)[0])
        if len(choices) > _LONGEST_CHOICES:
            texts.append(f"One of {choices.replace('|', ', ')}.")
        return unquoted(" ".join(texts))


def _parameter(declaration: str, fields: list[_Field]) -> inspect.Parameter:
    """Return the parameter of one flag; the first of its fields says what it is."""
    first = fields[0]
    kind, metadata = parts(first.info)
    annotation, options = _typed(kind, metadata)
    options["help"] = first.help
    default = first.default
    shown = {_shown(field.default): " or ".join(field.group.asked_by) for field in fields}
    if len(shown) > 1:
        default = None
        options["show_default"] = ", ".join(f"{value} for {flags}" for value, flags in shown.items())
    elif default is None:
        options["show_default"] = False
    option: Any
    if declaration.startswith("-"):
        spellings = declaration.split()
        if default is True:
            spellings = [f"{one}/--no-{one.removeprefix('--')}" for one in spellings]
        option = typer.Option(*spellings, rich_help_panel=first.panel, **options)
    else:
        option = typer.Argument(**options | {"metavar": declaration})
    return inspect.Parameter(
        _identifier(declaration),
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, option],
    )


def _typed(kind: Any, metadata: tuple[object, ...]) -> tuple[Any, dict[str, Any]]:
    """Return the type that typer reads, and the options that tell it and the reader of the limits."""
    metavar = next((mark.text for mark in metadata if isinstance(mark, Metavar)), None)
    number = next((mark for mark in metadata if isinstance(mark, NumberText)), None)
    if kind is bool:
        return bool, {}
    if kind is int:
        limits = {"min": _limit(metadata, "ge"), "max": _limit(metadata, "le")}
        return int, {"metavar": metavar or "NUMBER"} | limits
    if get_origin(kind) is list and _choices(kind):
        return kind, {"case_sensitive": False, "metavar": metavar or "NAME"}
    if choices := _choices(kind):
        shown = choices if len(choices) <= _LONGEST_CHOICES else "NAME"
        return kind, {"case_sensitive": False, "metavar": metavar or shown}
    if number is not None:
        return str, {"parser": decimal, "metavar": f"{metavar or 'NUMBER'} [{number.limits}]"}
    if get_origin(kind) is list:
        return list[str], {"metavar": metavar}
    return str, {"metavar": metavar or ("PATH" if kind is Path else "TEXT")}


def _choices(kind: Any) -> str:
    """Return the values of an enumeration, or of a list of such, ``a|b|c``; nothing for other types."""
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    is_choice = isinstance(kind, type) and issubclass(kind, Enum)
    return "|".join(str(member.value) for member in kind) if is_choice else ""


def _shown(default: Any) -> str:
    return str(default.value if isinstance(default, Enum) else default)


def _identifier(declaration: str) -> str:
    name = spelling(declaration).lstrip("-").replace("-", "_").lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def _limit(metadata: tuple[object, ...], bound: str) -> int | None:
    return next((getattr(mark, bound) for mark in metadata if hasattr(mark, bound)), None)


def _is_model(info: FieldInfo) -> bool:
    kind = parts(info)[0]
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _parts(annotation: Any, metadata: tuple[object, ...]) -> tuple[Any, tuple[object, ...]]:
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return _parts(inner, (*metadata, *_flat(marks)))
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = (part for part in get_args(annotation) if part is not NoneType)
        return _parts(inner, metadata)
    return annotation, metadata


def _flat(marks: list[object]) -> Iterator[object]:
    for mark in marks:
        if isinstance(mark, FieldInfo):
            yield from mark.metadata
        else:
            yield mark
