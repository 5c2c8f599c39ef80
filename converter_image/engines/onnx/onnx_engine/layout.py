"""Which dimension of the model is which of the file: onnx2tf turns images so that their channels come last.

Shapes say it where sizes differ. Where they do not, both are run on the same numbers, and what fits is taken:
the model by onnxruntime, the file by LiteRT.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from conversion_engine.messages import EngineError, Reason, Stage, Tensor
from engine_tools.float_file import FloatFile
from engine_tools.running import Arrays
from engine_tools.sizes import OPEN, Edge
from onnx_engine.converting import ANOTHER_WAY
from onnx_engine.original import Original

Order = tuple[int, ...]
_OPEN_SIZE: Final = 16
"""What an open size is for the trial."""
_MOST_TRIALS: Final = 64
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Boundary:
    """What goes in and comes out."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    warnings: tuple[str, ...] = ()


def orders(own: Sequence[int], file: Sequence[int]) -> list[Order]:
    """Return how dimensions ``own`` can have become ``file``: as they are, or with the channels last."""
    rank = len(own)
    if rank != len(file):
        return []
    as_it_is = tuple(range(rank))
    channels_last = (0, *range(2, rank), 1) if rank > 2 else as_it_is
    return [
        order
        for order in dict.fromkeys((as_it_is, channels_last))
        if all(OPEN in (own[o], f) or own[o] == f for o, f in zip(order, file, strict=True))
    ]


def boundary(
    original: Original,
    file: FloatFile,
    edges: Iterable[Edge],
    sizes: Mapping[str, tuple[int, ...]],
    images: Collection[str],
) -> Boundary:
    """Return inputs and outputs, with the order of their dimensions in the file.

    Args:
        original: The model in the sizes that the file has.
        file: The float file.
        edges: The model's inputs as it declares them.
        sizes: The sizes that they were given.
        images: Inputs that may be turned; others are not.

    Raises:
        EngineError: ConversionFailed where the file's shapes cannot be those of the model, or where it does
            not run.

    """
    edges = list(edges)
    choices: dict[str, list[Order]] = {}
    for edge in edges:
        if edge.name in file.inputs:
            shape = tuple(map(int, file.inputs[edge.name]["shape_signature"]))
            found = orders(sizes[edge.name] or (1,) * len(shape), shape)
            choices[edge.name] = found if edge.name in images else found[:1]
            if not choices[edge.name]:
                raise _strange("input", edge.name, sizes[edge.name], shape)
    trial = _Trial(original, file, _samples(edges, sizes))
    chosen = trial.best(choices)
    inputs = tuple(_input(edge, file, chosen[edge.name]) for edge in edges if edge.name in chosen)
    warnings = tuple(
        f"nothing depends on the input {edge.name!r}: the file is without it"
        for edge in edges
        if edge.name not in chosen
    )
    return Boundary(inputs, trial.outputs(chosen), warnings)


def _input(edge: Edge, file: FloatFile, order: Order) -> Tensor:
    detail = file.inputs[edge.name]
    shape = tuple(map(int, detail["shape_signature"]))
    own = edge.sizes or (1,) * len(shape)  # a number may be a list of one
    return Tensor(edge.name, np.dtype(detail["dtype"]).name, own, shape, order)


def _samples(edges: list[Edge], sizes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return numbers for every input, in the model's own layout."""
    generator = np.random.default_rng(_SEED)
    samples: Arrays = {}
    for edge in edges:
        shape = [_OPEN_SIZE if size == OPEN else size for size in sizes[edge.name]]
        if edge.dtype.kind == "f":
            samples[edge.name] = generator.standard_normal(shape).astype(np.float32)
        else:
            samples[edge.name] = generator.integers(0, 2, shape).astype(edge.dtype)
    return samples


class _Trial:
    """Both run on the same numbers."""

    def __init__(self, original: Original, file: FloatFile, samples: Arrays) -> None:
        self._file, self._samples = file, samples
        self._names = original.outputs
        try:
            self._expected: Arrays | None = original.run(samples)
        except Exception:
            self._expected = None  # made-up numbers may be none that it takes; the samples will show it

    def best(self, choices: Mapping[str, list[Order]]) -> dict[str, Order]:
        """Return the order of each input under which the file gives what the original gives."""
        combinations = list(itertools.islice(itertools.product(*choices.values()), _MOST_TRIALS))
        candidates = [dict(zip(choices, orders, strict=True)) for orders in combinations]
        if len(candidates) == 1 or self._expected is None:
            return candidates[-1]  # channels last is what onnx2tf makes of images
        return min(candidates, key=self._distance)

    def outputs(self, chosen: Mapping[str, Order]) -> tuple[Tensor, ...]:
        """Return the outputs, with the order that fits best."""
        given = self._given(chosen)
        return tuple(self._output(name, given) for name in self._names)

    def _output(self, name: str, given: Arrays) -> Tensor:
        detail = self._file.outputs[name]
        dtype, shape = np.dtype(detail["dtype"]).name, tuple(map(int, detail["shape_signature"]))
        values = given[name]
        if len(shape) != values.ndim:  # what it declares is not what it gives
            shape = values.shape
        expected = None if self._expected is None else self._expected[name]
        if expected is None:
            return Tensor(name, dtype, shape, shape, tuple(range(len(shape))))
        if not expected.ndim:
            expected = expected.reshape((1,) * values.ndim)
        found = orders(expected.shape, values.shape)
        if not found:
            raise _strange("output", name, expected.shape, values.shape)
        order = min(found, key=lambda each: _error(np.transpose(expected, each), values))
        own = tuple(shape[order.index(place)] for place in range(len(shape)))
        return Tensor(name, dtype, own, shape, order)

    def _given(self, chosen: Mapping[str, Order]) -> Arrays:
        feeds = {}
        for name, order in chosen.items():
            values = self._samples[name]
            feeds[name] = np.transpose(values.reshape(values.shape or (1,) * len(order)), order)
        return self._file.run(feeds)

    def _distance(self, chosen: Mapping[str, Order]) -> float:
        try:
            given = self._given(chosen)
        except EngineError:
            return np.inf
        total = 0.0
        for name, expected in (self._expected or {}).items():
            own = expected.shape or (1,) * given[name].ndim
            expected = np.reshape(expected, own)
            found = orders(own, given[name].shape)
            total += min((_error(np.transpose(expected, o), given[name]) for o in found), default=np.inf)
        return total


def _error(expected: Any, values: Any) -> float:
    """Return the mean square of what differs, as a share of the expected; infinity where it is no number."""
    first, second = np.asarray(expected, np.float64), np.asarray(values, np.float64)
    if not first.size:
        return 0.0
    same = first == second  # also infinities
    with np.errstate(all="ignore"):
        difference = np.where(same, 0.0, first - second)
        share = float(np.mean(difference**2) / (np.mean(first**2) + 1e-30))
    return share if np.isfinite(share) else float("inf")


def _strange(kind: str, name: str, own: Sequence[int], file: Sequence[int]) -> EngineError:
    shapes = f"has the shape {list(file)}, where the model has {list(own)}"
    cause = f"onnx2tf wrote a file whose {kind} {name!r} {shapes}"
    return EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=ANOTHER_WAY)
