"""What a container sees: its environment variables, and its paths. Pure functions over the Pod's JSON."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from devcluster.errors import ContainerConfigError
from devcluster.process_node.pod_status import pod_ip

Json = dict[str, Any]
Lookup = Callable[[str, str], Json | None]
"""``lookup("secrets" or "configmaps", name)``: the object, or None where there is none."""

_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_SUFFIXES = {
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** n for n, suffix in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{suffix: Decimal(1024) ** n for n, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: unknown names stay, ``$$`` is a dollar sign."""
    return _VARIABLE.sub(
        lambda m: "$" if m[0] == "$$" else variables.get(m[1], m[0]),
        text,
    )


class PathMap:
    """Replaces paths of a container by folders of this machine.

    ``folders`` maps the container's paths (mount paths, the termination message's path) to folders. Only
    whole path components count: ``/work`` matches in ``/work/in.h5`` and ``--dir=/work``, not in
    ``/workshop`` or ``s3://bucket/work``. The longest path wins.
    """

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = {path.rstrip("/"): folder for path, folder in folders.items() if path.rstrip("/")}
        paths = "|".join(re.escape(path) for path in sorted(self._folders, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w./-])(?:{paths})(?![\w.-])") if paths else None

    def apply(self, text: str) -> str:
        """``text`` with every mapped path replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._folders[match[0]], text)


def container_environment(container: Json, pod: Json, lookup: Lookup, paths: PathMap) -> dict[str, str]:
    """Return the variables of ``envFrom`` and ``env``, expanded; paths are mapped in plain values only.

    Raises :class:`ContainerConfigError` when a Secret, ConfigMap or key is missing that is not optional.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        for kind, reference in (("secrets", "secretRef"), ("configmaps", "configMapRef")):
            if reference in source:
                data = _data(kind, source[reference], pod, lookup)
                variables |= {source.get("prefix", "") + key: value for key, value in data.items()}
    for entry in container.get("env", ()):
        if "valueFrom" in entry:
            value = _value_from(entry["valueFrom"], container, pod, lookup)
        else:
            value = paths.apply(expand(entry.get("value", ""), variables))
        if value is not None:
            variables[entry["name"]] = value
    return variables


def object_data(obj: Json) -> dict[str, bytes]:
    """Return the contents of a Secret or a ConfigMap."""
    if obj["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return binary | {key: value.encode() for key, value in (obj.get("data") or {}).items()}


def find_object(kind: str, name: str, optional: bool, lookup: Lookup) -> Json | None:
    """Return a Secret or ConfigMap; None where it is missing and may be."""
    obj = lookup(kind, name)
    if obj is None and not optional:
        raise ContainerConfigError(f'{kind.removesuffix("s")} "{name}" not found')
    return obj


def parse_quantity(text: str | float) -> Decimal:
    """Return a Kubernetes quantity as a number: ``500m`` is 0.5, ``2Gi`` is 2147483648."""
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)", str(text))
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a Kubernetes quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def pod_request(pod: Json, resource: str) -> Decimal:
    """Add up the CPU that a Pod asks for: the largest init container, or all containers together."""

    def request(container: Json) -> Decimal:
        return parse_quantity(container.get("resources", {}).get("requests", {}).get(resource, 0))

    spec = pod["spec"]
    largest = max((request(c) for c in spec.get("initContainers", ())), default=Decimal(0))
    return max(largest, sum((request(c) for c in spec["containers"]), Decimal(0)))


def _data(kind: str, reference: Json, pod: Json, lookup: Lookup) -> dict[str, str]:
    obj = find_object(kind, reference["name"], reference.get("optional", False), lookup)
    return {} if obj is None else {key: value.decode() for key, value in object_data(obj).items()}


def _value_from(source: Json, container: Json, pod: Json, lookup: Lookup) -> str | None:
    """Return the value that a ``valueFrom`` stands for; None where an optional one is missing."""
    for kind, field, title in (
        ("secrets", "secretKeyRef", "Secret"),
        ("configmaps", "configMapKeyRef", "ConfigMap"),
    ):
        if reference := source.get(field):
            data = _data(kind, reference, pod, lookup)
            if reference["key"] not in data and not reference.get("optional"):
                where = f"{pod['metadata']['namespace']}/{reference['name']}"
                raise ContainerConfigError(f"couldn't find key {reference['key']} in {title} {where}")
            return data.get(reference["key"])
    if "fieldRef" in source:
        return _field(source["fieldRef"]["fieldPath"], pod)
    if "resourceFieldRef" in source:
        return _resource(source["resourceFieldRef"], container)
    raise ContainerConfigError(f"this node does not know the environment source {', '.join(source)}")


def _field(path: str, pod: Json) -> str:
    if match := _KEYED_FIELD.fullmatch(path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    if path == "status.hostIP":
        return "127.0.0.1"
    if path == "status.podIP":
        return pod_ip(pod)
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _resource(reference: Json, container: Json) -> str:
    """Return a limit or request, rounded up in units of the divisor; ``0`` where the container sets none."""
    bound, _, resource = reference["resource"].partition(".")
    amount = parse_quantity(container.get("resources", {}).get(bound, {}).get(resource, 0))
    divisor = parse_quantity(reference.get("divisor") or 1) or Decimal(1)
    return str(math.ceil(amount / divisor))
