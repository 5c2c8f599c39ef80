"""The CustomResourceDefinitions, made from the contract's types."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .base import GROUP, KIND, PLURAL, SERVED_VERSIONS, VERSION, ApiModel, cel
from .channels import (
    CHANNEL_KIND,
    CHANNEL_NAME_MAX_LENGTH,
    CHANNEL_PLURAL,
    ModelChannelSpec,
    ModelChannelStatus,
)
from .fields.scheduling import JobSpec
from .profiles import PROFILE_PLURALS, ConversionProfileSpec
from .reports.descriptions import describe
from .sets import (
    SET_KIND,
    SET_NAME_MAX_LENGTH,
    SET_PLURAL,
    ModelConversionSetSpec,
    ModelConversionSetStatus,
)
from .spec import NAME_MAX_LENGTH, ModelConversionSpec
from .status import ModelConversionStatus
from .triggers import (
    TRIGGER_KIND,
    TRIGGER_NAME_MAX_LENGTH,
    TRIGGER_PLURAL,
    ModelConversionTriggerSpec,
    ModelConversionTriggerStatus,
)

_FREE_SPEC_FIELDS = frozenset({"suspend", "job"})
_FREE_JOB_FIELDS = frozenset({"ttl_seconds_after_finished"})

_COLUMNS: list[dict[str, Any]] = [
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Percent", "type": "integer", "jsonPath": ".status.progress.percent"},
    {"name": "Methods", "type": "string", "jsonPath": ".status.methods"},
    {"name": "Recommended", "type": "string", "jsonPath": ".status.recommended.name"},
    {"name": "Size", "type": "string", "jsonPath": ".status.recommended.size"},
    {"name": "Profile", "type": "string", "jsonPath": ".spec.profileRef.name", "priority": 1},
    {"name": "Duration", "type": "string", "jsonPath": ".status.duration", "priority": 1},
    {
        "name": "Reason",
        "type": "string",
        "jsonPath": ".status.conditions[?(@.type=='Succeeded')].reason",
        "priority": 1,
    },
    {
        "name": "Message",
        "type": "string",
        "jsonPath": ".status.conditions[?(@.type=='Succeeded')].message",
        "priority": 1,
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


_PROFILE_COLUMNS: list[dict[str, Any]] = [
    {"name": "Methods", "type": "string", "jsonPath": ".spec.methods"},
    {"name": "Target", "type": "string", "jsonPath": ".spec.target"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
_SET_COLUMNS: list[dict[str, Any]] = [
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Progress", "type": "string", "jsonPath": ".status.progress"},
    {"name": "Failed", "type": "integer", "jsonPath": ".status.failed"},
    {
        "name": "Message",
        "type": "string",
        "jsonPath": ".status.conditions[?(@.type=='Succeeded')].message",
        "priority": 1,
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
_READY_COLUMNS: list[dict[str, Any]] = [
    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"},
    {
        "name": "Message",
        "type": "string",
        "jsonPath": ".status.conditions[?(@.type=='Ready')].message",
        "priority": 1,
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
_TRIGGER_COLUMNS: list[dict[str, Any]] = [
    {"name": "Version", "type": "string", "jsonPath": ".status.version.sha256", "priority": 1},
    {"name": "Converted", "type": "string", "jsonPath": ".status.converted"},
    {"name": "Active", "type": "string", "jsonPath": ".status.active"},
    {"name": "Last look", "type": "date", "jsonPath": ".status.lastLookTime"},
    *_READY_COLUMNS,
]
_CHANNEL_COLUMNS: list[dict[str, Any]] = [
    {"name": "Released", "type": "string", "jsonPath": ".status.releases[0].conversion"},
    {"name": "File", "type": "string", "jsonPath": ".status.releases[0].name"},
    {"name": "Number", "type": "integer", "jsonPath": ".status.sequence"},
    {"name": "Approved by", "type": "string", "jsonPath": ".status.releases[0].approvedBy", "priority": 1},
    {"name": "Pointer", "type": "string", "jsonPath": ".status.pointerUri", "priority": 1},
    *_READY_COLUMNS,
]
_PROFILE_WORDS = {
    "ConversionProfile": "How models of a namespace are made ready for one kind of device.",
    "ClusterConversionProfile": "How models of all namespaces are made ready for one kind of device.",
}


def custom_resource_definitions() -> list[dict[str, Any]]:
    """Return every CRD as a Kubernetes object."""
    return [
        custom_resource_definition(),
        *map(_profile_definition, PROFILE_PLURALS),
        _set_definition(),
        _trigger_definition(),
        _channel_definition(),
    ]


def custom_resource_definition() -> dict[str, Any]:
    """Return the CRD of ModelConversion as a Kubernetes object."""
    schema = _object_schema(
        "Converts a trained model to TFLite artifacts for edge devices.",
        {"spec": ModelConversionSpec, "status": ModelConversionStatus},
    )
    schema["x-kubernetes-validations"] = _object_rules()
    names = {"kind": KIND, "plural": PLURAL, "shortNames": ["mconv"]}
    return _definition(names, "Namespaced", schema, _COLUMNS)


def _profile_definition(kind: str) -> dict[str, Any]:
    plural = PROFILE_PLURALS[kind]
    schema = _object_schema(_PROFILE_WORDS[kind], {"spec": ConversionProfileSpec})
    is_everywhere = kind.startswith("Cluster")
    names = {"kind": kind, "plural": plural, "shortNames": ["cmcprofile" if is_everywhere else "mcprofile"]}
    return _definition(names, "Cluster" if is_everywhere else "Namespaced", schema, _PROFILE_COLUMNS)


def _set_definition() -> dict[str, Any]:
    schema = _object_schema(
        "Converts several models for several kinds of devices, and compares what came of it.",
        {"spec": ModelConversionSetSpec, "status": ModelConversionSetStatus},
    )
    schema["x-kubernetes-validations"] = [_short_name(SET_NAME_MAX_LENGTH)]
    names = {"kind": SET_KIND, "plural": SET_PLURAL, "shortNames": ["mcset"]}
    return _definition(names, "Namespaced", schema, _SET_COLUMNS)


def _trigger_definition() -> dict[str, Any]:
    schema = _object_schema(
        "Looks at a model, and converts each new version of it once.",
        {"spec": ModelConversionTriggerSpec, "status": ModelConversionTriggerStatus},
    )
    schema["x-kubernetes-validations"] = [_short_name(TRIGGER_NAME_MAX_LENGTH)]
    # With every word of the two specs it would be larger than the annotation of `kubectl apply` may be.
    parts = schema["properties"]["spec"]["properties"]["template"]["properties"]
    for name, part in parts.items():
        parts[name] = without_words(part) | {"description": part["description"]}
    names = {"kind": TRIGGER_KIND, "plural": TRIGGER_PLURAL, "shortNames": ["mctrigger"]}
    return _definition(names, "Namespaced", schema, _TRIGGER_COLUMNS)


def _channel_definition() -> dict[str, Any]:
    schema = _object_schema(
        "Says which converted file devices are to run: a signed pointer in a store, moved by approval.",
        {"spec": ModelChannelSpec, "status": ModelChannelStatus},
    )
    schema["x-kubernetes-validations"] = [_short_name(CHANNEL_NAME_MAX_LENGTH)]
    names = {"kind": CHANNEL_KIND, "plural": CHANNEL_PLURAL, "shortNames": ["mchannel"]}
    return _definition(names, "Namespaced", schema, _CHANNEL_COLUMNS)


def without_words(schema: Any) -> Any:
    """Return a schema without the descriptions in it, which stand where the kind itself is described."""
    if isinstance(schema, list):
        return [without_words(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # A field may be called "description" too; then it is a schema, and no text.
    return {
        name: without_words(each)
        for name, each in schema.items()
        if name != "description" or not isinstance(each, str)
    }


def _short_name(length: int) -> dict[str, Any]:
    return cel(
        f"size(self.metadata.name) <= {length}",
        f"metadata.name must have at most {length} characters: the Job's name is built on it",
    )


def _object_schema(words: str, parts: dict[str, type[ApiModel]]) -> dict[str, Any]:
    for model in parts.values():
        describe(model)
    return {
        "type": "object",
        "description": words,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **{name: structural_schema(model.model_json_schema()) for name, model in parts.items()},
        },
    }


def _definition(
    names: dict[str, Any], scope: str, schema: dict[str, Any], columns: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    has_status = "status" in schema["properties"]
    # `kubectl explain` shows the newest version. With the same words in each, the object would be larger than
    # the annotation of `kubectl apply` may be.
    newest = SERVED_VERSIONS[-1]
    bare = without_words(schema) | {"description": schema["description"]}
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == VERSION,
            "schema": {"openAPIV3Schema": copy.deepcopy(schema) if name == newest else bare},
            **({"subresources": {"status": {}}} if has_status else {}),
            "additionalPrinterColumns": copy.deepcopy(columns),
        }
        for name in SERVED_VERSIONS
    ]
    kind, plural = names["kind"], names["plural"]
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": names["shortNames"],
        "categories": ["ml"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": scope, "names": names, "versions": versions},
    }


def _object_rules() -> list[dict[str, Any]]:
    """Rules over the whole object: its name, and what may change while it runs."""
    fields = [f"spec.{alias}" for alias in _aliases(ModelConversionSpec, _FREE_SPEC_FIELDS)]
    fields += [f"spec.job.{alias}" for alias in _aliases(JobSpec, _FREE_JOB_FIELDS)]
    # Optional selection (self.?field) would say this shorter, but its cost is estimated without limit.
    unchanged = [
        f"(has(self.{f}) ? has(oldSelf.{f}) && self.{f} == oldSelf.{f} : !has(oldSelf.{f}))" for f in fields
    ]
    return [
        _short_name(NAME_MAX_LENGTH),
        cel(
            "!has(oldSelf.status) || !has(oldSelf.status.phase)"
            " || !(oldSelf.status.phase in ['Pending', 'Running', 'Suspended']) || ("
            + " && ".join(unchanged)
            + ")",
            "spec cannot change while the conversion runs, but for suspend and job.ttlSecondsAfterFinished:"
            " wait until it has ended, or delete it and apply it again",
        )
        | {"fieldPath": ".spec"},
    ]


def _aliases(model: type[JobSpec] | type[ModelConversionSpec], free: frozenset[str]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items() if name not in free]


def structural_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a pydantic JSON schema as a structural one: references inlined, ``null`` and titles dropped."""
    return _structural(schema, schema.get("$defs", {}))


