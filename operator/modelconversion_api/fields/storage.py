"""How to reach the object stores: a part of the spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from ..base import GROUP, ApiModel, cel
from ..limits import OBJECT_NAME_LENGTH
from ..uris import AZURE_SCHEME, GOOGLE_SCHEME, REGISTRY_SCHEME, S3_SCHEME, in_registry, origin
from .oci import RegistryKeyRef, registry_server
from .scheduling import Name

ENDPOINT_KEY: Final = "AWS_ENDPOINT_URL"
"""Key of a Secret that says which endpoint its credentials are for; they then reach no other."""
GOOGLE_ENDPOINT_KEY: Final = "GOOGLE_CLOUD_ENDPOINT_URL"
"""The same for Google Cloud Storage, without which they reach Google's own hosts only."""
AZURE_ENDPOINT_KEY: Final = "AZURE_STORAGE_ENDPOINT_URL"
"""The same for Azure Blob Storage, without which they reach Azure's own hosts only."""
GOOGLE_ENDPOINT: Final = "https://storage.googleapis.com"

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


SecretKeyName = Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]


class GoogleSecretRef(ApiModel):
    """A Secret in the ModelConversion's namespace, which its owner has released, with a key for Google Cloud.

    It is used with Google alone, unless the Secret has the key GOOGLE_CLOUD_ENDPOINT_URL, which names the
    endpoint that it is for.
    """

    name: Name
    """Name of the Secret."""
    key: SecretKeyName = "credentials.json"
    """Key in the Secret that holds the JSON file which Google writes for a key of a service account."""


class AzureSecretRef(ApiModel):
    """A Secret in the ModelConversion's namespace, which its owner has released, with a key or a SAS token.

    They are used with Azure alone, unless the Secret has the key AZURE_STORAGE_ENDPOINT_URL, which names the
    endpoint that they are for.
    """

    name: Name
    """Name of the Secret."""
    account_key_key: SecretKeyName = "AZURE_STORAGE_KEY"
    """Key in the Secret that holds a key of the storage account; it may be absent beside a SAS token."""
    sas_token_key: SecretKeyName = "AZURE_STORAGE_SAS_TOKEN"  # noqa: S105 - the name of a key in a Secret, not a secret
    """Key in the Secret that holds a SAS token, which is taken first; it may be absent."""


class ChecksumPolicy(StrEnum):
    """When S3 requests carry the newer checksum headers."""

    WHEN_REQUIRED = "WhenRequired"
    WHEN_SUPPORTED = "WhenSupported"


class AddressingStyle(StrEnum):
    """Where an S3 request names its bucket."""

    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


Endpoint = Annotated[
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


class GoogleCloudAccess(ApiModel):
    """How to reach Google Cloud Storage: everything that is not secret."""

    endpoint: Endpoint | None = None
    """URL of an endpoint of your own, such as one of Private Service Connect; Google's when not given."""


class GoogleCloud(GoogleCloudAccess):
    """How to reach Google Cloud Storage, and where the credentials are."""

    secret_ref: GoogleSecretRef | None = None
    """Secret with the key of a service account; without one, the Job's service account provides credentials
    (Workload Identity Federation for GKE)."""


class AzureAccess(ApiModel):
    """How to reach Azure Blob Storage: everything that is not secret."""

    account: Annotated[str, Field(max_length=24, pattern=r"^[a-z0-9]{3,24}$")]
    """Name of the storage account."""
    endpoint: Endpoint | None = None
    """URL of an endpoint of your own, such as a private endpoint or Azurite; that of the account in Azure's
    public cloud when not given."""

    @property
    def server(self) -> str:
        """The endpoint, without a slash at its end."""
        return (self.endpoint or f"https://{self.account}.blob.core.windows.net").rstrip("/")


class Azure(AzureAccess):
    """How to reach Azure Blob Storage, and where the credentials are."""

    secret_ref: AzureSecretRef | None = None
    """Secret with a key of the account or a SAS token; without one, the Job's service account provides
    credentials (Microsoft Entra Workload ID)."""


class RegistriesAccess(ApiModel):
    """How to reach container registries: everything that is not secret."""

    insecure: bool = False
    """Speak HTTP without TLS, with registries on a network that you trust."""


class Registries(RegistriesAccess):
    """How to reach container registries, and where the logins are."""

    secret_ref: RegistryKeyRef | None = None
    """Logins for registries; without one, they are asked without any."""


class StorageAccess(ApiModel):
    """How to reach the stores: everything that is not secret. What stands at the top is for S3."""

    endpoint: Endpoint | None = None
    """URL of an S3-compatible store (MinIO, SeaweedFS, Ceph); AWS S3 when not given."""
    region: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]+$")] | None = None
    """Region of the buckets."""
    ca_bundle: Annotated[str, Field(max_length=65536)] | None = None
    """PEM certificates that an endpoint's certificate is checked against, of whichever store."""
    checksums: ChecksumPolicy = ChecksumPolicy.WHEN_REQUIRED
    """Newer checksum headers; WhenRequired works with every S3-compatible store."""
    addressing_style: AddressingStyle = AddressingStyle.AUTO
    """Bucket in the path or in the host name; Auto takes the path for an endpoint of your own."""
    google_cloud: GoogleCloudAccess | None = None
    azure: AzureAccess | None = None
    oci: RegistriesAccess | None = None


