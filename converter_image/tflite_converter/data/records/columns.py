"""Which columns of a file of records are samples, and which one is the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from modelconversion_api.reasons import Stage
from tflite_converter.data.conventions import is_labels
from tflite_converter.data.errors import labels_mismatch, unreadable
from tflite_converter.data.records.messages import Wanted
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import readable

_SHOWN: Final = 8
_SLIM_LABEL: Final = "image/class/label"
"""Where the scripts for ImageNet of TF-Slim, and all that followed them, have the class of an image."""


class Kind(Enum):
    """What a column has for each sample."""

    NUMBER = auto()
    TENSOR = auto()
    """Numbers of one shape."""
    TEXT = auto()
    ENCODED = auto()
    """A file in itself: an image or a sound."""
    OTHER = auto()
    """Nothing that is read here."""


@dataclass(frozen=True)
class Column:
    """A column, before its values are read."""

    kind: Kind
    words: str
    """Its type, for messages."""
    class_names: tuple[str, ...] = ()
    """Where the file says that it is a class, and how the classes are called."""


@dataclass(frozen=True)
class Plan:
    """What is read of the columns."""

    samples: tuple[str, ...]
    labels: str | None = None
    is_table: bool = False
    """Whether all columns are the features of one array, a row a sample."""
    encoded: bool = False
    """Whether the only column of samples holds files."""
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def plan(
    columns: Mapping[str, Column],
    label_column: str | None,
    *,
    wanted: Wanted | None,
    ordered: bool,
    name: str,
    stage: Stage,
) -> Plan:
    """Decide what each column is.

    Args:
        columns: All columns, in the file's order.
        label_column: The column of labels that the user names: by its name or its number from 1.
        wanted: The files in a column that become samples, as the user said how.
        ordered: Whether the order of the columns means something, so that numbers can be rows of a table.
        name: What messages call the data.
        stage: The stage to blame.

    Raises:
        ConverterError: DataUnreadable, LabelsMismatch.

    """
    labels = None if label_column is None else _named(columns, label_column, name, stage, ordered=ordered)
    others = {key: column for key, column in columns.items() if key != labels}
    encoded = [key for key, column in others.items() if column.kind is Kind.ENCODED]
    if wanted or (encoded and not any(column.kind is Kind.TENSOR for column in others.values())):
        return _encoded(others, encoded, labels, columns, wanted=wanted, name=name, stage=stage)
    if labels is None and len(named := [key for key, column in others.items() if column.class_names]) == 1:
        labels = named[0]
    elif labels is None:
        labels = _called_so(others, ordered=ordered)
    others = {key: column for key, column in others.items() if key != labels}
    numbers = tuple(key for key, column in others.items() if column.kind in (Kind.NUMBER, Kind.TENSOR))
    rest = [key for key in others if key not in numbers]
    is_table = ordered and all(others[key].kind is Kind.NUMBER for key in numbers)
    if not numbers or (is_table and rest):
        raise _no_numbers(others, rest, name, stage)
    return _finished(columns, Plan(numbers, labels, is_table=is_table), label_column, rest, name)


def _called_so(others: Mapping[str, Column], *, ordered: bool) -> str | None:
    """Return the only column beside tensors that is called as labels are.

    Two arrays that are called as samples and labels are told apart later: a model may have inputs of these
    names. Numbers alone, in an order, are the features of a table, whatever they are called.
    """
    if ordered and not any(column.kind is Kind.TENSOR for column in others.values()):
        return None
    kinds = (Kind.TEXT,) if len(others) == 2 else (Kind.TEXT, Kind.NUMBER)
    called = [key for key, column in others.items() if column.kind in kinds and is_labels(key)]
    return called[0] if len(called) == 1 and len(others) > 1 else None


def _encoded(
    others: Mapping[str, Column],
    encoded: Sequence[str],
    labels: str | None,
    columns: Mapping[str, Column],
    *,
    wanted: Wanted | None,
    name: str,
    stage: Stage,
) -> Plan:
    if not encoded:
        why = f"it has no column of {wanted}, but {_listed(others)}"
        hint = f"leave out {wanted} for numbers; {wanted} need their bytes in the file"
        raise unreadable(name, why, stage, hint=hint)
    if len(encoded) > 1:
        why = f"it has more than one column of {wanted or 'files'}: {_listed(encoded)}"
        raise unreadable(name, why, stage, hint="leave one of them in the file")
    if wanted is None:
        why = (
            f"its column {readable(encoded[0])!r} holds {others[encoded[0]].words}, and nothing says how the"
        )
        hint = "set --image-scaling / images, or the flags --audio- / audio, as in training"
        raise unreadable(name, f"{why} model was trained to take them", stage, hint=hint)
    given = labels
    if labels is None:
        labels = _conventional({key: column for key, column in others.items() if key != encoded[0]})
    rest = [key for key in others if key not in (encoded[0], labels)]
    return _finished(columns, Plan((encoded[0],), labels, encoded=True), given, rest, name)


def _conventional(others: Mapping[str, Column]) -> str | None:
    """Return the only column that the file says is a class, or else the only one that is called so."""
    named = [key for key, column in others.items() if column.class_names]
    called = [
        key
        for key, column in others.items()
        if column.kind in (Kind.NUMBER, Kind.TEXT, Kind.TENSOR) and (is_labels(key) or key == _SLIM_LABEL)
    ]
    return next((found[0] for found in (named, called) if len(found) == 1), None)


def _finished(
    columns: Mapping[str, Column], chosen: Plan, given: str | None, rest: Sequence[str], name: str
) -> Plan:
    """``chosen`` with what the user should know of it."""
    notes = []
    if chosen.labels is not None and given is None:
        notes.append(f"of the columns in {name}, {readable(chosen.labels)!r} was taken for the labels")
    if rest:
        notes.append(f"left out of {name}: {_listed(rest)}, which are no numbers")
    if rest and chosen.encoded:
        notes[-1] = (
            f"of {name} the images in {readable(chosen.samples[0])!r} are read; left out: {_listed(rest)}"
        )
    class_names = () if chosen.labels is None else columns[chosen.labels].class_names
    return Plan(chosen.samples, chosen.labels, chosen.is_table, chosen.encoded, class_names, tuple(notes))


def _named(
    columns: Mapping[str, Column], label_column: str, name: str, stage: Stage, *, ordered: bool
) -> str:
    found = label_column if label_column in columns else None
    if found is None and ordered and label_column.isascii() and label_column.isdecimal():
        place = int(label_column[:9]) - 1
        found = list(columns)[place] if 0 <= place < len(columns) else None
    if found is None:
        cause = f"{name} has no column {readable(label_column)!r}: it has {_listed(columns)}"
        raise labels_mismatch(cause, stage, hint="name the label column as the file does")
    if columns[found].kind in (Kind.ENCODED, Kind.OTHER):
        cause = f"the column {readable(found)!r} of {name} holds {columns[found].words}, which are no labels"
        raise labels_mismatch(cause, stage, hint="give numbers or the names of classes")
    return found


def _no_numbers(others: Mapping[str, Column], rest: Sequence[str], name: str, stage: Stage) -> ConverterError:
    if not rest:
        return unreadable(name, "it has no column beside the labels", stage)
    first = rest[0]
    why = f"its column {readable(first)!r} holds {others[first].words}, not numbers"
    hint = "leave the column out of the file"
    if others[first].kind is Kind.TEXT:
        hint = "name it with --label-column / labelColumn if it is the labels, or leave it out of the file"
    return unreadable(name, why, stage, hint=hint)


def _listed(names: Mapping[str, Column] | Sequence[str]) -> str:
    shown = ", ".join(readable(name) for name in list(names)[:_SHOWN])
    return f"{shown}, … ({len(names)} in all)" if len(names) > _SHOWN else shown
