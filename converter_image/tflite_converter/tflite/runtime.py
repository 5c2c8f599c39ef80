"""Measures a TFLite file as it runs: its latency, and the values inside it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edge_inference.delegates import Delegate
from edge_inference.runtime import Model
from edge_inference.tensors import Tensor, described
from modelconversion_api.reports.measurements import Latency
from tflite_converter.arrays import Array, FloatArray, NamedArrays
from tflite_converter.errors import first_line
from tflite_converter.native_output import silenced

WARM_UP_RUNS = 5
_NODE = re.compile(r"\.?Node number (\d+) \((\w+)\) failed to (?:invoke|prepare)")


def timed(run: Callable[[], object], runs: int, *, threads: int, batch_size: int = 1) -> Latency:
    """Return how long ``run`` takes for ``batch_size`` samples.

    The first :data:`WARM_UP_RUNS` do not count.
    """
    for _ in range(WARM_UP_RUNS):
        run()
    millis: FloatArray = np.empty(runs, dtype=np.float64)
    for i in range(runs):
        started = time.perf_counter_ns()
        run()
        millis[i] = (time.perf_counter_ns() - started) / 1e6
    median, p90, p99 = (round(float(q), 4) for q in np.percentile(millis, (50, 90, 99)))
    return Latency(
        median_millis=median,
        p90_millis=p90,
        p99_millis=p99,
        runs=runs,
        warm_up_runs=WARM_UP_RUNS,
        threads=threads,
        batch_size=batch_size,
        throughput_per_second=round(batch_size * 1e3 / max(median, 1e-4), 1),
    )


class StopsError(RuntimeError):
    """A file that has loaded, and that stops on a sample."""

    def __init__(self, words: str, sample: int) -> None:
        super().__init__(words)
        self.sample = sample
        """Its place among the samples, from 0."""


def why(error: BaseException) -> str:
    """Return LiteRT's reason for not running as a part of a sentence, the operator behind it."""
    return _NODE.sub(r" (in operator \1, \2)", first_line(error))


def names_given_back(model: Model) -> str:
    """Return the names of outputs that are inputs, with commas between them; empty where there are none.

    LiteRT's compiled models leave their buffers as they were.
    """
    inputs = {tensor.index for tensor in model.inputs}
    return ", ".join(repr(tensor.name) for tensor in model.outputs if tensor.index in inputs)


class TFLiteModel(Model):
    """A TFLite file, loaded and ready to run, as users' programs run it, and measured.

    Raises ``ValueError`` or ``RuntimeError`` (LiteRT's own) for a file that is none, or that cannot run, and
    ``DelegateError`` as :class:`Model` does.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        threads: int = 1,
        keep_all: bool = False,
        delegates: Sequence[Delegate] = (),
    ) -> None:
        """Load the file and allocate its tensors.

        ``keep_all``: keep every tensor readable after a run (:meth:`activation`), which costs memory and
        fused kernels.
        """
        super().__init__(model, threads=threads, delegates=delegates, keep_all=keep_all)
        self._by_name: dict[str, Tensor] | None = None

    @contextmanager
    def _loading(self) -> Iterator[None]:
        with silenced():
            yield

    def run_each(
        self, samples: NamedArrays, after_each: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Do as :meth:`Model.run_each`.

        Raises:
            StopsError: with what LiteRT says, and the sample's number.

        """
        done = 0

        def counted(number: int) -> None:
            nonlocal done
            done = number
            if after_each is not None:
                after_each(number)

        try:
            return super().run_each(samples, counted)
        except (RuntimeError, ValueError) as error:
            count = len(next(iter(samples.values())))
            words = f"it stops on sample {done + 1} of {count}: {why(error)}"
            raise StopsError(words, done) from error

    def benchmark(self, sample: NamedArrays, runs: int) -> Latency:
        """Latency of ``invoke`` alone on one batch, after :data:`WARM_UP_RUNS` runs that do not count."""
        self._fill(sample)
        size = len(next(iter(sample.values())))
        return timed(self._interpreter.invoke, runs, threads=self.threads, batch_size=size)

    def activation(self, name: str) -> Array | None:
        """Return a tensor of the main graph as the last run filled it, as values (``keep_all`` only).

        None where there is none of that name, or only one with a scale for each channel.
        """
        if self._by_name is None:
            self._by_name = {
                detail["name"]: described(detail, {})
                for detail in self._interpreter.get_tensor_details()
                if len(detail["quantization_parameters"]["scales"]) <= 1
            }
        tensor = self._by_name.get(name)
        if tensor is None:
            return None
        try:
            return tensor.value(self._interpreter.get_tensor(tensor.index))
        except ValueError:
            return None  # this run did not fill it
