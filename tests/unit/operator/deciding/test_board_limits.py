"""Boards at their limits: crashes, edits, boards that are away, and figures as large as they can be."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelconversion_api.fields.boards import Board
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.board import BoardFile, BoardSummary, Machine
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.reports.measurements import Latency
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import Measurement, ModelConversionStatus, Phase
from modelconversion_operator.deciding.boards import measured
from modelconversion_operator.deciding.decisions import CreateJob, DeleteJob, PatchJob
from modelconversion_operator.deciding.manifest import Part, job_manifest, job_name
from support.operator.board_story import (
    FAST,
    GATED,
    Story,
    file,
    of_board,
    on_board,
    told,
)
from support.operator.objects import (
    DEFAULTS,
    KEY,
    NOW,
    ended,
    job,
    running,
    spec,
    waiting,
)


def test_no_job_is_let_go_before_what_it_gave_is_written() -> None:
    """With a time to live of 0 it is gone with its pods at once: a crash in between would lose a board."""
    story = Story(FAST, GATED)
    story.boards["job"] = {"ttlSecondsAfterFinished": 0}
    story.to_board()
    for name in ("fast", "pi5"):
        told_last = story.ends(name, complete=True)
        assert told_last.job_action is None
        assert story.status.measurements[-1].board == name
        after = story.see(of_board(name, complete=True))
        assert after.job_action == PatchJob(of_board(name).name, ttl_seconds=0)
        story.see(None)
    assert story.status.phase is Phase.SUCCEEDED


def test_a_job_that_failed_keeps_its_reason_until_that_is_written() -> None:
    story = Story(FAST)
    story.boards["job"] = {"ttlSecondsAfterFinished": 0}
    story.to_board()
    lost = of_board("fast", failed="BackoffLimitExceeded")
    killed = on_board(ended(137, reason="OOMKilled"), phase="Failed")
    assert story.see(lost, killed).job_action is None
    assert story.status.measurements[0].reason == "OutOfMemory"
    assert story.see(lost, killed).job_action == PatchJob(lost.name, ttl_seconds=0)


def edited(story: Story, *boards: dict[str, Any]) -> None:
    """Change the boards under way, as only an API server without the CRD's rules lets through."""
    story.boards["benchmark"] = {"boards": list(boards)}


def finish(story: Story) -> None:
    """Let each Job that the operator makes end well, until the conversion has ended."""
    for _ in range(20):
        if story.status.phase.is_final:
            return
        name = next((n for n in NAMES if story.status.job_name == job_name(KEY, "1", Part(board=n))), None)
        made = story.see(None)
        if isinstance(made.job_action, CreateJob):
            assert name is not None
            story.ends(name, told(file(Method.FULL_INTEGER), file(Method.FLOAT32), board=name), complete=True)
            story.see(of_board(name, complete=True))
    raise AssertionError("it does not end")


NAMES = ("fast", "pi5", "other", "more")
OTHER, MORE = FAST | {"name": "other"}, FAST | {"name": "more"}
EDITS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "the one that is measured on goes": ([GATED], ["pi5"]),
    "the next one goes": ([FAST], ["fast"]),
    "all go": ([], []),
    "it gets another name": ([OTHER, GATED], ["other", "pi5"]),
    "one more at the end": ([FAST, GATED, MORE], ["fast", "pi5", "more"]),
    "one more in front": ([MORE, FAST, GATED], ["fast", "more", "pi5"]),
    "another order": ([GATED, FAST], ["fast", "pi5"]),
}


