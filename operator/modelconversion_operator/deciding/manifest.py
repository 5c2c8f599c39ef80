"""The Jobs of a conversion: three containers over one emptyDir, with credentials in two of them.

The key that signs artifacts is in one: the last of the Job that converts. A Job that measures on a board has
``measure`` in the place of ``convert``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from modelconversion_api.base import KIND
from modelconversion_api.fields.boards import BOARD_ENV, BOARD_SECONDS_ENV, NODE_ENV, Board
from modelconversion_api.fields.metrics import METRIC_CONTAINER
from modelconversion_api.fields.oci import OCIOutput
from modelconversion_api.fields.registration import (
    PASSWORD_ENV,
    REGISTER_ENV,
    TOKEN_ENV,
    USERNAME_ENV,
    RegisterRequest,
)
from modelconversion_api.fields.scheduling import JobSpec, Resources
from modelconversion_api.fields.storage import (
    AZURE_ENDPOINT_KEY,
    ENDPOINT_KEY,
    GOOGLE_ENDPOINT_KEY,
    NO_ACCOUNT,
    AzureSecretRef,
    GoogleSecretRef,
    SecretRef,
    Storage,
)
from modelconversion_api.reasons import PERMANENT_EXIT_CODES, USAGE_EXIT_CODE, Stage
from modelconversion_api.request import (
    AZURE_ENDPOINT_ENV,
    AZURE_KEY_ENV,
    AZURE_SAS_ENV,
    AZURE_SECRET_ENV,
    CREDENTIALS_ENDPOINT_ENV,
    GOOGLE_CREDENTIALS_ENV,
    GOOGLE_ENDPOINT_ENV,
    HUB_TOKEN_ENV,
    INPUT_DIR_ENV,
    LOG_FORMAT_ENV,
    OUTPUT_DIR_ENV,
    PROGRESS_ADDRESS_ENV,
    PROGRESS_PORT,
    REGISTRY_LOGINS_ENV,
    REQUEST_ENV,
    SIGNING_KEY_ENV,
    TERMINATION_MESSAGE_ENV,
    ConversionRequest,
    request_from_spec,
)
from modelconversion_api.spec import (
    HuggingFace,
    ModelConversionSpec,
    Retain,
    Signing,
    SourceFormat,
    read_uris,
    uris_of,
)
from modelconversion_api.uris import AZURE_SCHEME, GOOGLE_SCHEME, REGISTRY_SCHEME, S3_SCHEME
from modelconversion_operator.claims import with_claims
from modelconversion_operator.deciding.containers.metrics import with_metrics
from modelconversion_operator.deciding.containers.parts import (
    RESTRICTED,
    TERMINATION_LOG,
    TMP,
    VOLUME,
    mount,
    without_devices,
)
from modelconversion_operator.deciding.defaults import Defaults, JobTemplate, bounded, scratch_limit
from modelconversion_operator.deciding.views import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    OUR_CONTAINERS,
    QUEUE_LABEL,
    RUN_LABEL,
    UID_LABEL,
    Key,
    owner_reference,
)
from modelconversion_operator.job_environment import variables

CONTAINER_STAGES: Final[dict[str, Stage]] = dict(
    zip(OUR_CONTAINERS, (Stage.FETCH, Stage.CONVERT, Stage.MEASURE, Stage.PUBLISH), strict=True)
)


def stage_of_container(name: str) -> Stage | None:
    """Return the stage of one of our containers; None for another."""
    return Stage.EVALUATE if name.startswith(METRIC_CONTAINER) else CONTAINER_STAGES.get(name)


FINAL_EXIT_CODES: Final = frozenset({USAGE_EXIT_CODE, *PERMANENT_EXIT_CODES})
"""Exit codes after which a Job ends without another try."""
HARVEST_SECONDS: Final = 3600
"""A finished Job is kept at least this long, so that an operator that was down still finds its result."""

LONGEST_VARIABLE_BYTES: Final = 128 << 10
"""Longest NAME=value with its final zero byte that Linux hands to a program (MAX_ARG_STRLEN)."""
_RUN_ID_LENGTH: Final = 64
_ARCHITECTURE: Final = "kubernetes.io/arch"
_USER: Final = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 65532)
_INPUT, _OUTPUT = "/work/input", "/work/output"
_OWN_ADDRESS = {"name": PROGRESS_ADDRESS_ENV, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
_OWN_NODE = {"name": NODE_ENV, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
_NOT_FOR_READING: Final = (SIGNING_KEY_ENV, REGISTRY_LOGINS_ENV)
"""What only a container that publishes needs."""
_NO_IDENTITY: Final = {
    "eks.amazonaws.com/skip-containers": ",",
    "azure.workload.identity/skip-containers": ";",
}
"""Cloud identities are injected by a webhook: not into containers that run a model's code or files, or a
user's own metric. The annotations list them, each with a separator of its own."""
_AZURE_IDENTITY: Final = "azure.workload.identity/use"
"""The label of pods that the webhook of Microsoft Entra Workload ID looks at."""
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
    engines: Mapping[SourceFormat, str] = field(default_factory=dict)
    """The image of ``convert`` for formats that need an engine."""
    engine_architectures: Mapping[SourceFormat, str] = field(default_factory=dict)
    """What that image is for, where the converter's is for more."""
    runtime_image: str = ""
    """The image that boards run; empty for that of the converter."""
    image_pull_policy: str = "IfNotPresent"
    asks_progress: bool = True
    """Whether ``convert`` is asked how far it is."""
    logs_json: bool = False
    """Whether the containers log JSON objects, as the operator then does."""
    defaults: Defaults = field(default_factory=Defaults)
    """What a conversion gets where it says nothing."""


