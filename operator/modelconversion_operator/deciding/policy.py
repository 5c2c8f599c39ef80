"""What a conversion may ask of the cluster through the operator: the limits that its settings draw.

Who may write a ModelConversion need not be allowed to write pods. Whatever a pod can be given that its author
is trusted with is therefore either not in the spec at all (volumes, security contexts, host namespaces), or
limited here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

from modelconversion_api.fields.boards import Board
from modelconversion_api.fields.registration import (
    PASSWORD_ENV,
    TOKEN_ENV,
    USERNAME_ENV,
    MLflowSecretRef,
)
from modelconversion_api.fields.scheduling import Affinity, JobSpec, NodeSelectorTerm, Resources
from modelconversion_api.fields.storage import CONVERSIONS_USER, Storage, endpoint_of
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import ModelConversionSpec, read_uris, uris_of
from modelconversion_api.uris import AZURE_SCHEME, GOOGLE_SCHEME, S3_SCHEME, claim_of

_DEFAULT_ACCOUNT: Final = "default"
_SYSTEM_CLASSES: Final = "system-*"
_RESERVED_TAINTS: Final = (
    "node-role.kubernetes.io/*",
    "node.kubernetes.io/*",
    "node.cloudprovider.kubernetes.io/*",
)
"""Taints of the control plane, and of nodes that are sick, full or not ready yet."""
_RESERVED_LABELS: Final = ("node-role.kubernetes.io/*",)
PLAIN_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
PLAIN_KEYS: Final = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("credentials.json", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"),
    *("HF_TOKEN", "private.pem", ".dockerconfigjson"),
    *(TOKEN_ENV, USERNAME_ENV, PASSWORD_ENV),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What spec.job may name, as patterns in the shell's style.

    Attributes:
        service_accounts: Service accounts beside the namespace's own ``default``, each as a pattern or as
            ``namespace/pattern``. Cloud identities belong to service accounts, so naming one is reaching what
            that identity reaches.
        priority_classes: Priority classes, written alike; those of the system are never among them.
        tolerations: Keys of taints. Those of the control plane and of sick nodes must be written without a
            star for the part before the slash.
        node_labels: Keys of node labels, for node selectors and affinities; the nodes' roles written alike.
        resources: Names of resources, for requests and limits.
        endpoints: Endpoints of stores, the two clouds' own among them, and registries, web servers and the
            Hub, without a slash at the end. AWS itself has none, and is allowed.
        secret_keys: Names of keys in Secrets.
        platform: The stores of conversions that name none, which are allowed to them.
        metric_images: Images of a user's own metrics, each with its digest at the end, as in
            ``registry.example/metrics@*``; none unless given.
        shared_output: What becomes of a conversion that writes where an earlier one does, which is under way.

    """

    service_accounts: tuple[str, ...] = ()
    priority_classes: tuple[str, ...] = ("*",)
    tolerations: tuple[str, ...] = ("*",)
    node_labels: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = PLAIN_RESOURCES
    endpoints: tuple[str, ...] = ("*",)
    secret_keys: tuple[str, ...] = PLAIN_KEYS
    platform: Storage = field(default_factory=Storage)
    metric_images: tuple[str, ...] = ()
    shared_output: Literal["wait", "refuse", "allow"] = "wait"

    def violation(self, namespace: str, spec: ModelConversionSpec) -> str | None:
        """Say what ``spec`` may not ask for in ``namespace``, and which setting allows it.

        None when all is well.
        """
        return next(
            itertools.chain(
                self._of_storage(spec),
                self._of_account(namespace, spec.job),
                self._of_nodes(spec.job),
                *map(self._of_nodes, spec.benchmark.boards),
                self._of_metrics(spec),
            ),
            None,
        )

    def _of_storage(self, spec: ModelConversionSpec) -> Iterator[str]:
        endpoint = (spec.storage.endpoint or "").rstrip("/")
        named = {"spec.storage.endpoint": endpoint} if endpoint else {}
        named |= self._servers_of(spec)
        if spec.output.oci is not None:
            named["spec.output.oci.repository"] = spec.output.oci.server
        if spec.registration is not None:
            named["spec.register.mlflow.uri"] = spec.registration.mlflow.server
        for place, host in named.items():
            if not any(fnmatchcase(host, pattern) for pattern in self.endpoints):
                where = host if place == "spec.storage.endpoint" else f"is at {host}, which"
                yield f"{place} {where} is not among those that the operator's --allowed-endpoints allows"
        for key in _keys_of_secrets(spec):
            if not any(fnmatchcase(key, pattern) for pattern in self.secret_keys):
                yield (
                    f"spec names the key {key} of a Secret, which is not among those that the operator's"
                    " --allowed-secret-keys allows"
                )

    def _of_metrics(self, spec: ModelConversionSpec) -> Iterator[str]:
        for metric in () if spec.validation is None else spec.validation.metrics:
            if not any(fnmatchcase(metric.image, pattern) for pattern in self.metric_images):
                yield (
                    f"spec.validation.metrics[{metric.name}].image {metric.image} is not among the images"
                    " that the operator's --allowed-metric-images allows (in the chart"
                    " policy.allowedMetricImages; none unless given)"
                )

    def _servers_of(self, spec: ModelConversionSpec) -> dict[str, str]:
        """Return what is read from and written to, but for S3, by where in the spec it stands."""
        takes_platforms = spec.storage == Storage()
        storage = self.platform if takes_platforms else spec.storage
        free = {S3_SCHEME}
        if takes_platforms:
            free |= {GOOGLE_SCHEME} if storage.google_cloud else set()
            free |= {AZURE_SCHEME} if storage.azure else set()
        found = {
            place: endpoint_of(uri, storage)
            for place, uri in (uris_of(spec) | {"spec.output.uri": spec.output.uri}).items()
            if not uri.startswith(tuple(free))
        }
        return {place: server for place, server in found.items() if server is not None}

    def _of_account(self, namespace: str, job: JobSpec) -> Iterator[str]:
        account, priority = job.service_account_name, job.priority_class_name
        if account not in (None, _DEFAULT_ACCOUNT) and not _allows(self.service_accounts, namespace, account):
            yield (
                f"spec.job.serviceAccountName {account} is not among the service accounts that the operator's"
                " --allowed-service-accounts allows"
            )
        if priority is not None and (
            fnmatchcase(priority, _SYSTEM_CLASSES) or not _allows(self.priority_classes, namespace, priority)
        ):
            yield (
                f"spec.job.priorityClassName {priority} is not among the priority classes that the operator's"
                " --allowed-priority-classes allows (those of the system never are)"
            )

    def _of_nodes(self, job: JobSpec | Board) -> Iterator[str]:
        where = f"board {job.name}" if isinstance(job, Board) else "spec.job"
        affinity = None if isinstance(job, Board) else job.affinity
        for toleration in job.tolerations or ():
            if not toleration.key:
                yield (
                    f"a toleration of {where} has no key, and would tolerate every taint, the"
                    " control plane's too: name the key of each taint"
                )
            elif not _allows_key(self.tolerations, toleration.key, _RESERVED_TAINTS):
                yield (
                    f"{where} tolerates the taint {toleration.key}, which is not among those that"
                    " the operator's --allowed-tolerations allows"
                )
        for key in (*(job.node_selector or ()), *_keys_of(affinity)):
            if not _allows_key(self.node_labels, key, _RESERVED_LABELS):
                yield (
                    f"{where} chooses nodes by {key}, which is not among the labels that the operator's"
                    " --allowed-node-labels allows"
                )
        for name in _names_of(job.resources):
            if not any(fnmatchcase(name, pattern) for pattern in self.resources):
                yield (
                    f"{where} asks for the resource {name}, which is not among those that the operator's"
                    " --allowed-resources allows"
                )


