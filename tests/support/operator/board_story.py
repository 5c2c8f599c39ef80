"""A conversion with boards, told step by step, for tests of what the operator decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from modelconversion_api.methods import Method
from modelconversion_api.reports.board import BoardFile, BoardSummary, Machine
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.reports.measurements import Latency
from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.deciding.decisions import Decision
from modelconversion_operator.deciding.manifest import Part, job_name
from modelconversion_operator.deciding.views import JobView, PodView
from support.operator.objects import KEY, NOW, conversion, decide, ended, job, pod, running, summary

FAST = {"name": "fast", "nodeSelector": {"board": "fast"}}
GATED = {"name": "pi5", "nodeSelector": {"board": "pi5"}, "maxLatencyMillis": "25", "minAgreement": "0.9"}
TWO = summary().artifacts[0]
FLOAT = TWO.changed(
    method=Method.FLOAT32, file_name="gesture_float32.tflite", size_bytes=99999, sha256="c" * 64
)


def told(*files: BoardFile, board: str = "pi5", machine: Machine | None = None) -> str:
    """What ``publish`` of a board's Job says."""
    machine = machine or Machine(node="node-7", processor="aarch64, Cortex-A76", runtime="LiteRT 2.3.0")
    return StageResult(board=BoardSummary(board=board, machine=machine, files=files)).encode()


def file(
    method: Method, millis: float = 12.0, *, passed: bool = True, message: str | None = None
) -> BoardFile:
    latency = Latency(median_millis=millis, p90_millis=millis * 1.1, runs=50, threads=1)
    return BoardFile(method=method, latency=latency, agreement=0.99, passed=passed, message=message)


BOTH = told(file(Method.FULL_INTEGER), file(Method.FLOAT32))
VETO = told(
    file(Method.FULL_INTEGER, 31, passed=False, message="31 ms are more than 25 ms"), file(Method.FLOAT32)
)
NONE = told(
    file(Method.FULL_INTEGER, 31, passed=False, message="31 ms are more than 25 ms"),
    file(Method.FLOAT32, 90, passed=False, message="90 ms are more than 25 ms"),
)


class Story:
    """A conversion with boards, told step by step; ``more`` is more of its spec."""

    def __init__(self, *boards: dict[str, Any], **more: Any) -> None:
        self.boards = {"benchmark": {"boards": list(boards)}} | more
        self.decisions: list[Decision] = []
        self.status = ModelConversionStatus()
        self.see(None)
        self.see(job(), pod(running()))
        two = summary().changed(artifacts=(TWO, FLOAT))
        self.see(job(), pod(ended(), ended(), ended(message=StageResult(summary=two).encode())))

    def see(self, seen: JobView | None, *pods: PodView, seconds: float = 0) -> Decision:
        now = NOW + timedelta(seconds=seconds)
        decision = decide(conversion(self.status, **self.boards), seen, pods, now)
        self.status = decision.status
        self.decisions.append(decision)
        return decision

    def to_board(self) -> Decision:
        """The Job that has published ends, and the next one is made."""
        self.see(job(complete=True))
        return self.see(None)

    def ends(self, name: str, message: str = BOTH, **changes: Any) -> Decision:
        """The board's pod ends well with this message."""
        return self.see(of_board(name, **changes), on_board(ended(), ended(), ended(message=message)))


def of_board(name: str, **changes: Any) -> JobView:
    return replace(job(**changes), name=job_name(KEY, "1", Part(board=name)), uid=f"job-{name}")


def on_board(*states: dict[str, Any], **changes: Any) -> PodView:
    view = pod(*states, **changes)
    names = ("fetch", "measure", "publish")
    containers = tuple(replace(c, name=name) for c, name in zip(view.containers, names, strict=True))
    return replace(view, containers=containers)
