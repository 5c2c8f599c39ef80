"""What every type of the contract has in common."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from .reasons import REASON_PATTERN, FailureReason

GROUP = "edgeml.dev"
VERSION = "v1alpha1"
"""What is stored, and what the operator speaks."""
SERVED_VERSIONS = (VERSION, "v1beta1")
"""What may be written and read. The fields are the same: the API server turns one into the other itself."""
KIND = "ModelConversion"
PLURAL = "modelconversions"
API_VERSION = f"{GROUP}/{VERSION}"


class ApiModel(BaseModel):
    """A contract type: camelCase on the wire, snake_case in Python, unknown fields refused, immutable.

    What a field means stands as a text under it: :mod:`modelconversion_api.reports.descriptions` reads it.
    """

    model_config = ConfigDict(
        defer_build=True,  # a schema is made when a model is first used: most programs use few of them
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
    )

    def changed(self, **fields: Any) -> Self:
        """Return a copy with these fields changed, and checked (or cut) as in a new one.

        Raises:
            ValidationError: as for a new one; ``model_copy`` would believe its caller.

        """
        return type(self).model_validate(dict(self) | fields)

    def to_wire(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary with wire names; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_json(self, *, indent: int | None = None) -> str:
        """Return what :meth:`to_wire` gives as JSON text."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=indent)


M = TypeVar("M", bound=BaseModel)


def readable(model: type[M], data: Any) -> M:
    """Read what another version wrote, as far as this one understands it.

    A field that this version does not know is passed over. A value that it has no word for counts as not
    given, and where it cannot be left out, neither is what it belongs to.

    Raises:
        ValidationError: Nothing is left.

    """
    rest = data
    while True:
        try:
            return model.model_validate(rest, extra="ignore")
        except ValidationError as error:
            if rest is data:  # a status is read at each look, and hardly ever has anything to leave out
                rest = copy.deepcopy(data)
            if not _left_out(rest, error.errors()[0]["loc"]):
                raise


def _left_out(data: Any, place: Sequence[int | str]) -> bool:
    """Remove the innermost thing at ``place`` that there is; gives whether there was one."""
    holder = key = None
    for step in place:
        if isinstance(data, dict):
            there = step in data
        else:
            there = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if not there:
            break
        holder, key, data = data, step, data[step]
    if holder is None:
        return False
    del holder[key]
    return True


def cel(rule: str, message: str) -> JsonDict:
    """Return one ``x-kubernetes-validations`` entry."""
    return {"rule": rule, "message": message}


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
"""SHA-256 digest, 64 lower-case hexadecimal digits."""


OpenReason = Annotated[
    FailureReason,
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": f"^{REASON_PATTERN}$"}),
]
"""A reason that the API server takes from any version of the operator and the converter."""


@dataclass(frozen=True, slots=True)
class NumberText:
    """Marks a number that is written as text, and says which numbers it may be.

    Kubernetes APIs carry no floats. A program that reads numbers from people, as the command line does, shows
    these limits instead of a pattern.
    """

    limits: str
    """The numbers that are allowed, e.g. ``0<=x<=1``."""
    decimals: int
    """Most digits after the point."""
    message: str
    """The rule as ``kubectl`` shows it."""


def number_text(pattern: str, length: int, mark: NumberText) -> tuple[FieldInfo, WithJsonSchema, NumberText]:
    """Return the constraints of a number in decimal notation, for Python and for the CRD."""
    escaped = pattern.replace("\\", "\\\\")
    rule = cel(f"self.matches('{escaped}')", mark.message)
    schema: JsonDict = {"type": "string", "maxLength": length, "x-kubernetes-validations": [rule]}
    return Field(max_length=length, pattern=pattern), WithJsonSchema(schema), mark


_FRACTION = number_text(
    r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$",
    8,
    NumberText("0<=x<=1", 6, 'must be a share from "0" to "1" in quotes, e.g. "0.98"'),
)
Fraction = Annotated[str, _FRACTION[0], _FRACTION[1], _FRACTION[2]]
"""A share from "0" to "1" in decimal notation."""

_MILLIS = number_text(
    r"^[0-9]{1,6}(\.[0-9]{1,4})?$",
    11,
    NumberText("0<=x<1000000", 4, 'must be milliseconds in quotes, e.g. "12.5"'),
)
Millis = Annotated[str, _MILLIS[0], _MILLIS[1], _MILLIS[2]]
"""Milliseconds in decimal notation, up to a quarter of an hour."""


def fraction(value: float) -> str:
    """Return ``value`` clipped to [0, 1] in the notation of :data:`Fraction`, four decimals."""
    return f"{min(max(value, 0.0), 1.0) + 0.0:.4f}"  # + 0.0 makes a plain zero of -0.0
