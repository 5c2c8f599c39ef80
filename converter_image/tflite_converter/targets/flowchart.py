"""The deployment flowchart, from where a model will run to the methods to make: data, and how to draw it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from modelconversion_api.methods import RUNS_ON, TARGET_PLANS, Target, methods_for_target


class Answer(NamedTuple):
    """One way out of a question."""

    words: str
    leads_to: Question | Target


class Question(NamedTuple):
    """A fork of the flowchart."""

    words: str
    answers: tuple[Answer, ...]


FLOWCHART = Question(
    "Where will it run?",
    (
        Answer("Coral board or stick (Edge TPU)", Target.EDGE_TPU),
        Answer("microcontroller", Target.MICROCONTROLLER),
        Answer("Raspberry Pi or another Arm board", Target.RASPBERRY_PI),
        Answer(
            "phone or tablet",
            Question(
                "What matters most?",
                (
                    Answer("size", Target.MOBILE),
                    Answer("accuracy", Target.MOBILE_ACCURACY_CRITICAL),
                    Answer("the GPU delegate's speed", Target.GPU),
                ),
            ),
        ),
        Answer("server", Target.CLOUD),
    ),
)
"""Every target is at the end of one path."""


def drawn() -> str:
    """Return the flowchart as text: targets with their methods, best first, and why; then the others."""
    others = [f"    {method.value}: {words}" for method, words in RUNS_ON.items()]
    return "\n".join([FLOWCHART.words, *_branches(FLOWCHART, ""), "", "Made only where asked for:", *others])


def _branches(question: Question, margin: str) -> Iterator[str]:
    for place, answer in enumerate(question.answers):
        is_last = place == len(question.answers) - 1
        stem, below = ("└── ", "    ") if is_last else ("├── ", "│   ")
        if isinstance(answer.leads_to, Question):
            yield f"{margin}{stem}{answer.words}. {answer.leads_to.words}"
            yield from _branches(answer.leads_to, margin + below)
            continue
        yield f"{margin}{stem}{answer.words} ─▶ {answer.leads_to.value}"
        for line in _plan(answer.leads_to):
            yield f"{margin}{below}    {line}"


def _plan(target: Target) -> list[str]:
    plan = TARGET_PLANS[target]
    lines = [f"{', then '.join(m.value for m in plan.methods)}: {plan.why}"]
    without = methods_for_target(target, has_calibration=False)
    if without != plan.methods:
        lines.append(f"without calibration data: {', then '.join(m.value for m in without)}")
    elif any(method.needs_calibration for method in plan.methods):
        lines.append("needs calibration data")
    return lines