@pytest.mark.parametrize(("boards", "measured_on"), EDITS.values(), ids=EDITS.keys())
def test_boards_that_are_edited_under_way_end_with_each_that_is_there_asked_once(boards, measured_on) -> None:
    story = Story(FAST, GATED)
    story.to_board()
    story.see(of_board("fast"), on_board(running()))
    edited(story, *boards)
    if "fast" in measured_on:
        story.ends("fast", told(file(Method.FULL_INTEGER), board="fast"), complete=True)
        story.see(of_board("fast", complete=True))
    else:
        story.see(of_board("fast"), on_board(running()))
        if boards:
            assert story.status.job_name != of_board("fast").name, "its Job is now a stray, which is removed"
        else:
            after = story.see(of_board("fast"), on_board(running()))
            assert after.job_action == DeleteJob(of_board("fast").name)
    finish(story)
    assert story.status.phase is Phase.SUCCEEDED
    assert [row.board for row in story.status.measurements] == measured_on


def test_a_spec_with_eight_boards_that_are_all_away_ends_with_what_was_converted() -> None:
    boards = [FAST | {"name": f"board-{n}"} for n in range(8)]
    story = Story(*boards)
    story.see(job(complete=True))
    unscheduled = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]
    for n in range(8):
        seconds = n * 2000.0
        assert isinstance(story.see(None, seconds=seconds).job_action, CreateJob)
        late = NOW + timedelta(seconds=seconds)
        away = on_board(waiting("PodInitializing"), phase="Pending", conditions=unscheduled)
        seen = of_board(f"board-{n}", created=late), replace(away, created=late)
        waits = story.see(*seen, seconds=seconds + 10)
        assert waits.status.measurements == story.status.measurements[:n], "each has the whole deadline"
        story.see(*seen, seconds=seconds + 1999)
        story.see(*seen, seconds=seconds + 1999)
    assert story.status.phase is Phase.SUCCEEDED
    assert [row.reason for row in story.status.measurements] == ["Unschedulable"] * 8
    assert story.status.recommended.method == Method.FULL_INTEGER


def test_suspended_between_two_boards_no_job_is_made_until_it_is_resumed() -> None:
    story = Story(FAST, GATED)
    story.to_board()
    story.ends("fast", told(file(Method.FULL_INTEGER), board="fast"), complete=True)
    story.boards["suspend"] = True
    story.see(of_board("fast", complete=True))
    for _ in range(2):
        held = story.see(None)
        assert (held.job_action, held.status.phase) == (None, Phase.SUSPENDED)
    del story.boards["suspend"]
    assert story.see(None).job_action.part == Part(board="pi5")
    story.ends("pi5")
    assert [row.board for row in story.status.measurements] == ["fast", "pi5"]


def test_a_status_with_all_that_boards_can_tell_is_one_that_the_api_server_takes() -> None:
    """Kubernetes keeps objects of at most 1.5 MiB, and the CRD cuts no text: the status's types have to."""
    boards = [GATED | {"name": f"board-{n}"} for n in range(8)]
    story = Story(*boards)
    story.see(job(complete=True))
    for n in range(8):
        story.see(None)
        missed = file(Method.FULL_INTEGER, 9e8, passed=False, message="ü" * 5000)
        rest = [file(Method.FLOAT32, message="m" * 5000, passed=False)] * 14
        row = measured(
            Board.model_validate(boards[n]),
            BoardSummary(board=f"board-{n}", machine=Machine(processor="p" * 999), files=(missed, *rest)),
            "s3://models/out/",
            NOW,
        )
        story.status = story.status.model_copy(update={"measurements": [*story.status.measurements, row]})
    story.see(None)
    assert (story.status.phase, story.status.failure.reason) == (Phase.FAILED, "GatesNotMet")
    wire = story.status.to_wire()
    assert ModelConversionStatus.model_validate(wire) == story.status
    assert len(json.dumps(wire)) < 1 << 20


def test_kueue_holds_a_board_s_job_back_as_well() -> None:
    wanted = ModelConversionSpec.model_validate(spec(benchmark={"boards": [FAST]}))
    made = job_manifest(KEY, "1", wanted, DEFAULTS, queue="team", part=Part(board="fast"))
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    story = Story(FAST)
    story.to_board()
    waits = story.see(of_board("fast", suspend=True), seconds=99999)
    assert waits.job_action is None, "only what this operator has suspended is resumed by it"
    assert story.status.measurements == [], "time in a queue has no limit"


