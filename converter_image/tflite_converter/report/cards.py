"""The report's cards: everything that was measured on one file."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.reports.measurements import (
    AccuracyMetric,
    Fidelity,
    Inventory,
    Latency,
    Performance,
    Scores,
)
from modelconversion_api.text import human_latency
from tflite_converter.report.figures import (
    NOTHING,
    code,
    counted,
    decibels,
    facts,
    first_of,
    method,
    more,
    name_of,
    number,
    percent,
    ratio,
    section,
    size,
    table,
    word_of,
)

_MOST_CLASSES = 24


def cards(report: ConversionReport) -> Markup:
    """Everything that was measured on each file."""
    gated = report.evaluation.gated
    original = report.evaluation.original
    return section("artifacts", "File by file", *(_card(a, original, gated=gated) for a in report.artifacts))


def _card(artifact: ArtifactReport, original: Scores | None, *, gated: bool) -> Markup:
    figures = [*_fidelity(artifact.fidelity), *_scores(artifact.scores), *_worst_class(artifact)]
    if artifact.baseline is not None and artifact.baseline.confidence is not None:
        figures.append(("Mean confidence", percent(artifact.baseline.confidence.mean)))
    speed = _performance(artifact.performance) or _latency("One sample", artifact.latency)
    return tag(
        "article",
        tag("h3", method(artifact.method, name_of(artifact)), word_of(artifact, gated=gated)),
        tag("p", code(artifact.file_name), f", {size(artifact.size_bytes)}", class_="file"),
        tag("p", artifact.message, class_="note" if artifact.passed else "note missed")
        if artifact.message
        else None,
        tag(
            "div",
            _group(
                "Against the original",
                [("Agreement", percent(artifact.agreement)), ("SNR", ratio(artifact)), *figures],
            ),
            _group("On the machine that converted", speed),
            class_="columns",
        ),
        _outputs(artifact),
        _classes(artifact.scores, original),
        facts(_made_of(artifact)),
        _edges(artifact.inventory),
        facts([("SHA-256", code(artifact.sha256))]),
        class_="card",
    )


def _made_of(artifact: ArtifactReport) -> list[tuple[str, Child]]:
    runtime = artifact.min_runtime_version
    oldest = "not known" if runtime is None else f"TensorFlow Lite {runtime} (LiteRT 1.0 is 2.18)"
    recipe: list[tuple[str, Child]] = [("Recipe", artifact.recipe)] if artifact.recipe else []
    return [*recipe, ("Oldest runtime with all its operators", oldest)]


def _outputs(artifact: ArtifactReport) -> Markup | None:
    """Show each output by itself, where there are several or where their columns were judged."""
    outputs = artifact.outputs
    if len(outputs) < 2 and not any(output.worst_column for output in outputs):
        return None
    rows: list[Sequence[Child]] = [
        [
            code(output.name),
            output.metric.value,
            percent(output.agreement),
            NOTHING if output.worst_column is None else code(output.worst_column),
            decibels(output.snr_db, missing="identical"),
            f"{output.constant_columns:,}" if output.constant_columns else NOTHING,
        ]
        for output in outputs
    ]
    columns = ["Output", "Compared by", "Agreement", "Worst column", "SNR", "Constant columns"]
    caption = "Each output against the original's; agreement is that of the worst column"
    return table(columns, rows, caption=caption, numbers=(2, 4, 5))


def _classes(scores: Scores | None, original: Scores | None) -> Markup | None:
    """Show each class of a detector or a segmenting model, those that lost most first."""
    if scores is None or not scores.classes:
        return None
    before = {} if original is None else {each.label: each.score for each in original.classes}
    lost = sorted(scores.classes, key=lambda each: each.score - before.get(each.label, 0.0))
    rows: list[Sequence[Child]] = [
        [
            f"class {each.label}" if not each.name else f"{each.name} ({each.label})",
            f"{each.count:,}",
            percent(each.score, 2),
            percent(before.get(each.label), 2),
        ]
        for each in lost[:_MOST_CLASSES]
    ]
    is_detector = scores.metric is AccuracyMetric.MEAN_AVERAGE_PRECISION
    columns = ["Class", *(("Objects", "Average precision") if is_detector else ("Pixels", "Overlap"))]
    caption = "Each class, by the labels"
    if len(lost) > _MOST_CLASSES:
        caption += f": the {_MOST_CLASSES} of {len(lost)} that lost most; report.json has more"
    return table([*columns, "The original's"], rows, caption=caption, numbers=(1, 2, 3))


def _group(title: str, pairs: Sequence[tuple[str, Child]]) -> Markup | None:
    return tag("div", tag("h4", title), facts(pairs)) if pairs else None


def _fidelity(fidelity: Fidelity | None) -> list[tuple[str, Child]]:
    if fidelity is None:
        return []
    shares = [("Same first class", fidelity.top1), ("Of the five best classes", fidelity.top5)]
    shares += [("Same yes or no", fidelity.label_match), ("R\N{SUPERSCRIPT TWO}", fidelity.r2)]
    plain = [("Cosine similarity", fidelity.cosine), ("KL divergence, nats", fidelity.kl_divergence)]
    plain += [("Drift of the confidence", fidelity.confidence_drift)]
    plain += [("Mean squared difference", fidelity.mse), ("Mean absolute difference", fidelity.mae)]
    measured: list[tuple[str, Child]] = [(n, percent(v, 2)) for n, v in shares if v is not None]
    return measured + [(n, number(v)) for n, v in plain if v is not None]


def _scores(scores: Scores | None) -> list[tuple[str, Child]]:
    if scores is None:
        return []
    shares = [(f"Accuracy ({scores.metric.value})", scores.accuracy), ("Accuracy, top 5", scores.top5)]
    shares += [("Macro F1", scores.macro_f1), ("Average precision at IoU 0.5", scores.map50)]
    errors = [("Mean squared error", scores.mse), ("Mean absolute error", scores.mae)]
    measured: list[tuple[str, Child]] = [(n, percent(v, 2)) for n, v in shares if v is not None]
    return measured + [(n, number(v)) for n, v in errors if v is not None]


def _worst_class(artifact: ArtifactReport) -> list[tuple[str, Child]]:
    worst = artifact.worst_class
    if worst is None:
        return []
    name = f"class {worst.label}" if worst.name is None else f"{worst.name} ({worst.label})"
    if worst.accuracy is None:
        figures = f"agreement {percent(worst.agreement)}"
    else:
        figures = f"accuracy {percent(worst.accuracy)}, the original's {percent(worst.original_accuracy)}"
    return [("Class that lost most", f"{name}: {figures}, {counted(worst.samples, 'sample')}")]


def _performance(performance: Performance | None) -> list[tuple[str, Child]]:
    if performance is None:
        return []
    pairs = [*_latency("One sample", performance.single)]
    if performance.batch is not None:
        pairs += _latency(f"Batch of {performance.batch.batch_size}", performance.batch)
    pairs.append(("Load", human_latency(performance.load_millis)))
    if performance.peak_memory_bytes is not None:
        pairs.append(("Memory at most", size(performance.peak_memory_bytes)))
    return pairs


def _latency(name: str, latency: Latency | None) -> list[tuple[str, Child]]:
    if latency is None:
        return []
    tail = f"p90 {human_latency(latency.p90_millis)}"
    if latency.p99_millis is not None:
        tail += f", p99 {human_latency(latency.p99_millis)}"
    about = f"median of {counted(latency.runs, 'run')} on {counted(latency.threads, 'thread')}"
    pairs: list[tuple[str, Child]] = [
        (name, joined(tag("strong", human_latency(latency.median_millis)), f", {tail}", tag("small", about)))
    ]
    if latency.throughput_per_second is not None:
        pairs.append(
            (f"Throughput, {name.lower()}", f"{latency.throughput_per_second:,.0f} samples a second")
        )
    return pairs


def _edges(contents: Inventory | None) -> Markup | None:
    """Show inputs and outputs, as a program that uses the file must know them."""
    if contents is None:
        return None
    rows: list[Sequence[Child]] = []
    for kind, tensors in (("input", contents.inputs), ("output", contents.outputs)):
        for tensor in tensors[:32]:
            shape = "\N{MULTIPLICATION SIGN}".join("?" if s < 0 else str(s) for s in tensor.shape) or "scalar"
            scale = NOTHING if tensor.scale is None else number(tensor.scale)
            zero = NOTHING if tensor.zero_point is None else f"{tensor.zero_point}"
            rows.append([code(tensor.name), kind, shape, tensor.dtype, scale, zero])
    columns = ["Name", "", "Shape", "Dtype", "Scale", "Zero point"]
    special = [*contents.flex_operators, *contents.custom_operators]
    note = f"Needs operators that LiteRT does not bring: {first_of(special, 12)}." if special else None
    return joined(
        tag("p", note, class_="note missed") if note else None,
        more(
            "Inputs and outputs",
            table(columns, rows, caption="value = (stored - zero point) * scale", numbers=(4, 5)),
        ),
    )
