"""Which artifacts are good enough, and which one to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelconversion_api.methods import TARGET_PLANS, Target
from modelconversion_api.report import ArtifactReport, RecommendedMethod
from modelconversion_api.data import Validation

CLOSE_ENOUGH = 0.98
"""Agreement from which on the smallest artifact is recommended when no target says what matters."""

_ROUNDING = 1e-9
"""0.95 - 0.93 is a little more than 0.02 in binary; a gate of 0.02 lets it pass."""


@dataclass(frozen=True)
class Gates:
    """What an artifact must keep; None where nothing is asked."""

    max_accuracy_drop: float | None = None
    min_agreement: float | None = None

    @classmethod
    def from_validation(cls, validation: Validation | None) -> Gates:
        """The gates of a request."""
        if validation is None:
            return cls()
        drop, agreement = validation.max_accuracy_drop, validation.min_agreement
        return cls(None if drop is None else float(drop), None if agreement is None else float(agreement))

    def missed(
        self, *, agreement: float, accuracy: float | None, original_accuracy: float | None
    ) -> list[str]:
        """One sentence for each gate that is missed.

        A gate on accuracy is missed where accuracy could not be measured: it must not pass unseen.
        """
        found = []
        if self.max_accuracy_drop is not None:
            if accuracy is None or original_accuracy is None:
                found.append("accuracy could not be measured")
            elif (drop := original_accuracy - accuracy) > self.max_accuracy_drop + _ROUNDING:
                found.append(f"accuracy fell by {drop:.4f}, more than {self.max_accuracy_drop:g}")
        if self.min_agreement is not None and agreement < self.min_agreement - _ROUNDING:
            found.append(f"agreement {agreement:.4f} is under {self.min_agreement:g}")
        return found


def recommend(artifacts: Sequence[ArtifactReport], target: Target | None) -> RecommendedMethod | None:
    """The artifact to use; None when none passed.

    For a target it is the first of its methods that passed. Otherwise the smallest artifact that passed and
    agrees in at least :data:`CLOSE_ENOUGH`, or, where none does, the one that agrees best.
    """
    passed = [a for a in artifacts if a.passed]
    if not passed:
        return None
    if target is not None:
        plan = TARGET_PLANS[target]
        for rank, method in enumerate(plan.methods):
            if any(a.method is method for a in passed):
                why = plan.why if rank == 0 else f"{plan.methods[0].value} is not there or missed its gate"
                return RecommendedMethod(method=method, reason=f"best for {target.value}: {why}")
    close = [a for a in passed if (a.agreement or 0.0) >= CLOSE_ENOUGH]
    if close:
        best = min(close, key=lambda a: a.size_bytes)
        return RecommendedMethod(
            method=best.method,
            reason=f"smallest that agrees with the original: {best.agreement:.1%} agreement"
            f" at {best.size_fraction:.0%} of its size",
        )
    best = max(passed, key=lambda a: a.agreement or 0.0)
    return RecommendedMethod(
        method=best.method,
        reason=f"agrees best with the original: {best.agreement or 0.0:.1%}, none reaches {CLOSE_ENOUGH:.0%}",
    )
