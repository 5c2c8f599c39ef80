"""The report's last part: what it takes to do the conversion again."""

from __future__ import annotations

import json

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ConversionReport, Provenance, compilations_of
from tflite_converter.report.data import data_facts
from tflite_converter.report.figures import NOTHING, code, facts, more, section, size, table
from tflite_converter.report.svg import share_bar


def provenance(report: ConversionReport) -> Markup:
    """Every digest, seed, version and option, and where the time went."""
    source = report.source
    model: list[tuple[str, Child]] = [
        ("Format", source.format.value),
        ("Size", f"{size(source.size_bytes)} ({source.size_bytes:,} bytes)"),
        ("SHA-256", code(source.sha256)),
    ]
    parts = [_group("Source model", model), _group("Evaluation", data_facts(report.evaluation.data))]
    if report.calibration is not None:
        parts.append(_group("Calibration", data_facts(report.calibration.data)))
    parts += _making(report.provenance)
    digests = [[code(a.file_name), code(a.sha256)] for a in report.artifacts]
    digests += [
        [code(f.file_name), code(f.sha256)] for a in report.artifacts for f in compilations_of(a).files
    ]
    return section(
        "provenance",
        "Provenance",
        tag("div", *parts, class_="columns"),
        table(["File", "SHA-256"], digests, caption="Digests of the files"),
        _versions(report),
        _stages(report),
        _request(report),
        lead="With the same model, data, options and versions, the same files come out.",
    )


def _group(title: str, pairs: list[tuple[str, Child]]) -> Markup:
    return tag("div", tag("h3", title), facts(pairs))


def _making(provenance: Provenance | None) -> list[Markup]:
    if provenance is None:
        return []
    pairs: list[tuple[str, Child]] = [
        (name, value or NOTHING) for name, value in sorted(provenance.options.items())
    ]
    if provenance.isolation:
        pairs.append(("Isolation", ", ".join(provenance.isolation)))
    if provenance.platform:
        pairs.append(("Machine", provenance.platform))
    return [_group("Options and machine", pairs)] if pairs else []


def _versions(report: ConversionReport) -> Markup | None:
    rows = [[name, code(version)] for name, version in sorted(report.tool_versions.items())]
    return table(["Tool", "Version"], rows, caption="Versions") if rows else None


def _stages(report: ConversionReport) -> Markup | None:
    taken = report.stage_seconds
    if not taken:
        return None
    most = max(max(taken.values()), 1e-9)
    rows = [
        [stage.value, f"{seconds:.1f} s", share_bar(seconds / most, f"{seconds:.1f} seconds")]
        for stage, seconds in taken.items()
    ]
    return table(["Stage", "Time", ""], rows, caption="Where the time went", numbers=(1,))


def _request(report: ConversionReport) -> Markup | None:
    if report.request is None:
        return None
    text = json.dumps(report.request.to_wire(), indent=2, ensure_ascii=False)
    return joined(more("The Job's request", tag("pre", text)))
