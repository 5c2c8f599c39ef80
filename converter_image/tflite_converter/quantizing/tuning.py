"""Finds a recipe for integers: the plain one, and when it misses its gates others, within a time budget.

The order follows what a person would try, cheapest first and integers before floats: other ranges for the
activations, corrected biases and equalised channels, other scales for the weights, then the most sensitive
operators in float (as few as pass), then 16-bit activations. Protecting sensitive layers one after another,
and ranking them by the error that each adds, is the procedure of NNCF's ``quantize_with_accuracy_control``
and of ai-edge-quantizer's auto_quant.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import Attempt
from tflite_converter.arrays import NamedArrays
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.layers import layer_errors, sensitive
from tflite_converter.measuring.metrics import SNR_LIMIT_DB, snr_db
from tflite_converter.measuring.quality import Quality
from tflite_converter.quantizing import gptq
from tflite_converter.quantizing.attempts import failed, measured, why_not
from tflite_converter.quantizing.calibration import Calibration, RangeMethod, calibrate
from tflite_converter.quantizing.correction import with_biases_corrected
from tflite_converter.quantizing.equalisation import equalised
from tflite_converter.quantizing.quantization import Recipe, Weights, full_integer
from tflite_converter.targets.operators import INTEGER_ONLY
from tflite_converter.tflite.runtime import TFLiteModel

RANGE_CHOICE_SAMPLES = 32
"""How many calibration samples decide between the ways of taking an activation's range."""
_MOST_LEFT_OUT = 8
"""Of more protected operators than this, it is not tried which ones are not needed."""
_SIXTEEN = 16
_EIGHT_BITS_ONLY = frozenset({Target.EDGE_TPU})


@dataclass(frozen=True)
class Candidate:
    """A recipe and what came of it."""

    recipe: Recipe
    content: bytes
    quality: Quality
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """The file to use, and what was tried for it; no attempts where the plain recipe was good enough."""

    best: Candidate
    attempts: tuple[Attempt, ...]
    message: str | None = None