def engine_problem(spec: ModelConversionSpec, settings: JobSettings) -> str | None:
    """Say that no image has the engine that a source needs; None when all is well."""
    needed = spec.source.engine_format
    if needed is None or needed in settings.engines:
        return None
    return (
        f"{needed} models need an engine, and the operator has been given no image with it"
        f" (--engines {needed}=IMAGE, in the chart converter.engines.{needed})"
    )


@dataclass(frozen=True, slots=True)
class Part:
    """Which of a run's Jobs one is."""

    reads_report: bool = False
    """The one that reads the report again where nobody saw the result."""
    board: str = ""
    """The board that it measures on; empty for the one that converts."""
    registers: bool = False
    """The one that registers the published files."""
    repeat: int = 0
    """How many there were before it whose pod their node left lying."""

    @property
    def converts(self) -> bool:
        """Whether it is the one that converts."""
        return not (self.reads_report or self.board or self.registers)


CONVERTS: Final = Part()


def job_name(key: Key, run: str, part: Part = CONVERTS) -> str:
    """Name a Job of a run: the same Job always has the same name, so creating it twice cannot double it."""
    what = run_id(key, run)
    what += "/report" if part.reads_report else f"/boards/{part.board}" if part.board else ""
    what += "/register" if part.registers else ""
    what += f"/{part.repeat}" if part.repeat else ""
    return f"{key.name}-{hashlib.sha256(what.encode()).hexdigest()[:10]}"


def job_ttl(job: JobSpec, *, harvested: bool) -> int:
    """Seconds that a finished Job is kept: at least an hour until its result is in the status."""
    seconds = job.ttl_seconds_after_finished
    return seconds if harvested else max(seconds, HARVEST_SECONDS)


def job_identity(key: Key, run: str) -> dict[str, Any]:
    """Return the metadata that ties a Job to its conversion: the labels and the owner reference."""
    labels = {
        MANAGED_BY_LABEL: MANAGED_BY,
        "app.kubernetes.io/component": "converter",
        NAME_LABEL: key.name,
        UID_LABEL: key.uid,
        RUN_LABEL: run,
    }
    return {"labels": labels, "ownerReferences": [owner_reference(KIND, key)]}


