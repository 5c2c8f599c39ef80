"""Which artifact to use, and what its neighbours on the Pareto front would trade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

from modelconversion_api.fields.verification import VerificationOutcome, left_to_cpu
from modelconversion_api.methods import TARGET_PLANS, Objective, Target
from modelconversion_api.reports.conversion import (
    Alternative,
    ArtifactReport,
    ArtifactSummary,
    RecommendedMethod,
)
from modelconversion_api.text import human_latency, human_size
from tflite_converter.targets.operators import INTEGER_ONLY

S = TypeVar("S", bound=ArtifactSummary)

CLOSE_ENOUGH = 0.98
"""Agreement from which on the smallest artifact is recommended when no target says what matters."""
_AS_WELL = 0.01
"""Agreement that a file may lose for having nothing in float."""
NEIGHBOURS = 2
"""How many alternatives are named."""


def recommend(
    artifacts: Sequence[ArtifactSummary], target: Target | None, objective: Objective | None = None
) -> RecommendedMethod | None:
    """Choose the artifact to use; None when none passed.

    A file that was calibrated on synthetic data comes after all others. With an objective it is the best one
    by that. For a target it is the first of its methods that passed. Otherwise it is the smallest artifact
    that passed and agrees in at least :data:`CLOSE_ENOUGH`, or, where none does, the one that agrees best.
    """
    passed = [a for a in artifacts if a.passed]
    if not passed:
        return None
    # What was calibrated on made-up samples is a guess, and never better than what was not.
    passed = [a for a in passed if not a.synthetic] or passed
    best, reason = _best(passed, target) if objective is None else _by_objective(passed, objective)
    reason += _verified(best, target) + _elsewhere(best, target)
    if best.synthetic:
        reason += "; calibrated on synthetic data, so measure it on your own"
    return RecommendedMethod(
        method=best.method,
        recipe_name=best.recipe_name,
        reason=reason,
        alternatives=_neighbours(best, passed),
    )


def best_by(objective: Objective, passed: Sequence[S]) -> S | None:
    """Return the best of the artifacts that passed; None where there are none.

    What was calibrated on synthetic data comes after all others, and so does what could not be measured.
    """
    return min(passed, key=lambda a: (a.synthetic, *_rank(objective, a)), default=None)


def _rank(objective: Objective, artifact: ArtifactSummary) -> tuple[float, float, float]:
    """Return figures of which less is better: that of the objective first, then what it does not say."""
    size, millis, lost = _costs(artifact)
    match objective:
        case Objective.SMALLEST_THAT_PASSES:
            return size, lost, millis
        case Objective.FASTEST_THAT_PASSES:
            return millis, lost, size
        case Objective.MOST_FAITHFUL:
            ratio = artifact.snr_db if artifact.agreement is not None else -math.inf
            return lost, -math.inf if ratio is None else -ratio, size


_WORDS: Final = {
    Objective.SMALLEST_THAT_PASSES: "smallest",
    Objective.FASTEST_THAT_PASSES: "fastest",
    Objective.MOST_FAITHFUL: "most faithful",
}


def _by_objective(passed: Sequence[ArtifactSummary], objective: Objective) -> tuple[ArtifactSummary, str]:
    best = best_by(objective, passed)
    assert best is not None  # noqa: S101 - there is one that passed
    figures = [human_size(best.size_bytes)]
    if best.latency is not None:
        figures.append(f"{human_latency(best.latency.median_millis)} a run")
    if best.agreement is not None:
        figures.append(f"{best.agreement:.1%} agreement")
    words = (
        f"{_WORDS[objective]} of {len(passed)} that passed" if len(passed) > 1 else "the only one that passed"
    )
    return best, f"{words}: {', '.join(figures)}"


def leaves_floats(artifact: ArtifactReport) -> bool:
    """Whether a full-integer file has operators in float that were not left so on purpose."""
    protected = any(attempt.chosen and attempt.float_operators for attempt in artifact.attempts)
    return not protected and _float_tensors(artifact) > 0


def is_better_integer(second: ArtifactReport, first: ArtifactReport) -> bool:
    """Whether a second full-integer file has less in float than the first, and does as well."""
    if not second.passed or _float_tensors(second) >= _float_tensors(first):
        return False
    return not first.passed or (second.agreement or 0.0) >= (first.agreement or 0.0) - _AS_WELL


def is_better_recurrent(second: ArtifactReport, first: ArtifactReport, target: Target | None) -> bool:
    """Whether a full-integer file with fused LSTM layers is better than one with unrolled steps.

    It is many times smaller and, on a CPU with XNNPACK, many times slower: it is taken where it does as well
    and space is what counts, or where the other one does not pass.
    """
    if not second.passed:
        return False
    if not first.passed or target in INTEGER_ONLY:
        return True
    does_as_well = (second.agreement or 0.0) >= (first.agreement or 0.0) - _AS_WELL
    return target is None and does_as_well and second.size_bytes < first.size_bytes


def _float_tensors(artifact: ArtifactReport) -> int:
    return 0 if artifact.inventory is None else artifact.inventory.tensor_dtypes.get("float32", 0)


def pareto_front(artifacts: Sequence[ArtifactSummary]) -> list[ArtifactSummary]:
    """Those than which no other is at least as small, as fast and as faithful, and better in one of these."""
    return [a for a in artifacts if not any(_dominates(b, a) for b in artifacts)]


def _best(passed: Sequence[ArtifactSummary], target: Target | None) -> tuple[ArtifactSummary, str]:
    if target is not None:
        plan = TARGET_PLANS[target]
        # What the target's runtime takes as a whole comes before what it takes a part of.
        whole = [a for a in passed if _is_whole(a, target)]
        passed = whole or passed
        for rank, method in enumerate(plan.methods):
            for artifact in passed:
                if artifact.made_by == method:
                    first = plan.methods[0].value
                    why = plan.why if rank == 0 else f"{first} is not there or missed its gate"
                    return artifact, f"best for {target.value}: {why}"
    measured = [a for a in passed if a.agreement is not None]
    if not measured:
        return min(passed, key=lambda a: a.size_bytes), "the smallest; none could be measured here"
    close = [a for a in measured if (a.agreement or 0.0) >= CLOSE_ENOUGH]
    if close:
        best = min(close, key=lambda a: a.size_bytes)
        return best, (
            f"smallest that agrees with the original: {best.agreement:.1%} agreement"
            f" at {best.size_fraction:.0%} of its size"
        )
    best = max(measured, key=lambda a: a.agreement or 0.0)
    agreement = best.agreement or 0.0
    return best, f"agrees best with the original: {agreement:.1%}, none reaches {CLOSE_ENOUGH:.0%}"


def _is_whole(artifact: ArtifactSummary, target: Target) -> bool:
    """Whether the target's own runtime was not seen to leave operators to the CPU, nor left out the file."""
    checks = [v for v in artifact.verifications if v.name.target is target]
    return not any(v.fallback_operators or v.outcome is VerificationOutcome.NOT_VERIFIED for v in checks)


