"""The report's parts about data: confusion, layers, calibration, evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.calibration import (
    CalibrationReport,
    ClassCount,
    DataInfo,
    DataRole,
    InputCoverage,
    Stability,
)
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.report.charts import layers_plot
from tflite_converter.report.confusion import confusion_view
from tflite_converter.report.figures import (
    NOTHING,
    code,
    counted,
    decibels,
    facts,
    more,
    name_of,
    number,
    percent,
    section,
    table,
)
from tflite_converter.report.svg import share_bar

_WORST_LAYERS = 8
_MOST_LAYERS = 2000
"""Layers that are drawn; a bar is then under half a pixel wide."""
_MOST_ROWS = 200
_MOST_CLASSES = 24

AGREEMENTS = {
    AgreementMetric.TOP1: "the share of samples for which both put the same class first",
    AgreementMetric.LABEL_MATCH: "the share of yes-or-no outputs that are the same",
    AgreementMetric.R2: "the share of the original outputs' variance that the file keeps",
    AgreementMetric.COSINE: "the mean cosine similarity of the outputs",
    AgreementMetric.DETECTIONS: "the average precision with which it finds the original's sure boxes",
    AgreementMetric.MEAN_IOU: "the intersection over union of both's masks, mean of the classes",
}
_ROLES = {
    DataRole.VALIDATION: "validation data",
    DataRole.HELD_OUT: "the part of the calibration data that did not calibrate",
    DataRole.CALIBRATION: "the calibration data themselves",
    DataRole.RANDOM: "random inputs",
    DataRole.SYNTHETIC: "made-up samples, for no data were given: the ranges are a guess",
}


def compared_on(report: ConversionReport) -> str:
    """Describe in a sentence the data that the figures were measured on."""
    data = report.evaluation.data
    used = data.samples - report.evaluation.not_finite
    text = f"Measured on {counted(used, 'sample')}, {_ROLES[data.role]}. "
    text += f"Agreement is {AGREEMENTS[report.evaluation.agreement_metric]}."
    if report.evaluation.overlap:
        left = counted(report.evaluation.overlap, "sample")
        text += f" {left} that calibrate the model as well {'was' if left[:2] == '1 ' else 'were'} left out."
    if report.evaluation.not_finite:
        text += f" {counted(report.evaluation.not_finite, 'sample')} for which the original gives NaN or"
        text += " infinity were left out."
    return text


def confusion(report: ConversionReport) -> Markup | None:
    """Return the confusion matrix of the file that does worst; None where no file has one."""
    having = [a for a in report.artifacts if a.confusion is not None and a.confusion.counts]
    if not having:
        return None
    worst = min(having, key=_quality)
    assert worst.confusion is not None  # noqa: S101 - chosen above for having one
    lead = f"{name_of(worst)}, the file that does worst"
    if len(report.artifacts) == 1:
        lead = name_of(worst)
    view = confusion_view(worst.confusion)
    return section("confusion", "Confusion", view, lead=f"{lead}. Blue is right, orange is wrong.")


def layers(report: ConversionReport) -> Markup | None:
    """Return the error of each layer of the full-integer file; None where it was not measured."""
    artifact = next((a for a in report.artifacts if a.layers), None)
    if artifact is None:
        return None
    values = [(layer.tensor, layer.snr_db) for layer in artifact.layers[:_MOST_LAYERS]]
    ranked = sorted(range(len(values)), key=lambda i: math.inf if math.isnan(values[i][1]) else values[i][1])
    worst = ranked[: min(_WORST_LAYERS, max(1, len(values) // 4))]
    columns = ["Layer", "Tensor", "Operator", "SNR"]

    def row(i: int) -> Sequence[Child]:
        layer = artifact.layers[i]
        return [f"{i + 1}", code(layer.tensor), code(layer.operator), decibels(layer.snr_db)]

    lead = (
        f"{name_of(artifact)}: how far quantization moved each layer from the float file, on"
        " calibration samples. A low bar is a large error; 20 dB are a tenth of the signal."
    )
    rows = [row(i) for i in range(min(len(values), _MOST_ROWS))]
    cut = f"the first {_MOST_ROWS}" if len(artifact.layers) > _MOST_ROWS else "all"
    return section(
        "layers",
        "Error by layer",
        layers_plot(values, set(worst)),
        table(columns, map(row, worst), caption="Layers with the largest error", numbers=(0, 3)),
        more(f"Layers in order ({cut})", table(columns, rows, caption="Layers in order", numbers=(0, 3))),
        lead=lead,
    )


def calibration(report: ConversionReport) -> Markup | None:
    """Show the calibration data and whether they were enough; None without calibration."""
    calibrated = report.calibration
    if calibrated is None:
        return None
    return section(
        "calibration",
        "Calibration",
        facts(data_facts(calibrated.data)),
        _stability(calibrated.stability),
        _classes(calibrated),
        _coverage(calibrated.inputs) if calibrated.inputs else None,
        lead="The samples that set the range of each activation of the full-integer file.",
    )


def data_facts(data: DataInfo) -> list[tuple[str, Child]]:
    """Return a data set's manifest: what it takes to draw the same samples again."""
    samples = f"{data.samples:,}"
    if data.available is not None:
        samples += f" of {data.available:,}"
    if data.stratified:
        samples += ", drawn evenly over the classes"
    pairs: list[tuple[str, Child]] = []
    if data.name is not None:
        pairs.append(("Name", code(data.name)))
    if data.role is not DataRole.CALIBRATION:
        pairs.append(("Which", _ROLES[data.role]))
    pairs.append(("Samples", samples))
    if data.format is not None:
        pairs.append(("Format", data.format))
    pairs.append(("Seed", f"{data.seed}"))
    pairs += [(f"Preprocessing: {key}", value) for key, value in data.preprocessing.items()]
    if data.sha256 is not None:
        pairs.append(("SHA-256", code(data.sha256)))
    if data.labels_sha256 is not None:
        pairs.append(("SHA-256 of the labels", code(data.labels_sha256)))
    return pairs


