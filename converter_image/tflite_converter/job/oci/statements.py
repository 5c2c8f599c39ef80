"""What is said of pushed files: statements in in-toto's form. Pure, and the same for the same report.

https://github.com/in-toto/attestation/blob/main/spec/v1/README.md. The digests are those that ``publish`` has
computed and ``fetch`` has recorded; the figures are the report's.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelconversion_api.base import Sha256
from modelconversion_api.fields.recipes import OfMethod
from modelconversion_api.fields.verification import VerificationOutcome
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from tflite_converter.job.oci.content import Json, written
from tflite_converter.measuring.gates import Gates

STATEMENT_TYPE: Final = "application/vnd.in-toto+json"
"""Of a statement that nobody has signed, and of the payload of an envelope."""
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
BILL: Final = "https://cyclonedx.org/bom"
_FIGURES: Final = "https://edgeml.dev/figures/v1alpha1"
"""An extension of a test result, by the URI that such fields have for a name."""
SIGNED_TYPES: Final = {
    PROVENANCE: "application/vnd.in-toto.provenance+dsse",
    TEST_RESULT: "application/vnd.in-toto.test-result+dsse",
    BILL: "application/vnd.in-toto.cyclonedx+dsse",
}
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://edgeml.dev/")
_MEASURED: Final = ("agreement", "accuracy", "snr_db")
_SHA256: Final = "edgeml.dev:sha256"
_METHOD: Final = "edgeml.dev:method"


@dataclass(frozen=True)
class Statement:
    """A statement about pushed files."""

    name: str
    """Of its file, without the ending."""
    predicate_type: str
    content: bytes

    @property
    def signed_type(self) -> str:
        """What it is in an envelope, by in-toto's convention for where they are kept."""
        return SIGNED_TYPES[self.predicate_type]


@dataclass(frozen=True)
class Pushed:
    """What the statements are about."""

    repository: str
    manifests: Sequence[str]
    """By their digests, as registries write them."""
    files: Sequence[ArtifactReport]
    """Those that are in each of the manifests."""
    data: Mapping[str, Sha256]
    """Digests of the data that were fetched, by what they were for."""


def statements(pushed: Pushed, report: ConversionReport) -> list[Statement]:
    """Return where the files come from, how each has done in its tests, and what they were made of."""
    tests = [_test_result(file, pushed, report) for file in pushed.files]
    return [_provenance(pushed, report), *tests, _bill(pushed, report)]


def _statement(name: str, subjects: Sequence[Json], predicate_type: str, predicate: Json) -> Statement:
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": list(subjects),
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return Statement(name, predicate_type, written(document))


def _subjects(pushed: Pushed, files: Sequence[ArtifactReport]) -> list[Json]:
    digests = [digest.removeprefix("sha256:") for digest in pushed.manifests]
    return [
        *({"name": pushed.repository, "digest": {"sha256": digest}} for digest in digests),
        *({"name": file.file_name, "digest": {"sha256": file.sha256}} for file in files),
    ]


def _provenance(pushed: Pushed, report: ConversionReport) -> Statement:
    """Return SLSA's predicate, https://slsa.dev/spec/v1.0/provenance."""
    request = report.request
    source: Json = {"digest": {"sha256": report.source.sha256}}
    predicate: Json = {
        "buildDefinition": {
            "buildType": "https://edgeml.dev/conversion/v1alpha1",
            "externalParameters": {} if request is None else _asked(report),
            "resolvedDependencies": [
                source | ({} if request is None else {"uri": request.source.uri}),
                *({"name": name, "digest": {"sha256": sha256}} for name, sha256 in pushed.data.items()),
            ],
        },
        "runDetails": {
            "builder": {"id": "https://edgeml.dev/converter", "version": dict(report.tool_versions)},
            "metadata": {} if request is None or request.run is None else {"invocationId": request.run},
        },
    }
    return _statement("provenance", _subjects(pushed, report.artifacts), PROVENANCE, predicate)


def _asked(report: ConversionReport) -> Json:
    """Return what was asked for, without how the stores are reached."""
    assert report.request is not None  # noqa: S101 - the caller has looked
    return {name: value for name, value in report.request.to_wire().items() if name not in ("storage", "run")}


