"""A Job that somebody changed: what of it matters, and how it is put right.

The resource says what is to run, and its Job follows. A Job's pod template cannot be changed, but how many
pods run of it, how often and how long can, and so can the labels by which it is found and the reference by
which it goes with its conversion. Whether it is suspended is left to those who suspend Jobs: queues do.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from modelconversion_api.fields.scheduling import JobSpec
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.decisions import Event, PatchJob
from modelconversion_operator.deciding.manifest import job_identity, job_ttl
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.views import JobView, Key

JOB_CHANGED: Final = "JobChanged"
"""Reason of the event that says so."""
JOB_PINNED: Final = "JobPinned"
"""Reason of the event that something else decides."""
_TTL: Final = "ttlSecondsAfterFinished"
_IDENTITY: Final = "labels and owner reference"


def repair_of(job: JobView, spec: JobSpec, run: str, pinned: Collection[str] = ()) -> PatchJob | None:
    """Return the change that puts a Job under way right; None when there is nothing to put right.

    What the cluster has ``pinned`` stays as it is.
    """
    ttl = job_ttl(spec, harvested=False)
    fields = {
        "parallelism": (job.parallelism, 1),
        "backoffLimit": (job.backoff_limit, spec.backoff_limit),
        "activeDeadlineSeconds": (job.active_deadline_seconds, spec.active_deadline_seconds),
        _TTL: (job.ttl_seconds, ttl),
    }
    wrong = {name: values for name, values in fields.items() if values[0] != values[1] and name not in pinned}
    # The time to live may have been changed in the conversion; a shorter one waits for the end.
    corrections = [f"{name} {old} back to {new}" for name, (old, new) in wrong.items() if name != _TTL]
    strayed = not (job.labelled and job.owned) and _IDENTITY not in pinned
    if strayed:
        corrections.append("its labels and owner reference written again")
    if not wrong and not strayed:
        return None
    words = f"somebody changed Job {job.name}: {', '.join(corrections)}"
    return PatchJob(
        job.name,
        parallelism=1 if "parallelism" in wrong else None,
        backoff_limit=spec.backoff_limit if "backoffLimit" in wrong else None,
        active_deadline_seconds=spec.active_deadline_seconds if "activeDeadlineSeconds" in wrong else None,
        ttl_seconds=ttl if _TTL in wrong else None,
        run=run if strayed else None,
        event=Event("Warning", JOB_CHANGED, words) if corrections else None,
    )


def pinned_by(patch: PatchJob, answer: JobView) -> frozenset[str]:
    """Return what of a patch did not come to be: a policy or a webhook keeps those fields as they are."""
    wanted = {
        "suspend": (patch.suspend, answer.suspended),
        "parallelism": (patch.parallelism, answer.parallelism),
        "backoffLimit": (patch.backoff_limit, answer.backoff_limit),
        "activeDeadlineSeconds": (patch.active_deadline_seconds, answer.active_deadline_seconds),
        _TTL: (patch.ttl_seconds, answer.ttl_seconds),
        _IDENTITY: (patch.run and True, answer.labelled and answer.owned),
    }
    return frozenset(name for name, (asked, got) in wanted.items() if asked is not None and asked != got)


def words_of_pinned(job: JobView, pinned: Collection[str]) -> Event:
    """Say once that the cluster keeps fields of a Job."""
    names = ", ".join(sorted(pinned))
    words = f"a policy or a webhook of the cluster keeps {names} of Job {job.name} as it is: left so"
    return Event("Warning", JOB_PINNED, words)


def job_changes(patch: PatchJob, key: Key) -> dict[str, Any]:
    """Return the merge patch that carries a change out."""
    fields = {
        "suspend": patch.suspend,
        "parallelism": patch.parallelism,
        "backoffLimit": patch.backoff_limit,
        "activeDeadlineSeconds": patch.active_deadline_seconds,
        "ttlSecondsAfterFinished": patch.ttl_seconds,
    }
    changes: dict[str, Any] = {}
    if spec := {name: value for name, value in fields.items() if value is not None}:
        changes["spec"] = spec
    if patch.run is not None:
        changes["metadata"] = job_identity(key, patch.run)
    return changes


def for_its_time_to_live(seen: Seen, spec: ModelConversionSpec) -> PatchJob | None:
    """Let a finished Job live as long as it was asked for, once its result is in the status."""
    job, ttl = seen.job, job_ttl(spec.job, harvested=True)
    if job is None or not job.finished or job.deleting:
        return None
    is_due = job.ttl_seconds != ttl and "ttlSecondsAfterFinished" not in seen.pinned
    return PatchJob(job.name, ttl_seconds=ttl) if is_due else None
