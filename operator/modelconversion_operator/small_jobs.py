"""Small Jobs: one container that reads, writes or signs for an object of ours, and runs no model's code.

Each is the Job of a conversion that would do as much, cut down to that container: what such a conversion may
not, it may not either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from modelconversion_api.fields.scheduling import JobSpec, Resources
from modelconversion_api.reports.conversion import StageResult
from modelconversion_operator.deciding.failures import failure_of_job
from modelconversion_operator.deciding.views import UID_LABEL, JobView, Key, PodView, owner_reference

LOOKED_AFTER_SECONDS: Final = 5.0
"""How often a small Job under way is looked after: no watch speaks of it."""
_LONGEST_SECONDS: Final = 1800
_KEPT_SECONDS: Final = 3600
"""How long it stays, for an operator that was down meanwhile."""
_SMALL: Final = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "1Gi"})

T = TypeVar("T")


def small(job: JobSpec) -> JobSpec:
    """Return how a small Job runs, where a conversion's would run like this."""
    return job.model_copy(
        update={
            "resources": _SMALL,
            "active_deadline_seconds": _LONGEST_SECONDS,
            "ttl_seconds_after_finished": _KEPT_SECONDS,
        }
    )


def with_one_container(manifest: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """Return a conversion's Job with this container alone, which has the name of one of the Job's own."""
    job = manifest["spec"]
    pod = job["template"]["spec"]
    pod.pop("initContainers")
    pod["containers"] = [container]
    name = container["name"]
    job["podFailurePolicy"]["rules"] = [
        rule
        for rule in job["podFailurePolicy"]["rules"]
        if rule.get("onExitCodes", {}).get("containerName", name) == name
    ]
    job["ttlSecondsAfterFinished"] = _KEPT_SECONDS
    return manifest


def belonging(manifest: dict[str, Any], name: str, kind: str, owner: Key, label: str) -> dict[str, Any]:
    """Return a Job that belongs to an object of ours, which ``label`` names, and to no conversion."""
    for meta in (manifest["metadata"], manifest["spec"]["template"]["metadata"]):
        meta["labels"] = {key: value for key, value in meta["labels"].items() if key != UID_LABEL}
        meta["labels"][label] = owner.name
    manifest["metadata"] |= {"name": name, "ownerReferences": [owner_reference(kind, owner)]}
    return manifest


@dataclass(frozen=True, slots=True)
class JobSeen(Generic[T]):
    """A small Job under way, or ended."""

    job: JobView
    found: T | None = None
    """What it says, once it has ended well."""
    reason: str = ""
    """Why it says nothing, in one word and for people."""
    words: str = ""


def job_seen(job: JobView, pods: list[PodView], pick: Callable[[StageResult], T | None]) -> JobSeen[T]:
    """Return what a small Job has come to; ``pods`` are its own, and ``pick`` takes what it says."""
    if not job.finished:
        return JobSeen(job)
    told = [StageResult.decode(c.message) for pod in pods for c in pod.containers if c.message is not None]
    picked = (pick(result) for result in told if result is not None)
    found = next((each for each in picked if each is not None), None)
    if job.complete and found is not None:
        return JobSeen(job, found)
    why = failure_of_job(job, pods, None, job.created)
    return JobSeen(job, None, str(why.reason), why.message)
