"""The page of one conversion. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.status import Artifact, MeasuredFile, Measurement
from modelconversion_api.text import human_latency, human_size
from modelconversion_client.explaining import explain
from modelconversion_client.resources import Conversion
from modelconversion_client.tables import ARTIFACT_HEADERS, artifact_rows, recommendation
from modelconversion_client.viewer.layout import (
    badge,
    conditions,
    facts,
    link,
    page,
    section,
    since,
    table,
    with_code,
)

REFRESH_SECONDS: Final = 10
_NUMBERS: Final = "Size Of_source Agreement Accuracy Latency P90 Memory"


def conversion_page(found: Conversion, now: datetime, report_from: str | None, *, refresh: bool) -> str:
    """Return the page.

    Args:
        found: The conversion.
        now: The time.
        report_from: The store that its report would be fetched from, where it can be shown here.
        refresh: Whether the page loads itself again while the conversion is under way.

    """
    is_under_way = not found.has_ended
    return page(
        found.name,
        _head(found, now),
        _progress(found, refresh=refresh) if is_under_way else None,
        _explanation(found),
        _recommended(found),
        artifacts(found),
        _failed_methods(found),
        _boards(found),
        _other_runtimes(found),
        _report(found, report_from),
        conditions(found.status.conditions, now),
        _source(found),
        namespace=found.meta.namespace,
        current="conversion",
        refresh_seconds=REFRESH_SECONDS if refresh and is_under_way else None,
    )


def _head(found: Conversion, now: datetime) -> Markup:
    status = found.status
    member_of = None
    if found.owner_set is not None:
        where = link("set", namespace=found.meta.namespace, name=found.owner_set)
        member_of = tag("a", found.owner_set, href=where)
    return facts(
        ("Phase", badge(str(found.phase))),
        ("Namespace", found.meta.namespace),
        ("Set", member_of),
        ("Profile", found.profile),
        ("Made", since(found.meta.created, now)),
        ("Ended", since(status.completion_time, now) if found.phase.is_final else None),
        ("Took", status.duration if found.phase.is_final else None),
        ("Place in line", str(status.queue_position or "")),
        ("Run again", status.run_again),
    )


def _progress(found: Conversion, *, refresh: bool) -> Markup:
    progress = found.status.progress
    shown = None
    if progress is not None:
        words = f"{progress.percent}%, stage {progress.stage}"
        # The words say the same, for who hears the page.
        shown = tag("p", tag("progress", max=100, value=progress.percent, aria_label="Work done"), " ", words)
    query = {"namespace": found.meta.namespace, "name": found.name}
    if refresh:
        step = tag("a", "Stop", href=link("conversion", **query))
        words = joined(f"This page loads itself again every {REFRESH_SECONDS} seconds. ", step)
    else:
        words = tag(
            "a", f"Load again every {REFRESH_SECONDS} seconds", href=link("conversion", **query, refresh="1")
        )
    return section("Under way", shown, tag("p", words))


def _explanation(found: Conversion) -> Markup | None:
    told = explain(found, [])
    if found.has_ended and found.status.failure is None:
        return None
    where = f" in stage {told.stage}" if told.stage else ""
    return section(
        "Why",
        facts(
            ("Reason", f"{told.reason}{where}"),
            ("Message", with_code(told.message)),
            ("Next", with_code(told.next_step)),
        ),
    )


def _recommended(found: Conversion) -> Markup | None:
    best = found.status.recommended
    if best is None:
        return None
    place = tag("p", tag("code", best.uri))
    return tag("section", tag("h2", "Recommended"), tag("p", recommendation(found)), place, class_="hero")


def artifacts(found: Conversion) -> Markup | None:
    """Return the artifacts of a conversion, in the figures that ``kubectl mconv compare`` has."""
    if not found.status.artifacts:
        return None
    *heads, metrics_head, gates_head, _ = (name.capitalize() for name in ARTIFACT_HEADERS[2:])
    has_metrics = any(artifact.metrics for artifact in found.status.artifacts)
    heads += [metrics_head, gates_head] if has_metrics else [gates_head]
    rows: list[list[Child]] = []
    for (_, star, name, *figures, metrics, gates, note), artifact in zip(
        artifact_rows([found]), found.status.artifacts, strict=True
    ):
        first = joined(name, " ", badge("recommended") if star else None)
        own = [metrics] if has_metrics else []
        rows.append([first, *figures, *own, badge(gates), _about(artifact, note)])
    return section("Artifacts", table("The files that were made", [*heads, "About"], rows, _NUMBERS))


def _about(artifact: Artifact, note: str) -> Markup:
    return joined(
        tag("p", note) if note else None,
        tag(
            "details",
            tag("summary", artifact.uri.rpartition("/")[2]),
            tag("p", tag("code", artifact.uri)),
            tag("p", "SHA-256 ", tag("code", artifact.sha256)),
        ),
    )


def _failed_methods(found: Conversion) -> Markup | None:
    rows = [(one.made_by, str(one.reason), with_code(one.message)) for one in found.status.failed_methods]
    if not rows:
        return None
    return section("No file", table("Methods that gave no file", ("Method", "Reason", "Message"), rows))


def _boards(found: Conversion) -> Markup | None:
    if not found.status.measurements:
        return None
    rows = [row for measured in found.status.measurements for row in _board_rows(measured)]
    headers = ("Board", "File", "Latency", "P90", "Memory", "Agreement", "Accuracy", "Gates", "About")
    return section("Boards", table("What the boards gave", headers, rows, _NUMBERS))


def _board_rows(measured: Measurement) -> list[list[Child]]:
    about = ", ".join(
        filter(None, (measured.accelerator, measured.processor, measured.runtime, measured.node))
    )
    if not measured.files:
        why = ": ".join(filter(None, (measured.reason, measured.message)))
        return [[measured.board, "", "", "", "", "", "", "", with_code(why)]]
    return [_board_row(measured.board, about, file) for file in measured.files]


def _board_row(board: str, about: str, file: MeasuredFile) -> list[Child]:
    return [
        board,
        file.made_by,
        "" if file.latency_millis is None else human_latency(float(file.latency_millis)),
        "" if file.p90_millis is None else human_latency(float(file.p90_millis)),
        "" if file.peak_memory_bytes is None else human_size(file.peak_memory_bytes),
        file.agreement,
        file.accuracy,
        badge("passed" if file.passed else "missed"),
        joined(": ".join(filter(None, (file.reason, file.message))), " ", about),
    ]


def _other_runtimes(found: Conversion) -> Markup | None:
    rows: list[list[Child]] = [
        [
            artifact.made_by,
            result.name,
            badge(result.outcome),
            result.agreement,
            result.accuracy,
            with_code(result.message or ""),
        ]
        for artifact in found.status.artifacts
        for result in artifact.verifications
    ]
    if not rows:
        return None
    headers = ("File", "Runtime", "Outcome", "Agreement", "Accuracy", "About")
    return section("On other runtimes", table("What other runtimes gave", headers, rows, _NUMBERS))


def _report(found: Conversion, report_from: str | None) -> Markup | None:
    uri = found.status.report_uri
    if uri is None:
        return None
    query = {"namespace": found.meta.namespace, "name": found.name}
    if report_from is not None:
        step = joined(
            tag("a", "Show the report", href=link("report", **query)), f", fetched from {report_from}"
        )
    else:
        command = f"kubectl mconv report {found.name} -n {found.meta.namespace} --open"
        step = joined("This page has no credentials for the store. You have: ", tag("code", command))
    return section("Report", tag("p", tag("code", uri)), tag("p", step))


def _source(found: Conversion) -> Markup:
    source = found.status.source
    wanted = (found.raw_spec.get("source") or {}).get("uri")
    rows: list[tuple[str, Child]] = [("Asked for", None if wanted is None else tag("code", str(wanted)))]
    if source is not None:
        rows += [
            ("Format", str(source.format)),
            ("Size", human_size(source.size_bytes)),
            ("SHA-256", tag("code", source.sha256)),
            ("Takes", ", ".join(f"{t.name} {t.shape} {t.dtype}" for t in source.inputs)),
            ("Gives", ", ".join(f"{t.name} {t.shape} {t.dtype}" for t in source.outputs)),
        ]
    return section("Source", facts(*rows))
