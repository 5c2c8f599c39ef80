"""Makes the file of each method from the float file, and nothing else: measuring is done elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conversion_engine.files import FLOAT_FILE
from modelconversion_api.base import ApiModel
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import Stability
from modelconversion_api.reports.measurements import Attempt
from tflite_converter.arrays import NamedArrays
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.child import Child
from tflite_converter.measuring.evaluation import Reference, quality
from tflite_converter.measuring.quality import Quality, costs_nothing
from tflite_converter.measuring.soundness import weights_not_finite
from tflite_converter.quantizing import int4, quantization, recipes
from tflite_converter.quantizing.calibration import Calibration, calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.quantization import SIXTEEN, Recipe
from tflite_converter.quantizing.tuning import Tuner
from tflite_converter.quantizing.worth import check_worth
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.metadata import with_metadata
from tflite_converter.tflite.versions import with_versions
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    INTEGERS_FILE,
    UNROLLED_FILE,
    LiteRTJob,
    RecipeJob,
)
from tflite_converter.workers.reference import DIVERGED

SYNTHETIC = "calibrated on synthetic data"
_FEWEST_FOR_STABILITY = 2
_ALIKE = 1.2
"""One scale that is no coarser than this, 1.6 dB, is taken without a try: :func:`costs_nothing` allows 3."""
_FORM_SAMPLES = 200
"""How many samples decide between two forms of dynamic range."""
_FLOATS = (Method.FLOAT32, Method.FLOAT16)


class Made(ApiModel):
    """A file that was made."""

    file: str
    recipe: str
    attempts: tuple[Attempt, ...] = ()
    stability: Stability | None = None
    message: str | None = None
    calibrating_seconds: float = 0.0


@dataclass(frozen=True)
class _Calibrated:
    """What the calibration samples reached, and in which file."""

    float_file: bytes
    calibration: Calibration
    samples: NamedArrays
    """Those on which it runs."""
    count: int
    """Of all samples."""
    seconds: float

    @property
    def left_out(self) -> tuple[str, ...]:
        """How many calibration samples were of no use, and why."""
        words, calibration = [], self.calibration
        if calibration.left_out:
            words.append(
                f"{calibration.left_out} of {self.count} calibration samples gave NaN or infinity: left out"
            )
        if calibration.stopped:
            number, reason = len(calibration.stopped), calibration.stops
            words.append(
                f"the float file stops on {number} of {self.count} calibration samples, left out: {reason}"
            )
        return tuple(words)


class Maker:
    """Makes the files of one job."""

    def __init__(
        self,
        job: LiteRTJob,
        process: Child,
        reference: Reference,
        float_file: Path,
        *,
        seconds: Callable[[], float],
        is_synthetic: bool,
    ) -> None:
        """Take ``float_file``, of which every file but those of integers is made.

        ``seconds`` says how long better recipes may be looked for; 0 for not at all. ``is_synthetic`` says
        whether calibration samples are made up.
        """
        self._job = job
        self._process = process
        self._reference = reference
        self._folder = process.folder
        self._float_file = float_file
        self._seconds_to_tune = seconds
        self._is_synthetic = is_synthetic

    def make(self, method: Method) -> Made:
        """Make the file of ``method``.

        Raises:
            ConverterError: QuantizationFailed, UnreadableModel; NothingQuantized or NotSmaller where the file
                would be of no use.

        """
        ready = self._job.ready.get(method)
        if ready is not None:
            ranges = " (ranges of the graph's fake quantization)" if self._job.own_ranges else ""
            layers = ", fused LSTM layers" if self._job.fused else ""
            recipe = f"TensorFlow's own quantizer, per-channel int8 weights, int8 activations{ranges}{layers}"
            return self._finished(method, (self._folder / ready).read_bytes(), recipe)
        self._process.say(Stage.QUANTIZE, f"making {method.cli_name}")
        float_file = self._float_file.read_bytes()
        if method not in _FLOATS:
            self._refuse_without_numbers(float_file)
        match method:
            case Method.FLOAT32:
                return self._finished(method, float_file, "float32 as it is")
            case Method.DYNAMIC_RANGE:
                return self._dynamic_range(float_file)
            case Method.FLOAT16:
                return self._finished(method, with_halved_constants(float_file), "float16 weights")
            case Method.FULL_INTEGER | Method.INT16_ACTIVATIONS:
                return self._integers(method)
            case Method.WEIGHT_ONLY_INT8:
                words = "int8 weights by channel, widened to float as the file is loaded"
                return self._finished(method, quantization.weight_only_int8(float_file), words)
            case Method.INT4:
                return self._int4(float_file)

    def make_recipe(self, wanted: RecipeJob) -> Made:
        """Make the file of a user's own recipe.

        Raises:
            ConverterError: InvalidRequest where the recipe does not fit the model; and as :meth:`make`.

        """
        recipe = wanted.recipe
        self._process.say(Stage.QUANTIZE, f"making {recipe.name}")
        of_integers = recipe.base.needs_calibration
        calibrated = self._calibrated() if recipe.needs_calibration else None
        float_file = (self.before_integers() if of_integers else self._float_file).read_bytes()
        self._refuse_without_numbers(float_file)
        plain = Recipe(activation_bits=SIXTEEN if recipe.base is Method.INT16_ACTIVATIONS else 8)
        ranges = None
        if calibrated is not None and of_integers:
            plain, _ = self._tuner(recipe.base, calibrated).plain()
            ranges = calibrated.calibration.ranges(plain.ranges)
        samples = None if calibrated is None else calibrated.samples
        if wanted.rules is None:
            content = recipes.make(recipe, float_file, plain, ranges, samples)
            words = recipes.words_of(recipe, float_file, plain)
        else:
            rules = recipes.read_rules(recipe.name, wanted.rules.encode())
            content = recipes.make_by_rules(recipe, rules, float_file, ranges, samples)
            words = f"{len(rules)} rules of a file, for ai-edge-quantizer"
        name = recipe.file_name(self._job.base_name)
        check_worth(recipe.base, content, float_file, as_method_says=False)
        made = self._written(name, content, {"method": recipe.base.value, "recipe": recipe.name}, words)
        if calibrated is None:
            return made
        return made.changed(
            message="; ".join(calibrated.left_out) or None, calibrating_seconds=calibrated.seconds
        )

    def _refuse_without_numbers(self, float_file: bytes) -> None:
        """Refuse weights that no integer can say."""
        name = weights_not_finite(read_file(float_file, FLOAT_FILE))
        if name is not None:
            cause = f"the weights {name!r} hold NaN or infinity, which integers cannot say"
            # Not a failure of this quantizer, which another one would make good.
            raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.QUANTIZE, cause, hint=DIVERGED)

    def _judge(self, method: Method, reference: Reference, content: bytes) -> Quality:
        name, threads = method.file_name(self._job.base_name), self._job.threads
        return quality(content, reference, self._job.gates, threads=threads, file_name=name)

    def _dynamic_range(self, float_file: bytes) -> Made:
        """Make the form that old runtimes read, unless it costs fidelity."""
        by_tensor = quantization.dynamic_range(float_file, dense_per_tensor=True)
        alike = quantization.dense_spread(float_file) <= _ALIKE
        by_channel = by_tensor if alike else quantization.dynamic_range(float_file)
        few = self._reference.head(_FORM_SAMPLES)

        def judged(content: bytes) -> Quality | None:
            try:
                return self._judge(Method.DYNAMIC_RANGE, few, content)
            except (ConverterError, RuntimeError, ValueError):
                return None  # where neither form runs, its evaluation says why

        def is_good_enough() -> bool:
            candidate, other = judged(by_tensor), judged(by_channel)
            return candidate is not None and (other is None or costs_nothing(candidate, other))

        if by_tensor == by_channel or is_good_enough():
            words = "int8 weights, per-channel but for dense layers, float activations"
            return self._finished(Method.DYNAMIC_RANGE, by_tensor, words)
        words = "per-channel int8 weights, float activations"
        return self._finished(Method.DYNAMIC_RANGE, by_channel, words)

    def _int4(self, float_file: bytes) -> Made:
        few = self._reference.head(int4.RANKING_SAMPLES)
        found = int4.Search(
            float_file,
            lambda content: self._judge(Method.INT4, self._reference, content),
            lambda content: self._judge(Method.INT4, few, content),
            self._seconds_to_tune(),
            lambda text: self._process.say(Stage.QUANTIZE, text),
            has_gate=self._job.gates.judge_quality,
        ).run()
        made = self._finished(Method.INT4, found.content, found.recipe)
        return made.changed(attempts=found.attempts, message=found.message)

    def _integers(self, method: Method) -> Made:
        """Make a file whose activations are integers too, of 8 or 16 bits."""
        calibrated = self._calibrated()
        tuner = self._tuner(method, calibrated)
        attempts: tuple[Attempt, ...] = ()
        message = None
        if (budget := self._seconds_to_tune()) > 0:
            tuned = tuner.run(budget)
            recipe, content = tuned.best.recipe, tuned.best.content
            attempts, message = tuned.attempts, tuned.message
        else:
            recipe, content = tuner.plain()
        unrolled = (self._folder / UNROLLED_FILE).is_file()
        words = str(recipe) + (", time steps unrolled" if unrolled else "")
        words += f", {SYNTHETIC}" if self._is_synthetic else ""
        message = "; ".join(text for text in (*calibrated.left_out, message) if text) or None
        is_stable = calibrated.count >= _FEWEST_FOR_STABILITY
        return self._finished(method, content, words).changed(
            attempts=attempts,
            stability=calibrated.calibration.stability if is_stable else None,
            message=message,
            calibrating_seconds=calibrated.seconds,
        )

    def _calibrated(self) -> _Calibrated:
        """Run the float file that files of integers are made from on the calibration samples."""
        float_file = self.before_integers().read_bytes()
        samples = read_folder(self._folder / CALIBRATION_FOLDER)
        count = len(next(iter(samples.values())))
        started = time.monotonic()
        step = self._process.counter(Stage.CALIBRATE, "calibrating", count)
        calibration = calibrate(float_file, samples, self._job.threads, step)
        seconds = time.monotonic() - started
        if calibration.stopped:
            samples = {n: np.delete(array, calibration.stopped, axis=0) for n, array in samples.items()}
            # Whoever reads them after this, TensorFlow's quantizer too, would stop as well.
            write_folder(self._folder / CALIBRATION_FOLDER, samples)
        return _Calibrated(float_file, calibration, samples, count, seconds)

    def _tuner(self, method: Method, calibrated: _Calibrated) -> Tuner:
        return Tuner(
            calibrated.float_file,
            calibrated.calibration,
            calibrated.samples,
            lambda content: self._judge(method, self._reference, content),
            self._job.target,
            lambda text: self._process.say(Stage.QUANTIZE, text),
            self._job.threads,
            method=method,
            dense_per_tensor=self._job.dense_per_tensor,
        )

    def before_integers(self) -> Path:
        """Return the float file that files of integers are made from."""
        paths = (self._folder / name for name in (UNROLLED_FILE, INTEGERS_FILE))
        return next((path for path in paths if path.is_file()), self._folder / FLOAT_FILE)

    def _finished(self, method: Method, content: bytes, recipe: str) -> Made:
        """Write the file with its metadata; from here on its bytes do not change.

        Raises:
            ConverterError: NothingQuantized or NotSmaller.

        """
        origin = self.before_integers() if method.needs_calibration else self._float_file
        check_worth(method, content, origin.read_bytes())
        name = method.file_name(self._job.base_name)
        return self._written(name, content, {"method": method.value, "recipe": recipe}, recipe)

    def _written(self, name: str, content: bytes, record: Mapping[str, str], words: str) -> Made:
        """Write a file with its metadata: ``record`` for programs, and ``words`` on how it was made."""
        job = self._job
        (self._folder / name).write_bytes(
            with_metadata(
                with_versions(content),
                {**job.record, **record},
                name=job.base_name,
                description=f"{record['method']} of {job.base_name}: {words}",
                layouts=job.layouts,
            )
        )
        return Made(file=name, recipe=words)
