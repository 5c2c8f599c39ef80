"""What is said of pushed files, from their report."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from modelconversion_api.base import fraction
from modelconversion_api.fields.data import Task, Validation
from modelconversion_api.fields.recipes import Recipe, RecipeGates
from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from modelconversion_api.methods import Method
from modelconversion_api.reports.calibration import DataInfo, DataRole
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport, Evaluation
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.request import request_from_spec
from modelconversion_api.spec import ModelConversionSpec, SourceFormat
from modelconversion_api.status import SourceInfo
from support.operator.objects import spec
from tflite_converter.job.oci.statements import BILL, PROVENANCE, TEST_RESULT, Pushed, statements

DATA = {"calibration": "c" * 64, "calibration-labels": "d" * 64}
GATES = {"validation": Validation(min_agreement=fraction(0.9), max_accuracy_drop=fraction(0.02))}


def artifact(**changes: Any) -> ArtifactReport:
    usual: dict[str, Any] = {
        "method": Method.FLOAT16,
        "file_name": "person_float16.tflite",
        "size_bytes": 1000,
        "size_fraction": 0.5,
        "sha256": "a" * 64,
        "agreement": 0.995,
        "passed": True,
    }
    return ArtifactReport(**(usual | changes))


def verification(name: Verifier, outcome: VerificationOutcome) -> Verification:
    return Verification(name=name, outcome=outcome, proves="it runs", does_not_prove="that it is fast")


def said(*files: ArtifactReport, **changes: Any) -> list[tuple[str, dict[str, Any]]]:
    """Types and predicates of what is said of ``files``."""
    request = request_from_spec(ModelConversionSpec.model_validate(spec()), "uid/1")
    report = ConversionReport(
        request=request.model_copy(update=changes),
        source=SourceInfo(sha256="b" * 64, size_bytes=2000, format=SourceFormat.KERAS_H5),
        artifacts=files,
        evaluation=Evaluation(
            data=DataInfo(role=DataRole.RANDOM, samples=7, seed=0),
            task=Task.CLASSIFICATION,
            agreement_metric=AgreementMetric.TOP1,
        ),
        tool_versions={"ai-edge-litert": "2.1.0", "numpy": "2.2.0"},
    )
    pushed = Pushed("registry.example/edge/person", [f"sha256:{'e' * 64}"], files, DATA)
    assert [one.content for one in statements(pushed, report)] == [
        one.content for one in statements(pushed, report)
    ]
    found = []
    for one in statements(pushed, report):
        statement = json.loads(one.content)
        assert statement["predicateType"] == one.predicate_type
        assert statement["subject"][0] == {"name": pushed.repository, "digest": {"sha256": "e" * 64}}
        found.append((one.predicate_type, statement["predicate"]))
    return found


def test_each_file_has_a_test_result_beside_provenance_and_bill() -> None:
    other = artifact(method=Method.DYNAMIC_RANGE, file_name="person_dynamic_range.tflite")
    kinds = [kind for kind, _ in said(artifact(), other)]
    assert kinds == [PROVENANCE, TEST_RESULT, TEST_RESULT, BILL]


@pytest.mark.parametrize(
    ("outcomes", "result", "passed", "warned"),
    [
        ({}, "PASSED", [], []),
        ({"GPU": "Passed"}, "PASSED", ["verify:GPU"], []),
        ({"GPU": "NotVerified"}, "PASSED", [], []),
        ({"GPU": "Failed", "cortex-a72": "Passed"}, "WARNED", ["verify:cortex-a72"], ["verify:GPU"]),
    ],
)
def test_what_other_runtimes_said_is_passed_or_warned(
    outcomes: dict[str, str], result: str, passed: list[str], warned: list[str]
) -> None:
    checks = tuple(verification(Verifier(n), VerificationOutcome(o)) for n, o in outcomes.items())
    predicate = said(artifact(verifications=checks))[1][1]
    assert (predicate["result"], predicate["warnedTests"]) == (result, warned)
    assert predicate["passedTests"] == ["usable", *passed]


def test_a_recipe_is_held_against_gates_of_its_own() -> None:
    recipe = Recipe(name="own", base=Method.DYNAMIC_RANGE, gates=RecipeGates(min_agreement=fraction(0.5)))
    mine = artifact(recipe_name="own", file_name="person_own.tflite")
    tests = [what for kind, what in said(artifact(), mine, recipes=(recipe,), **GATES) if kind == TEST_RESULT]
    assert all("gate:minAgreement" in one["passedTests"] for one in tests)
    usual, own = (json.loads(base64.b64decode(one["configuration"][0]["content"])) for one in tests)
    assert usual == {"maxAccuracyDrop": 0.02, "minAgreement": 0.9}
    assert own == {"maxAccuracyDrop": 0.02, "minAgreement": 0.5}


def test_the_bill_is_one_by_its_schema_and_alike_each_time() -> None:
    recipe = artifact(recipe_name="own", file_name="person_own.tflite", snr_db=31.25, accuracy=0.5)
    bill = said(artifact(), recipe)[-1][1]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert bill["metadata"]["tools"]["components"][0] == {
        "type": "library",
        "name": "ai-edge-litert",
        "version": "2.1.0",
    }
    first, second = bill["components"]
    assert {p["name"]: p["value"] for p in first["properties"]} == {
        "edgeml.dev:method": "Float16",
        "edgeml.dev:format": "TFLite",
    }
    assert {"name": "edgeml.dev:recipe", "value": "own"} in second["properties"]
    metrics = second["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {m["type"]: m["value"] for m in metrics} == {
        "agreement": "0.995",
        "accuracy": "0.5",
        "snr_db": "31.25",
    }
    datasets = first["modelCard"]["modelParameters"]["datasets"]
    assert {d["name"]: d["contents"]["properties"][0]["value"] for d in datasets} == DATA


def test_no_way_to_a_store_is_told() -> None:
    provenance = said(artifact())[0][1]
    asked = provenance["buildDefinition"]["externalParameters"]
    assert "storage" not in asked
    assert asked["source"]["uri"].startswith("s3://")
    assert provenance["runDetails"]["metadata"] == {"invocationId": "uid/1"}