def job_manifest(
    key: Key,
    run: str,
    spec: ModelConversionSpec,
    settings: JobSettings,
    queue: str | None = None,
    part: Part = CONVERTS,
    recommended: str = "",
) -> dict[str, Any]:
    """Write a Job for one run of a conversion.

    ``queue`` is Kueue's, whose own webhook holds the Job back until it is its turn. One that only reads the
    report has one container, which tells the result of a run that is over.

    Raises:
        KeyError: ``part`` names a board that ``spec`` does not have.

    """
    spec, template = settings.defaults.fill(spec), settings.defaults.job
    identity = job_identity(key, run)
    labels = identity["labels"] | ({} if queue is None else {QUEUE_LABEL: queue})
    name = job_name(key, run, part)
    meta = {"name": name, "namespace": key.namespace, **identity, "labels": labels}
    request = request_from_spec(spec, run_id(key, run), _cache_scope(key, spec, settings))
    if part.board:
        pod = _board_pod(spec, settings, request, {b.name: b for b in spec.benchmark.boards}[part.board])
    else:
        pod = _pod_spec(spec, settings, request)
    if part.reads_report:
        pod = _only_publish(pod, "job-report")
    if part.registers:
        pod = _only_publish(pod, "job-register", _registry(spec, recommended))
    pod = with_claims(pod, read_uris(spec) if part.converts else [spec.output.uri], spec.output.uri)
    middle = [c["name"] for c in pod.get("initContainers", ())[1:]] or ["convert"]
    without = {name: separator.join(middle) for name, separator in _NO_IDENTITY.items()}
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
                    "labels": template.pod_labels | _identity_labels(spec, part) | identity["labels"],
                    "annotations": template.pod_annotations | without,
                },
                "spec": pod,
            },
        },
    }


def request_problem(spec: ModelConversionSpec, settings: JobSettings) -> str | None:
    """Say what no Job could carry out, or none be told; None when all is well.

    Neither is known before the platform's defaults are: an account for az uris, and how large a request is,
    which the kernel takes as one environment variable only up to a size.
    """
    spec = settings.defaults.fill(spec)
    if spec.storage.azure is None and AZURE_SCHEME in _schemes(*uris_of(spec).values(), spec.output.uri):
        return NO_ACCOUNT
    request = request_from_spec(spec, "x" * _RUN_ID_LENGTH, "x" * 64).to_json()
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


def run_id(key: Key, run: str) -> str:
    """Name a run, so that a report tells whose it is."""
    return f"{key.uid}/{run}"


