"""Delegates: libraries that take over parts of a graph, for an accelerator that LiteRT does not know itself.

XNNPACK needs none of this: LiteRT brings it and applies it to the CPU by itself, with as many threads as the
model is given.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import DelegateAbsentError

EDGE_TPU_LIBRARY: Final = "libedgetpu.so.1"
_EDGE_TPU_HINT: Final = (
    "install Coral's runtime (the package libedgetpu1-std), connect the device, and see that this user may"
    " open it"
)


@dataclass(frozen=True)
class Delegate:
    """A delegate's shared library and its options.

    Any library will do that has ``tflite_plugin_create_delegate`` and ``tflite_plugin_destroy_delegate``
    (``external_delegate_interface.h`` of LiteRT).
    """

    library: str
    """A path, or a name that the dynamic loader finds."""
    options: Mapping[str, str] = field(default_factory=dict)
    hint: str = "install it, or give its whole path"
    """What to do when it cannot be loaded."""

    def load(self) -> Any:
        """LiteRT's handle.

        Raises:
            DelegateAbsentError: the library is absent, is no delegate, or refuses (no device, wrong options).

        """
        # LiteRT's own loader leaves an object half made when there is no library, and complains again when
        # that is collected. So the loader is asked first.
        try:
            library = ctypes.CDLL(self.library)
        except OSError as error:
            raise DelegateAbsentError(
                f"the delegate {self.library} cannot be loaded ({error}): {self.hint}"
            ) from error
        for function in ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"):
            if not hasattr(library, function):
                raise DelegateAbsentError(f"{self.library} is no TFLite delegate: it has no {function}")
        from ai_edge_litert.interpreter import load_delegate

        try:
            return load_delegate(self.library, dict(self.options))
        except (ValueError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1]  # what the library said
            raise DelegateAbsentError(
                f"the delegate {self.library} refuses: {reason}; {self.hint}"
            ) from error


def edge_tpu(device: str | None = None) -> Delegate:
    """Return the Edge TPU's delegate, for a file that the Edge TPU compiler has made.

    ``device`` is ``usb``, ``pci``, ``usb:0`` and the like; None takes the first that there is.

    Source: "Run inference on the Edge TPU with Python" of coral.ai.
    """
    options = {} if device is None else {"device": device}
    return Delegate(EDGE_TPU_LIBRARY, options, _EDGE_TPU_HINT)
