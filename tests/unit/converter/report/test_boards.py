"""The page's part on boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelconversion_api.fields.boards import Accelerator, Board
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.board import BoardFileReport, BoardReport, Machine
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.reports.measurements import Latency
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Benchmark, Output, Source
from support.converter import html_reports as sample
from support.converter.pages import HOSTILE, Page
from tflite_converter.report.page import render

PI5 = Board(name="pi5", node_selector={"board": "pi5"}, threads=2, max_latency_millis="25")
JETSON = Board(name="jetson", node_selector={"board": "jetson"}, accelerator=Accelerator.GPU)


def asked_for(*boards: Board) -> ConversionReport:
    """The ordinary report, of a conversion with boards."""
    request = ConversionRequest(
        base_name="gesture",
        source=Source(uri="s3://models/gesture.h5"),
        output=Output(uri="s3://models/out/"),
        methods=[a.method for a in sample.report().artifacts],
        benchmark=Benchmark(boards=list(boards)),
    )
    return sample.report().model_copy(update={"request": request})


def gave(report: ConversionReport, board: Board, *changes: dict[str, Any], **machine: Any) -> BoardReport:
    """What a board gave: for each file 12.5 ms and 97.5%, with these changes."""
    files = []
    for artifact, change in zip(report.artifacts, (*changes, *[{}] * len(report.artifacts)), strict=False):
        latency = Latency(median_millis=12.5, p90_millis=14, runs=50, threads=board.threads)
        known = {"method": artifact.method, "recipe_name": artifact.recipe_name}
        known |= {"file_name": artifact.file_name, "sha256": artifact.sha256}
        figures = {"latency": latency, "agreement": 0.975, "passed": True}
        files.append(BoardFileReport(**(known | figures | change)))
    about = {"node": "pi-7", "processor": "aarch64, Cortex-A76", "runtime": "LiteRT 2.3.0"} | machine
    return BoardReport(
        board=board.name, settings=board, samples=64, machine=Machine(**about), files=tuple(files)
    )


def page_of(report: ConversionReport, measured: Sequence[BoardReport]) -> Page:
    return Page(render(report, {each.board: each for each in measured}))


def test_without_boards_there_is_no_part_on_them() -> None:
    assert "On boards" not in Page(render(sample.report())).text


def test_each_board_has_its_figures_and_what_ran_them() -> None:
    report = asked_for(PI5, JETSON)
    cpu = gave(report, PI5)
    left = {"accelerated_operators": 29, "fallback_operators": 2, "fallbacks": ("ATAN2: not supported",)}
    gpu = gave(report, JETSON, left, runtime="LiteRT 2.3.0 on Orin", node="jetson-1")
    page = page_of(report, [cpu, gpu])
    for text in ("On boards", "jetson, GPU", "12.5 ms", "p90 14 ms", "97.5% agreement", "Cortex-A76"):
        assert text in page.text, text
    assert "2 operators left to the CPU" in page.text
    assert "jetson: ATAN2: not supported" in page.text
    assert "pi-7, aarch64, Cortex-A76, LiteRT 2.3.0, 2 threads, 50 runs, 64 samples" in page.text
    assert "gates: at most 25 ms" in page.text
    assert "no figures when this page was drawn" not in page.text


def test_a_board_that_has_given_nothing_yet_is_told() -> None:
    report = asked_for(PI5, JETSON)
    page = page_of(report, [gave(report, PI5)])
    assert "jetson: no figures when this page was drawn" in page.text
    assert "pi5: no figures" not in page.text


def test_a_file_without_figures_has_its_reason() -> None:
    report = asked_for(JETSON)
    none = {"latency": None, "agreement": None, "passed": False, "reason": FailureReason.NOTHING_MAPPED}
    page = page_of(report, [gave(report, JETSON, none | {"message": "it takes no operator"})])
    assert "NothingMapped" in page.text
    assert "on jetson: it takes no operator" in page.text


def test_figures_that_are_no_device_s_are_told() -> None:
    report = asked_for(JETSON)
    assert "no device's" in page_of(report, [gave(report, JETSON, is_software=True)]).text
    slow = gave(report, JETSON, megahertz=(2400, 1000), max_megahertz=2400)
    assert "ran slower than they may" in page_of(report, [slow]).text


def test_a_board_that_refuses_the_recommended_file_stands_beside_the_recommendation() -> None:
    report = asked_for(PI5, JETSON)
    assert report.recommended is not None
    missed = {"passed": False, "message": "31 ms are more than 25 ms"}
    changes = [missed if a.is_as(report.recommended) else {} for a in report.artifacts]
    refused = page_of(report, [gave(report, PI5, *changes)]).text
    assert "Boards refuse it (pi5: 31 ms are more than 25 ms)" in refused
    assert "Boards refuse it" not in page_of(report, [gave(report, JETSON, *changes)]).text, "no gates"
    others = [{} if a.is_as(report.recommended) else missed for a in report.artifacts]
    assert "Boards refuse it" not in page_of(report, [gave(report, PI5, *others)]).text


def test_what_a_board_wrote_is_only_text() -> None:
    report = asked_for(PI5)
    for text in HOSTILE:
        change = {"passed": False, "message": text, "fallbacks": (text,)}
        page = page_of(report, [gave(report, PI5, change, processor=text, runtime=text)])
        assert {name for name, _ in page.elements}.isdisjoint({"script", "img"})
