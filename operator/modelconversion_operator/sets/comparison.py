"""The Job that compares the members of a set: the container that publishes, with another command."""

from __future__ import annotations

from typing import Any

from modelconversion_api.methods import Method
from modelconversion_api.reports.comparison import COMPARISON_ENV, ComparedMember, ComparisonRequest
from modelconversion_api.sets import SET_KIND, ModelConversionSetStatus
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.manifest import JobSettings, Part, job_manifest
from modelconversion_operator.sets.deciding import SetSeen, member_spec
from modelconversion_operator.sets.views import SET_LABEL
from modelconversion_operator.small_jobs import belonging


def comparison_request(seen: SetSeen) -> ComparisonRequest:
    """Return what the Job is told: every member, with the run whose report counts."""
    members = []
    for row in seen.view.status.members:
        member = seen.members.get(row.conversion)
        is_published = member is not None and row.phase is Phase.SUCCEEDED
        members.append(
            ComparedMember(
                model=row.model,
                profile=row.profile,
                run=member.run if member is not None and is_published else None,
                reason=row.reason,
            )
        )
    return ComparisonRequest(name=seen.view.key.name, members=members)


def comparison_manifest(
    seen: SetSeen, status: ModelConversionSetStatus, settings: JobSettings
) -> dict[str, Any]:
    """Write the Job that reads the members' reports and publishes the page that compares them.

    It runs no model's code: what it has of credentials is what ``publish`` of any member has.
    """
    spec = member_spec(seen.spec, seen.spec.models[0], seen.spec.profiles[0])
    output = seen.spec.output.model_copy(update={"signing": None, "oci": None})
    spec = spec.changed(profile_ref=None, methods=[Method.FLOAT32], output=output)
    manifest = job_manifest(
        seen.view.key, str(seen.view.generation), spec, settings, seen.view.queue, Part(reads_report=True)
    )
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["command"] = ["tflite-converter", "job-compare"]
    container["env"].append({"name": COMPARISON_ENV, "value": comparison_request(seen).encode()})
    return belonging(manifest, str(status.comparison_job), SET_KIND, seen.view.key, SET_LABEL)
