"""The report's code: how each file is used on each target that it suits."""

from __future__ import annotations

from typing import Final

from modelconversion_api.markup import Child, Markup, tag
from modelconversion_api.methods import Target
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.reports.measurements import Inventory
from tflite_converter.report.figures import more, name_of, section
from tflite_converter.snippets.choice import Snippet, snippet
from tflite_converter.snippets.model import NoSnippetError
from tflite_converter.snippets.targets import SnippetTarget

_CHECKED: Final = {
    SnippetTarget.ANDROID: Target.MOBILE,
    SnippetTarget.IOS: Target.MOBILE,
    SnippetTarget.RASPBERRY_PI: Target.RASPBERRY_PI,
    SnippetTarget.CORAL: Target.EDGE_TPU,
    SnippetTarget.MICROCONTROLLER: Target.MICROCONTROLLER,
}
"""Which check says whether a file suits the snippet's target; none is about browsers."""
_MOST_EDGES: Final = 32
"""A file with more inputs or outputs is for the command line: its code would be most of the page."""


def use_it(report: ConversionReport) -> Markup | None:
    """Code for each file, folded by file and target; None where no file was read."""
    files = [_file(artifact) for artifact in report.artifacts]
    shown = [each for each in files if each is not None]
    if not shown:
        return None
    lead = (
        "Ready code with the names, shapes and quantization of each file, for the targets that it suits. It"
        " takes and gives plain numbers. tflite-converter snippet FILE --target TARGET prints the same."
    )
    return section("use", "Use it", *shown, lead=lead)


def _file(artifact: ArtifactReport) -> Markup | None:
    if artifact.inventory is None:
        return None
    snippets, missing = _snippets(artifact, artifact.inventory)
    code: list[Child] = [
        more(f"{each.title}: {each.language}", tag("pre", tag("code", each.code), tabindex=0))
        for each in snippets
    ]
    if missing:
        items = [tag("li", tag("strong", target.value), f": {why}.") for target, why in missing.items()]
        code.append(tag("ul", *items, class_="reasons"))
    return more(f"{name_of(artifact)}: {artifact.file_name}", *code) if code else None


def _snippets(
    artifact: ArtifactReport, inventory: Inventory
) -> tuple[list[Snippet], dict[SnippetTarget, str]]:
    """Return the code for each target, and why there is none for other targets that the file would suit."""
    if max(len(inventory.inputs), len(inventory.outputs)) > _MOST_EDGES:
        return [], {}
    unsuitable = {check.target for check in artifact.targets if not check.suitable}
    snippets, missing = [], {}
    for target in SnippetTarget:
        if _CHECKED.get(target) in unsuitable:
            continue  # the table of targets says why
        try:
            snippets.append(snippet(target, artifact.file_name, inventory))
        except NoSnippetError as error:
            missing[target] = error.cause
    return snippets, missing
