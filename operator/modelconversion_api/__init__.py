"""The contract: the resource, the request to its Job, the Job's report, and every reason for failure.

::

    ModelConversionSpec ──▶ ConversionRequest ──▶ ConversionReport ──▶ ModelConversionStatus
         (kubectl)              (the Job)            (the bucket)            (kubectl)

These are the roots; the types that they are made of lie in the modules, the parts of a spec in `fields`, the
parts of a report in `reports`. Needs pydantic only, runs in every
process, and is used by the operator, the converter, and whoever writes a client.

>>> from modelconversion_api import ModelConversionSpec
>>> spec = ModelConversionSpec.model_validate({"source": {"uri": "s3://models/a.h5"}, ...})
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelconversion_api.crd import custom_resource_definition
    from modelconversion_api.methods import Method, Target
    from modelconversion_api.reasons import FAILURES, FailureReason, Stage
    from modelconversion_api.reports.conversion import ConversionReport
    from modelconversion_api.request import ConversionRequest
    from modelconversion_api.spec import ModelConversionSpec
    from modelconversion_api.status import ModelConversionStatus

__all__ = [
    "FAILURES",
    "ConversionReport",
    "ConversionRequest",
    "FailureReason",
    "Method",
    "ModelConversionSpec",
    "ModelConversionStatus",
    "Stage",
    "Target",
    "custom_resource_definition",
]

_MODULES: Final = {
    "FAILURES": "reasons",
    "ConversionReport": "reports.conversion",
    "ConversionRequest": "request",
    "FailureReason": "reasons",
    "Method": "methods",
    "ModelConversionSpec": "spec",
    "ModelConversionStatus": "status",
    "Stage": "reasons",
    "Target": "methods",
    "custom_resource_definition": "crd",
}


def __getattr__(name: str) -> object:
    """Import a root when it is first asked for: processes that need reasons only start without the models."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
