"""The Job of a look: the container that fetches, with another command, in a small pod of its own."""

from __future__ import annotations

from typing import Any, Final

from modelconversion_api.methods import Method
from modelconversion_api.spec import ModelConversionSpec, Output
from modelconversion_api.triggers import STAMP_ENV, TRIGGER_KIND, ModelConversionTriggerSpec
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.small_jobs import belonging, small, with_one_container
from modelconversion_operator.triggers.views import TRIGGER_LABEL, TriggerView

_NOWHERE: Final = Output(uri="s3://nowhere/nowhere/")
"""A look writes nothing, and gets no credentials for it."""


def look_spec(spec: ModelConversionTriggerSpec) -> ModelConversionSpec:
    """Return the conversion that would read the source, and nothing else: what it may not, a look may not."""
    template = spec.template.conversion or spec.template.conversion_set
    if template is None:
        raise ValueError("template names neither a conversion nor a set")
    return ModelConversionSpec(
        source=spec.template.source,
        output=_NOWHERE,
        storage=template.storage,
        methods=[Method.FLOAT32],
        job=small(template.job),
    )


def look_manifest(
    view: TriggerView, spec: ModelConversionTriggerSpec, name: str, settings: JobSettings
) -> dict[str, Any]:
    """Write the Job of a look: it has the credentials that the source is read with, and runs no model."""
    manifest = job_manifest(view.key, "look", look_spec(spec), settings, view.queue)
    fetch, version = manifest["spec"]["template"]["spec"]["initContainers"][0], view.status.version
    stamp = {"name": STAMP_ENV, "value": (version and version.stamp) or ""}
    look = fetch | {"command": ["tflite-converter", "job-look"], "env": [*fetch["env"], stamp]}
    return belonging(with_one_container(manifest, look), name, TRIGGER_KIND, view.key, TRIGGER_LABEL)
