"""Azure Blob Storage: its REST API, with a key of the account, a SAS token, or a token of Microsoft Entra.

Requests: https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api. Signatures:
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key. Identities of pods:
https://azure.github.io/azure-workload-identity.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import AZURE_ENDPOINT_KEY, NO_ACCOUNT, StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import (
    AZURE_ENDPOINT_ENV,
    AZURE_KEY_ENV,
    AZURE_SAS_ENV,
    AZURE_SECRET_ENV,
)
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.base import ObjectInfo, Stored
from tflite_converter.job.stores.cloud import CloudStore, Query, check_endpoint, denied
from tflite_converter.job.stores.tokens import Token, exchanged

_VERSION: Final = "2021-12-02"
"""Of the REST API."""
_OWN_HOSTS: Final = (
    ".blob.core.windows.net",
    ".blob.storage.azure.net",
    ".blob.core.usgovcloudapi.net",
    ".blob.core.chinacloudapi.cn",
)
_SCOPE: Final = "https://storage.azure.com/.default"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_IDENTITY: Final = (
    "AZURE_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
)
"""What the webhook of Microsoft Entra Workload ID gives to a container."""
_SIGNED: Final = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
)
"""Headers whose values are signed, in this order."""
_MOST_TOKEN_BYTES: Final = 64 << 10
_NO_IDENTITY: Final = (
    "set spec.storage.azure.secretRef, or spec.job.serviceAccountName to a service account with an identity"
    " of Microsoft Entra"
)
_BAD_SECRET: Final = "correct the Secret of spec.storage.azure"  # noqa: S105 - a hint, not a secret
_WRONG_ENDPOINT: Final = (
    f"correct spec.storage.azure.endpoint, or {AZURE_ENDPOINT_KEY} in the Secret of azure.secretRef"
)


class AzureStore(CloudStore):
    """One account of Azure Blob Storage, with what the Secret has, or else the Job's identity."""

    name = "Azure Blob Storage"
    no_bucket = frozenset(
        {"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "InvalidResourceName"}
    )
    denied = frozenset({"InvalidAuthenticationInfo", "AuthenticationFailed", "NoAuthenticationInformation"})
    corrupted = frozenset({"Md5Mismatch", "InvalidMd5"})

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        if access.azure is None:
            raise ConverterError(
                FailureReason.INVALID_REQUEST, stage, NO_ACCOUNT, hint="set spec.storage.azure.account"
            )
        super().__init__(access, stage, access.azure.server)
        self._account = access.azure.account
        # Taken out of the environment: nothing that this process may start later inherits them.
        key, sas = (os.environ.pop(name, "").strip() for name in (AZURE_KEY_ENV, AZURE_SAS_ENV))
        secret = os.environ.get(AZURE_SECRET_ENV)
        check_endpoint(
            self.server, os.environ.get(AZURE_ENDPOINT_ENV, ""), _OWN_HOSTS, stage, _WRONG_ENDPOINT
        )
        self._key, self._token = b"", Token(self._of_identity)
        self._sas = _sas(sas, stage) if sas else ""
        if key and not sas:
            self._key = _key(key, stage)
        elif secret is not None and not sas:
            cause = (
                f"Secret {secret} has neither a key of the storage account nor a SAS token, or is not there"
            )
            raise denied(stage, cause, _BAD_SECRET)

    def path(self, bucket: str, key: str = "") -> str:
        """Return the path of a container or blob; at an endpoint that is not the account's, with its name."""
        host = urlsplit(self.server).hostname or ""
        account = "" if host.partition(".")[0] == self._account else f"/{self._account}"
        return account + super().path(bucket, key)

    def with_query(self, query: Query) -> str:
        """Return the query of a URL, with the SAS token."""
        plain = super().with_query(query)
        return f"{plain}{'&' if plain else '?'}{self._sas}" if self._sas else plain

    def headers(self, method: str, path: str, query: Query, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, with a signature or a token where the URL has none."""
        date = format_datetime(datetime.now(UTC), usegmt=True)
        sent = {**headers, "x-ms-version": _VERSION, "x-ms-date": date}
        if self._key:
            text = string_to_sign(self._account, method, path, query, sent)
            digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
            sent["Authorization"] = f"SharedKey {self._account}:{base64.b64encode(digest).decode()}"
        elif not self._sas:
            sent |= self._token.header
        return sent

    def about(self, stored: Stored, content_type: str) -> dict[str, str]:
        """Return the kind of the blob, and the digest as metadata."""
        return {"x-ms-blob-type": "BlockBlob", "x-ms-meta-sha256": stored.sha256}

    def page(self, prefix: str, mark: str) -> dict[str, str]:
        """Return the query of a page."""
        query = {"restype": "container", "comp": "list", "prefix": prefix}
        return query | ({"marker": mark} if mark else {})

    def entries(self, listing: ET.Element) -> tuple[Sequence[ObjectInfo], str]:
        """Return the blobs of a page; folders of a hierarchical namespace are none."""
        if listing.tag != "EnumerationResults":
            raise ValueError("no listing")
        objects = [
            ObjectInfo(
                _name(blob),
                int(blob.findtext("Properties/Content-Length") or ""),
                blob.findtext("Properties/Etag") or "",
            )
            for blob in listing.iterfind("Blobs/Blob")
            if blob.findtext("Properties/ResourceType") != "directory"
        ]
        return objects, listing.findtext("NextMarker") or ""

    def is_folder(self, answer: BaseHTTPResponse) -> bool:
        """Whether it is a folder of a hierarchical namespace."""
        kind, mark = (answer.headers.get(f"x-ms-{name}") for name in ("resource-type", "meta-hdi_isfolder"))
        return kind == "directory" or mark == "true"

    def has(self, answer: BaseHTTPResponse, md5: bytes) -> bool:
        """Whether the MD5 in the answer is that."""
        return bool(answer.headers.get("Content-MD5", "") == base64.b64encode(md5).decode())

    def _of_identity(self) -> tuple[str, float]:
        """Exchange the token of the pod's service account for one of Microsoft Entra.

        Raises:
            ConverterError: StorageAccessDenied where there is none; StorageUnavailable.

        """
        host, tenant, client, file = (os.environ.get(name, "").strip() for name in _IDENTITY)
        if not (host and tenant and client and file):
            cause = "no credentials for Azure Blob Storage were found: there is no Secret, and no identity"
            raise denied(self.stage, cause, _NO_IDENTITY)
        url = f"{host.rstrip('/')}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        if not url.startswith("https://"):
            raise denied(self.stage, "AZURE_AUTHORITY_HOST is not an https URL", _NO_IDENTITY)

        def form() -> dict[str, str]:
            return {
                "grant_type": "client_credentials",
                "client_id": client,
                "scope": _SCOPE,
                "client_assertion_type": _ASSERTION,
                "client_assertion": self._assertion(Path(file)),
            }

        return exchanged(url, form, self.trust, self.stage, _NO_IDENTITY)

    def _assertion(self, file: Path) -> str:
        try:
            with file.open() as stream:
                return stream.read(_MOST_TOKEN_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            cause = f"the token of the pod's service account cannot be read ({type(error).__name__})"
            raise denied(self.stage, cause, _NO_IDENTITY) from error


def _name(blob: ET.Element) -> str:
    name = blob.find("Name")
    text = "" if name is None else name.text or ""
    is_encoded = name is not None and name.get("Encoded") == "true"
    return unquote(text) if is_encoded else text


def _key(text: str, stage: Stage) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if not key:
        raise denied(stage, "the key of the storage account is none: it is not in base64", _BAD_SECRET)
    return key


def _sas(text: str, stage: Stage) -> str:
    """Return a SAS token as it stands in a URL."""
    token = text.removeprefix("?")
    if not re.fullmatch(r"[A-Za-z0-9%&=._~:/+,-]+", token) or "sig=" not in token:
        cause = "the SAS token is none: it must be as Azure shows it, without the URL before it"
        raise denied(stage, cause, _BAD_SECRET)
    return token


def string_to_sign(account: str, method: str, path: str, query: Query, headers: Mapping[str, str]) -> str:
    """Return what a key of the account signs of a request; ``path`` is as in the URL."""
    values = {name.lower(): value for name, value in headers.items()}
    if values.get("content-length") == "0":
        values["content-length"] = ""
    lines = [method, *(values.get(name.lower(), "") for name in _SIGNED)]
    lines += [f"{name}:{values[name]}" for name in sorted(values) if name.startswith("x-ms-")]
    lines.append(f"/{account}{path}")
    lines += [f"{name.lower()}:{query[name]}" for name in sorted(query)]
    return "\n".join(lines)
