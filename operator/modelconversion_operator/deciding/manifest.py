"""The Job of a conversion: three containers over one emptyDir, with credentials in two of them.

The key that signs artifacts is in one: the last.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from modelconversion_api.base import API_VERSION, KIND
from modelconversion_api.reasons import PERMANENT_EXIT_CODES, USAGE_EXIT_CODE, Stage
from modelconversion_api.request import (
    CREDENTIALS_ENDPOINT_ENV,
    INPUT_DIR_ENV,
    LOG_FORMAT_ENV,
    OUTPUT_DIR_ENV,
    PROGRESS_ADDRESS_ENV,
    PROGRESS_PORT,
    REQUEST_ENV,
    SIGNING_KEY_ENV,
    TERMINATION_MESSAGE_ENV,
    ConversionRequest,
    request_from_spec,
)
from modelconversion_api.scheduling import JobSpec
from modelconversion_api.spec import ModelConversionSpec, Signing
from modelconversion_api.storage import ENDPOINT_KEY, SecretRef
from modelconversion_operator.deciding.defaults import Defaults, scratch_limit
from modelconversion_operator.deciding.views import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    OUR_CONTAINERS,
    QUEUE_LABEL,
    RUN_LABEL,
    UID_LABEL,
    Key,
)

CONTAINER_STAGES: Final[dict[str, Stage]] = dict(
    zip(OUR_CONTAINERS, (Stage.FETCH, Stage.CONVERT, Stage.PUBLISH), strict=True)
)
FINAL_EXIT_CODES: Final = frozenset({USAGE_EXIT_CODE, *PERMANENT_EXIT_CODES})
"""Exit codes after which a Job ends without another try."""
HARVEST_SECONDS: Final = 3600
"""A finished Job is kept at least this long, so that an operator that was down still finds its result."""

LONGEST_VARIABLE_BYTES: Final = 128 << 10
"""Longest NAME=value with its final zero byte that Linux hands to a program (MAX_ARG_STRLEN)."""
_RUN_ID_LENGTH: Final = 64
_USER: Final = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 65532)
_INPUT, _OUTPUT, _TMP = "/work/input", "/work/output", "/tmp"  # noqa: S108 - an emptyDir of the pod's own
_TERMINATION_LOG = "/dev/termination-log"
_VOLUME = "work"
_OWN_ADDRESS = {"name": PROGRESS_ADDRESS_ENV, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
_NO_IDENTITY: Final = {"eks.amazonaws.com/skip-containers": "convert"}
"""Cloud identities are injected by a webhook: not into the container that runs the model's code."""
_PASSED_ON = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "serviceAccountName",
    "priorityClassName",
    "imagePullSecrets",
)
"""Fields of spec.job that stand in the pod's spec as they are."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the operator's settings say about every Job."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    asks_progress: bool = True
    """Whether ``convert`` is asked how far it is."""
    logs_json: bool = False
    """Whether the containers log JSON objects, as the operator then does."""
    defaults: Defaults = field(default_factory=Defaults)
    """What a conversion gets where it says nothing."""


def job_name(key: Key, run_generation: int) -> str:
    """Name the Job of a run: the same run always has the same Job, so creating it twice cannot double it."""
    return _named(key, run_id(key, run_generation))


def _named(key: Key, what: str) -> str:
    return f"{key.name}-{hashlib.sha256(what.encode()).hexdigest()[:10]}"


def report_job_name(key: Key, run_generation: int) -> str:
    """Name the Job that reads a run's report again, where nobody saw its result."""
    return _named(key, f"{key.uid}/{run_generation}/report")


def job_ttl(job: JobSpec, *, harvested: bool) -> int:
    """Seconds that a finished Job is kept: at least an hour until its result is in the status."""
    seconds = job.ttl_seconds_after_finished
    return seconds if harvested else max(seconds, HARVEST_SECONDS)