def _quality(artifact: ArtifactReport) -> tuple[float, float]:
    """Accuracy, then agreement; what was not measured is taken as perfect."""
    return (
        1.0 if artifact.accuracy is None else artifact.accuracy,
        1.0 if artifact.agreement is None else artifact.agreement,
    )


def _stability(stability: Stability | None) -> Markup | None:
    if stability is None:
        return None
    limit = percent(stability.threshold, 0)
    if stability.unstable:
        sentence = (
            f"{stability.unstable:,} of {counted(stability.tensors, 'activation')} have ranges that differ by"
            f" more than {limit} between two halves of the samples: more samples would set them better."
        )
    else:
        sentence = (
            f"Enough samples: on two halves of them, the ranges of all {stability.tensors:,} activations"
            f" differ by at most {limit}."
        )
    rows = [[code(t.tensor), percent(t.difference)] for t in stability.worst[:10]]
    worst = table(["Activation", "Difference"], rows, caption="Least stable activations", numbers=(1,))
    return joined(
        tag("p", sentence, class_="note warn" if stability.unstable else "note"), worst if rows else None
    )


def _classes(calibrated: CalibrationReport) -> Markup | None:
    if not calibrated.classes:
        return None
    most = max(1, *(c.drawn for c in calibrated.classes))
    # Where there are many, those of which least was drawn say whether a class was forgotten.
    shown = calibrated.classes
    if len(shown) > _MOST_CLASSES:
        shown = tuple(sorted(shown, key=lambda c: (c.drawn, c.label))[:_MOST_CLASSES])
    rows = [_class_row(c, most) for c in shown]
    caption = "Samples by class"
    if len(shown) < len(calibrated.classes):
        caption += f": the {len(shown)} of {len(calibrated.classes):,} with the fewest"
    return table(["Class", "Drawn", "", "Available"], rows, caption=caption, numbers=(1, 3))


def _class_row(count: ClassCount, most: int) -> Sequence[Child]:
    name = f"{count.label}" if count.name is None else f"{count.name} ({count.label})"
    bar = share_bar(max(0, count.drawn) / most, f"{count.drawn:,} drawn")
    return [name, f"{count.drawn:,}", bar, f"{count.available:,}"]


def _coverage(inputs: Sequence[InputCoverage]) -> Markup:
    rows = [
        [
            code(i.name),
            f"{number(i.minimum)} to {number(i.maximum)}",
            f"{number(i.mean)} \N{PLUS-MINUS SIGN} {number(i.deviation)}",
            f"{i.constant_features:,}",
            NOTHING if i.outside is None else percent(i.outside, 2),
        ]
        for i in inputs[:_MOST_ROWS]
    ]
    columns = ["Input", "Range", "Mean and deviation", "Constant features", "Others outside"]
    caption = "What the model was shown; values outside the range will be clipped"
    return table(columns, rows, caption=caption, numbers=(1, 2, 3, 4))
