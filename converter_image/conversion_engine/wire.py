"""Messages as JSON: every field is there, has its type, and no other field is."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from enum import StrEnum
from typing import Any, TypeVar

Message = TypeVar("Message")


class WireError(ValueError):
    """What was read is not the message that it should be; says where, and never repeats a value."""


def dumped(message: object) -> str:
    """Return a message as one line of JSON.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has not.

    """
    if not dataclasses.is_dataclass(message) or isinstance(message, type):
        raise TypeError("only a message can be sent")
    return json.dumps(dataclasses.asdict(message), separators=(",", ":"), allow_nan=False)


def read(kind: type[Message], content: bytes | str) -> Message:
    """Return the message of type ``kind`` that ``content`` is.

    Raises:
        WireError: it is another one, or none.

    """
    return typing.cast("Message", _value(kind, _parsed(content), kind.__name__))


def contract_of(content: bytes | str) -> int | None:
    """Return which version of the contract a message is of; None where it does not say.

    This can be read of every version, past or future: it has to be known before the rest can be.
    """
    try:
        document = _parsed(content)
    except WireError:
        return None
    number = document.get("contract") if isinstance(document, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _parsed(content: bytes | str) -> Any:
    try:
        return json.loads(content, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise WireError("it is not JSON") from None


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _value(kind: Any, item: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _optional(arguments, item, where)
    if origin is tuple:
        if not isinstance(item, list):
            raise WireError(f"{where} is no list")
        return tuple(_value(arguments[0], part, f"{where}[{i}]") for i, part in enumerate(item))
    if origin is dict:
        return {key: _value(arguments[1], part, f"{where} of one name") for key, part in _table(item, where)}
    if dataclasses.is_dataclass(kind):
        return _message(kind, item, where)
    return _plain(kind, item, where)


def _optional(kinds: tuple[Any, ...], item: Any, where: str) -> Any:
    """Return a value of ``kind | None``."""
    if item is None:
        return None
    (kind,) = (kind for kind in kinds if kind is not types.NoneType)
    return _value(kind, item, where)


def _table(item: Any, where: str) -> typing.ItemsView[str, Any]:
    if not isinstance(item, dict):
        raise WireError(f"{where} is no object")
    return item.items()


def _message(kind: Any, item: Any, where: str) -> Any:
    given = dict(_table(item, where))
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if given.keys() - fields.keys():
        raise WireError(f"{where} has a field that this version does not know")
    if missing := [name for name in fields if name not in given]:
        raise WireError(f"{where} has no field {missing[0]}")
    return kind(**{name: _value(hints[name], given[name], f"{where}.{name}") for name in fields})


def _plain(kind: Any, item: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(item)
        except ValueError:
            raise WireError(f"{where} is none of the known words") from None
    if kind is float and isinstance(item, int) and not isinstance(item, bool):
        item = float(item)
    # bool is an int to isinstance, and no number here.
    if type(item) is not kind or (kind is float and not math.isfinite(item)):
        raise WireError(f"{where} is no {kind.__name__}")
    return item