def _only_publish(
    pod: dict[str, Any], command: str, more: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the pod that reads the report: ``publish`` with another command, and no keys to sign or push."""
    (publish,) = pod["containers"]
    env = [variable for variable in publish["env"] if variable["name"] not in _NOT_FOR_READING]
    publish = publish | {"command": ["tflite-converter", command], "env": [*env, *more]}
    return {name: value for name, value in pod.items() if name != "initContainers"} | {
        "containers": [publish]
    }


def _pod_spec(spec: ModelConversionSpec, settings: JobSettings, request: ConversionRequest) -> dict[str, Any]:
    job = spec.job
    reads = read_uris(spec)
    if spec.output.retain is Retain.IMMUTABLE:
        reads.append(spec.output.uri)
    fetches = [*_credentials(spec.storage, *reads), *_hub_token(spec.hugging_face)]
    publishes = [
        *_credentials(spec.storage, spec.output.uri),
        *_signing_key(spec.output.signing),
        *_registry_logins(spec.output.oci),
    ]
    containers = _containers("convert", settings, job, fetches, publishes)
    containers[1]["image"] = _image(spec, settings)
    if settings.asks_progress:
        containers[1]["env"].append(_OWN_ADDRESS)
        containers[1]["ports"] = [{"name": "progress", "containerPort": PROGRESS_PORT}]
    metrics = () if spec.validation is None else spec.validation.metrics
    return with_metrics(_pod(_where_it_runs(spec, settings), settings, request, containers), metrics, job)


def _where_it_runs(spec: ModelConversionSpec, settings: JobSettings) -> JobSpec:
    """Return ``spec.job`` with nodes that the image of ``convert`` is for, unless it names others."""
    needed, job = spec.source.engine_format, spec.job
    architecture = None if needed is None else settings.engine_architectures.get(needed)
    if architecture is None:
        return job
    selector = {_ARCHITECTURE: architecture, **(job.node_selector or {})}
    return job.model_copy(update={"node_selector": selector})


def _image(spec: ModelConversionSpec, settings: JobSettings) -> str:
    """Return the image of ``convert``."""
    needed = spec.source.engine_format
    return settings.image if needed is None else settings.engines.get(needed, settings.image)


def _cache_scope(key: Key, spec: ModelConversionSpec, settings: JobSettings) -> str:
    """Name what entries of a cache are shared within: what another namespace, or image, made is not taken."""
    return hashlib.sha256(f"{key.namespace}\n{_image(spec, settings)}".encode()).hexdigest()


def _board_pod(
    spec: ModelConversionSpec, settings: JobSettings, request: ConversionRequest, board: Board
) -> dict[str, Any]:
    """Return the pod that measures the published files on a board."""
    job = spec.job.model_copy(
        update={
            "node_selector": board.node_selector,
            "tolerations": board.tolerations,
            "affinity": None,
            "resources": _bounded_on(board, spec.job),
        }
    )
    settings = replace(settings, image=settings.runtime_image or settings.image)
    credentials = _credentials(spec.storage, spec.output.uri)
    containers = _containers("measure", settings, job, credentials, credentials)
    for container in containers:
        container["command"] = ["tflite-converter", f"job-board-{container['name']}"]
        container["env"] += [{"name": BOARD_ENV, "value": board.name}, _OWN_NODE]
        if container["name"] != "measure":
            container["resources"] = without_devices(container["resources"])
    containers[1]["env"].append({"name": BOARD_SECONDS_ENV, "value": str(job.active_deadline_seconds)})
    return _pod(job, settings, request, containers)


def _containers(
    middle: str,
    settings: JobSettings,
    job: JobSpec,
    of_fetch: list[dict[str, Any]],
    of_publish: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return ``fetch``, ``middle`` without any secret, and ``publish``; each writes only what is its own.

    What the platform says of the way to the store is for the two that speak with it.
    """
    given = mount(_INPUT, read_only=True)
    way = variables(settings.defaults.job.env, settings.defaults.job.proxy)
    return [
        _container("fetch", settings, job, [*way, *of_fetch], [mount(_INPUT)]),
        _container(middle, settings, job, [], [given, mount(_OUTPUT)]),
        _container("publish", settings, job, [*way, *of_publish], [given, mount(_OUTPUT, read_only=True)]),
    ]


def _bounded_on(board: Board, job: JobSpec) -> Resources | None:
    """Return the resources on a board: its own, with the conversion's limit for the node's disk."""
    if board.resources is None or job.resources is None:
        return board.resources or job.resources
    return bounded(board.resources, job.resources)


def _pod(
    job: JobSpec, settings: JobSettings, request: ConversionRequest, containers: list[dict[str, Any]]
) -> dict[str, Any]:
    # The kubelet puts variables in place of $(NAME), and one dollar in place of two.
    text = request.to_json().replace("$", "$$")
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
        "volumes": [{"name": VOLUME, "emptyDir": {"sizeLimit": scratch_limit(job.resources)}}],
        "initContainers": containers[:2],
        "containers": containers[2:],
    }
    wire = job.to_wire()
    return pod | {name: wire[name] for name in _PASSED_ON if name in wire} | _isolation(settings.defaults.job)


def _isolation(platform: JobTemplate) -> dict[str, Any]:
    """Return what of the node the platform keeps from every Job's pods: never a conversion's to say."""
    fields: dict[str, Any] = {}
    if platform.runtime_class_name is not None:
        fields["runtimeClassName"] = platform.runtime_class_name
    if not platform.host_users:
        fields["hostUsers"] = False
    return fields


def _container(
    name: str,
    settings: JobSettings,
    job: JobSpec,
    more: list[dict[str, Any]],
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
            {"name": TERMINATION_MESSAGE_ENV, "value": TERMINATION_LOG},
            {"name": "TMPDIR", "value": TMP},
            {"name": "HOME", "value": TMP},
            *([{"name": LOG_FORMAT_ENV, "value": "json"}] if settings.logs_json else []),
            *more,
        ],
        # A temporary folder of its own for each: what one leaves behind, the next cannot see.
        "volumeMounts": [*mounts, mount(TMP, sub_path=f"tmp-{name}")],
        "resources": job.resources.to_wire() if job.resources else {},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": RESTRICTED,
    }


def _schemes(*uris: str) -> set[str]:
    return {f"{uri.partition('://')[0]}://" for uri in uris}