def secrets_of(spec: ModelConversionSpec) -> tuple[str, ...]:
    """Return the Secrets that a conversion's author has chosen; those of the platform's defaults are not."""
    storage, hub, signing, oci = spec.storage, spec.hugging_face, spec.output.signing, spec.output.oci
    others = (storage.google_cloud, storage.azure, storage.oci)
    clouds = [other.secret_ref for other in others if other is not None]
    names = [
        *(secret.name for secret in (storage.secret_ref, *clouds) if secret is not None),
        *([hub.secret_ref.name] if hub else []),
        *([signing.secret_ref.name] if signing else []),
        *([oci.secret_ref.name] if oci and oci.secret_ref else []),
        *([secret.name] if (secret := _registry_secret(spec)) is not None else []),
    ]
    return tuple(dict.fromkeys(names))


class Grant(NamedTuple):
    """A right that releases something of a namespace for conversions."""

    resource: Literal["secrets", "persistentvolumeclaims"]
    name: str
    verb: Literal["get", "update"] = "get"
    """``update`` for a claim that is written to."""

    @property
    def kind(self) -> str:
        """The kind of object that is released."""
        return "Secret" if self.resource == "secrets" else "PersistentVolumeClaim"


def grants_of(spec: ModelConversionSpec) -> tuple[Grant, ...]:
    """Return what must have been released: Secrets and claims that a conversion's author has chosen."""
    output = claim_of(spec.output.uri)
    reads = {claim for uri in read_uris(spec) if (claim := claim_of(uri)) is not None}
    return (
        *(Grant("secrets", name) for name in secrets_of(spec)),
        *(Grant("persistentvolumeclaims", name) for name in sorted(reads)),
        *([Grant("persistentvolumeclaims", output, "update")] if output is not None else []),
    )


