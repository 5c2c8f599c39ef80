"""The report's code: that of the command line, for the targets that a file suits, whatever its names."""

from __future__ import annotations

import pytest

from modelconversion_api.methods import Method, Target
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import Inventory, TensorDetail
from support.converter import html_reports as sample
from support.converter.pages import HOSTILE, Page
from tflite_converter.report.page import render
from tflite_converter.report.snippets import use_it
from tflite_converter.snippets.choice import SnippetTarget, snippet


def drawn(*artifacts: ArtifactReport) -> Page:
    report = sample.report().model_copy(update={"artifacts": artifacts})
    made = use_it(report)
    return Page("" if made is None else made)


def made(method: Method, dtype: str, **changed: object) -> ArtifactReport:
    artifact = sample.artifact(method, 22_000, 0.94)
    return artifact.model_copy(update={"inventory": sample.inventory(dtype), "targets": (), **changed})


def test_the_code_is_that_of_the_command_line() -> None:
    artifact = made(Method.FULL_INTEGER, "int8")
    assert artifact.inventory is not None
    page = drawn(artifact)
    for target in set(SnippetTarget) - {SnippetTarget.BROWSER}:
        assert snippet(target, artifact.file_name, artifact.inventory).code in page.text
    assert "LiteRT.js has no int8" in page.text
    assert 'id="use"' in render(sample.report())


@pytest.mark.parametrize(
    ("target", "title"),
    [
        (Target.EDGE_TPU, "Coral Edge TPU"),
        (Target.MICROCONTROLLER, "Microcontroller"),
        (Target.RASPBERRY_PI, "Raspberry Pi"),
        (Target.MOBILE, "Android"),
    ],
)
def test_targets_that_a_file_does_not_suit_are_left_out(target: Target, title: str) -> None:
    artifact = made(Method.FULL_INTEGER, "int8")
    (check,) = [c for c in sample.artifact(Method.FULL_INTEGER, 1, None).targets if c.target is Target.MOBILE]
    without = artifact.model_copy(
        update={"targets": (check.model_copy(update={"target": target, "suitable": False}),)}
    )
    assert title in drawn(artifact).text
    assert title not in drawn(without).text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_become_no_markup(name: str) -> None:
    def named(text: str) -> Page:
        tensor = TensorDetail(name=text, shape=[1, 4], dtype="float32")
        found = Inventory(inputs=(tensor,), outputs=(tensor,), operators=(), tensor_dtypes={})
        return drawn(made(Method.FLOAT32, "float32", inventory=found))

    assert [e for e, _ in named(name).elements] == [e for e, _ in named("x").elements]


def test_a_file_of_very_many_inputs_does_not_fill_the_page() -> None:
    tensors = tuple(TensorDetail(name=f"x{i}", shape=[1], dtype="float32") for i in range(1000))
    many = sample.inventory("float32").model_copy(update={"inputs": tensors})
    assert drawn(made(Method.FLOAT32, "float32", inventory=many)).text == ""


def test_a_file_that_was_not_read_has_no_code() -> None:
    assert drawn(made(Method.FLOAT32, "float32", inventory=None)).text == ""
