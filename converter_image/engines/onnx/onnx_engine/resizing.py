"""What a Resize does, axis by axis, and how to say it so that onnx2tf writes the same.

Source: the operator's definition in the documentation of ONNX. A kernel of TFLite knows the sizes alone: it
takes the factor between them for the scale, and rounds the nearest neighbour in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

_EXACT: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis that is resized."""

    before: int
    after: int
    scale: float

    @property
    def is_exact(self) -> bool:
        """Whether the scale is the factor between the sizes."""
        return abs(self.scale * self.before - self.after) < _EXACT * max(1, self.after)


def axes_by_scales(sizes: list[int], scales: list[float]) -> list[Axis]:
    """Return each axis for scales, one for each."""
    return [
        Axis(size, int(np.floor(size * scale + _EXACT)), scale)
        for size, scale in zip(sizes, scales, strict=True)
    ]


def axes_by_sizes(sizes: list[int], wanted: list[int], chosen: list[int], policy: str) -> list[Axis]:
    """Return each axis for sizes; with a policy, those ``chosen`` keep their ratio."""
    if policy == "stretch":
        return [Axis(size, after, after / size) for size, after in zip(sizes, wanted, strict=True)]
    factors = [wanted[place] / sizes[place] for place in chosen]
    scale = min(factors) if policy == "not_larger" else max(factors)
    return [
        Axis(size, int(np.floor(scale * size + 0.5)), scale) if place in chosen else Axis(size, size, 1.0)
        for place, size in enumerate(sizes)
    ]


def nearest(axis: Axis, coordinates: str, rounding: str) -> Any:
    """Return the index of each position's neighbour, an array of int64; None for modes that have none."""
    place = np.arange(axis.after, dtype=np.float64)
    half = (place + 0.5) / axis.scale - 0.5
    if coordinates == "align_corners":
        steps = axis.scale * axis.before - 1
        where = place * (axis.before - 1) / steps if axis.after > 1 and steps else np.zeros(axis.after)
    elif coordinates == "asymmetric":
        where = place / axis.scale
    elif coordinates == "pytorch_half_pixel":
        where = half if axis.after > 1 else np.zeros(axis.after)
    elif coordinates == "half_pixel":
        where = half
    elif coordinates == "half_pixel_symmetric":
        share = axis.after / (axis.scale * axis.before)
        where = axis.before / 2 * (1 - share) + half
    else:
        return None
    rounded = {
        "round_prefer_floor": np.ceil(where - 0.5),
        "round_prefer_ceil": np.floor(where + 0.5),
        "floor": np.floor(where),
        "ceil": np.ceil(where),
    }[rounding]
    return np.clip(rounded, 0, axis.before - 1).astype(np.int64)


def is_repetition(axis: Axis, indices: Any) -> bool:
    """Whether each value is repeated a whole number of times, which every kernel does alike."""
    times = axis.after // axis.before
    return times * axis.before == axis.after and bool(
        (indices == np.arange(axis.after) // max(1, times)).all()
    )