class Tuner:
    """One search. ``judge`` measures a file on the evaluation data; ``tell`` hears what is tried."""

    def __init__(
        self,
        float_file: bytes,
        calibration: Calibration,
        samples: NamedArrays,
        judge: Callable[[bytes], Quality],
        target: Target | None,
        tell: Callable[[str], None],
        threads: int = 1,
        *,
        method: Method = Method.FULL_INTEGER,
        dense_per_tensor: bool = False,
    ) -> None:
        self._float_file = float_file
        self._calibration = calibration
        self._samples = samples
        self._judge = judge
        self._target = target
        self._tell = tell
        self._threads = threads
        self._method = method
        bits = _SIXTEEN if method is Method.INT16_ACTIVATIONS else 8
        self._plain = Recipe(activation_bits=bits, dense_per_tensor=dense_per_tensor)
        self._files: dict[Recipe, bytes] = {}
        self._equalised: tuple[bytes, Calibration] | None = None
        self._tried: list[Candidate] = []
        self._failed: list[Attempt] = []
        self._deadline = 0.0

    def plain(self) -> tuple[Recipe, bytes]:
        """Return the plain recipe and its file, not judged: for where no gate asks for anything.

        Raises:
            ConverterError: QuantizationFailed.

        """
        recipe = dataclasses.replace(self._plain, ranges=self._nearest_ranges())
        return recipe, self._file(recipe)

    def run(self, budget_seconds: float) -> Tuned:
        """Return the plain recipe, or the first that passes, or the best when the budget is used up.

        Raises:
            ConverterError: QuantizationFailed where even the plain recipe cannot be carried out.

        """
        started = time.monotonic()
        self._deadline = started + budget_seconds
        recipe = dataclasses.replace(self._plain, ranges=self._nearest_ranges())
        plain = self._try(recipe, must_work=True)
        assert plain is not None  # noqa: S101 - must_work raises instead
        if not plain.quality.missed or budget_seconds <= 0:
            return Tuned(plain, ())
        passed = self._search(plain.recipe)
        best = passed or max(self._tried, key=lambda c: c.quality.rank)
        spent = time.monotonic() - started
        message = None
        if passed is None:
            used_up = "the budget was used up" if self._is_late() else "nothing is left to try"
            message = f"no recipe of {len(self._tried)} met the gates in {spent:.0f} s; {used_up}"
        attempts = [_attempt(c, chosen=c is best) for c in self._tried]
        return Tuned(best, (*attempts, *self._failed), message)

    def _search(self, plain: Recipe) -> Candidate | None:
        others = self._other_weights(plain)
        for recipe in itertools.chain(_other_ranges(plain), self._repairs(plain), others):
            if (candidate := self._passing(recipe)) is not None:
                return candidate
        if self._target not in INTEGER_ONLY and (candidate := self._protect()) is not None:
            return candidate
        if self._target not in _EIGHT_BITS_ONLY and plain.activation_bits != _SIXTEEN:
            return self._passing(dataclasses.replace(plain, activation_bits=_SIXTEEN))
        return None

    def _repairs(self, plain: Recipe) -> Iterator[Recipe]:
        """Yield recipes that repair what rounding does to layers, as far as there is something to repair."""
        known = {self._files[plain]}
        for equal, corrected in ((False, True), (True, True), (True, False)):
            recipe = dataclasses.replace(plain, equalised=equal, corrected=corrected)
            if self._is_late():
                return
            try:
                content = self._file(recipe)
            except (ConverterError, RuntimeError, ValueError):
                continue  # a repair that fails is none
            if content not in known:
                known.add(content)
                yield recipe

    def _other_weights(self, plain: Recipe) -> Iterator[Recipe]:
        """Yield recipes that take the weights or their scales otherwise, what usually helps most first."""
        if gptq.reaches(self._float_file):
            yield dataclasses.replace(plain, weights=Weights.GPTQ)
        for weights in (Weights.MSE, Weights.OCTAV):
            yield dataclasses.replace(plain, weights=weights)
        yield dataclasses.replace(plain, per_channel=False)

    def _protect(self) -> Candidate | None:
        """Return the fewest of the most sensitive operators that, left in float, make the gates."""
        base = max(self._tried, key=lambda c: c.quality.rank)
        self._tell("looking for the sensitive operators")
        try:
            errors = layer_errors(self._float_file, base.content, self._samples)
        except (RuntimeError, ValueError):
            return None
        ranking = sensitive(self._float_file, errors)

        def protected(count: int) -> Candidate | None:
            return self._passing(dataclasses.replace(base.recipe, float_scopes=tuple(ranking[:count])))

        failed, passed = 0, None
        for count in _doubling(len(ranking)):
            if (passed := protected(count)) is not None:
                break
            failed = count
        if passed is None:
            return None
        low, high = failed, len(passed.recipe.float_scopes)
        while high - low > 1 and not self._is_late():
            middle = (low + high) // 2
            if (candidate := protected(middle)) is not None:
                passed, high = candidate, middle
            else:
                low = middle
        return self._without_needless(passed)

    def _without_needless(self, passed: Candidate) -> Candidate:
        """Return ``passed`` without the operators that need no protection: a ranking can only guess."""
        scopes = passed.recipe.float_scopes
        if len(scopes) > _MOST_LEFT_OUT:
            return passed
        for scope in reversed(scopes):
            fewer = tuple(s for s in passed.recipe.float_scopes if s != scope)
            if fewer and fewer != passed.recipe.float_scopes:
                recipe = dataclasses.replace(passed.recipe, float_scopes=fewer)
                passed = self._passing_once(recipe) or passed
        return passed

    def _passing_once(self, recipe: Recipe) -> Candidate | None:
        """As :meth:`_passing`, of a recipe that may have been tried."""
        if any(c.recipe == recipe for c in self._tried):
            return None  # it would have been taken
        return self._passing(recipe)

    def _passing(self, recipe: Recipe) -> Candidate | None:
        """Return the candidate of ``recipe`` if it meets the gates; None also when time is up."""
        if self._is_late():
            return None
        candidate = self._try(recipe)
        return candidate if candidate is not None and not candidate.quality.missed else None

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _try(self, recipe: Recipe, *, must_work: bool = False) -> Candidate | None:
        started = time.monotonic()
        self._tell(f"trying {recipe}" if self._tried else f"making {self._method.cli_name}")
        try:
            content = self._file(recipe)
            quality = self._judge(content)
        except (ConverterError, RuntimeError, ValueError) as error:
            if must_work:
                why = why_not(error)
                cause = why if isinstance(error, ConverterError) else f"the file does not run: {why}"
                raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, cause) from error
            self._failed.append(failed(str(recipe), error, started))
            return None
        candidate = Candidate(recipe, content, quality, time.monotonic() - started)
        self._tried.append(candidate)
        return candidate

    def _file(self, recipe: Recipe) -> bytes:
        """Quantize with a recipe, once: choosing the ranges makes files that are tried again."""
        if recipe not in self._files:
            float_file, calibration = self._origin(equal=recipe.equalised)
            ranges = calibration.ranges(recipe.ranges)
            if recipe.weights is Weights.GPTQ:
                ranges = gptq.with_hessians(float_file, self._samples, ranges)
            content = full_integer(float_file, ranges, recipe)
            if recipe.corrected:
                content = with_biases_corrected(content, float_file, self._samples)
            self._files[recipe] = content
        return self._files[recipe]

    def _origin(self, *, equal: bool) -> tuple[bytes, Calibration]:
        """Return the float file to quantize, and what its activations reach."""
        if not equal:
            return self._float_file, self._calibration
        if self._equalised is None:
            content = equalised(self._float_file, self._samples)
            calibration = self._calibration
            if content != self._float_file:
                calibration = calibrate(content, self._samples, self._threads, lambda _done: None)
            self._equalised = (content, calibration)
        return self._equalised

    def _nearest_ranges(self) -> RangeMethod:
        """Return the ranges whose file is nearest to the float file on calibration samples.

        An average ignores outliers, extremes never clip; which is better depends on the model.
        """
        some = {name: array[:RANGE_CHOICE_SAMPLES] for name, array in self._samples.items()}
        reference = TFLiteModel(self._float_file, threads=self._threads).run_each(some)

        def closeness(method: RangeMethod) -> float:
            try:
                content = self._file(dataclasses.replace(self._plain, ranges=method))
                ratio = snr_db(reference, TFLiteModel(content, threads=self._threads).run_each(some))
            except (ConverterError, RuntimeError, ValueError):
                return -math.inf  # the plain recipe will say why, where no way is left
            return SNR_LIMIT_DB if ratio is None else ratio

        return max(RangeMethod, key=closeness)


def _other_ranges(plain: Recipe) -> Iterator[Recipe]:
    """Recipes that take the activations' ranges otherwise."""
    for ranges in RangeMethod:
        if ranges is not plain.ranges:
            yield dataclasses.replace(plain, ranges=ranges)


def _doubling(most: int) -> Sequence[int]:
    """1, 2, 4, ... and ``most``."""
    counts = []
    count = 1
    while count < most:
        counts.append(count)
        count *= 2
    return [*counts, most] if most else []


def _attempt(candidate: Candidate, *, chosen: bool) -> Attempt:
    recipe, quality = candidate.recipe, candidate.quality
    return measured(
        str(recipe),
        candidate.content,
        quality,
        quality.missed,
        candidate.seconds,
        chosen=chosen,
        float_operators=len(recipe.float_scopes),
    )
