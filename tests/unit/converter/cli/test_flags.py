"""Flags from models: a field is a flag, with its limits, its default and its help."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, model_validator

from modelconversion_api.base import ApiModel, Fraction
from modelconversion_api.fields.compilers import EdgeTPU, EthosUAccelerator
from modelconversion_api.reports.descriptions import description
from modelconversion_api.request import ConversionRequest
from support.converter.command_lines import given, program, refusal, run
from tflite_converter.cli import benchmark, calibrate_check, compare, groups
from tflite_converter.cli import compile as compile_command
from tflite_converter.cli.flags import Group, decimal, parts
from tflite_converter.cli.groups import CONVERT, EDGE_TPU, ETHOS_U, File

CLUSTER_ONLY = {
    "output": "a folder, not an address in a store: --output",
    "storage": "how a cluster reaches its store",
}
"""Parts of a request that the command line has no use for."""


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Tuned(EdgeTPU):
    """A contract that has grown."""

    power_milliwatts: Annotated[int, Field(ge=100, le=9000)] = 2000
    """Power that the device may draw."""
    share: Fraction | None = None
    """Share of something, e.g. "0.5"."""
    colour: Colour = Colour.RED
    quiet_fan: bool = False
    cooled: bool = True


GROWN = Group(Tuned, prefix="edgetpu-", by_hand=EDGE_TPU.by_hand)


def test_a_field_that_is_added_to_the_contract_is_a_flag() -> None:
    app, _ = program(GROWN)
    _, shown = run(app, "--help")
    for words in ("--edgetpu-power-milliwatts", "[100<=x<=9000]", "Power that the device may draw", "2000"):
        assert words in shown
    words = ("--edgetpu-power-milliwatts", "500", "--edgetpu-share", "5e-1", "--edgetpu-colour", "blue")
    tuned = given(*words, "--edgetpu-quiet-fan", "--no-edgetpu-cooled", groups=(GROWN,)).build(GROWN)
    assert (tuned.power_milliwatts, tuned.share, tuned.colour) == (500, "0.5", Colour.BLUE)
    assert (tuned.quiet_fan, tuned.cooled, tuned.num_segments) == (True, False, 1)
    assert "'--edgetpu-power-milliwatts'" in refusal(
        lambda _: None, "--edgetpu-power-milliwatts", "50", groups=(GROWN,)
    )


def leaves(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    """Every field of the request that is no model itself, with the model it belongs to."""
    for name, info in model.model_fields.items():
        kind = parts(info)[0]
        by_hand = any(group.by_hand.get(name) for group in CONVERT if issubclass(group.model, model))
        if by_hand or not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            yield model, name
        elif not (model is ConversionRequest and name in CLUSTER_ONLY):
            yield from leaves(kind)


@pytest.mark.parametrize(("model", "name"), sorted(set(leaves(ConversionRequest)), key=str))
def test_every_field_of_a_request_is_a_flag_of_convert_or_has_a_reason(
    model: type[BaseModel], name: str
) -> None:
    owners = [group for group in CONVERT if issubclass(group.model, model)]
    assert any(name in group.flags for group in owners) or any(group.by_hand.get(name) for group in owners)


ALL = {
    "convert": CONVERT,
    "compile": compile_command.GROUPS,
    "compare": compare.GROUPS,
    "benchmark": benchmark.GROUPS,
    "calibrate-check": calibrate_check.GROUPS,
}


@pytest.mark.parametrize("command", ALL)
def test_what_a_group_says_of_a_field_is_of_a_field_that_is_there(command: str) -> None:
    for group in ALL[command]:
        named = {*group.names, *group.panels, *group.by_hand, *group.defaults}
        assert named <= set(group.model.model_fields), group.model
        every = {flag for other in ALL[command] for flag in other.flags.values()}
        assert set(group.asked_by) <= every, group.model


@pytest.mark.parametrize("command", ALL)
def test_every_flag_has_help(command: str) -> None:
    app, _ = program(*ALL[command])
    _, shown = run(app, "--help")
    for group in ALL[command]:
        for name, flag in group.flags.items():
            assert flag.split()[0] in shown
            assert description(group.model, name), f"{group.model.__name__}.{name}"


def test_a_flag_that_asks_for_a_model_introduces_it_and_lists_its_choices() -> None:
    app, _ = program(ETHOS_U)
    _, shown = run(app, "--help")
    assert "Compile the full-integer file for an Arm Ethos-U with Vela" in shown
    assert all(core.value in shown for core in EthosUAccelerator)


class One(ApiModel):
    size: int = 1
    """Size of one."""


class Two(ApiModel):
    size: int = 2
    """Size of the other."""


def test_two_models_share_a_flag_and_keep_their_defaults() -> None:
    one, two = Group(One), Group(Two)
    values = given("--size", "5", groups=(one, two))
    assert (values.build(one).size, values.build(two).size) == (5, 5)
    values = given(groups=(one, two))
    assert (values.build(one).size, values.build(two).size) == (1, 2)


class Pair(ApiModel):
    first_size: int = 1
    """The first."""
    last_size: int = 2
    """The last."""
    file: File = Path("x")
    """A file."""

    @model_validator(mode="after")
    def _check(self) -> Pair:
        if self.first_size > self.last_size:
            raise ValueError("firstSize must be less than lastSize")
        return self


PAIR = Group(Pair, names={"first_size": "--first -f", "last_size": "--last"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-f", "3"], "error: --first must be less than --last. Hint: "),
        (["--file", ""], "error: --file '': a file must have a name. Hint: "),
    ],
)
def test_rules_over_fields_speak_of_flags(words: list[str], says: str) -> None:
    assert says in refusal(lambda values: values.build(PAIR), *words, groups=(PAIR,))


def test_a_default_of_the_command_gives_way_to_what_is_typed() -> None:
    group = Group(Pair, defaults={"last_size": 50})
    assert given(groups=(group,)).build(group).last_size == 50
    assert given("--last-size", "9", groups=(group,)).build(group).last_size == 9


def test_a_model_is_built_when_its_flag_is_typed_and_not_by_its_default() -> None:
    group = Group(Pair, asked_by=("--first-size",))
    assert given(groups=(group,)).build_asked(group) is None
    assert given("--first-size", "1", groups=(group,)).build_asked(group) == Pair()
    said = refusal(lambda _: None, "--last-size", "9", groups=(group,))
    assert "--last-size without --first-size. Hint: --last-size would change nothing" in said


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.02", "0.02"),
        (".02", "0.02"),
        ("2e-2", "0.02"),
        ("1E2", "100"),
        ("0.50", "0.5"),
        ("-1", "-1"),
        *((text, text) for text in ("nan", "inf", "", "x", "1e999999999", "0." + "1" * 40)),
    ],
)
def test_numbers_are_written_as_the_contract_has_them(text: str, number: str) -> None:
    assert decimal(text) == number


def test_the_groups_of_the_command_line_are_known_by_their_flags() -> None:
    assert groups.SOURCE.flag("selectTensorFlowOps") == "--select-tf-ops"
    assert groups.DISTILLATION.flag("width") == "--distill"
    assert groups.TUNING.flag("nothing") == "nothing"
