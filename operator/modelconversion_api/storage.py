"""How to reach the S3 store: a part of the spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from .base import GROUP, ApiModel, cel
from .limits import OBJECT_NAME_LENGTH
from .scheduling import Name

ENDPOINT_KEY: Final = "AWS_ENDPOINT_URL"
"""Key of a Secret that says which endpoint its credentials are for; they then reach no other."""


CONVERSIONS_USER: Final = f"{GROUP}:conversions"
"""A user that nobody is. Who lets it read a Secret releases that for conversions, and must be able to read it
too: Kubernetes lets nobody grant a right that they do not have."""


class SecretRef(ApiModel):
    """A Secret in the ModelConversion's namespace, which its owner has released, and the names of its keys.

    Where it has the key AWS_ENDPOINT_URL, the credentials are for that endpoint only.
    """

    name: Name
    """Name of the Secret."""
    access_key_id_key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = "AWS_ACCESS_KEY_ID"
    """Key in the Secret that holds the access key ID."""
    secret_access_key_key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a key in a Secret, not a secret
    """Key in the Secret that holds the secret access key."""
    session_token_key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a key in a Secret, not a secret
    """Key in the Secret that holds a session token; it may be absent."""


class ChecksumPolicy(StrEnum):
    """When S3 requests carry the newer checksum headers."""

    WHEN_REQUIRED = "WhenRequired"
    WHEN_SUPPORTED = "WhenSupported"


class AddressingStyle(StrEnum):
    """Where an S3 request names its bucket."""

    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


class StorageAccess(ApiModel):
    """How to reach the S3 store: everything that is not secret."""

    endpoint: (
        Annotated[
            str,
            Field(
                max_length=512,
                json_schema_extra={
                    "x-kubernetes-validations": [
                        cel(
                            "self.matches('^https?://[^/ ?#@]+/?$')",
                            "must be a URL without path or user, e.g. https://minio.storage.svc:9000",
                        )
                    ]
                },
            ),
        ]
        | None
    ) = None
    """URL of an S3-compatible store (MinIO, SeaweedFS, Ceph); AWS S3 when not given."""
    region: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]+$")] | None = None
    """Region of the buckets."""
    ca_bundle: Annotated[str, Field(max_length=65536)] | None = None
    """PEM certificates that the endpoint's certificate is checked against."""
    checksums: ChecksumPolicy = ChecksumPolicy.WHEN_REQUIRED
    """Newer checksum headers; WhenRequired works with every S3-compatible store."""
    addressing_style: AddressingStyle = AddressingStyle.AUTO
    """Bucket in the path or in the host name; Auto takes the path for an endpoint of your own."""


class Storage(StorageAccess):
    """How to reach the S3 store, and where the credentials are."""

    secret_ref: SecretRef | None = None
    """Secret with static credentials; without one, the Job's service account provides them (IRSA)."""
