"""Which artifact to use, and what its neighbours on the Pareto front would trade."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelconversion_api.methods import TARGET_PLANS, Target
from modelconversion_api.report import Alternative, ArtifactReport, ArtifactSummary, RecommendedMethod
from modelconversion_api.text import human_latency, human_size
from tflite_converter.targets.operators import INTEGER_ONLY

CLOSE_ENOUGH = 0.98
"""Agreement from which on the smallest artifact is recommended when no target says what matters."""
_AS_WELL = 0.01
"""Agreement that a file may lose for having nothing in float."""
NEIGHBOURS = 2
"""How many alternatives are named."""


def recommend(artifacts: Sequence[ArtifactSummary], target: Target | None) -> RecommendedMethod | None:
    """Choose the artifact to use; None when none passed.

    A file that was calibrated on synthetic data comes after all others. For a target it is the first of its
    methods that passed. Otherwise the smallest artifact that passed and agrees in at least
    :data:`CLOSE_ENOUGH`, or, where none does, the one that agrees best.
    """
    passed = [a for a in artifacts if a.passed]
    if not passed:
        return None
    # What was calibrated on made-up samples is a guess, and never better than what was not.
    passed = [a for a in passed if not a.synthetic] or passed
    best, reason = _best(passed, target)
    if best.synthetic:
        reason += "; calibrated on synthetic data, so measure it on your own"
    return RecommendedMethod(method=best.method, reason=reason, alternatives=_neighbours(best, passed))


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
        for rank, method in enumerate(plan.methods):
            for artifact in passed:
                if artifact.method is method:
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


def _neighbours(best: ArtifactSummary, passed: Sequence[ArtifactSummary]) -> tuple[Alternative, ...]:
    """Return the front's artifacts nearest in size, with their gains and costs against ``best``."""
    front = [a for a in pareto_front(passed) if a.method is not best.method]
    front.sort(key=lambda a: (abs(a.size_bytes - best.size_bytes), a.method))
    return tuple(Alternative(method=a.method, trade=_trade(best, a)) for a in front[:NEIGHBOURS])


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
