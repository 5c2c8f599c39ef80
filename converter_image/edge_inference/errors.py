"""The exceptions of this package.

::

    Exception
    └── EdgeInferenceError
        ├── DelegateError      a delegate's library is absent, or it does not take the device or the model
        └── BaselineError      a report has no usable record for the file

Wrong arguments are ``ValueError`` and a missing file is ``FileNotFoundError``, as everywhere in Python.
"""

from __future__ import annotations


class EdgeInferenceError(Exception):
    """What this package cannot do here."""


class DelegateError(EdgeInferenceError):
    """A delegate that cannot be used; the message says what to install or to connect."""


class BaselineError(EdgeInferenceError):
    """A report that does not say what the file gave on validation data."""
