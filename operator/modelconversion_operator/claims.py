"""Claims that a conversion reads from or writes to: mounted where that is done, and nowhere else.

The container that runs the model has none of them. What is only read is mounted so that nothing can write it,
and that the kubelet leaves its owners alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from modelconversion_api.request import CLAIM_ENV, CLAIMS_FOLDER
from modelconversion_api.uris import claim_of

_READS: Final = "fetch"
_WRITES: Final = "publish"


def with_claims(pod: dict[str, Any], reads: Iterable[str], output: str) -> dict[str, Any]:
    """Return a pod whose containers reach the claims of the URIs that they read and write."""
    read = {claim for uri in reads if (claim := claim_of(uri)) is not None}
    written = claim_of(output)
    claims = sorted(read | ({written} if written is not None else set()))
    if not claims:
        return pod
    volumes = [
        {
            "name": _volume(claims.index(claim)),
            "persistentVolumeClaim": {"claimName": claim, "readOnly": claim != written},
        }
        for claim in claims
    ]
    changed = {**pod, "volumes": [*pod["volumes"], *volumes]}
    if written is not None:
        # Without it, the kubelet gives every file of the claim to the pods' group, each time.
        changed["securityContext"] = pod["securityContext"] | {"fsGroupChangePolicy": "OnRootMismatch"}
    for kind in ("initContainers", "containers"):
        if kind in pod:
            changed[kind] = [_mounted(c, claims, read, written) for c in pod[kind]]
    return changed


def _mounted(
    container: dict[str, Any], claims: list[str], read: set[str], written: str | None
) -> dict[str, Any]:
    own: set[str] = set()
    if container["name"] == _READS:
        own = read
    elif container["name"] == _WRITES and written is not None:
        own = {written}
    if not own:
        return container
    found = [(number, claim) for number, claim in enumerate(claims) if claim in own]
    mounts = [
        {
            "name": _volume(number),
            "mountPath": f"{CLAIMS_FOLDER}/{claim}",
            "readOnly": container["name"] == _READS,
        }
        for number, claim in found
    ]
    variables = [
        {"name": f"{CLAIM_ENV}{number}", "value": f"{CLAIMS_FOLDER}/{claim}"} for number, claim in found
    ]
    return {
        **container,
        "volumeMounts": [*container["volumeMounts"], *mounts],
        "env": [*container["env"], *variables],
    }


def _volume(number: int) -> str:
    return f"claim-{number}"