def _test_result(file: ArtifactReport, pushed: Pushed, report: ConversionReport) -> Statement:
    """Return in-toto's predicate: of a file that is pushed, no gate is missed.

    https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
    """
    gates = _gates(file, report)
    passed = ["usable", *(f"gate:{name}" for name in gates)]
    passed += [f"compile:{name}" for name, figures in file.accelerators if figures.passed]
    outcomes = {check.name.value: check.outcome for check in file.verifications}
    passed += [f"verify:{name}" for name, came in outcomes.items() if came is VerificationOutcome.PASSED]
    warned = [f"verify:{name}" for name, came in outcomes.items() if came is VerificationOutcome.FAILED]
    content = written(gates)
    predicate: Json = {
        "result": "WARNED" if warned else "PASSED",
        "configuration": [
            {
                "name": "gates",
                "mediaType": "application/json",
                "content": base64.b64encode(content).decode(),
                "digest": {"sha256": hashlib.sha256(content).hexdigest()},
            },
            *({"name": name, "digest": {"sha256": sha256}} for name, sha256 in pushed.data.items()),
        ],
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": [],
        _FIGURES: _figures(file, report),
    }
    name = f"test-result-{file.file_name.removesuffix('.tflite')}"
    return _statement(name, _subjects(pushed, [file]), TEST_RESULT, predicate)


def _gates(file: ArtifactReport, report: ConversionReport) -> Json:
    """Return the gates that were set for a file, with their values."""
    request = report.request
    if request is None:
        return {}
    own = {recipe.name: recipe.gates for recipe in request.recipes}.get(file.recipe_name or "")
    gates = Gates.from_validation(request.validation).of_recipe(own)
    named = {
        "maxAccuracyDrop": gates.max_accuracy_drop,
        "minAccuracy": gates.min_accuracy,
        "minAgreement": gates.min_agreement,
        "maxSizeBytes": gates.max_size_bytes,
        "maxLatencyMillis": gates.max_latency_millis,
        "floor": gates.floor,
    }
    return {name: value for name, value in named.items() if value is not None}


def _figures(file: ArtifactReport, report: ConversionReport) -> Json:
    evaluation = report.evaluation
    wire = file.to_wire()
    names = ("sizeBytes", "agreement", "accuracy", "snrDb", "latency", "synthetic")
    return {name: wire[name] for name in names if name in wire} | {
        "agreementMetric": evaluation.agreement_metric.value,
        "data": evaluation.data.role.value,
        "samples": evaluation.data.samples,
    }


def _bill(pushed: Pushed, report: ConversionReport) -> Statement:
    """Return a bill of materials with a model card for each file, https://cyclonedx.org/docs/1.6/json."""
    seed = "\n".join([report.source.sha256, *(file.sha256 for file in pushed.files)])
    tools = sorted(report.tool_versions.items())
    bill: Json = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, seed)}",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [
                    {"type": "library", "name": name, "version": version} for name, version in tools
                ]
            }
        },
        "components": [_component(file, pushed, report) for file in pushed.files],
    }
    return _statement("sbom", _subjects(pushed, pushed.files), BILL, bill)


def _component(file: ArtifactReport, pushed: Pushed, report: ConversionReport) -> Json:
    name = file.file_name.removesuffix(".tflite") if report.request is None else report.request.base_name
    source = report.source
    return {
        "type": "machine-learning-model",
        "bom-ref": file.file_name,
        "name": file.file_name,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "properties": [{"name": _METHOD, "value": file.method.value}, *_recipe(file), *_format("TFLite")],
        "pedigree": {
            "ancestors": [
                {
                    "type": "machine-learning-model",
                    "name": name,
                    # Of a folder it is a digest over its files' digests, and so no hash of something.
                    "properties": [{"name": _SHA256, "value": source.sha256}, *_format(source.format.value)],
                }
            ]
        },
        "modelCard": {
            "modelParameters": {
                "task": report.evaluation.task.value,
                "datasets": [
                    {
                        "type": "dataset",
                        "name": purpose,
                        "contents": {"properties": [{"name": _SHA256, "value": sha256}]},
                    }
                    for purpose, sha256 in pushed.data.items()
                ],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {"type": metric, "value": f"{value:g}"}
                    for metric in _MEASURED
                    if (value := getattr(file, metric)) is not None
                ]
            },
        },
    }


def _format(name: str) -> list[Json]:
    return [{"name": "edgeml.dev:format", "value": name}]


def _recipe(made_by: OfMethod) -> list[Json]:
    recipe = made_by.recipe_name
    return [] if recipe is None else [{"name": "edgeml.dev:recipe", "value": recipe}]