class Storage(StorageAccess):
    """How to reach the stores, and where the credentials are. What stands at the top is for S3."""

    secret_ref: SecretRef | None = None
    """Secret with static credentials of S3; without one, the Job's service account provides them (IRSA)."""
    google_cloud: GoogleCloud | None = None
    """Google Cloud Storage, for gs uris."""
    azure: Azure | None = None
    """Azure Blob Storage, for az uris, which need the account's name here."""
    oci: Registries | None = None
    """Container registries, for a source with an oci uri."""

    @property
    def access(self) -> StorageAccess:
        """What of it is not secret, and names no Secret."""
        return StorageAccess.model_validate(
            {
                name: value
                for name in StorageAccess.model_fields
                if not isinstance(value := getattr(self, name), ApiModel)
            }
            | {
                "google_cloud": self.google_cloud and GoogleCloudAccess(endpoint=self.google_cloud.endpoint),
                "azure": self.azure and AzureAccess(account=self.azure.account, endpoint=self.azure.endpoint),
                "oci": self.oci and RegistriesAccess(insecure=self.oci.insecure),
            }
        )


def endpoint_of(uri: str, access: StorageAccess) -> str | None:
    """Return the endpoint that an object is read from, or written to, without a slash at its end.

    None is AWS S3 itself, and Azure Blob Storage where no account is named.
    """
    if uri.startswith(S3_SCHEME):
        return access.endpoint and access.endpoint.rstrip("/")
    if uri.startswith(GOOGLE_SCHEME):
        google = access.google_cloud
        return ((google and google.endpoint) or GOOGLE_ENDPOINT).rstrip("/")
    if uri.startswith(AZURE_SCHEME):
        return None if access.azure is None else access.azure.server
    if uri.startswith(REGISTRY_SCHEME):
        return registry_server(in_registry(uri).host, insecure=access.oci is not None and access.oci.insecure)
    return origin(uri)


_AZURE_URIS: Final = " || ".join(
    [
        *(f"self.{field}.startsWith('az://')" for field in ("source.uri", "output.uri")),
        *(
            f"(has(self.{part}) && has(self.{part}.{field}) && self.{part}.{field}.startsWith('az://'))"
            for part in ("calibration", "validation")
            for field in ("uri", "labelsUri")
        ),
        (
            "(has(self.optimize) && (self.optimize.training.uri.startsWith('az://')"
            " || (has(self.optimize.training.labelsUri) && self.optimize.training.labelsUri.startsWith('az://'))"
            " || (has(self.optimize.distillation) && has(self.optimize.distillation.studentUri)"
            " && self.optimize.distillation.studentUri.startsWith('az://'))))"
        ),
        "(has(self.recipes) && self.recipes.exists(r, has(r.rules) && r.rules.uri.startsWith('az://')))",
    ]
)
_WITHOUT_ACCOUNT: Final = ("endpoint", "region", "caBundle", "secretRef", "googleCloud", "oci")
NO_ACCOUNT: Final = (
    "an az uri needs the name of its storage account: set storage.azure.account, e.g."
    " storage: {azure: {account: mymodels}}"
)
ACCOUNT_FOR_AZURE: Final = cel(
    # A conversion that says nothing of stores gets the platform's, which the API server does not know.
    f"!({_AZURE_URIS}) || !has(self.storage) || has(self.storage.azure) || !("
    + " || ".join(f"has(self.storage.{f})" for f in _WITHOUT_ACCOUNT)
    + ")",
    NO_ACCOUNT,
)
