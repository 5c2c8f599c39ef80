"""The client: ModelConversions from Python, blocking or asynchronous, and ``kubectl mconv`` on top of it.

>>> from modelconversion_client import ModelConversionClient
>>> with ModelConversionClient() as client:
...     client.create("gesture", {"source": {"uri": "s3://models/gesture.h5"}, ...})
...     conversion = client.wait("gesture", timeout_seconds=600)
>>> conversion.status.recommended.uri

What comes back are the contract's models (:mod:`modelconversion_api`). Needs the ``kubernetes`` package, and
neither TensorFlow nor kopf. Every error is a :class:`~modelconversion_client.errors.ConversionClientError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelconversion_client.blocking import ModelConversionClient
    from modelconversion_client.client import AsyncModelConversionClient
    from modelconversion_client.errors import ConversionClientError
    from modelconversion_client.resources import (
        Channel,
        Conversion,
        ConversionSet,
        Event,
        Pod,
        Profile,
        Trigger,
    )

__all__ = [
    "AsyncModelConversionClient",
    "Channel",
    "Conversion",
    "ConversionClientError",
    "ConversionSet",
    "Event",
    "ModelConversionClient",
    "Pod",
    "Profile",
    "Trigger",
]

_MODULES: Final = {
    "AsyncModelConversionClient": "client",
    "Channel": "resources",
    "Conversion": "resources",
    "ConversionClientError": "errors",
    "ConversionSet": "resources",
    "Event": "resources",
    "ModelConversionClient": "blocking",
    "Pod": "resources",
    "Profile": "resources",
    "Trigger": "resources",
}


def __getattr__(name: str) -> object:
    """Import a root when it is first asked for: ``--help`` must not wait for the Kubernetes library."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
