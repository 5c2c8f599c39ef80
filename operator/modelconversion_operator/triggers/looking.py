"""The Job of a look: the container that fetches, with another command, in a small pod of its own."""

from __future__ import annotations

from typing import Any, Final

from modelconversion_api.fields.scheduling import Resources
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.spec import ModelConversionSpec, Output
from modelconversion_api.triggers import STAMP_ENV, ModelConversionTriggerSpec
from modelconversion_operator.deciding.failures import failure_of_job
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.deciding.views import UID_LABEL, JobView, PodView
from modelconversion_operator.triggers.deciding import LookSeen
from modelconversion_operator.triggers.views import TRIGGER_LABEL, TriggerView, owner_of

_LONGEST_SECONDS: Final = 1800
_KEPT_SECONDS: Final = 3600
"""How long the Job of a look stays, for an operator that was down meanwhile."""
_SMALL: Final = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "1Gi"})
_NOWHERE: Final = Output(uri="s3://nowhere/nowhere/")
"""A look writes nothing, and gets no credentials for it."""


def look_spec(spec: ModelConversionTriggerSpec) -> ModelConversionSpec:
    """Return the conversion that would read the source, and nothing else: what it may not, a look may not."""
    template = spec.template.conversion or spec.template.conversion_set
    if template is None:
        raise ValueError("template names neither a conversion nor a set")
    job = template.job.model_copy(
        update={
            "resources": _SMALL,
            "active_deadline_seconds": _LONGEST_SECONDS,
            "ttl_seconds_after_finished": _KEPT_SECONDS,
        }
    )
    return ModelConversionSpec(
        source=spec.template.source,
        output=_NOWHERE,
        storage=template.storage,
        methods=[Method.FLOAT32],
        job=job,
    )


def look_manifest(
    view: TriggerView, spec: ModelConversionTriggerSpec, name: str, settings: JobSettings
) -> dict[str, Any]:
    """Write the Job of a look: it has the credentials that the source is read with, and runs no model."""
    manifest = job_manifest(view.key, "look", look_spec(spec), settings, view.queue)
    job, template = manifest["spec"], manifest["spec"]["template"]
    pod = template["spec"]
    fetch = pod.pop("initContainers")[0]
    version = view.status.version
    stamp = {"name": STAMP_ENV, "value": (version and version.stamp) or ""}
    command = ["tflite-converter", "job-look"]
    pod["containers"] = [fetch | {"command": command, "env": [*fetch["env"], stamp]}]
    job["podFailurePolicy"]["rules"] = [
        rule
        for rule in job["podFailurePolicy"]["rules"]
        if rule.get("onExitCodes", {}).get("containerName", "fetch") == "fetch"
    ]
    job["ttlSecondsAfterFinished"] = _KEPT_SECONDS
    for meta in (manifest["metadata"], template["metadata"]):
        meta["labels"] = {label: value for label, value in meta["labels"].items() if label != UID_LABEL}
        meta["labels"][TRIGGER_LABEL] = view.key.name
    manifest["metadata"] |= {"name": name, "ownerReferences": [owner_of(view)]}
    return manifest


def look_seen(job: JobView, pods: list[PodView]) -> LookSeen:
    """Return what a look's Job has come to; ``pods`` are its own."""
    if not job.finished:
        return LookSeen(job)
    told = [StageResult.decode(c.message) for pod in pods for c in pod.containers if c.message is not None]
    found = next((result.look for result in told if result is not None and result.look is not None), None)
    if job.complete and found is not None:
        return LookSeen(job, found)
    why = failure_of_job(job, pods, None, job.created)
    return LookSeen(job, None, str(why.reason), why.message)