def _identity_labels(spec: ModelConversionSpec, part: Part) -> dict[str, str]:
    """Return the label by which a pod gets an identity of Azure, where it has no other way to its account."""
    used = _schemes(spec.output.uri, *(uris_of(spec).values() if part.converts else ()))
    azure = spec.storage.azure
    if azure is None or azure.secret_ref is not None or AZURE_SCHEME not in used:
        return {}
    return {_AZURE_IDENTITY: "true"}


def _credentials(storage: Storage, *uris: str) -> list[dict[str, Any]]:
    """Return the credentials for the stores that ``uris`` lie in, and for no other."""
    used = _schemes(*uris)
    google, azure, registries = storage.google_cloud, storage.azure, storage.oci
    logins = registries.secret_ref if registries and REGISTRY_SCHEME in used else None
    return [
        *(_of_s3(storage.secret_ref) if storage.secret_ref and S3_SCHEME in used else ()),
        *(_of_google(google.secret_ref) if google and google.secret_ref and GOOGLE_SCHEME in used else ()),
        *(_of_azure(azure.secret_ref) if azure and azure.secret_ref and AZURE_SCHEME in used else ()),
        *([_from_secret(REGISTRY_LOGINS_ENV, logins.name, logins.key, optional=False)] if logins else ()),
    ]


def _of_google(secret: GoogleSecretRef) -> list[dict[str, Any]]:
    return [
        _from_secret(GOOGLE_CREDENTIALS_ENV, secret.name, secret.key, optional=False),
        _from_secret(GOOGLE_ENDPOINT_ENV, secret.name, GOOGLE_ENDPOINT_KEY, optional=True),
    ]


def _of_azure(secret: AzureSecretRef) -> list[dict[str, Any]]:
    return [
        # One of the two is enough. Where both are missing, the container says so.
        {"name": AZURE_SECRET_ENV, "value": secret.name},
        _from_secret(AZURE_KEY_ENV, secret.name, secret.account_key_key, optional=True),
        _from_secret(AZURE_SAS_ENV, secret.name, secret.sas_token_key, optional=True),
        _from_secret(AZURE_ENDPOINT_ENV, secret.name, AZURE_ENDPOINT_KEY, optional=True),
    ]


def _of_s3(secret: SecretRef) -> list[dict[str, Any]]:
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


def _hub_token(hub: HuggingFace | None) -> list[dict[str, Any]]:
    if hub is None:
        return []
    return [_from_secret(HUB_TOKEN_ENV, hub.secret_ref.name, hub.secret_ref.key, optional=False)]


def _signing_key(signing: Signing | None) -> list[dict[str, Any]]:
    if signing is None:
        return []
    secret = signing.secret_ref
    # Optional, because ``publish`` fails with a clear reason where the key is missing; a container that
    # cannot be configured would hang behind a finished conversion until the Job's deadline.
    return [_from_secret(SIGNING_KEY_ENV, secret.name, secret.key, optional=True)]


def _registry_logins(oci: OCIOutput | None) -> list[dict[str, Any]]:
    if oci is None or oci.secret_ref is None:
        return []
    # Optional for the reason above.
    return [_from_secret(REGISTRY_LOGINS_ENV, oci.secret_ref.name, oci.secret_ref.key, optional=True)]


def _registry(spec: ModelConversionSpec, recommended: str) -> list[dict[str, Any]]:
    """Return what the container that registers is told, and the login that only it has."""
    if spec.registration is None:
        raise ValueError("the conversion names no registry")
    mlflow = spec.registration.mlflow
    request = RegisterRequest(mlflow=mlflow, recommended=recommended).to_json().replace("$", "$$")
    told = {"name": REGISTER_ENV, "value": request}
    secret = mlflow.secret_ref
    if secret is None:
        return [told]
    keys = {
        TOKEN_ENV: secret.token_key,
        USERNAME_ENV: secret.username_key,
        PASSWORD_ENV: secret.password_key,
    }
    # One of them is enough; a server that wants more says so.
    logins = [_from_secret(name, secret.name, key, optional=True) for name, key in keys.items()]
    return [told, *logins]


def _from_secret(variable: str, secret: str, key: str, *, optional: bool) -> dict[str, Any]:
    return {
        "name": variable,
        "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}},
    }
