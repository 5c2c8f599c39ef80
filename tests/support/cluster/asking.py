"""What an API server would say to an object, asked without writing it.

One request over a connection that is open already, where kubectl starts a process and reads what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.errors import ApiError

Json = dict[str, Any]

_DRY_RUN = "dryRun=All&fieldValidation=Strict&fieldManager=asked"


def refusal_of_new(cluster: ControlPlane, body: Json) -> str:
    """Return why a ModelConversion cannot be created, with fields as strict as kubectl's; "" if it can."""
    return _refusal(lambda: cluster.api.create(f"{_collection(body)}?{_DRY_RUN}", body))


def refusal_of_change(cluster: ControlPlane, body: Json) -> str:
    """Return why a ModelConversion that is there cannot have this spec instead; "" if it can."""
    path = f"{_collection(body)}/{body['metadata']['name']}"
    changed = cluster.api.get(path) | {"spec": body["spec"]}
    return _refusal(lambda: cluster.api.replace(f"{path}?{_DRY_RUN}", changed))


def _collection(body: Json) -> str:
    return f"/apis/{body['apiVersion']}/namespaces/{body['metadata']['namespace']}/modelconversions"


def _refusal(ask: Callable[[], Json]) -> str:
    try:
        ask()
    except ApiError as error:
        return str(error)
    return ""