def reason_not_released(grant: Grant) -> FailureReason:
    """Return the reason of a conversion that waits for a grant."""
    is_secret = grant.resource == "secrets"
    return FailureReason.SECRET_NOT_RELEASED if is_secret else FailureReason.CLAIM_NOT_RELEASED


def not_released(namespace: str, grants: Sequence[Grant]) -> str:
    """Say what no conversion may use yet, and what to do about it."""
    words = []
    for grant in grants:
        is_secret, kubectl = grant.resource == "secrets", f"kubectl -n {namespace} create"
        role = f"conversions-{grant.name}" if is_secret else f"conversions-claim-{grant.name}-{grant.verb}"
        use = "" if is_secret else " to write to" if grant.verb == "update" else " to read from"
        words.append(
            f"{grant.kind} {grant.name} is not released for conversions{use}: {kubectl} role {role}"
            f" --verb={grant.verb} --resource={grant.resource} --resource-name={grant.name};"
            f" {kubectl} rolebinding {role} --role={role} --user={CONVERSIONS_USER}"
        )
    return "; ".join(words)


def _keys_of_secrets(spec: ModelConversionSpec) -> Iterator[str]:
    if (secret := spec.storage.secret_ref) is not None:
        yield from (secret.access_key_id_key, secret.secret_access_key_key, secret.session_token_key)
    if (google := spec.storage.google_cloud) is not None and google.secret_ref is not None:
        yield google.secret_ref.key
    if (azure := spec.storage.azure) is not None and azure.secret_ref is not None:
        yield from (azure.secret_ref.account_key_key, azure.secret_ref.sas_token_key)
    if (registries := spec.storage.oci) is not None and registries.secret_ref is not None:
        yield registries.secret_ref.key
    if (hub := spec.hugging_face) is not None:
        yield hub.secret_ref.key
    if (signing := spec.output.signing) is not None:
        yield signing.secret_ref.key
    if (oci := spec.output.oci) is not None and oci.secret_ref is not None:
        yield oci.secret_ref.key
    if (registry := _registry_secret(spec)) is not None:
        yield from (registry.token_key, registry.username_key, registry.password_key)


def _registry_secret(spec: ModelConversionSpec) -> MLflowSecretRef | None:
    return None if spec.registration is None else spec.registration.mlflow.secret_ref


def _allows(patterns: tuple[str, ...], namespace: str, name: str | None) -> bool:
    # Neither a namespace nor a name can contain a slash, so the two parts are matched one by one.
    for pattern in patterns:
        where, slash, what = pattern.rpartition("/")
        if fnmatchcase(name or "", what) and (not slash or fnmatchcase(namespace, where)):
            return True
    return False


def _allows_key(patterns: tuple[str, ...], key: str, reserved: tuple[str, ...]) -> bool:
    """Whether a pattern allows a key; a reserved one only where the pattern writes its prefix out."""
    prefix = key.partition("/")[0]
    is_reserved = any(fnmatchcase(key, other) for other in reserved)
    return any(
        fnmatchcase(key, pattern) and (not is_reserved or pattern.partition("/")[0] == prefix)
        for pattern in patterns
    )


def _keys_of(affinity: Affinity | None) -> Iterator[str]:
    """Keys of the labels by which an affinity chooses nodes; pods are chosen in their own namespace only."""
    nodes = affinity.node_affinity if affinity else None
    if nodes is None:
        return
    required = nodes.required_during_scheduling_ignored_during_execution
    preferred = nodes.preferred_during_scheduling_ignored_during_execution
    terms: list[NodeSelectorTerm] = [
        *(required.node_selector_terms if required else ()),
        *(term.preference for term in preferred or ()),
    ]
    for term in terms:
        yield from (rule.key for rule in (*(term.match_expressions or ()), *(term.match_fields or ())))


def _names_of(resources: Resources | None) -> Iterator[str]:
    if resources is not None:
        yield from {**(resources.requests or {}), **(resources.limits or {})}
