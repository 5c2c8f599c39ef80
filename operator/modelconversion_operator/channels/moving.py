"""The Job that moves a channel's pointer: it reads, writes and signs, and runs no model's code."""

from __future__ import annotations

from typing import Any

from modelconversion_api.channels import CHANNEL_KIND, MOVE_ENV, Candidate, ModelChannelSpec, MoveRequest
from modelconversion_api.methods import Method
from modelconversion_api.spec import ModelConversionSpec, Output, Source
from modelconversion_operator.channels.views import CHANNEL_LABEL, ChannelView
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.small_jobs import belonging, small, with_one_container


def move_spec(spec: ModelChannelSpec, candidate: Candidate) -> ModelConversionSpec:
    """Return the conversion that would read the file, write and sign: what it may not, a move may not."""
    return ModelConversionSpec(
        source=Source(uri=candidate.uri),
        output=Output(uri=spec.output.uri, signing=spec.signing),
        storage=spec.storage,
        methods=[Method.FLOAT32],
        job=small(spec.job),
    )


def move_manifest(
    view: ChannelView, spec: ModelChannelSpec, request: MoveRequest, name: str, settings: JobSettings
) -> dict[str, Any]:
    """Write the Job: one container, with the credentials of ``fetch`` and of ``publish``."""
    manifest = job_manifest(view.key, "move", move_spec(spec, request.candidate), settings, view.queue)
    pod = manifest["spec"]["template"]["spec"]
    fetch, (publish,) = pod["initContainers"][0], pod["containers"]
    own = {variable["name"] for variable in publish["env"]}
    wanted = {"name": MOVE_ENV, "value": request.to_json().replace("$", "$$")}
    env = [*publish["env"], *(each for each in fetch["env"] if each["name"] not in own), wanted]
    mounted = {mount["mountPath"] for mount in publish["volumeMounts"]}
    claims = [mount for mount in fetch["volumeMounts"] if mount["mountPath"] not in mounted]
    mounts = [*publish["volumeMounts"], *claims]
    move = publish | {"command": ["tflite-converter", "job-move"], "env": env, "volumeMounts": mounts}
    return belonging(with_one_container(manifest, move), name, CHANNEL_KIND, view.key, CHANNEL_LABEL)
