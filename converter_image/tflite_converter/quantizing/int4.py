"""Finds the layers whose weights can be stored in 4 bits: a greedy search under the gates, in a time budget.

Dense layers usually bear 4 bits, and models of nothing else are done with the first try: all of them. Else
layers are ranked by the noise that each alone adds to the outputs for each byte that it saves, as NNCF and
ai-edge-quantizer's auto_quant rank layers. The longest beginning of that ranking that meets the gates is
taken, and then every later layer that can be added without missing them. Where no gate on quality is set, a
model of dense layers need only be usable, and another may lose :data:`MOST_LOST` of agreement against the one
with int8 weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import Attempt
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.quality import Quality
from tflite_converter.quantizing.attempts import failed, measured
from tflite_converter.quantizing.quantization import INT4_OPERATORS, int4, int4_layers, is_dense_only

RANKING_SAMPLES: Final = 32
"""How many samples rank the layers."""
MOST_LOST: Final = 0.05
"""Agreement that a file may lose against int8 weights where no gate says what it must keep."""

_Judge = Callable[[bytes], Quality]


@dataclass(frozen=True)
class Found:
    """The file to use, and what was tried for it."""

    content: bytes
    recipe: str
    attempts: tuple[Attempt, ...]
    message: str | None = None


@dataclass(frozen=True)
class _Try:
    scopes: tuple[str, ...]
    content: bytes
    quality: Quality
    missed: tuple[str, ...]
    seconds: float


@dataclass
class Search:
    """One search. Without a budget, every layer is in 4 bits."""

    float_file: bytes
    judge: _Judge
    """Measures a file on the evaluation data."""
    judge_few: _Judge
    """Measures it on some of them."""
    budget_seconds: float
    tell: Callable[[str], None]
    """Hears what is tried."""
    has_gate: bool
    """Whether a gate on quality is set."""

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.budget_seconds
        self._weights = int4_layers(self.float_file)
        self._least: float | None = None
        """Agreement that a file must keep where no gate says so."""
        self._tried: list[_Try] = []
        self._failed: list[Attempt] = []

    def run(self) -> Found:
        """Return the file with as many layers in 4 bits as keep the gates.

        Raises:
            ConverterError: NothingQuantized where no layer can be in 4 bits; QuantizationFailed.

        """
        everything = tuple(self._weights)
        if not everything:
            kinds = " and ".join(INT4_OPERATORS)
            raise _nothing(f"no weight of this model has an int4 kernel, which {kinds} have")
        if self.budget_seconds <= 0:
            return Found(self._make(everything), self._words(everything), ())
        if not self.has_gate and not is_dense_only(self.float_file):
            self._least = self.judge(self._make(())).agreement - MOST_LOST
        whole = self._try(everything)
        if whole is not None and not whole.missed:
            return Found(whole.content, self._words(everything), ())
        best = self._greedy(self._ranking())
        attempts = tuple(self._attempt(tried, chosen=tried is best) for tried in self._tried)
        if best is None:
            raise _nothing(self._why_nothing())
        message = "the budget was used up" if self._is_late() else None
        return Found(best.content, self._words(best.scopes), (*attempts, *self._failed), message)

    def _greedy(self, ranking: Sequence[str]) -> _Try | None:
        """Return the passing try with the longest beginning of the ranking, and whatever else it bears."""
        best, low, high = None, 0, len(ranking)
        while high - low > 1 and not self._is_late():
            middle = (low + high) // 2
            tried = self._try(tuple(ranking[:middle]))
            if tried is not None and not tried.missed:
                best, low = tried, middle
            else:
                high = middle
        for scope in ranking[high:] if best is not None else ranking[1:]:
            if self._is_late():
                break
            tried = self._try((*(best.scopes if best is not None else ()), scope))
            if tried is not None and not tried.missed:
                best = tried
        return best

    def _ranking(self) -> list[str]:
        """Return the layers, those first that add least noise for each byte that they save."""
        self.tell("looking for the layers that bear 4 bits")

        def cost(scope: str) -> float:
            if self._is_late():
                return math.inf
            try:
                ratio = self.judge_few(self._make((scope,))).snr_db
            except (ConverterError, RuntimeError, ValueError):
                return math.inf
            noise = 0.0 if ratio is None else 10.0 ** (-ratio / 10.0)
            return noise / self._weights[scope]

        return sorted(self._weights, key=cost)

    def _try(self, scopes: tuple[str, ...]) -> _Try | None:
        started = time.monotonic()
        self.tell(f"trying {self._words(scopes)}")
        try:
            content = self._make(scopes)
            quality = self.judge(content)
        except (ConverterError, RuntimeError, ValueError) as error:
            self._failed.append(failed(self._words(scopes), error, started))
            return None
        missed = quality.missed
        if self._least is not None and quality.agreement < self._least:
            agreement, limit = (
                quality.agreement,
                f"{self._least:.4f}, {MOST_LOST:g} less than with int8 weights",
            )
            missed = (*missed, f"agreement {agreement:.4f} is under {limit}")
        tried = _Try(scopes, content, quality, missed, time.monotonic() - started)
        self._tried.append(tried)
        return tried

    def _make(self, scopes: tuple[str, ...]) -> bytes:
        return int4(self.float_file, scopes)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _words(self, scopes: Sequence[str]) -> str:
        count = len(self._weights)
        layers = f"{len(scopes)} of {count} layers" if count > 1 else "its layer"
        return f"int4 weights in {layers} (optimal clipping), int8 in others, float activations"

    def _why_nothing(self) -> str:
        if not self._tried:
            return (
                f"no file with int4 weights runs: {self._failed[-1].message}" if self._failed else "no time"
            )
        nearest = max(self._tried, key=lambda tried: (tried.quality.agreement, -len(tried.scopes)))
        late = "the budget was used up" if self._is_late() else f"{len(self._tried)} choices were tried"
        return f"no layer bears 4 bits within the gates ({'; '.join(nearest.missed)}); {late}"

    def _attempt(self, tried: _Try, *, chosen: bool) -> Attempt:
        return measured(
            self._words(tried.scopes),
            tried.content,
            tried.quality,
            tried.missed,
            tried.seconds,
            chosen=chosen,
        )


def _nothing(fault: str) -> ConverterError:
    return ConverterError(FailureReason.NOTHING_QUANTIZED, Stage.QUANTIZE, f"nothing was quantized: {fault}")