def _verified(best: ArtifactSummary, target: Target | None) -> str:
    """Say what came of it on the target's own runtime; nothing where there is none."""
    check = next((v for v in best.verifications if v.name.target is target), None)
    if check is None or target is None:
        return ""
    if check.outcome is VerificationOutcome.NOT_VERIFIED:
        return f"; not verified there: {check.message}"
    agreement = "" if check.agreement is None else f", {check.agreement:.1%} agreement"
    memory = "" if check.memory_bytes is None else f" in {human_size(check.memory_bytes)} of memory"
    operators = "" if check.fallback_operators is None else f", {left_to_cpu(check.fallback_operators)}"
    return f"; runs on its runtime{agreement}{memory}{operators}"


def _elsewhere(best: ArtifactSummary, target: Target | None) -> str:
    """Say on which other runtimes it passed and failed, which decides nothing."""
    others = [v for v in best.verifications if target is None or v.name.target is not target]
    words = {VerificationOutcome.PASSED: "passed", VerificationOutcome.FAILED: "failed"}
    return "".join(
        f"; {word} on {', '.join(names)}"
        for outcome, word in words.items()
        if (names := [v.name.value for v in others if v.outcome is outcome])
    )


def _neighbours(best: ArtifactSummary, passed: Sequence[ArtifactSummary]) -> tuple[Alternative, ...]:
    """Return the front's artifacts nearest in size, with their gains and costs against ``best``."""
    front = [a for a in pareto_front(passed) if not a.is_as(best)]
    front.sort(key=lambda a: (abs(a.size_bytes - best.size_bytes), a.made_by))
    return tuple(
        Alternative(method=a.method, recipe_name=a.recipe_name, trade=_trade(best, a))
        for a in front[:NEIGHBOURS]
    )


def _trade(best: ArtifactSummary, other: ArtifactSummary) -> str:
    size = other.size_bytes - best.size_bytes
    parts = [f"{human_size(abs(size))} {'larger' if size > 0 else 'smaller'}"] if size else []
    for name, mine, its in (
        ("agreement", best.agreement, other.agreement),
        ("accuracy", best.accuracy, other.accuracy),
    ):
        if mine is not None and its is not None and abs(its - mine) >= 0.0005:
            parts.append(f"{name} {mine:.1%} to {its:.1%}")
    if best.latency is not None and other.latency is not None:
        mine_millis, its_millis = best.latency.median_millis, other.latency.median_millis
        parts.append(f"{human_latency(mine_millis)} to {human_latency(its_millis)} a run")
    return ", ".join(parts) or "no difference that was measured"


def _dominates(a: ArtifactSummary, b: ArtifactSummary) -> bool:
    mine, its = _costs(a), _costs(b)
    return all(x <= y for x, y in zip(mine, its, strict=True)) and mine != its


def _costs(artifact: ArtifactSummary) -> tuple[float, float, float]:
    """Size, time, and lost fidelity: less is better, and what could not be measured is worst."""
    millis = math.inf if artifact.latency is None else artifact.latency.median_millis
    share = artifact.agreement if artifact.accuracy is None else artifact.accuracy
    return float(artifact.size_bytes), millis, math.inf if share is None else -share
