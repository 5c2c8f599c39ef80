"""Where and with what the Job's pod runs: the subset of the pod API that a ModelConversion may set."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from ..base import ApiModel
from ..limits import OBJECT_NAME_LENGTH

Name = Annotated[str, Field(max_length=OBJECT_NAME_LENGTH, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Quantity = Annotated[
    str | int,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        }
    ),
]
"""A Kubernetes quantity, e.g. ``500m`` or ``2Gi``."""


class Resources(ApiModel):
    """CPU, memory and ephemeral storage of each of the Job's containers."""

    requests: Annotated[dict[LabelKey, Quantity], Field(max_length=16)] | None = None
    """What the scheduler reserves."""
    limits: Annotated[dict[LabelKey, Quantity], Field(max_length=16)] | None = None
    """What a container may use at most."""


class Toleration(ApiModel):
    """A node taint that the pod tolerates."""

    key: LabelKey | None = None
    """Key of the taint; without one, every taint is meant."""
    operator: Literal["Exists", "Equal"] | None = None
    """Whether the taint's value counts; Equal when not given."""
    value: LabelValue | None = None
    """Value of the taint, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; without one, every effect is meant."""
    toleration_seconds: int | None = None
    """How long the pod stays on a node that has got the taint; for NoExecute."""


class Requirement(ApiModel):
    """One rule over a node's labels."""

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is held against the values."""
    values: Annotated[list[LabelValue], Field(max_length=32)] | None = None
    """The values; none for Exists and DoesNotExist, one number for Gt and Lt."""


class NodeSelectorTerm(ApiModel):
    """Rules that must all hold."""

    match_expressions: Annotated[list[Requirement], Field(max_length=16)] | None = None
    """Rules over the node's labels."""
    match_fields: Annotated[list[Requirement], Field(max_length=4)] | None = None
    """Rules over the node's fields, e.g. metadata.name."""


class NodeSelector(ApiModel):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1, max_length=8)]
    """The terms; a node fits when it fits one of them."""


class PreferredSchedulingTerm(ApiModel):
    """A term that makes a node more welcome."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """How welcome, beside other terms."""
    preference: NodeSelectorTerm
    """The rules for such a node."""


class NodeAffinity(ApiModel):
    """Which nodes the pod wants."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """What a node must have."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredSchedulingTerm], Field(max_length=8)] | None
    ) = None
    """What a node had better have."""


class LabelRequirement(ApiModel):
    """One rule over a pod's labels."""

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is held against the values."""
    values: Annotated[list[LabelValue], Field(max_length=32)] | None = None
    """The values; none for Exists and DoesNotExist."""


class LabelSelector(ApiModel):
    """Labels that must all match."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] | None = None
    """Labels with their values."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16)] | None = None
    """Rules over labels."""


class PodAffinityTerm(ApiModel):
    """Pods to be near to, or away from."""

    label_selector: LabelSelector | None = None
    """Which pods are meant, of the conversion's namespace."""
    topology_key: LabelKey
    """Label of nodes that counts as one place when its value is the same, e.g. kubernetes.io/hostname."""


class WeightedPodAffinityTerm(ApiModel):
    """A pod affinity term that is a wish."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """How much it is wished for, beside other terms."""
    pod_affinity_term: PodAffinityTerm
    """The pods, and what being near means."""


class PodAffinity(ApiModel):
    """Pods that this pod wants to be near to (or, as anti-affinity, away from)."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodAffinityTerm], Field(max_length=8)] | None
    ) = None
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[WeightedPodAffinityTerm], Field(max_length=8)] | None
    ) = None
    """What had better hold."""


class Affinity(ApiModel):
    """The pod's scheduling rules, as in the pod API."""

    node_affinity: NodeAffinity | None = None
    """Which nodes the pod wants."""
    pod_affinity: PodAffinity | None = None
    """Which pods it wants to be near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Which pods it wants to be away from."""


class ImagePullSecret(ApiModel):
    """A Secret with registry credentials, in the ModelConversion's namespace."""

    name: Name
    """Name of the Secret."""


MAX_BACKOFF: Final = 10
"""The largest backoffLimit."""


class JobDefaults(ApiModel):
    """How Jobs run."""

    resources: Resources | None = None
    """Requests and limits of each container; the operator's defaults where not given. Only the resources that
    the operator's settings allow; the limit of ephemeral-storage is also that of the conversion's files."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] | None = None
    """Labels a node must have; only those that the operator's settings allow."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Node taints that the pod tolerates; only those that the operator's settings allow, each by its key."""
    affinity: Affinity | None = None
    """Node and pod affinity."""
    service_account_name: Name | None = None
    """Service account of the pod, for cloud identities (IRSA). Its API token is never mounted. Only those
    that the operator's settings allow; without them, none but "default"."""
    priority_class_name: Name | None = None
    """Priority class of the pod; never one of the system's."""
    image_pull_secrets: Annotated[list[ImagePullSecret], Field(max_length=8)] | None = None
    """Secrets for pulling the converter image."""
    active_deadline_seconds: Annotated[int, Field(ge=30, le=604800)] = 3600
    """Seconds that the conversion may run, retries included."""
    pending_deadline_seconds: Annotated[int, Field(ge=10, le=604800)] = 900
    """Seconds that a conversion may wait for a container to start before it fails."""
    backoff_limit: Annotated[int, Field(ge=0, le=MAX_BACKOFF)] = 2
    """How often a failure that may pass is tried again. Failures that cannot pass are never retried."""


class JobSpec(JobDefaults):
    """How the Job runs."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] = 86400
    """Seconds until the finished Job is removed; the ModelConversion stays. May be changed at any time."""
