"""The exceptions of this package.

::

    Exception
    └── EdgeInferenceError
        ├── DelegateError      a delegate does not take the model
        │   └── DelegateAbsentError    its library is absent, is no delegate, or finds no device
        ├── BaselineError      a report has no usable record for the file
        └── ChannelError       a channel cannot be followed now
            ├── ChannelUnavailableError    its server is not there
            └── ChannelUntrustedError      what is there is not its own word

Wrong arguments are ``ValueError`` and a missing file is ``FileNotFoundError``, as everywhere in Python.
"""

from __future__ import annotations


class EdgeInferenceError(Exception):
    """What this package cannot do here."""


class DelegateError(EdgeInferenceError):
    """A delegate that cannot be used; the message says what to install or to connect."""


class DelegateAbsentError(DelegateError):
    """A delegate that cannot be had at all, whatever the file."""


class BaselineError(EdgeInferenceError):
    """A report that does not say what the file gave on validation data."""


class ChannelError(EdgeInferenceError):
    """A channel that cannot be followed now; what runs keeps running."""


class ChannelUnavailableError(ChannelError):
    """A server that is not there, or breaks off: later polls may be luckier."""


class ChannelUntrustedError(ChannelError):
    """A pointer or file that is not what the channel's key has signed: somebody should look at it."""
