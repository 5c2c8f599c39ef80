"""The operator as a first evening with kopf gives it, to compare ours with: correct, and nothing else.

``on.create`` makes the Job with the typed client, ``on.event`` of Jobs and a look at the pods writes the end.
It keeps kopf's own state in annotations and needs more rights than ours.
"""

from __future__ import annotations

from typing import Any

import kopf
from kubernetes import client, config

from modelconversion_api.base import GROUP, PLURAL, VERSION
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.deciding.outcome import artifacts_of, summary_of
from modelconversion_operator.deciding.views import UID_LABEL, Key, PodView


@kopf.on.startup()
def configure(**_: Any) -> None:
    config.load_kube_config()


@kopf.on.create(GROUP, VERSION, PLURAL)
def created(name: str, namespace: str, uid: str, spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    parsed = ModelConversionSpec.model_validate(dict(spec))
    job = job_manifest(Key(namespace, name, uid), "1", parsed, JobSettings("converter:test"))
    client.BatchV1Api().create_namespaced_job(namespace, job)
    patch.status["phase"] = "Pending"


@kopf.on.event("batch", "v1", "jobs", labels={UID_LABEL: kopf.PRESENT})
def job_changed(name: str, namespace: str, body: kopf.Body, status: kopf.Status, **_: Any) -> None:
    if not status.get("succeeded"):
        return
    owner = body["metadata"]["ownerReferences"][0]["name"]
    custom = client.CustomObjectsApi()
    where = (GROUP, VERSION, namespace, PLURAL, owner)
    if custom.get_namespaced_custom_object(*where).get("status", {}).get("phase") == "Succeeded":
        return
    selector = f"batch.kubernetes.io/job-name={name}"
    pods = client.CoreV1Api().list_namespaced_pod(namespace, label_selector=selector)
    plain = client.ApiClient().sanitize_for_serialization(pods)["items"]
    summary = summary_of([PodView.from_body(pod) for pod in plain])
    assert summary is not None
    artifacts = [a.to_wire() for a in artifacts_of(summary, "s3://models/out/")]
    change = {"status": {"phase": "Succeeded", "artifacts": artifacts}}
    custom.patch_namespaced_custom_object_status(*where, change)
