"""The Job that moves a channel's pointer: it reads, writes and signs, and runs no model's code."""

from __future__ import annotations

from typing import Any, Final

from modelconversion_api.channels import MOVE_ENV, Candidate, ModelChannelSpec, MoveRequest
from modelconversion_api.fields.scheduling import Resources
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.spec import ModelConversionSpec, Output, Source
from modelconversion_operator.channels.deciding import MoveSeen
from modelconversion_operator.channels.views import CHANNEL_LABEL, ChannelView, owner_of
from modelconversion_operator.deciding.failures import failure_of_job
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.deciding.views import UID_LABEL, JobView, PodView

_LONGEST_SECONDS: Final = 1800
_KEPT_SECONDS: Final = 3600
"""How long the Job stays, for an operator that was down meanwhile."""
_SMALL: Final = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "1Gi"})


def move_spec(spec: ModelChannelSpec, candidate: Candidate) -> ModelConversionSpec:
    """Return the conversion that would read the file, write and sign: what it may not, a move may not."""
    job = spec.job.model_copy(
        update={
            "resources": _SMALL,
            "active_deadline_seconds": _LONGEST_SECONDS,
            "ttl_seconds_after_finished": _KEPT_SECONDS,
        }
    )
    return ModelConversionSpec(
        source=Source(uri=candidate.uri),
        output=Output(uri=spec.output.uri, signing=spec.signing),
        storage=spec.storage,
        methods=[Method.FLOAT32],
        job=job,
    )


def move_manifest(
    view: ChannelView, spec: ModelChannelSpec, request: MoveRequest, name: str, settings: JobSettings
) -> dict[str, Any]:
    """Write the Job: one container, with the credentials of ``fetch`` and of ``publish``."""
    manifest = job_manifest(view.key, "move", move_spec(spec, request.candidate), settings, view.queue)
    job, template = manifest["spec"], manifest["spec"]["template"]
    pod = template["spec"]
    fetch, (publish,) = pod.pop("initContainers")[0], pod["containers"]
    own = {variable["name"] for variable in publish["env"]}
    wanted = {"name": MOVE_ENV, "value": request.to_json().replace("$", "$$")}
    env = [*publish["env"], *(each for each in fetch["env"] if each["name"] not in own), wanted]
    mounted = {mount["mountPath"] for mount in publish["volumeMounts"]}
    claims = [mount for mount in fetch["volumeMounts"] if mount["mountPath"] not in mounted]
    command = ["tflite-converter", "job-move"]
    mounts = [*publish["volumeMounts"], *claims]
    pod["containers"] = [publish | {"command": command, "env": env, "volumeMounts": mounts}]
    job["podFailurePolicy"]["rules"] = [
        rule
        for rule in job["podFailurePolicy"]["rules"]
        if rule.get("onExitCodes", {}).get("containerName", "publish") == "publish"
    ]
    job["ttlSecondsAfterFinished"] = _KEPT_SECONDS
    for meta in (manifest["metadata"], template["metadata"]):
        meta["labels"] = {label: value for label, value in meta["labels"].items() if label != UID_LABEL}
        meta["labels"][CHANNEL_LABEL] = view.key.name
    manifest["metadata"] |= {"name": name, "ownerReferences": [owner_of(view)]}
    return manifest


def move_seen(job: JobView, pods: list[PodView]) -> MoveSeen:
    """Return what a move's Job has come to; ``pods`` are its own."""
    if not job.finished:
        return MoveSeen(job)
    told = [StageResult.decode(c.message) for pod in pods for c in pod.containers if c.message is not None]
    moved = next((result.moved for result in told if result is not None and result.moved is not None), None)
    if job.complete and moved is not None:
        return MoveSeen(job, moved)
    why = failure_of_job(job, pods, None, job.created)
    return MoveSeen(job, None, str(why.reason), why.message)
