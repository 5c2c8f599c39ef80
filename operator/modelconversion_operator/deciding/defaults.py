"""What a conversion gets where it says nothing: the platform's store and Job settings, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.scheduling import (
    Affinity,
    ImagePullSecret,
    LabelKey,
    LabelValue,
    Name,
    Resources,
    Toleration,
)
from modelconversion_api.fields.storage import Storage
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.errors import SettingsError
from modelconversion_operator.job_environment import Proxy, Variable, environment_problem

_DISK: Final = "ephemeral-storage"
_RESOURCES: Final = Resources(
    requests={"cpu": "500m", "memory": "1Gi", _DISK: "1Gi"}, limits={"memory": "4Gi", _DISK: "20Gi"}
)
_LARGEST_FILE: Final = 1 << 20
_SHARED: Final = (
    "resources",
    "node_selector",
    "tolerations",
    "affinity",
    "service_account_name",
    "priority_class_name",
    "image_pull_secrets",
)
"""Fields that a conversion and the platform may both set."""


class JobTemplate(ApiModel):
    """Fields of spec.job, used where a conversion leaves them out, and what only the platform may say."""

    resources: Resources = _RESOURCES
    """Requests and limits of each container; that of ephemeral-storage also for a conversion whose own say
    nothing of it."""
    node_selector: dict[LabelKey, LabelValue] | None = None
    """Labels a node must have."""
    tolerations: list[Toleration] | None = None
    """Node taints that the pod tolerates."""
    affinity: Affinity | None = None
    """Node and pod affinity."""
    service_account_name: Name | None = None
    """Service account of the pod, in the conversion's namespace; no policy limits the platform's choice."""
    priority_class_name: Name | None = None
    """Priority class of the pod."""
    image_pull_secrets: list[ImagePullSecret] | None = None
    """Secrets for pulling the converter image, in the conversion's namespace."""
    fixed_user: bool = True
    """Whether the pods run as a user of our choice, 65532; false where the cluster chooses one for each
    namespace, as OpenShift does."""
    runtime_class_name: Name | None = None
    """Runtime class of the pods, for example of gVisor or Kata Containers."""
    host_users: bool = True
    """Whether user IDs in the pods are those of the node; false for a user namespace of each pod's own."""
    pod_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """More labels for the pods; the operator's own cannot be replaced."""
    pod_annotations: dict[LabelKey, Annotated[str, Field(max_length=4096)]] = Field(default_factory=dict)
    """More annotations for the pods, for example to keep a service mesh's sidecar away."""
    env: Annotated[tuple[Variable, ...], Field(max_length=64)] = ()
    """More variables for the containers that speak with the store; that of the model's code gets none."""
    proxy: Proxy = Proxy()
    """The proxy by which these containers reach the store."""

    @model_validator(mode="after")
    def _has_one_environment(self) -> Self:
        if problem := environment_problem(self.env, self.proxy):
            raise ValueError(problem)
        return self


class Defaults(ApiModel):
    """The file's content."""

    storage: Storage = Storage()
    """For conversions without spec.storage. One that has it gets nothing from here: credentials for one store
    must not be sent to another."""
    job: JobTemplate = JobTemplate()
    """For the Jobs."""

    def fill(self, spec: ModelConversionSpec) -> ModelConversionSpec:
        """Give ``spec`` with what it leaves out."""
        left_out = {name: getattr(self.job, name) for name in _SHARED if getattr(spec.job, name) is None}
        job = spec.job.model_copy(update=left_out)
        resources = bounded(job.resources or _RESOURCES, bounded(self.job.resources, _RESOURCES))
        job = job.model_copy(update={"resources": resources})
        storage = self.storage if spec.storage == Storage() else spec.storage
        return spec.model_copy(update={"job": job, "storage": storage})


def bounded(resources: Resources, otherwise: Resources) -> Resources:
    """Return resources with a limit for the node's disk: without one, a conversion could fill it for all."""
    requests, limits = resources.requests or {}, resources.limits or {}
    if _DISK in limits:
        return resources
    if _DISK in requests:
        disk = {"limits": limits | {_DISK: requests[_DISK]}}
    else:
        disk = {
            "requests": requests | _only_disk(otherwise.requests),
            "limits": limits | _only_disk(otherwise.limits),
        }
    return resources.model_copy(update=disk)


def _only_disk(amounts: dict[str, str | int] | None) -> dict[str, str | int]:
    return {name: amount for name, amount in (amounts or {}).items() if name == _DISK}


def scratch_limit(resources: Resources | None) -> str | int:
    """Return how much the Job's files may take: :meth:`Defaults.fill` gives each spec a limit."""
    limits = (resources.limits if resources else None) or {}
    return limits[_DISK]


def read_defaults(path: str) -> Defaults:
    """Read the file at ``path``, YAML or JSON; the built-in defaults where ``path`` is empty.

    Raises:
        SettingsError: It cannot be read, or does not fit.

    """
    if not path:
        return Defaults()
    try:
        with Path(path).open("rb") as stream:
            content = yaml.safe_load(stream.read(_LARGEST_FILE))
        return Defaults.model_validate(content or {})
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"--defaults-file {path}: {error}") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"--defaults-file {path}: {problems}") from None
