"""Writes the reference of the resource: ``python -m devcluster.generated.api_reference [--check]``.

Types, limits, defaults and words are those of the CRD; the examples are from a list here, which the tests
hold against the contract.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from devcluster.cache import REPOSITORY
from devcluster.programs import generate
from modelconversion_api.base import GROUP, KIND
from modelconversion_api.channels import CHANNEL_KIND
from modelconversion_api.crd import custom_resource_definitions, without_words
from modelconversion_api.sets import SET_KIND
from modelconversion_api.triggers import TRIGGER_KIND

PAGE: Final = REPOSITORY / "docs" / "API.md"
_HEAD: Final = f"""# API reference

Every field of `{GROUP}/v1beta1`, generated from the CRD; `v1alpha1` has the same. `kubectl explain
modelconversion.spec` says so in a terminal. Each field of the spec has an example; whole resources are in the
[README](../README.md) and among the [examples](../examples/gesture-classifier.yaml).

Kinds: [{KIND}](#spec), [ConversionProfile and ClusterConversionProfile](#conversionprofilespec),
[ModelConversionSet](#modelconversionsetspec),
[ModelConversionTrigger](#modelconversiontriggerspec), [ModelChannel](#modelchannelspec).

## What may still change

Within `v1beta1` fields come, and none goes or changes its meaning, but for `benchmark.boards`, `npu`,
`verifyOn`, `huggingFace`, profiles, sets, triggers and channels, which are new: a change of these stands in
the [changelog](../CHANGELOG.md) under *Changed*, with what to do about it. What is refused may become less,
and what is filled in by default stays. Reasons, events and metrics may become more. `v1alpha1` goes in a
later release, which says so two releases before; how stored resources are taken over is in
[INSTALL.md](INSTALL.md#versions-of-the-resource).
"""
_NOT_HERE: Final = {
    "affinity": "As in a pod: `kubectl explain pod.spec.affinity`, within the policy on nodes."
}
"""Objects that Kubernetes defines, and where it says what is in them."""

EXAMPLES: Final[Mapping[str, Any]] = {
    "from.kind": "ModelConversionTrigger",
    "from.name": "nightly",
    "from.profile": "doorbell-v2",
    "from.model": "gesture",
    "promotion": "Automatic",
    "metrics[].name": "business",
    "metrics[].image": f"registry.example/metrics@sha256:{'0' * 64}",
    "metrics[].command": ["/usr/bin/python3", "/business.py"],
    "metrics[].min": "0.9",
    "metrics[].max": "0.1",
    "metrics[].maxDrop": "0.02",
    "mlflow.uri": "https://mlflow.example.com",
    "mlflow.model": "gesture-edge",
    "mlflow.experiment": "edge",
    "mlflow.alias": "candidate",
    "mlflow.secretRef.name": "mlflow-login",
    "release.approvedBy": "alice@example.com",
    f"{CHANNEL_KIND}.spec.output.uri": "s3://devices/gesture/stable/",
    "source.uri": "s3://models/gesture.h5",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "source.format": "ONNX",
    "source.inputs[].name": "image",
    "shape": [1, 96, 96, 3],
    "signature": "serving_default",
    "output.uri": "s3://models/converted/gesture/",
    "cache.uri": "s3://models/cache/",
    "schedule.cron": "0 3 * * 1-5",
    "webhook.secretRef.name": "store-webhook",
    "schedule.timeZone": "Europe/Berlin",
    "verify.publicKey": "-----BEGIN PUBLIC KEY-----\\n...",
    "verify.signatureUri": "s3://models/signatures/gesture.sig",
    "signing.secretRef.name": "signing-key",
    "oci.repository": "registry.example.com/edge/gesture",
    "oci.tag": "{version}",
    "oci.formats": ["Image"],
    "oci.secretRef.name": "registry-logins",
    "endpoint": "https://minio.storage.svc:9000",
    "region": "eu-central-1",
    "caBundle": "-----BEGIN CERTIFICATE-----\\n...",
    "storage.secretRef.name": "s3-credentials",
    "googleCloud.endpoint": "https://storage-ours.p.googleapis.com",
    "googleCloud.secretRef.name": "google-credentials",
    "azure.account": "mymodels",
    "azure.endpoint": "https://mymodels.privatelink.blob.core.windows.net",
    "azure.secretRef.name": "azure-credentials",
    "storage.oci.secretRef.name": "registry-logins",
    "methods": ["DynamicRange", "FullInteger"],
    "target": "RaspberryPi",
    "recipes[].name": "first-layer-in-float",
    "algorithm": "OCTAV",
    "match": "^conv1/",
    "precision": "Float32",
    "rules.uri": "s3://models/recipe.json",
    "maxAccuracyDrop": "0.02",
    "minAccuracy": "0.35",
    "minAgreement": "0.98",
    "detection.decoder": "YOLOv8",
    "detection.firstCategory": 1,
    "ignoreLabel": 255,
    "maxSizeBytes": 300000,
    "maxLatencyMillis": "5",
    "calibration.uri": "s3://models/val_features.npy",
    "labelsUri": "s3://models/val_labels.npy",
    "labelColumn": "gesture",
    "scaling": "ZeroToOne",
    "sampleRate": 16000,
    "clipMillis": 1000,
    "features": "MFCC",
    "frameLength": 480,
    "frameStep": 320,
    "fftLength": 512,
    "numMelBins": 40,
    "lowerEdgeHertz": 20,
    "upperEdgeHertz": 4000,
    "numMfccs": 13,
    "validation.uri": "s3://models/test_features.npy",
    "task": "Classification",
    "floor": "0.5",
    "boards[].name": "pi5",
    "nodeSelector": {"edgeml.dev/board": "raspberry-pi-5"},
    "tolerations[].key": "edgeml.dev/board",
    "operator": "Exists",
    "tolerations[].value": "pi5",
    "effect": "NoSchedule",
    "tolerationSeconds": 300,
    "requests": {"cpu": "1", "memory": "2Gi"},
    "limits": {"memory": "4Gi"},
    "objective": "FastestThatPasses",
    "try": ["DynamicRange", "Float16"],
    "training.uri": "s3://models/train_features.npy",
    "learningRate": "0.001",
    "targetSparsity": "0.5",
    "studentUri": "s3://models/small.keras",
    "width": "0.5",
    "minRuntimeVersion": 14,
    "minMappedFraction": "0.95",
    "boards[].accelerator": "GPU",
    "ethosU.accelerator": "ethos-u55-128",
    "systemConfig": "Ethos_U55_High_End_Embedded",
    "memoryMode": "Shared_Sram",
    "arenaCacheBytes": 262144,
    "maxArenaBytes": 262144,
    "vendor": "Intel",
    "socs": ["CPU"],
    "minDelegatedFraction": "0.9",
    "maxPartitions": 2,
    "verifyOn": ["Microcontroller", "GPU"],
    "huggingFace.secretRef.name": "hub-token",
    "serviceAccountName": "model-converter",
    "priorityClassName": "batch-low",
    "imagePullSecrets[].name": "registry",
    "profileRef.name": "doorbell-v2",
    "className": "edge",
    "models[].name": "person-detector",
    "profiles[].name": "doorbell-v2",
}
"""By the end of the path; the longest that fits counts. Fields with a default have that as their example."""


def example(path: str, schema: Mapping[str, Any]) -> Any:
    """Return an example of a field.

    Raises:
        KeyError: There is none: add one above.

    """
    ends = [end for end in EXAMPLES if path == end or path.endswith(f".{end}")]
    if ends:
        return EXAMPLES[max(ends, key=len)]
    if "default" in schema:
        return schema["default"]
    raise KeyError(path)


def leaves(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each field that is no object of the contract, with its path and schema."""
    for name, field in _fields(schema).items():
        below = f"{path}.{name}" + ("[]" if _is_list_of_objects(field) else "")
        if name in _NOT_HERE:
            continue
        if _fields(field):
            yield from leaves(field, below)
        else:
            yield below, field


def page() -> str:
    """Return the whole page."""
    properties = properties_of(KIND)
    rows = [_HEAD]
    for part in ("spec", "status"):
        rows += _object(part, properties[part], with_examples=part == "spec")
    told = {name: (field, _anchor(name)) for name, field in _objects(properties["spec"], "spec")}
    rows += _object("ConversionProfile.spec", properties_of("ConversionProfile")["spec"], told=told)
    of_conversion = dict(told)
    of_set = properties_of(SET_KIND)
    told |= {name.replace("spec.", "spec.models[].", 1): known for name, known in told.items()}
    rows += _object(f"{SET_KIND}.spec", of_set["spec"], told=told)
    rows += _object(f"{SET_KIND}.status", of_set["status"], with_examples=False)
    of_trigger = properties_of(TRIGGER_KIND)
    told = {
        name.replace("spec.", f"spec.template.{part}.", 1): known
        for name, known in told.items()
        for part in ("conversion", "set")
    }
    told["spec.template.conversion"] = (properties["spec"], _anchor("spec"))
    told["spec.template.set"] = (of_set["spec"], _anchor(f"{SET_KIND}.spec"))
    rows += _object(f"{TRIGGER_KIND}.spec", of_trigger["spec"], told=told)
    rows += _object(f"{TRIGGER_KIND}.status", of_trigger["status"], with_examples=False)
    of_channel = properties_of(CHANNEL_KIND)
    rows += _object(f"{CHANNEL_KIND}.spec", of_channel["spec"], told=of_conversion)
    rows += _object(f"{CHANNEL_KIND}.status", of_channel["status"], with_examples=False)
    return "\n".join(rows).rstrip() + "\n"


def properties_of(kind: str) -> Mapping[str, Any]:
    """Return the schemas of what a kind consists of."""
    (crd,) = (crd for crd in custom_resource_definitions() if crd["spec"]["names"]["kind"] == kind)
    found: Mapping[str, Any] = crd["spec"]["versions"][-1]["schema"]["openAPIV3Schema"]["properties"]
    return found


def _objects(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each object of the contract with its path."""
    for name, field in _fields(schema).items():
        if _fields(field) and name not in _NOT_HERE:
            below = f"{path}.{name}" + ("[]" if _is_list_of_objects(field) else "")
            yield below, field
            yield from _objects(field, below)


def _object(
    path: str,
    schema: Mapping[str, Any],
    *,
    with_examples: bool = True,
    told: Mapping[str, tuple[Mapping[str, Any], str]] | None = None,
) -> Iterator[str]:
    """Yield the section of an object, and those of the objects in it, but for those that are ``told``.

    These are objects by their paths, with the anchors of their sections.
    """
    yield f"## {path}\n"
    source = schema.get("items", schema) if schema.get("type") == "array" else schema
    if schema.get("description"):
        yield f"{_words(schema['description'])}\n"
    columns = ["field", "type", "default", *(["example"] if with_examples else []), "what it is"]
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join('---' for _ in columns)} |"
    required = source.get("required", [])
    objects = []
    for name, field in _fields(schema).items():
        below = f"{path}.{name}" + ("[]" if _is_list_of_objects(field) else "")
        has_section = bool(_fields(field)) and name not in _NOT_HERE
        same, anchor = (told or {}).get(f"spec.{below.partition('.spec.')[2]}", ({}, ""))
        is_told = without_words(_fields(same)) == without_words(_fields(field))
        if has_section and not is_told:
            objects.append((below, field))
        cells = [
            f"[`{name}`](#{anchor if is_told else _anchor(below)})" if has_section else f"`{name}`",
            _type(field),
        ]
        cells.append("required" if name in required else _default(field))
        if with_examples:
            shown = "" if has_section or name in _NOT_HERE else f"`{_yaml(example(below, field))}`"
            cells.append(shown)
        cells.append(_NOT_HERE.get(name) or _words(field.get("description", "")))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""
    rules = source.get("x-kubernetes-validations", [])
    if rules:
        yield "Refused at `kubectl apply`:\n"
        yield from (f"- {_words(rule['message'])}" for rule in rules)
        yield ""
    for below, field in objects:
        yield from _object(below, field, with_examples=with_examples, told=told)


def _fields(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of an object, or of the objects in a list."""
    source = schema.get("items", {}) if schema.get("type") == "array" else schema
    found: Mapping[str, Any] = source.get("properties", {})
    return found


def _is_list_of_objects(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" and bool(_fields(schema))


def _type(schema: Mapping[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if values := schema.get("enum"):
        return "one of " + ", ".join(f"`{value}`" for value in values)
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if schema.get("additionalProperties"):
        return "map"
    limits = ", ".join(
        f"{word} {schema[key]:,}"
        for key, word in (("minimum", "at least"), ("maximum", "at most"))
        if key in schema
    )
    return f"{schema.get('type', 'any')}{f', {limits}' if limits else ''}"


def _default(schema: Mapping[str, Any]) -> str:
    has_value = "default" in schema and schema["default"] not in ({}, [])
    return f"`{_yaml(schema['default'])}`" if has_value else ""


def _yaml(value: Any) -> str:
    """Return a value as YAML in one line: texts that look like numbers keep their quotes."""
    if isinstance(value, str) and not value[:1].isdigit() and value not in ("true", "false", "null", ""):
        return value
    return json.dumps(value, ensure_ascii=False)


def _words(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _anchor(path: str) -> str:
    """Return what a forge calls the heading of an object."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "-_")


def main() -> int:
    """Write the page; with ``--check`` only say whether it is up to date."""
    return generate(
        lambda: {PAGE: page()},
        program="devcluster.generated.api_reference",
        words="Write the reference of the resource.",
        source="the contract",
    )


if __name__ == "__main__":
    sys.exit(main())
