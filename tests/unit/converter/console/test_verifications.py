"""The line on the terminal about a run on another runtime."""

from __future__ import annotations

import pytest

from modelconversion_api.fields.verification import Verification
from tflite_converter.console.verifications import verification_words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"outcome": "Passed", "agreement": 0.9875, "accuracy": 0.9, "samples": 80, "memory_bytes": 2048},
            "passed, agreement 98.8% on 80 samples, accuracy 90.0%, 2.0KiB of memory",
        ),
        (
            {
                "outcome": "Passed",
                "agreement": 1,
                "samples": 64,
                "identical": False,
                "largest_difference": 0.000123,
                "fallback_operators": 2,
                "fallbacks": ["ATAN2: Operation is not supported", "CUMSUM: Operation is not supported"],
            },
            (
                "passed, agreement 100.0% on 64 samples, at most 0.00012 from LiteRT here, 2 operators left"
                " to the CPU: ATAN2: Operation is not supported; CUMSUM: Operation is not supported"
            ),
        ),
        (
            {"outcome": "Passed", "identical": True, "fallback_operators": 0},
            "passed, identical to LiteRT here, all operators on it",
        ),
        ({"outcome": "Passed", "identical": False}, "passed, other values than LiteRT here"),
        ({"outcome": "Passed", "fallback_operators": 1}, "passed, 1 operator left to the CPU"),
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
