"""Artifacts in a container registry: a part of the spec, and what the status says of it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from ..base import ApiModel, cel
from ..limits import OBJECT_NAME_LENGTH
from .scheduling import Name

_LABEL: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
# A first part without a dot or a port would be a folder of somebody's default registry.
_HOST: Final = rf"({_LABEL}([.]{_LABEL})+(:[0-9]{{1,5}})?|{_LABEL}:[0-9]{{1,5}})"
_PART: Final = r"[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = f"{_HOST}(/{_PART})+"
_REPOSITORY_LENGTH: Final = 255
_REPOSITORY_FORM: Final = (
    "must be a registry and a repository in small letters, without a scheme, tag or digest, e.g."
    " registry.example.com/edge/gesture"
)
_TAG: Final = r"([A-Za-z0-9_]|\{version\})([A-Za-z0-9._-]|\{version\})*"
_TAG_LENGTH: Final = 80
_TAG_FORM: Final = "must be a tag of letters, digits, '.', '_' and '-'; {version} is the only word in braces"
VERSION_DIGITS: Final = 12
"""Of the source's digest, which ``{version}`` stands for."""


class OCIFormat(StrEnum):
    """What artifacts are in a registry."""

    IMAGE = "Image"
    """A container image with the files under /models, for image volumes and KServe's modelcars."""
    MODEL_PACK = "ModelPack"
    """A model by the CNCF's ModelPack specification, each file a layer as it is."""


class OCIChoice(StrEnum):
    """Which files go into a registry."""

    RECOMMENDED = "Recommended"
    PASSED = "Passed"


class RegistryKeyRef(ApiModel):
    """A Secret in the ModelConversion's namespace, which its owner has released, with logins for registries.

    Each login is shown to the host that it is written for, and to no other.
    """

    name: Name
    """Name of the Secret, as kubectl create secret docker-registry makes it."""
    key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = ".dockerconfigjson"
    """Key in the Secret: logins by host in the form of Docker's configuration file."""


def _matching(pattern: str, message: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(message)
        return text

    return AfterValidator(check)


def _schema(pattern: str, length: int, message: str) -> WithJsonSchema:
    escaped = pattern.replace("\\", "\\\\")
    rules = [cel(f"self.matches('^{escaped}$')", message)]
    return WithJsonSchema({"type": "string", "maxLength": length, "x-kubernetes-validations": rules})


def registry_server(host: str, *, insecure: bool) -> str:
    """Return the URL of a registry, without a slash at its end or the scheme's own port."""
    scheme, port = ("http", ":80") if insecure else ("https", ":443")
    return f"{scheme}://{host.removesuffix(port)}"


class OCIOutput(ApiModel):
    """Where in a container registry artifacts go as well."""

    repository: Annotated[
        str,
        Field(max_length=_REPOSITORY_LENGTH),
        _matching(_REPOSITORY, _REPOSITORY_FORM),
        _schema(_REPOSITORY, _REPOSITORY_LENGTH, _REPOSITORY_FORM),
    ]
    """Registry and repository, e.g. registry.example.com/edge/gesture."""
    tag: (
        Annotated[
            str,
            Field(max_length=_TAG_LENGTH),
            _matching(_TAG, _TAG_FORM),
            _schema(_TAG, _TAG_LENGTH, _TAG_FORM),
        ]
        | None
    ) = None
    """Tag that is set last, once everything is there; {version} in it is the first 12 digits of the source's
    digest. Beside an image, the ModelPack's ends in -modelpack. Without one, only the digests are known."""
    formats: Annotated[
        list[OCIFormat],
        Field(min_length=1, max_length=len(OCIFormat), json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=lambda: list(OCIFormat))
    """Image, ModelPack, or both."""
    files: OCIChoice = OCIChoice.RECOMMENDED
    """The recommended file, or all that passed. Where there are none, nothing is pushed."""
    secret_ref: RegistryKeyRef | None = None
    """Logins for the registry; without one, it is asked without any."""
    insecure: bool = False
    """Speak HTTP without TLS, for a registry on a network that you trust. An authority of your own belongs in
    storage.caBundle instead."""

    @property
    def host(self) -> str:
        """The registry's host, with its port where one is named."""
        return self.repository.partition("/")[0]

    @property
    def path(self) -> str:
        """The repository in the registry."""
        return self.repository.partition("/")[2]

    @property
    def server(self) -> str:
        """The registry's URL, without a slash at its end."""
        return registry_server(self.host, insecure=self.insecure)

    def tag_of(self, form: OCIFormat, source_sha256: str) -> str | None:
        """Return the tag that a format gets, for a source with that digest."""
        if self.tag is None:
            return None
        tag = self.tag.replace("{version}", source_sha256[:VERSION_DIGITS])
        beside = form is OCIFormat.MODEL_PACK and OCIFormat.IMAGE in self.formats
        return f"{tag}-modelpack" if beside else tag


class OCIArtifact(ApiModel):
    """What was pushed to a registry."""

    format: OCIFormat
    """Image or ModelPack."""
    uri: Annotated[str, Field(max_length=_REPOSITORY_LENGTH + 80)]
    """The manifest by its digest, e.g. oci://registry.example.com/edge/gesture@sha256:..."""
    tag: Annotated[str, Field(max_length=128)] | None = None
    """The tag that was set to it."""