times = st.floats(0, 1e9)
shares = st.none() | st.floats(0, 1)
letters = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=32)
latencies = st.builds(
    lambda **figures: Latency(**figures),  # its own signature has the names on the wire
    median_millis=times,
    p90_millis=times,
    p99_millis=times,
    runs=st.integers(1, 10000),
    warm_up_runs=st.just(5),
    threads=st.integers(1, 64),
    throughput_per_second=st.floats(0, 1e12),
)
ran = st.builds(
    BoardFile,
    method=st.sampled_from(list(Method)),
    recipe_name=letters,
    latency=st.none() | latencies,
    peak_memory_bytes=st.none() | st.integers(0, 2**63 - 1),
    agreement=shares,
    accuracy=shares,
    accelerated_operators=st.none() | st.integers(0, 1_000_000),
    fallback_operators=st.none() | st.integers(0, 1_000_000),
    passed=st.booleans(),
    message=st.none() | st.text(max_size=600),
)
did_not = st.builds(
    BoardFile,
    method=st.sampled_from(list(Method)),
    recipe_name=letters,
    reason=st.sampled_from(list(FailureReason)),
    passed=st.just(False),
    message=st.none() | st.text(max_size=600),
)
files = ran | did_not
machines = st.builds(
    Machine,
    node=st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", max_size=253),
    processor=st.text(max_size=300),
    runtime=st.text(max_size=150),
    cpus=st.integers(1, 2**31 - 1),
    memory_bytes=st.integers(0, 2**63 - 1),
    celsius=st.tuples(st.floats(-273, 1000), st.floats(-273, 1000)),
    megahertz=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    max_megahertz=st.integers(0, 2**31 - 1),
)
HARD = random.Random(7)  # noqa: S311 - letters for a test, and no secret


def noise(length: int) -> str:
    """Letters that no compression makes shorter."""
    return "".join(HARD.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


WORST = BoardSummary(
    board=noise(32),
    machine=Machine(
        node=noise(253), processor=noise(256), runtime=noise(128), celsius=(55.123456, 85.987654), cpus=64
    ),
    files=tuple(
        BoardFile(
            method=HARD.choice(list(Method)),
            recipe_name=noise(32),
            latency=Latency(
                median_millis=HARD.random() * 1e9, p90_millis=HARD.random() * 1e9, runs=9973, threads=61
            ),
            peak_memory_bytes=HARD.randrange(1 << 62),
            agreement=HARD.random(),
            accuracy=HARD.random(),
            accelerated_operators=HARD.randrange(1_000_001),
            fallback_operators=HARD.randrange(1_000_001),
            passed=False,
            message=noise(512),
        )
        for _ in range(15)
    ),
)
"""As many files as seven methods and eight recipes give, and every text as long and as odd as it may be."""


@example(WORST)
@given(
    st.builds(BoardSummary, board=letters, machine=machines, files=st.lists(files, max_size=15).map(tuple))
)
def test_a_board_s_figures_always_fit_a_termination_message_and_then_the_status(
    told_of: BoardSummary,
) -> None:
    text = StageResult(board=told_of).encode()
    assert len(text.encode()) <= 2048
    result = StageResult.decode(text)
    assert result is not None
    assert result.board is not None
    board = Board(name=told_of.board, node_selector={"board": "pi5"})
    row = measured(board, result.board, "s3://models/out/", NOW)
    assert Measurement.model_validate(row.to_wire()) == row
    assert row.node == (told_of.machine.node or None)
    for before, after in zip(told_of.files, row.files, strict=True):
        assert (after.made_by, after.passed) == (before.made_by, before.passed)
        assert after.peak_memory_bytes == before.peak_memory_bytes
        assert (after.reason, after.fallback_operators) == (before.reason, before.fallback_operators)
        if before.latency is None:
            assert after.latency_millis is None
        else:
            assert float(after.latency_millis) == pytest.approx(
                before.latency.median_millis, rel=5.1e-5, abs=5e-5
            )
