"""The line on the terminal about a run on another runtime."""

from __future__ import annotations

import pytest

from modelconversion_api.verification import Verification
from tflite_converter.console.verifications import verification_words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"outcome": "Passed", "agreement": 0.9875, "accuracy": 0.9, "samples": 80, "memory_bytes": 2048},
            "passed, agreement 98.8% on 80 samples, accuracy 90.0%, 2.0KiB of memory",
        ),
        ({"outcome": "Failed", "message": "no kernel for GELU"}, "failed: no kernel for GELU"),
        ({"outcome": "NotVerified", "message": "not installed"}, "not verified: not installed"),
        ({"outcome": "Failed", "message": "a\x1b[31mb"}, "failed: a\N{REPLACEMENT CHARACTER}[31mb"),
    ],
)
def test_words(fields: dict[str, object], words: str) -> None:
    check = Verification.model_validate(
        {"name": "Microcontroller", "proves": "x", "does_not_prove": "y", **fields}
    )
    assert verification_words(check) == words
