"""Gates and recommendation as tables."""

from __future__ import annotations

import pytest

from modelconversion_api.methods import Method, Target
from modelconversion_api.report import ArtifactReport
from modelconversion_api.data import Validation
from tflite_converter.gates import Gates, recommend

F32, DR, F16, INT8 = Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FLOAT16, Method.FULL_INTEGER


def artifact(method: Method, size: int, agreement: float = 1.0, *, passed: bool = True) -> ArtifactReport:
    return ArtifactReport(
        method=method,
        file_name=method.file_name("m"),
        size_bytes=size,
        size_fraction=size / 1000,
        sha256="0" * 64,
        agreement=agreement,
        passed=passed,
    )


@pytest.mark.parametrize(
    ("gates", "agreement", "accuracy", "missed"),
    [
        (Gates(), 0.0, None, 0),
        (Gates(max_accuracy_drop=0.02), 1.0, 0.93, 0),
        (Gates(max_accuracy_drop=0.02), 1.0, 0.9299, 1),
        (Gates(max_accuracy_drop=0.0), 1.0, 0.97, 0),
        (Gates(max_accuracy_drop=0.02), 1.0, None, 1),
        (Gates(min_agreement=0.98), 0.98, None, 0),
        (Gates(min_agreement=0.98), 0.9799, None, 1),
        (Gates(0.02, 0.98), 0.5, 0.5, 2),
    ],
)
def test_gates(gates: Gates, agreement: float, accuracy: float | None, missed: int) -> None:
    """The original's accuracy is 0.95."""
    found = gates.missed(agreement=agreement, accuracy=accuracy, original_accuracy=0.95)
    assert len(found) == missed


def test_gates_come_from_the_request() -> None:
    asked = Validation(uri="s3://bucket/x.npy", labels_uri="s3://bucket/y.npy", max_accuracy_drop="0.02")
    assert Gates.from_validation(asked) == Gates(max_accuracy_drop=0.02)
    assert Gates.from_validation(None) == Gates()


ALL = [artifact(F32, 100), artifact(DR, 27), artifact(F16, 50), artifact(INT8, 25, 0.97)]


@pytest.mark.parametrize(
    ("artifacts", "target", "method"),
    [
        (ALL, None, DR),
        ([artifact(F32, 100), artifact(INT8, 25, 0.98)], None, INT8),
        ([artifact(DR, 27, 0.9), artifact(INT8, 25, 0.8)], None, DR),
        ([artifact(F32, 100), artifact(INT8, 25, passed=False)], None, F32),
        ([artifact(INT8, 25, passed=False)], None, None),
        ([artifact(INT8, 25, 0.97), artifact(DR, 27)], Target.RASPBERRY_PI, INT8),
        ([artifact(INT8, 25, passed=False), artifact(DR, 27)], Target.RASPBERRY_PI, DR),
        ([artifact(DR, 27)], Target.RASPBERRY_PI, DR),
        ([artifact(F16, 50), artifact(DR, 27)], Target.MOBILE, DR),
        ([artifact(INT8, 25, passed=False)], Target.EDGE_TPU, None),
    ],
)
def test_recommendation(
    artifacts: list[ArtifactReport], target: Target | None, method: Method | None
) -> None:
    found = recommend(artifacts, target)
    assert (found and found.method) == method
    assert found is None or found.reason
