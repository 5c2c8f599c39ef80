"""What to do about a failure at the command line; the contract's hints speak of resources too."""

from __future__ import annotations

from typing import Final

from modelconversion_api.reasons import FailureReason, known_of
from tflite_converter.errors import ConverterError

_HINTS: Final = {
    FailureReason.SOURCE_NOT_FOUND: "correct the path",
    FailureReason.DIGEST_MISMATCH: "the file is another one: correct --sha256, or get the right file",
    FailureReason.UNREADABLE_MODEL: "the file is truncated or corrupt: save or copy it again",
    FailureReason.CALIBRATION_MISSING: "methods of integers need calibration data: give --data",
    FailureReason.GATES_NOT_MET: "loosen the gates, or choose another method",
    FailureReason.COMPILER_NOT_FOUND: (
        "for the Edge TPU install edgetpu_compiler (x86-64 only), or give --edgetpu-predict; for an NPU bring"
        " its vendor's SDK"
    ),
    FailureReason.COMPILER_TIMED_OUT: (
        "raise --edgetpu-timeout, --ethos-u-timeout or --npu-timeout, or try a smaller model"
    ),
    FailureReason.TRAINING_DIVERGED: "lower --learning-rate",
    FailureReason.SIGNING_FAILED: "give an elliptic-curve private key in PEM format, without a password",
    FailureReason.OUT_OF_MEMORY: "raise --memory-limit if it is given, or free memory on this machine",
    FailureReason.NO_SPACE: "make room on the disk, or choose another --output",
    FailureReason.INTERRUPTED: "run the command again",
}


def message_of(failure: ConverterError) -> str:
    """Return cause and hint on one line; in place of the contract's hint the command line's own, if any."""
    hint = failure.hint
    if hint == known_of(failure.reason).hint:
        hint = _HINTS.get(failure.reason, hint)
    return ConverterError(failure.reason, failure.stage, failure.cause, hint=hint).message
