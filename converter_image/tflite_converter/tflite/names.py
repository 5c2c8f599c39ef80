"""Tensor names that TFLite signatures and .npz files can share."""

from __future__ import annotations

import re


def safe_name(name: str) -> str:
    """Return a tensor name that is a Python identifier's letters.

    TFLite signatures and .npz keys share it.
    """
    return re.sub(r"\W", "_", name.split(":")[0])
