"""The texts under the fields of the contract's models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.reports.descriptions import describe, description


class Inner(ApiModel):
    """A part."""

    size: int = 0
    """How large it is."""


class Outer(ApiModel):
    """A whole."""

    bare: int = 0
    inner: Inner | None = None
    """The part,
    on two lines."""
    many: list[Inner] = Field(default_factory=list)
    """Parts."""
    said: Annotated[int, Field(description="Said in the field.")] = 0
    """Not read."""


class Derived(Outer):
    """A whole that says one field anew."""

    bare: int = 1
    """Said at last."""


def test_a_description_is_the_text_under_the_field() -> None:
    assert description(Outer, "bare") is None
    assert description(Outer, "inner") == "The part,\non two lines."
    assert description(Outer, "said") == "Said in the field."
    assert description(Derived, "bare") == "Said at last."
    assert description(Derived, "many") == "Parts."


def test_a_schema_has_them_once_they_are_asked_for_also_in_parts() -> None:
    Outer.model_validate({"inner": {"size": 3}})  # its schema is made before
    describe(Outer)
    schema = Outer.model_json_schema()
    assert schema["properties"]["many"]["description"] == "Parts."
    assert schema["properties"]["said"]["description"] == "Said in the field."
    assert "description" not in schema["properties"]["bare"]
    assert schema["$defs"]["Inner"]["properties"]["size"]["description"] == "How large it is."
