"""Which artifacts are good enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from modelconversion_api.fields.boards import Board
from modelconversion_api.fields.data import Validation
from modelconversion_api.fields.recipes import RecipeGates

ROUNDING = 1e-9
"""0.95 - 0.93 is a little more than 0.02 in binary; a gate of 0.02 lets it pass."""


@dataclass(frozen=True)
class Gates:
    """What an artifact must keep; None where nothing is asked."""

    max_accuracy_drop: float | None = None
    min_agreement: float | None = None
    floor: float | None = None
    """Least agreement of each output that is of use; None for that of its metric, 0 for none."""
    max_size_bytes: int | None = None
    max_latency_millis: float | None = None
    min_accuracy: float | None = None

    @classmethod
    def from_validation(cls, validation: Validation | None) -> Gates:
        """Return the gates of a request."""
        if validation is None:
            return cls()
        return cls(
            max_accuracy_drop=_number(validation.max_accuracy_drop),
            min_accuracy=_number(validation.min_accuracy),
            min_agreement=_number(validation.min_agreement),
            floor=_number(validation.floor),
            max_size_bytes=validation.max_size_bytes,
            max_latency_millis=_number(validation.max_latency_millis),
        )

    @classmethod
    def of_board(cls, board: Board, validation: Validation | None) -> Gates:
        """Return the gates of a board, with the floor of the request."""
        return cls(
            min_agreement=_number(board.min_agreement),
            floor=cls.from_validation(validation).floor,
            max_latency_millis=_number(board.max_latency_millis),
        )

    def of_recipe(self, gates: RecipeGates | None) -> Gates:
        """Return the gates of a recipe: its own, and of those that it does not set these."""
        if gates is None:
            return self
        own: dict[str, Any] = {
            "max_accuracy_drop": _number(gates.max_accuracy_drop),
            "min_accuracy": _number(gates.min_accuracy),
            "min_agreement": _number(gates.min_agreement),
            "max_size_bytes": gates.max_size_bytes,
            "max_latency_millis": _number(gates.max_latency_millis),
        }
        return replace(self, **{name: value for name, value in own.items() if value is not None})

    @property
    def are_set(self) -> bool:
        """Whether there is any gate beside the floor."""
        return self.judge_quality or self.max_size_bytes is not None or self.max_latency_millis is not None

    @property
    def judge_quality(self) -> bool:
        """Whether there is a gate on accuracy or agreement."""
        gates = (self.max_accuracy_drop, self.min_accuracy, self.min_agreement)
        return any(gate is not None for gate in gates)

    def missed(
        self,
        *,
        agreement: float | None,
        accuracy: float | None,
        original_accuracy: float | None,
        size_bytes: int | None = None,
        latency_millis: float | None = None,
    ) -> list[str]:
        """One sentence for each gate that is missed.

        A gate on something that could not be measured is missed: it must not pass unseen. Size and latency
        are not asked of a file that is not finished (None).
        """
        return [
            *self.missed_quality(agreement, accuracy, original_accuracy),
            *self.missed_cost(size_bytes, latency_millis),
        ]

    def missed_quality(
        self, agreement: float | None, accuracy: float | None, original_accuracy: float | None
    ) -> list[str]:
        """Return the missed gates that another recipe of the same method can meet; NaN misses all."""
        sentences = self._missed_accuracy(accuracy, original_accuracy)
        if self.min_agreement is not None:
            if agreement is None:
                sentences.append("agreement could not be measured")
            elif not agreement >= self.min_agreement - ROUNDING:
                sentences.append(f"agreement {agreement:.4f} is under {self.min_agreement:g}")
        return sentences

    def _missed_accuracy(self, accuracy: float | None, original: float | None) -> list[str]:
        if self.max_accuracy_drop is None and self.min_accuracy is None:
            return []
        if accuracy is None or (original is None and self.max_accuracy_drop is not None):
            return ["accuracy could not be measured"]
        sentences = []
        drop = None if original is None else original - accuracy
        most = self.max_accuracy_drop
        if most is not None and drop is not None and not drop <= most + ROUNDING:
            sentences.append(f"accuracy fell by {drop:.4f}, more than {most:g}")
        if self.min_accuracy is not None and not accuracy >= self.min_accuracy - ROUNDING:
            sentences.append(f"accuracy {accuracy:.4f} is under {self.min_accuracy:g}")
        return sentences

    def missed_cost(self, size_bytes: int | None, latency_millis: float | None) -> list[str]:
        """Return the missed gates on size and latency."""
        sentences = []
        if self.max_size_bytes is not None and size_bytes is not None and size_bytes > self.max_size_bytes:
            sentences.append(f"{size_bytes:,} bytes are more than {self.max_size_bytes:,}")
        if (
            self.max_latency_millis is not None
            and latency_millis is not None
            and latency_millis > self.max_latency_millis
        ):
            sentences.append(f"{latency_millis:.4g} ms a run are more than {self.max_latency_millis:g} ms")
        return sentences


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
