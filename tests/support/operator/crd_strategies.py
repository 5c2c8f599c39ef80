"""Specs and other JSON for property tests, drawn from the CRD's own schema."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from modelconversion_api.crd import custom_resource_definition

Json = Any

_SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
)
anything: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
"""Any JSON."""

_URIS = st.sampled_from(
    [
        "s3://models/gesture.h5",
        "s3://models/net/",
        "s3://a.b/c d/ü.keras",
        "s3://models/../x",
        "http://x",
        "",
        "s3://m",
    ]
)
_NAMES = st.sampled_from(["default", "s3-credentials", "a", "x.y-z", "other/secret", "../x", "A"])


def of_schema(schema: dict[str, Any]) -> st.SearchStrategy[Json]:
    """Values that a structural schema describes; what its rules say on top is met now and then."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 64) | st.sampled_from(["500m", "2Gi", "1", "0"])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema)
    if kind == "array":
        low, high = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
        return st.lists(of_schema(schema["items"]), min_size=low, max_size=max(low, high))
    if kind == "integer":
        low = schema.get("minimum", -5)
        return st.integers(low, schema.get("maximum", low + 10**6))
    if kind == "number":
        return st.floats(0, 1)
    if kind == "boolean":
        return st.booleans()
    return _text(schema)


def _object(schema: dict[str, Any]) -> st.SearchStrategy[Json]:
    if isinstance(extra := schema.get("additionalProperties"), dict):
        keys = st.sampled_from(["disk", "cpu", "memory", "example.com/x"]) | st.text(max_size=8)
        return st.dictionaries(keys, of_schema(extra), max_size=3)
    fields = {name: of_schema(child) for name, child in schema.get("properties", {}).items()}
    required = schema.get("required", [])
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if any("s3://" in rule["rule"] for rule in schema.get("x-kubernetes-validations", ())):
        return _URIS
    if pattern := schema.get("pattern"):
        limit = schema.get("maxLength", 63)
        return _NAMES if "a-z0-9" in pattern else st.from_regex(pattern).filter(lambda t: len(t) <= limit)
    return st.text(max_size=min(schema.get("maxLength", 20), 20)) | st.sampled_from(
        ["0.98", "12.5", "AWS_KEY"]
    )


specs = of_schema(_SCHEMA["spec"])
"""Specs that the CRD's types accept, and its rules now and then."""
statuses = of_schema(_SCHEMA["status"])
"""Statuses as they could be stored."""
_BOARD = _SCHEMA["spec"]["properties"]["benchmark"]["properties"]["boards"]["items"]
boards = st.lists(
    st.builds(
        lambda board, name, labels: board | {"name": name, "nodeSelector": labels},
        of_schema(_BOARD),
        st.sampled_from(["pi5", "fast", "a"]),
        st.dictionaries(st.sampled_from(["board", "disk"]), st.just("x"), min_size=1),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda board: board["name"],
)
"""What spec.benchmark.boards may hold, with names and labels that nobody refuses."""


@st.composite
def mutated(draw: st.DrawFn, values: st.SearchStrategy[Json]) -> Json:
    """A value in which some places hold something else."""
    value = copy.deepcopy(draw(values))
    for _ in range(draw(st.integers(0, 3))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Json) -> Json:
    """``value`` with one thing in it replaced, removed or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        match draw(st.sampled_from(["deeper", "remove", "add"])):
            case "deeper":
                value[name] = _changed(draw, value[name])
            case "remove":
                del value[name]
            case _:
                value[draw(st.text(max_size=8))] = draw(anything)
        return value
    if isinstance(value, list) and value and draw(st.booleans()):
        index = draw(st.integers(0, len(value) - 1))
        value[index] = _changed(draw, value[index])
        return value
    return draw(anything)
