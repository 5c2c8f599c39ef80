"""Which methods a command line asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelconversion_api.methods import DEFAULT_METHODS, Method, Objective, Target
from modelconversion_api.reasons import FailureReason
from support.converter.command_lines import given, refusal
from tflite_converter.cli.groups import CONVERT
from tflite_converter.cli.options import options_of
from tflite_converter.errors import ConverterError

MODEL = ("--model", "model.keras")


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        ("", DEFAULT_METHODS),
        ("--method all", DEFAULT_METHODS),
        ("--method Int4", (Method.INT4,)),
        ("--method int16_activations --method float32", (Method.INT16_ACTIVATIONS, Method.FLOAT32)),
        ("--method all --method weight_only_int8", (*DEFAULT_METHODS, Method.WEIGHT_ONLY_INT8)),
        ("--method float16 --method all", (Method.FLOAT16, *(m for m in DEFAULT_METHODS if m != "Float16"))),
        ("--method int4 --method int4", (Method.INT4,)),
        (f"--target {Target.EDGE_TPU.value}", (Method.FULL_INTEGER,)),
    ],
)
def test_methods_in_the_order_in_which_they_were_asked_for(words: str, methods: tuple[Method, ...]) -> None:
    assert options_of(given(*MODEL, *words.split(), groups=CONVERT)).methods == methods


def test_what_is_tried_beside_them() -> None:
    words = [
        "--method",
        "float32",
        "--try",
        "int4",
        "--try",
        "weight_only_int8",
        "--objective",
        "fastestthatpasses",
    ]
    options = options_of(given(*MODEL, *words, groups=CONVERT))
    assert (options.methods, options.tries) == ((Method.FLOAT32,), (Method.INT4, Method.WEIGHT_ONLY_INT8))
    assert options.objective is Objective.FASTEST_THAT_PASSES
    assert options.made == (Method.FLOAT32, Method.INT4, Method.WEIGHT_ONLY_INT8)
    assert options_of(given(*MODEL, groups=CONVERT)).objective is None


def test_trying_takes_time() -> None:
    words = (*MODEL, "--try", "int4", "--tuning-seconds", "0")
    assert "--try without time" in refusal(options_of, *words, groups=CONVERT)


def test_a_target_chooses_by_itself() -> None:
    words = (*MODEL, "--method", "int4", "--target", "Mobile")
    assert "--method and --target exclude each other" in refusal(options_of, *words, groups=CONVERT)


# Recipes.


def written(folder: Path, name: str, content: object) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


RULE = {"regex": ".*", "operation": "*", "algorithm_key": "no_quantize"}
WIDE = {"match": "a", "precision": "Int16"}
OWN = {"name": "own", "layers": [{"match": "head", "precision": "Float32"}]}


def test_recipes_come_from_files_in_both_forms(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "own.json", OWN),
        written(tmp_path, "more.json", [OWN | {"name": "a"}, {"name": "b", "base": "DynamicRange"}]),
        written(tmp_path, "From Google_1.json", [RULE]),
    ]
    options = options_of(given(*MODEL, *(w for f in files for w in ("--recipe", f)), groups=CONVERT))
    assert [recipe.name for recipe in options.recipes] == ["own", "a", "b", "from-google-1"]
    assert {name: json.loads(rules) for name, rules in options.rules.items()} == {"from-google-1": [RULE]}
    assert options.recipes[3].base is Method.DYNAMIC_RANGE
    assert options.calibrated == ("full_integer", "recipe own", "recipe a")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "the file is no JSON"),
        ([OWN, OWN], "own is there twice"),
        ({"name": "Own"}, "name: "),
        ({"name": "own", "base": "Float32"}, "base must be one of DynamicRange"),
        ({"name": "own", "layers": [WIDE | {"match": "("}]}, "layers.0.match is no regular expression"),
        ({"name": "own", "layers": [{"match": "a"}]}, "set precision, algorithm, or both"),
        ({"name": "own", "layers": [{"match": "a", "precision": "Int4"}]}, "Int4 needs base DynamicRange"),
        ({"name": "a", "base": "DynamicRange", "layers": [WIDE]}, "Int16 needs base FullInteger"),
        ({"name": "own", "rules": {"uri": "s3://b/k.json"}}, "rules name an object in a store"),
        ([OWN | {"name": f"r{n}"} for n in range(9)], "9 recipes are more than 8"),
        (" " * 300_000, "larger than 256 KiB"),
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, content: object, words: str) -> None:
    said = refusal(options_of, *MODEL, "--recipe", written(tmp_path, "r.json", content), groups=CONVERT)
    assert words in said


@pytest.mark.parametrize(
    "rules", [[{"regex": ".*"}], [RULE, 1], [RULE | {"op_config": 1, "algorithm_key": "MSE"}]]
)
def test_rules_that_nothing_can_be_made_by_are_refused(tmp_path: Path, rules: list[object]) -> None:
    file = written(tmp_path, "rules.json", rules)
    with pytest.raises(ConverterError, match="recipe rules: rules: ") as caught:
        options_of(given(*MODEL, "--recipe", file, groups=CONVERT))
    assert caught.value.reason is FailureReason.INVALID_REQUEST


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = refusal(options_of, *MODEL, "--recipe", str(tmp_path / "none.json"), groups=CONVERT)
    assert "none.json: No such file" in said
