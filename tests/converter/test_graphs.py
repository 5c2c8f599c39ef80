"""Graphs as users write them: loops, branches, states, tables, odd outputs, names and batches.

``graph_checks.py`` computes what each model should give without the product, by TensorFlow, and what its
files give by LiteRT.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from support.paths import REPOSITORY

CLOSE = 1e-5
A_STEP_OF_16_BITS = 12.1 / 65535
"""Of a range of 12: a sum that is added up in another order may end on the next step."""
FAKE_QUANTIZED = {
    **dict.fromkeys(("fake_2_narrow", "fake_4", "fake_7", "fake_8_narrow")),
    "fake_12": "it has 12 bits",
    "fake_16_narrow": "it has 16 bits",
    "fake_16_by_channel": "it has 16 bits",
    "fake_2_narrow_by_channel": "it has a range for each channel of an activation",
    "fake_8_by_channel": "it has a range for each channel of an activation",
}
"""Why full integer cannot have their steps; None where it has."""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("graphs")
    program = REPOSITORY / "tests/support/converter/graph_checks.py"
    done = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "name",
    [
        *("counted", "to_an_end", "of_the_batch", "fixed", "nested", "map_fn"),
        *("cases_with_weights", "listed", "seeded"),
        *("branches", "cases", "clamps", "outputs", "double", "names", "grouped", "integers", "signs"),
        *(*FAKE_QUANTIZED, "fake_branches"),
        *("whole", "scalar", "of_four", "only_four", "summed", "counting", "four_sums"),
    ],
)
def test_float_file_and_reference_give_what_the_model_gave_before_it_was_saved(facts, name):
    found, limit = facts[name], A_STEP_OF_16_BITS if name.startswith("fake_16") else CLOSE
    assert max(found["file"].values()) < limit
    assert max(found["reference"].values()) < limit
    assert max(found["restored"].values()) == 0.0, "running the reference changed the model"


@pytest.mark.parametrize("name", ["counted", "to_an_end", "of_the_batch"])
def test_a_loop_whose_steps_depend_on_the_input_is_never_unrolled(facts, name):
    assert "flat" not in facts[name]
    assert facts[name]["not_flat"] == "how many steps the loop 'while' takes may depend on the input"
    assert "WHILE" in facts[name]["operators"]


@pytest.mark.parametrize("name", ["fixed", "nested", "map_fn", "listed", "branches"])
def test_full_integer_starts_from_a_file_without_loops_and_branches(facts, name):
    flat = facts[name]["flat"]
    assert not {"WHILE", "IF"} & set(flat["operators"])
    assert max(flat["file"].values()) < CLOSE


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        ("branches", {"IF"}, {"BATCH_MATMUL"}),
        ("cases", {"SELECT_V2", "FULLY_CONNECTED"}, {"BATCH_MATMUL"}),
        ("grouped", {"CONV_2D"}, set()),
        ("summed", {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}, set()),
        ("counting", set(), {"VAR_HANDLE"}),
    ],
)
def test_operators(facts, name, has, has_not):
    assert has <= set(facts[name]["operators"])
    assert not has_not & set(facts[name]["operators"])


@pytest.mark.parametrize(
    ("name", "inputs", "says"),
    [
        ("whole", [[9]], "a sample is a whole input without a batch dimension: x [9]"),
        ("scalar", [[]], "a sample is a whole input without a batch dimension: x []"),
        ("of_four", [[1, 6]], "takes batches of 4: its files take one sample at a time"),
        ("only_four", [[4, 2, 3]], "takes 4 samples at once, and works for no other number"),
        ("double", [[1, 6]], "the model computes in float64"),
        ("summed", [[1, 6]], "keeps values from one call to the next (Variable)"),
    ],
)
def test_what_is_said_of_the_original(facts, name, inputs, says):
    found = facts[name]
    assert found["inputs"] == inputs
    assert len(found["warnings"]) == 1
    assert says in found["warnings"][0]


def test_only_outputs_that_draw_random_numbers_are_named(facts):
    assert facts["noisy"]["random"] == ["noisy"]
    assert all(facts[name]["random"] == [] for name in facts if name not in ("noisy", "lookup"))


@pytest.mark.parametrize(("name", "fault"), FAKE_QUANTIZED.items())
def test_full_integer_has_the_steps_of_fake_quantization_or_says_why_not(facts, name, fault):
    assert facts[name]["fault"] == fault
    assert fault is not None or facts[name]["eight_bits"] > 18.0


def test_a_table_of_integers_becomes_comparisons_and_one_of_text_is_named(facts):
    assert facts["lookup"]["found"] == [[[7, 6]], [[5, -1]]]
    assert "a table from int64 to string" in facts["lookup"]["says"]
    assert "look values up before it" in facts["lookup"]["says"]
