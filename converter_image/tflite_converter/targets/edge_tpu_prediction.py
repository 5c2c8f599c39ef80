"""What the Edge TPU would run of a file, by the documented limits of each operator; nothing is compiled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from modelconversion_api.fields.compilation import OperatorFallback
from tflite_converter.targets.edge_tpu import verdicts
from tflite_converter.tflite.types import TFLiteFile

BEHIND = "follows an operator that the Edge TPU cannot run; it maps one piece of the graph, so mend that one"


@dataclass(frozen=True)
class Prediction:
    """How many operators there are, how many map, and why the others do not."""

    operators: int
    mapped: int
    fallbacks: tuple[OperatorFallback, ...]

    @property
    def fraction(self) -> float:
        """Share of operators that maps; 0 of a file without any."""
        return self.mapped / self.operators if self.operators else 0.0

    def reason(self, operator: str) -> str | None:
        """Why operators of this name do not map, where one does not for a reason of its own."""
        return next((f.reason for f in self.fallbacks if f.operator == operator and f.reason != BEHIND), None)


def predict(file: TFLiteFile) -> Prediction:
    """Predict how ``file`` will be compiled."""
    reasons: Counter[tuple[str, str]] = Counter()
    operators = 0
    for verdict in verdicts(file):
        operators += 1
        if not verdict.maps:
            reasons[verdict.operator.name, verdict.reason or BEHIND] += 1
    fallbacks = tuple(
        OperatorFallback(operator=name, count=count, reason=reason)
        for (name, reason), count in reasons.items()
    )
    return Prediction(operators, operators - reasons.total(), fallbacks)
