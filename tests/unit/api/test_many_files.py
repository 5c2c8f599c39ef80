"""What a Job's termination message has of conversions with more files than it can tell all of."""

from __future__ import annotations

import random
from typing import Any

import pytest

from modelconversion_api.fields.compilation import EdgeTPUFigures, NPUFigures
from modelconversion_api.fields.compilers import MOST_SOCS, NPU_SOCS, NPUVendor
from modelconversion_api.fields.recipes import MAX_RECIPES
from modelconversion_api.fields.verification import VerificationFigures, VerificationOutcome, Verifier
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import (
    TERMINATION_MESSAGE_LIMIT,
    ArtifactSummary,
    ConversionSummary,
    RecommendedMethod,
    StageResult,
)
from modelconversion_api.reports.measurements import Latency
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import SourceInfo


def of_many_files(recipes: int, **more: Any) -> ConversionSummary:
    """All methods and some recipes, checked on every runtime, with figures that have nothing in common."""
    numbers = random.Random(1)  # noqa: S311 - figures for a test
    made_by = [(m, None) for m in Method] + [(Method.FULL_INTEGER, f"recipe-{n}") for n in range(recipes)]

    def share() -> float:
        return round(numbers.uniform(0.9, 1), 6)

    def check(name: Verifier) -> VerificationFigures:
        return VerificationFigures(
            name=name, outcome=numbers.choice([*VerificationOutcome]), agreement=share(), accuracy=share()
        )

    artifacts = tuple(
        ArtifactSummary(
            method=method,
            recipe_name=recipe,
            file_name=f"vision_{recipe or method.value}.tflite",
            size_bytes=numbers.randrange(1 << 22),
            size_fraction=round(numbers.random(), 4),
            sha256=numbers.randbytes(32).hex(),
            agreement=share(),
            accuracy=share(),
            snr_db=round(numbers.uniform(0, 80), 2),
            latency=Latency(
                median_millis=round(numbers.random(), 4),
                p90_millis=round(numbers.random(), 4),
                runs=50,
                threads=1,
            ),
            passed=numbers.random() < 0.7,
            min_runtime_version="2.3",
            verifications=tuple(map(check, Verifier)),
            **more,
        )
        for method, recipe in made_by
    )
    return ConversionSummary(
        source=SourceInfo(sha256="a" * 64, size_bytes=6 << 30, format=SourceFormat.SAVED_MODEL),
        artifacts=artifacts,
        recommended=RecommendedMethod(method=Method.FULL_INTEGER, recipe_name="recipe-0", reason="smallest"),
        stage_seconds={stage: round(numbers.uniform(0, 100), 3) for stage in Stage},
    )


@pytest.mark.parametrize("recipes", [2, MAX_RECIPES])
def test_every_file_of_many_has_its_verdict_and_its_digest_in_the_status(recipes):
    whole = of_many_files(recipes)
    text = StageResult(summary=whole).encode()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    found = StageResult.decode(text)
    assert found is not None
    assert found.summary is not None
    for before, after in zip(whole.artifacts, found.summary.artifacts, strict=True):
        assert after.is_as(before)
        assert (after.passed, after.sha256, after.size_bytes) == (
            before.passed,
            before.sha256,
            before.size_bytes,
        )
        assert after.agreement == pytest.approx(before.agreement, abs=1e-4)
        if recipes == 2:
            outcomes = [check.outcome for check in before.verifications]
            assert [check.outcome for check in after.verifications] == outcomes
        else:
            assert (after.message, after.verifications, after.latency) == ("see report.json", (), None)


def test_where_not_every_file_fits_the_recommended_one_does():
    longest = NPU_SOCS[NPUVendor.MEDIATEK][:MOST_SOCS]
    edge_tpu = EdgeTPUFigures(
        passed=False,
        compiled=False,
        operators=2**30,
        mapped_operators=2**29,
        predicted_operators=2**28,
        subgraphs=2**27,
        on_chip_bytes=2**33,
        off_chip_bytes=2**34,
        reason=max(FailureReason, key=len),
        message="\0" * 500,
    )
    chips = tuple(
        NPUFigures(
            passed=False,
            compiled=True,
            operators=2**30 - place,
            mapped_operators=2**29 - place,
            vendor=NPUVendor.MEDIATEK,
            soc=soc,
        )
        for place, soc in enumerate(longest)
    )
    whole = of_many_files(MAX_RECIPES, edge_tpu=edge_tpu, npu=chips, operators=2**31 - 1)
    text = StageResult(summary=whole).encode()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    found = StageResult.decode(text)
    assert found is not None
    assert found.summary is not None
    kept, more = found.summary.artifacts, len(whole.artifacts) - len(found.summary.artifacts)
    assert more > 0
    assert any(artifact.is_as(whole.recommended) for artifact in kept)
    assert {artifact.message for artifact in kept} == {f"{more} more files: see report.json"}
    assert sum(a.passed for a in kept) == min(len(kept), sum(a.passed for a in whole.artifacts))