_DROPPED = frozenset(
    {"title", "$defs", "$ref", "anyOf", "allOf", "additionalProperties", "propertyNames", "const", "default"}
)


def _structural(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, defs)
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if out.get("x-kubernetes-int-or-string"):
        out["anyOf"] = node["anyOf"]
        return out
    if isinstance(extra := node.get("additionalProperties"), dict):
        out["additionalProperties"] = _structural(extra, defs)
    if "properties" in node:
        out["properties"] = {name: _structural(child, defs) for name, child in node["properties"].items()}
    if "items" in node:
        out["items"] = _structural(node["items"], defs)
    if "const" in node:
        out |= {"type": "string", "enum": [node["const"]]}
    if out.get("type") == "integer":
        out["format"] = "int64"
    if (default := node.get("default")) is not None and default != []:
        # An object's default is {}: its fields bring their own, so that they are written once.
        out["default"] = {} if isinstance(default, dict) else default
    return out


def _resolved(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """``node`` with references and "or null" replaced by what they stand for; the node's own words win."""
    while "$ref" in node or "anyOf" in node or "allOf" in node:
        if node.get("x-kubernetes-int-or-string"):
            return node
        own = {k: v for k, v in node.items() if k not in ("$ref", "anyOf", "allOf")}
        if "$ref" in node:
            base = defs[node["$ref"].rsplit("/", 1)[-1]]
        else:
            (base,) = [n for n in node.get("anyOf", []) + node.get("allOf", []) if n != {"type": "null"}]
        node = {**base, **own}
    return node
