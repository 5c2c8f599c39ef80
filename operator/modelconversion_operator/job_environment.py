"""What the platform gives the Jobs' containers in their environment: the way through a proxy, and the like.

Only the containers that speak with the store get it. It is never a conversion's to say, and a secret comes by
reference only: a Job, and the platform's file, can be read by more people than a Secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, model_validator

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.scheduling import Name

HTTP_PROXY: Final = "HTTP_PROXY"
HTTPS_PROXY: Final = "HTTPS_PROXY"
NO_PROXY: Final = "NO_PROXY"
NEVER_BY_PROXY: Final = (
    "localhost",
    "127.0.0.1",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::23]",
    "metadata.google.internal",
)
"""The pod itself, and where clouds give its credentials out: EC2, ECS, EKS Pod Identity and Google. A proxy
would ask for its own machine's credentials, and could read the pod's."""

_OURS: Final = (
    r"CONVERSION_.*|TMPDIR|HOME|PATH"
    r"|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|AWS_ENDPOINT_URL.*"
    r"|AZURE_AUTHORITY_HOST|AZURE_FEDERATED_TOKEN_FILE"
)
"""Names that the operator or the image sets, and those that would lead credentials to another store."""
_LOADS_CODE: Final = (
    r"LD_.*|PYTHON.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|BASH_ENV|ENV|OPENSSL_.*|SSLKEYLOGFILE"
    r"|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE|AWS_DATA_PATH"
)
"""Names by which the loader, Python, glibc, OpenSSL or boto3 find code to run, or write keys down."""
_SOUNDS_SECRET: Final = r".*(PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_KEY)"  # noqa: S105 - a pattern of names
_PASSWORD_IN_URL: Final = re.compile(r"//[^/@\s]*:(?!\$\([A-Za-z_][A-Za-z0-9_]*\)@)[^/\s]*@")
"""A user and password before a host, other than ``user:$(NAME)``, which the kubelet fills in."""


def _allowed(name: str) -> str:
    if re.fullmatch(_OURS, name, re.IGNORECASE):
        raise ValueError(f"{name} is set by the operator, or leads to another store: it cannot be given")
    if re.fullmatch(_LOADS_CODE, name, re.IGNORECASE):
        raise ValueError(
            f"{name} makes a program load code or leave secrets behind: it cannot be given; build an image of"
            " your own for what it is to change"
        )
    if name.upper() == "ALL_PROXY":
        raise ValueError(f"nothing here reads {name}: give HTTPS_PROXY and HTTP_PROXY")
    return name


def _without_password(value: str) -> str:
    if _PASSWORD_IN_URL.search(value):
        raise ValueError(
            "there is a password in the URL, which all can read who may read a Job: put it into a Secret,"
            " name that by valueFrom.secretKeyRef in env, e.g. as PROXY_PASSWORD, and write"
            " http://user:$(PROXY_PASSWORD)@proxy.example:3128"
        )
    return value


class SecretKey(ApiModel):
    """A key of a Secret in the namespace of each conversion."""

    name: Name
    """Name of the Secret."""
    key: Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """The key."""
    optional: bool = False
    """Whether a container starts without it; otherwise conversions of a namespace without it fail."""


class ValueFrom(ApiModel):
    """Where a variable's value is."""

    secret_key_ref: SecretKey
    """The Secret."""


class Variable(ApiModel):
    """An environment variable: a value that everybody may read, or a reference to a Secret."""

    name: Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_allowed)]
    """Its name."""
    value: Annotated[str, Field(max_length=4096), AfterValidator(_without_password)] | None = None
    """Its value; ``$(NAME)`` stands for that of a variable before it."""
    value_from: ValueFrom | None = None
    """Where its value is."""

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError(f"{self.name} needs either value or valueFrom.secretKeyRef")
        if self.value is not None and re.fullmatch(_SOUNDS_SECRET, self.name, re.IGNORECASE):
            raise ValueError(
                f"{self.name} sounds like a secret, and its value can be read by all who may read a Job: put"
                " it into a Secret, and name that by valueFrom.secretKeyRef"
            )
        return self


ProxyUrl = Annotated[
    str,
    Field(max_length=1024, pattern=r"^(https?://([^/@\s]+@)?[^/@\s]+/?)?$"),
    AfterValidator(_without_password),
]


class Proxy(ApiModel):
    """The way to stores outside of the cluster's network."""

    http_proxy: ProxyUrl = ""
    """Proxy for stores at http:// addresses."""
    https_proxy: ProxyUrl = ""
    """Proxy for stores at https:// addresses, AWS S3 among them."""
    no_proxy: Annotated[str, Field(max_length=4096, pattern=r"^[^\s/]*(/[0-9]{1,3}[^\s/]*)*$")] = ""
    """What is reached without it: names with all below them, addresses, and networks such as 10.0.0.0/8, with
    commas between them. What gives credentials out to the pod is always among them."""

    @property
    def direct(self) -> str:
        """The value of NO_PROXY."""
        # Python takes ``.example`` for all below it, and ``*.example`` for nothing.
        given = (entry.removeprefix("*") if entry != "*" else entry for entry in self.no_proxy.split(","))
        return ",".join(dict.fromkeys((*NEVER_BY_PROXY, *filter(None, given))))


def environment_problem(env: Sequence[Variable], proxy: Proxy) -> str | None:
    """Say what contradicts itself in what the platform gives; None when all is well."""
    names = [variable.name.upper() for variable in env]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"{twice} is in env twice"
    both = {HTTP_PROXY: proxy.http_proxy, HTTPS_PROXY: proxy.https_proxy, NO_PROXY: proxy.no_proxy}
    for name, value in both.items():
        if value and name in names:
            return f"{name} is in env and in proxy: say it in one of them"
    return None


def variables(env: Sequence[Variable], proxy: Proxy) -> list[dict[str, Any]]:
    """Return the variables of a container that speaks with the store, as a pod's spec has them.

    Those of ``env`` come first, so that the proxy's URL can name one. Wherever there is a proxy, what gives
    credentials out to the pod is reached without it, unless ``env`` has a NO_PROXY of its own.
    """
    proxies = {HTTP_PROXY: proxy.http_proxy, HTTPS_PROXY: proxy.https_proxy}
    given = [{"name": name, "value": value} for name, value in proxies.items() if value]
    found = [variable.to_wire() for variable in env] + given
    names = {variable["name"].upper() for variable in found}
    if names & proxies.keys() and NO_PROXY not in names:
        found.append({"name": NO_PROXY, "value": proxy.direct})
    return found
