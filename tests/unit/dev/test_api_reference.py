"""The reference of the resource: whole, and with examples that the contract takes."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from devcluster.generated import api_reference
from devcluster.generated.api_reference import EXAMPLES, example, leaves, page, properties_of
from modelconversion_api.base import KIND
from modelconversion_api.channels import CHANNEL_KIND
from modelconversion_api.profiles import ConversionProfileSpec
from modelconversion_api.sets import SET_KIND
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.triggers import TRIGGER_KIND

PROPERTIES = properties_of(KIND)
LEAVES = dict(leaves(PROPERTIES["spec"], "spec"))


@pytest.mark.parametrize("path", LEAVES)
def test_each_field_has_an_example_that_fits_it(path: str) -> None:
    jsonschema.validate(example(path, LEAVES[path]), LEAVES[path])


def test_no_example_is_of_a_field_that_is_gone() -> None:
    of_sets = dict(leaves(properties_of(SET_KIND)["spec"], f"{SET_KIND}.spec"))
    of_triggers = dict(leaves(properties_of(TRIGGER_KIND)["spec"], f"{TRIGGER_KIND}.spec"))
    of_channels = dict(leaves(properties_of(CHANNEL_KIND)["spec"], f"{CHANNEL_KIND}.spec"))
    paths = [*LEAVES, *of_sets, *of_triggers, *of_channels]
    assert [end for end in EXAMPLES if not any(f".{path}".endswith(f".{end}") for path in paths)] == []


def test_the_examples_make_a_resource() -> None:
    """What only the whole contract says, such as the form of a uri, holds for them too."""

    def made(schema: dict[str, Any], path: str) -> Any:
        if schema.get("type") == "array" and "properties" in schema["items"]:
            return [made(schema["items"], f"{path}[]")]
        if not schema.get("properties"):
            return example(path, schema)
        return {
            name: made(field, f"{path}.{name}")
            for name, field in schema["properties"].items()
            if name not in ("affinity", "target", "rules", "labelColumn", "images", "studentUri")
        }

    wanted = made(PROPERTIES["spec"], "spec")
    assert ModelConversionSpec.model_validate(wanted).source.uri == EXAMPLES["source.uri"]


def test_of_a_profile_the_page_has_each_field_and_repeats_no_object() -> None:
    written = page()
    _, _, profile = written.partition("\n## ConversionProfile.spec\n")
    for info in ConversionProfileSpec.model_fields.values():
        assert f"`{info.alias}`" in profile.partition("\n## ")[0]
    headings = [line for line in written.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings))
    assert "[`benchmark`](#specbenchmark)" in profile
    assert "[`validation`](#conversionprofilespecvalidation)" in profile


def test_the_page_has_every_object_and_field() -> None:
    written = page()
    assert written == api_reference.PAGE.read_text()
    for part in ("spec", "status"):
        for path in dict(leaves(PROPERTIES[part], part)):
            parent, _, name = path.rpartition(".")
            assert f"\n## {parent}\n" in written
            assert f"| `{name.removesuffix('[]')}` |" in written
