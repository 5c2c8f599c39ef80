"""The array types that modules hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]

NamedArrays: TypeAlias = Mapping[str, Array]
"""Arrays by tensor name, samples first: ``{name: (n, *sample shape)}``."""