def job_identity(key: Key, run_generation: int) -> dict[str, Any]:
    """Return the metadata that ties a Job to its conversion: the labels and the owner reference."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": key.name,
        "uid": key.uid,
        "controller": True,
        # Blocking the owner's deletion would need a right on its finalizers, and gains nothing here.
        "blockOwnerDeletion": False,
    }
    labels = {
        MANAGED_BY_LABEL: MANAGED_BY,
        "app.kubernetes.io/component": "converter",
        NAME_LABEL: key.name,
        UID_LABEL: key.uid,
        RUN_LABEL: str(run_generation),
    }
    return {"labels": labels, "ownerReferences": [owner]}


def job_manifest(
    key: Key,
    run_generation: int,
    spec: ModelConversionSpec,
    settings: JobSettings,
    queue: str | None = None,
    *,
    reads_report: bool = False,
) -> dict[str, Any]:
    """Write the Job for one run of a conversion.

    ``queue`` is Kueue's, whose own webhook holds the Job back until it is its turn. One that ``reads_report``
    converts nothing: its one container tells the result of a run that is over.
    """
    spec, template = settings.defaults.fill(spec), settings.defaults.job
    identity = job_identity(key, run_generation)
    labels = identity["labels"] | ({} if queue is None else {QUEUE_LABEL: queue})
    name = report_job_name(key, run_generation) if reads_report else job_name(key, run_generation)
    meta = {"name": name, "namespace": key.namespace, **identity, "labels": labels}
    pod = _pod_spec(spec, settings, request_from_spec(spec, run_id(key, run_generation)))
    if reads_report:
        pod = _only_report(pod)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "backoffLimit": spec.job.backoff_limit,
            "activeDeadlineSeconds": spec.job.active_deadline_seconds,
            "ttlSecondsAfterFinished": job_ttl(spec.job, harvested=False),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": _pod_failure_policy(pod),
            "template": {
                "metadata": {
                    "labels": template.pod_labels | identity["labels"],
                    "annotations": template.pod_annotations | _NO_IDENTITY,
                },
                "spec": pod,
            },
        },
    }


def request_problem(spec: ModelConversionSpec, settings: JobSettings) -> str | None:
    """Say that a request is larger than the kernel takes as one environment variable; None when it is not."""
    request = request_from_spec(settings.defaults.fill(spec), "x" * _RUN_ID_LENGTH).to_json()
    size = len(f"{REQUEST_ENV}={request}\0".encode())
    if size <= LONGEST_VARIABLE_BYTES:
        return None
    return (
        f"what the converter is told of the spec takes {size} bytes, {size - LONGEST_VARIABLE_BYTES} too"
        " many: shorten its longest texts (storage.caBundle with the endpoint's own authority only is enough)"
    )


def _pod_failure_policy(pod: dict[str, Any]) -> dict[str, Any]:
    names = [c["name"] for c in (*pod.get("initContainers", ()), *pod["containers"])]
    codes = {"operator": "In", "values": sorted(FINAL_EXIT_CODES)}
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            # By name: the codes of an injected container mean what its author wants.
            *({"action": "FailJob", "onExitCodes": {"containerName": name, **codes}} for name in names),
        ]
    }


def run_id(key: Key, run_generation: int) -> str:
    """Name a run, so that a report tells whose it is."""
    return f"{key.uid}/{run_generation}"


def _only_report(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the pod that reads the report: ``publish`` with another command, and without the signing key."""
    (publish,) = pod["containers"]
    env = [variable for variable in publish["env"] if variable["name"] != SIGNING_KEY_ENV]
    publish = publish | {"command": ["tflite-converter", "job-report"], "env": env}
    return {name: value for name, value in pod.items() if name != "initContainers"} | {
        "containers": [publish]
    }


def _pod_spec(spec: ModelConversionSpec, settings: JobSettings, request: ConversionRequest) -> dict[str, Any]:
    job = spec.job
    credentials = _credentials(spec.storage.secret_ref)
    containers = [
        _container("fetch", settings, job, credentials, [_mount(_INPUT)]),
        _container("convert", settings, job, [], [_mount(_INPUT, read_only=True), _mount(_OUTPUT)]),
        _container(
            "publish",
            settings,
            job,
            [*credentials, *_signing_key(spec.output.signing)],
            [_mount(_INPUT, read_only=True), _mount(_OUTPUT, read_only=True)],
        ),
    ]
    # The kubelet puts variables in place of $(NAME), and one dollar in place of two.
    text = request.to_json().replace("$", "$$")
    if settings.asks_progress:
        containers[1]["env"].append(_OWN_ADDRESS)
        containers[1]["ports"] = [{"name": "progress", "containerPort": PROGRESS_PORT}]
    for container in containers:
        container["env"].insert(0, {"name": REQUEST_ENV, "value": text})
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            **(_USER if settings.defaults.job.fixed_user else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": _VOLUME, "emptyDir": {"sizeLimit": scratch_limit(job.resources)}}],
        "initContainers": containers[:2],
        "containers": containers[2:],
    }
    wire = job.to_wire()
    for name in _PASSED_ON:
        if name in wire:
            pod[name] = wire[name]
    return pod


def _mount(path: str, *, sub_path: str = "", read_only: bool = False) -> dict[str, Any]:
    sub_path = sub_path or path.rsplit("/", 1)[-1]
    return {"name": _VOLUME, "mountPath": path, "subPath": sub_path, "readOnly": read_only}


def _container(
    name: str,
    settings: JobSettings,
    job: JobSpec,
    secrets: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["tflite-converter", f"job-{name}"],
        "env": [
            {"name": INPUT_DIR_ENV, "value": _INPUT},
            {"name": OUTPUT_DIR_ENV, "value": _OUTPUT},
            {"name": TERMINATION_MESSAGE_ENV, "value": _TERMINATION_LOG},
            {"name": "TMPDIR", "value": _TMP},
            {"name": "HOME", "value": _TMP},
            *([{"name": LOG_FORMAT_ENV, "value": "json"}] if settings.logs_json else []),
            *secrets,
        ],
        # A temporary folder of its own for each: what one leaves behind, the next cannot see.
        "volumeMounts": [*mounts, _mount(_TMP, sub_path=f"tmp-{name}")],
        "resources": job.resources.to_wire() if job.resources else {},
        "terminationMessagePath": _TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _credentials(secret: SecretRef | None) -> list[dict[str, Any]]:
    if secret is None:
        return []
    keys = {
        "AWS_ACCESS_KEY_ID": (secret.access_key_id_key, False),
        "AWS_SECRET_ACCESS_KEY": (secret.secret_access_key_key, False),
        "AWS_SESSION_TOKEN": (secret.session_token_key, True),
    }
    return [
        *(
            _from_secret(variable, secret.name, key, optional=optional)
            for variable, (key, optional) in keys.items()
        ),
        _from_secret(CREDENTIALS_ENDPOINT_ENV, secret.name, ENDPOINT_KEY, optional=True),
    ]


def _signing_key(signing: Signing | None) -> list[dict[str, Any]]:
    if signing is None:
        return []
    secret = signing.secret_ref
    # Optional, because ``publish`` fails with a clear reason where the key is missing; a container that
    # cannot be configured would hang behind a finished conversion until the Job's deadline.
    return [_from_secret(SIGNING_KEY_ENV, secret.name, secret.key, optional=True)]


def _from_secret(variable: str, secret: str, key: str, *, optional: bool) -> dict[str, Any]:
    return {
        "name": variable,
        "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}},
    }
