"""The operator's settings: each is a flag and an environment variable, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from modelconversion_api.spec import ENGINE_FORMATS, SourceFormat
from modelconversion_operator.deciding.admission import Limits
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.manifest import JobSettings
from modelconversion_operator.deciding.policy import PLAIN_KEYS, PLAIN_RESOURCES, Policy
from modelconversion_operator.deciding.views import MANAGED_BY
from modelconversion_operator.errors import SettingsError
from modelconversion_operator.rules import Rules
from modelconversion_operator.telling.events import Kind
from modelconversion_operator.telling.sink import url_problem
from modelconversion_operator.telling.spans import ENDS
from modelconversion_operator.telling.teller import Scope

ENV_PREFIX: Final = "MODELCONVERSION_"

_NAMESPACE = TypeAdapter(Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")])
_PATTERN = re.compile(r"([a-z0-9*?\[\]!-]+/)?[a-z0-9.*?\[\]!-]+")
_KEY_PATTERN = re.compile(r"([a-z0-9.*?\[\]!-]+/)?[A-Za-z0-9._*?\[\]!-]+")


def _namespaces(text: str) -> str:
    for name in filter(None, text.split(",")):
        _NAMESPACE.validate_python(name)
    return text


def _patterns(text: str) -> str:
    for pattern in filter(None, text.split(",")):
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern!r} is neither a name nor a pattern: use a-z, 0-9 and -.*?[]/, no spaces"
            )
    return text


def _key_patterns(text: str) -> str:
    for pattern in filter(None, text.split(",")):
        if not _KEY_PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern!r} is neither a key nor a pattern: write prefix/name as Kubernetes does, with"
                " *?[] where any character may be, no spaces"
            )
    return text


def _urls(text: str) -> str:
    for pattern in filter(None, text.split(",")):
        if not re.fullmatch(r"[A-Za-z0-9.:/*?\[\]!_-]*[^/\s]", pattern):
            raise ValueError(f"{pattern!r} is neither a URL without a slash at the end nor a pattern of one")
    return text


def _images(text: str) -> str:
    for pattern in filter(None, text.split(",")):
        if not re.fullmatch(r"[A-Za-z0-9.:/@*?\[\]!_-]+", pattern):
            raise ValueError(f"{pattern!r} is neither an image nor a pattern of one")
    return text


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _by_format(text: str, what: str, pattern: str) -> dict[SourceFormat, str]:
    known = [name.value for name in ENGINE_FORMATS]
    found = {}
    for entry in _listed(text):
        name, mark, value = entry.partition("=")
        if name not in known or not mark or not re.fullmatch(pattern, value):
            raise ValueError(f"{entry!r} is not FORMAT={what} with a format of {', '.join(known)}")
        found[SourceFormat(name)] = value
    return found


def _images_of(text: str) -> dict[SourceFormat, str]:
    return _by_format(text, "IMAGE", r"\S+")


def _architectures_of(text: str) -> dict[SourceFormat, str]:
    return _by_format(text, "ARCHITECTURE", "[a-z0-9]+")


def _kinds(text: str) -> str:
    known = [kind.value for kind in Kind]
    for name in _listed(text):
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
    if not _listed(text):
        raise ValueError("it is empty: leave the sink out to tell nothing")
    return text


def _sink(url: str) -> str:
    if url and (problem := url_problem(url)):
        raise ValueError(problem)
    return url


def _endpoint(url: str) -> str:
    if url and (problem := url_problem(url)):
        raise ValueError(problem.replace("it must be http://HOST... or https://HOST...", _OTLP))
    return url


_OTLP: Final = "it must be http://HOST:PORT or https://HOST:PORT of OTLP over HTTP, e.g. of port 4318"


def _read_by(read: Callable[[str], object]) -> AfterValidator:
    """Return what keeps a text that ``read`` understands as it is."""

    def check(text: str) -> str:
        read(text)
        return text

    return AfterValidator(check)


class Settings(BaseSettings):
    """Watch ModelConversions and run a converter Job for each, until stopped by SIGTERM or Ctrl-C.

    Every flag has an environment variable: MODELCONVERSION_ and the flag in capitals, for example
    MODELCONVERSION_HTTP_PORT for --http-port; a flag wins. In a pod the operator uses its service account,
    elsewhere the kubeconfig that KUBECONFIG names.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        cli_prog_name="modelconversion-operator",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    converter_image: Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
    """Image of the converter that the Jobs run."""
    engines: Annotated[str, _read_by(_images_of)] = ""
    """Images of the converter with an engine in them, for formats that need one: FORMAT=IMAGE, separated by
    commas, e.g. ONNX=registry.example/tflite-converter-onnx:0.1.0."""
    engine_architectures: Annotated[str, _read_by(_architectures_of)] = ""
    """Architectures that images with an engine are for where the converter is for more: FORMAT=ARCHITECTURE,
    separated by commas, e.g. StableHLO=amd64. Jobs with such an image run on nodes of it."""
    runtime_image: Annotated[str, Field(pattern=r"^\S*$")] = ""
    """Image that boards run the published files with; empty for that of the converter, which is larger."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull the converter image."""
    class_name: Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")] = ""
    """Class of the conversions that this operator acts on: those with this spec.className; without one, those
    without."""
    namespaces: Annotated[str, AfterValidator(_namespaces)] = ""
    """Namespaces to watch, separated by commas; empty for the whole cluster."""
    http_host: str = ""
    """Address for /metrics, /healthz and /readyz; empty for all of the pod, of IPv4 and of IPv6."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port for the same; 0 picks a free one and logs it."""
    workers: Annotated[int, Field(ge=1, le=64)] = 16
    """Conversions looked at side by side."""
    defaults_file: str = ""
    """YAML file with what conversions get that leave it out: storage as in spec.storage, and job with
    resources, nodeSelector, tolerations, affinity, serviceAccountName, priorityClassName and imagePullSecrets
    as in spec.job, podLabels, podAnnotations, runtimeClassName, hostUsers, env and proxy."""
    leader_elect: bool = False
    """Work only while holding a Lease, so that further replicas stand by."""
    lease_name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9.-]+$")] = MANAGED_BY
    """Name of that Lease."""
    lease_namespace: Annotated[str, AfterValidator(_namespaces)] = ""
    """Namespace of that Lease; empty for the operator's own, which is known in a pod only."""
    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 15
    """A standby takes over from a leader that was silent for so long; that one stops after 2/3 of it."""
    leader_identity: Annotated[str, Field(max_length=200, pattern=r"^\S*$")] = ""
    """The pod's UID: with it, the process that follows a crashed one in the same pod leads again at once."""
    watch_silence_seconds: Annotated[float, Field(ge=1, le=3600)] = 70
    """A watch that says nothing for so long is opened anew; the API server speaks about every 60 s."""
    allowed_service_accounts: Annotated[str, AfterValidator(_patterns)] = ""
    """Service accounts that spec.job.serviceAccountName may name beside "default": names or patterns as in a
    shell, separated by commas, each for all namespaces or as namespace/name; * allows all, which lets whoever
    may write a ModelConversion use every cloud identity of its namespace."""
    allowed_priority_classes: Annotated[str, AfterValidator(_patterns)] = "*"
    """Priority classes that spec.job.priorityClassName may name, written alike; never those of the system."""
    allowed_tolerations: Annotated[str, AfterValidator(_key_patterns)] = "*"
    """Keys of the taints that spec.job.tolerations may name: keys or patterns, separated by commas. Taints of
    the control plane and of sick nodes (node-role.kubernetes.io/, node.kubernetes.io/) only where a pattern
    writes that prefix out; a toleration without a key never."""
    allowed_node_labels: Annotated[str, AfterValidator(_key_patterns)] = "*"
    """Keys of the node labels that spec.job.nodeSelector and spec.job.affinity may choose nodes by, written
    alike; node-role.kubernetes.io/ only where a pattern writes it out."""
    allowed_resources: Annotated[str, AfterValidator(_key_patterns)] = ",".join(PLAIN_RESOURCES)
    """Resources that spec.job.resources may name, written alike, e.g. with nvidia.com/gpu added."""
    allowed_endpoints: Annotated[str, AfterValidator(_urls)] = "*"
    """Endpoints that spec.storage may name, and servers that uris may: URLs or patterns, separated by commas,
    without a slash at the end, e.g. https://minio.storage.svc:9000. AWS S3 itself is always allowed; gs uris
    are at https://storage.googleapis.com, and az uris at https://ACCOUNT.blob.core.windows.net, unless
    spec.storage says otherwise."""
    allowed_secret_keys: Annotated[str, AfterValidator(_key_patterns)] = ",".join(PLAIN_KEYS)
    """Keys of Secrets that conversions may name, or patterns, separated by commas."""
    allowed_metric_images: Annotated[str, AfterValidator(_images)] = ""
    """Images that the metrics of spec.validation may name, by digest: names or patterns, separated by commas,
    e.g. registry.example/metrics/*@*; none unless given. A metric runs without network and credentials."""
    credentials_release: Literal["required", "warn"] = "required"
    """What to do about a Secret that nobody has released for conversions: wait until somebody does, or warn
    and go on, for the time in which an existing installation catches up."""
    shared_output: Literal["wait", "refuse", "allow"] = "wait"
    """What becomes of a conversion with the output.uri of an earlier one of its namespace that is under way:
    it waits for that one's end, is refused, or runs beside it; both have the condition OutputShared."""
    progress_seconds: Annotated[float, Field(ge=0, le=600)] = 5
    """Seconds between asking a pod how far it is; 0 where the operator cannot reach pods."""
    max_concurrent: Annotated[int, Field(ge=0)] = 0
    """Conversions that run at a time, fairly shared between namespaces; 0 is without limit. Those that Kueue
    queues do not count."""
    max_concurrent_per_namespace: Annotated[int, Field(ge=0)] = 0
    """The same for each namespace."""
    events_sink: Annotated[str, AfterValidator(_sink)] = ""
    """URL that the start and the end of conversions are told to, as CloudEvents; empty for none."""
    events_types: Annotated[str, AfterValidator(_kinds)] = ",".join(Kind)
    """What is told there, separated by commas: started, succeeded, failed, and the same of sets as
    set.started, set.succeeded, set.failed."""
    events_token_file: str = ""
    """File with a token for that, sent as "Authorization: Bearer"; it is read again for each event."""
    events_ca_file: str = ""
    """File with certificates in PEM that are trusted for that beside the system's; read once."""
    traces_endpoint: Annotated[str, AfterValidator(_endpoint)] = ""
    """URL of an OTLP receiver, e.g. http://otel-collector:4318, that is told of each conversion as a trace
    once it has ended; /v1/traces is put behind it. Empty for none."""
    traces_token_file: str = ""
    """File with a token for that, sent as "Authorization: Bearer"; it is read again for each trace."""
    traces_header: Annotated[str, Field(pattern=r"^([A-Za-z0-9-]{1,64})?$")] = ""
    """Name of the header that the token is sent in, as it is, in place of that."""
    traces_ca_file: str = ""
    """File with certificates in PEM that are trusted for that beside the system's; read once."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much to log."""
    log_format: Literal["text", "json"] = "text"
    """How to log: lines for people, or one JSON object a line for log collectors."""

    @property
    def namespace_list(self) -> list[str]:
        """The watched namespaces; empty for the whole cluster."""
        return [name for name in self.namespaces.split(",") if name]

    @property
    def told(self) -> Scope:
        """What is told to the sink."""
        return Scope(
            [Kind(name) for name in _listed(self.events_types)], self.namespace_list, self.class_name
        )

    @property
    def traced(self) -> Scope:
        """What is told as traces: ends, of which the trace has all that came before."""
        return Scope(ENDS, self.namespace_list, self.class_name)

    @property
    def limits(self) -> Limits:
        """How many conversions may run at a time."""
        return Limits(self.max_concurrent, self.max_concurrent_per_namespace)

    def rules(self, defaults: Defaults) -> Rules:
        """Give what holds for every conversion; ``defaults`` are those of the platform's file."""
        jobs = JobSettings(
            image=self.converter_image,
            engines=_images_of(self.engines),
            engine_architectures=_architectures_of(self.engine_architectures),
            runtime_image=self.runtime_image,
            image_pull_policy=self.image_pull_policy,
            asks_progress=self.progress_seconds > 0,
            logs_json=self.log_format == "json",
            defaults=defaults,
        )
        policy = Policy(
            service_accounts=_listed(self.allowed_service_accounts),
            priority_classes=_listed(self.allowed_priority_classes),
            tolerations=_listed(self.allowed_tolerations),
            node_labels=_listed(self.allowed_node_labels),
            resources=_listed(self.allowed_resources),
            endpoints=_listed(self.allowed_endpoints),
            secret_keys=_listed(self.allowed_secret_keys),
            metric_images=_listed(self.allowed_metric_images),
            platform=defaults.storage,
            shared_output=self.shared_output,
        )
        return Rules(
            jobs, policy, self.limits, secrets_must_be_released=self.credentials_release == "required"
        )


def load(arguments: list[str] | None = None) -> Settings:
    """Read flags over environment variables; ``arguments`` defaults to the process's own.

    Raises:
        SettingsError: Something is missing or cannot be used; the message names the flag and the variable.
        SystemExit: ``--help``, or a flag that does not exist.

    """
    try:
        return CliApp.run(Settings, cli_args=arguments)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_problem, error.errors()))) from None


def _problem(error: object) -> str:
    assert isinstance(error, dict)  # noqa: S101 - told to the type checker
    name = str(error["loc"][0])
    return f"--{name.replace('_', '-')} ({ENV_PREFIX}{name.upper()}): {error['msg']}"
