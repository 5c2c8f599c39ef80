"""Google Cloud Storage: its XML API, and the tokens that it is shown.

Requests: https://cloud.google.com/storage/docs/xml-api/reference-methods. Tokens of service accounts:
https://developers.google.com/identity/protocols/oauth2/service-account#httprest. Those of the machine, and of
GKE's Workload Identity: https://cloud.google.com/compute/docs/access/authenticate-workloads.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import GOOGLE_ENDPOINT_KEY, StorageAccess, endpoint_of
from modelconversion_api.reasons import Stage
from modelconversion_api.request import GOOGLE_CREDENTIALS_ENV, GOOGLE_ENDPOINT_ENV
from modelconversion_api.uris import GOOGLE_SCHEME
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.base import ObjectInfo, Stored
from tflite_converter.job.stores.cloud import CloudStore, Query, body_of, check_endpoint, denied
from tflite_converter.job.stores.connections import Address, Line, again, server_errors
from tflite_converter.job.stores.tokens import Token, exchanged, token_in

_OWN_HOSTS: Final = (".googleapis.com",)
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS: Final = 3600
_IDENTITY_URL: Final = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
)
_FLAVOR: Final = "Metadata-Flavor"
_MOST_BYTES: Final = 64 << 10
_BAD_KEY: Final = (
    "put the JSON file that Google writes for a key of a service account into the Secret of"
    " spec.storage.googleCloud, unchanged"
)
_NO_IDENTITY: Final = (
    "set spec.storage.googleCloud.secretRef, or spec.job.serviceAccountName to a service account with an"
    " identity of Google Cloud"
)
_WRONG_ENDPOINT: Final = (
    f"correct spec.storage.googleCloud.endpoint, or {GOOGLE_ENDPOINT_KEY} in the Secret of"
    " spec.storage.googleCloud"
)


class GoogleStore(CloudStore):
    """Google Cloud Storage, shown a token of the Secret's service account, or else of the Job's."""

    name = "Google Cloud Storage"
    no_bucket = frozenset({"NoSuchBucket", "InvalidBucketName"})
    denied = frozenset({"ExpiredToken", "InvalidSecurity", "AuthenticationRequired", "UserProjectMissing"})
    corrupted = frozenset({"BadDigest", "InvalidDigest"})

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        super().__init__(access, stage, endpoint_of(GOOGLE_SCHEME, access) or "")
        # Taken out of the environment: nothing that this process may start later inherits it.
        text = os.environ.pop(GOOGLE_CREDENTIALS_ENV, None)
        bound = os.environ.get(GOOGLE_ENDPOINT_ENV, "")
        check_endpoint(self.server, bound, _OWN_HOSTS, stage, _WRONG_ENDPOINT)
        if text is None:
            self._token = Token(partial(_of_identity, self.trust, stage))
        else:
            account = _account(text, stage, any_host=bool(bound.strip()))
            form = partial(_assertion, account, stage)
            self._token = Token(partial(exchanged, account["token_uri"], form, self.trust, stage, _REFUSED))

    def headers(self, method: str, path: str, query: Query, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, with the token."""
        return {**headers, **self._token.header}

    def about(self, stored: Stored, content_type: str) -> dict[str, str]:
        """Return the digest as metadata."""
        return {"x-goog-meta-sha256": stored.sha256}

    def page(self, prefix: str, mark: str) -> dict[str, str]:
        """Return the query of a page."""
        query = {"list-type": "2", "prefix": prefix}
        return query | ({"continuation-token": mark} if mark else {})

    def entries(self, listing: ET.Element) -> tuple[Sequence[ObjectInfo], str]:
        """Return the objects of a page."""
        if listing.tag.rpartition("}")[2] != "ListBucketResult":
            raise ValueError("no listing")
        objects = [
            ObjectInfo(
                entry.findtext("{*}Key") or "",
                int(entry.findtext("{*}Size") or ""),
                " ".join(
                    entry.findtext(f"{{*}}{name}") or "" for name in ("Generation", "ETag", "LastModified")
                ),
            )
            for entry in listing.iterfind("{*}Contents")
        ]
        is_last = listing.findtext("{*}IsTruncated") != "true"
        return objects, "" if is_last else listing.findtext("{*}NextContinuationToken") or ""

    def has(self, answer: BaseHTTPResponse, md5: bytes) -> bool:
        """Whether the hash in the answer, or its ETag, is the MD5."""
        hashes = [entry.strip() for entry in answer.headers.get("x-goog-hash", "").split(",")]
        if f"md5={base64.b64encode(md5).decode()}" in hashes:
            return True
        return bool(answer.headers.get("ETag", "").strip('"') == md5.hex())


_REFUSED: Final = (
    "is the key still one of the service account's? Put a new one into the Secret of spec.storage.googleCloud"
)


def _account(text: str, stage: Stage, *, any_host: bool) -> dict[str, str]:
    """Return what a key of a service account says: ``client_email``, ``private_key`` and ``token_uri``.

    A file of another type may name programs to run and addresses to read from; this one names where a signed
    assertion is sent, which is Google, unless the Secret names an endpoint of its own.

    Raises:
        ConverterError: StorageAccessDenied where it is none; no part of it is in the message.

    """
    try:
        found: Any = json.loads(text)
        is_account = found["type"] == "service_account"
        fields = {name: found[name] for name in ("client_email", "private_key", "token_uri")}
    except (ValueError, TypeError, KeyError) as error:
        raise denied(
            stage, "the credentials for Google Cloud are no key of a service account", _BAD_KEY
        ) from error
    if not is_account or not all(isinstance(value, str) and value for value in fields.values()):
        raise denied(stage, "the credentials for Google Cloud are no key of a service account", _BAD_KEY)
    if not _is_sound(fields["token_uri"], any_host=any_host):
        cause = "token_uri of the credentials for Google Cloud is not an https URL of googleapis.com"
        raise denied(stage, cause, _BAD_KEY)
    return fields


def _is_sound(url: str, *, any_host: bool) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    host = parts.hostname or ""
    plain = not (parts.query or parts.fragment or parts.username or parts.password) and url.isprintable()
    return bool(
        parts.scheme == "https" and host and has_port and plain and (any_host or host.endswith(_OWN_HOSTS))
    )


def _assertion(account: Mapping[str, str], stage: Stage) -> dict[str, str]:
    """Return the form that asks for a token: a JSON Web Token, signed with the account's key.

    Raises:
        ConverterError: StorageAccessDenied where the key is none.

    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "scope": _SCOPE,
        "aud": account["token_uri"],
        "iat": now,
        "exp": now + _ASSERTION_SECONDS,
    }
    try:
        key = load_pem_private_key(account["private_key"].encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise denied(stage, "private_key of the credentials for Google Cloud is none", _BAD_KEY) from error
    if not isinstance(key, RSAPrivateKey):
        raise denied(stage, "private_key of the credentials for Google Cloud is not of RSA", _BAD_KEY)
    signed = b".".join(
        _encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    )
    signature = key.sign(signed, PKCS1v15(), SHA256())
    return {"grant_type": _GRANT, "assertion": b".".join((signed, _encoded(signature))).decode()}


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _of_identity(trust: ssl.SSLContext, stage: Stage) -> tuple[str, float]:
    """Return a token of the Job's service account, which Google's machines and GKE give out.

    Raises:
        ConverterError: StorageAccessDenied where there is nobody who would.

    """
    # Never by a proxy: it would ask for its own machine's, and could read the pod's.
    line = Line(_IDENTITY_URL, trust, _any, direct=True)
    try:
        return again(partial(_of_identity_once, line, stage))
    except ConverterError as error:
        cause = "no credentials for Google Cloud Storage were found: there is no Secret, and no identity"
        raise denied(stage, f"{cause} ({error.cause})", _NO_IDENTITY) from error


def _any(_address: Address) -> None:
    """Let a connection to the metadata service be; nobody but this module chooses it."""


def _of_identity_once(line: Line, stage: Stage) -> tuple[str, float]:
    host = urlsplit(_IDENTITY_URL).hostname or ""
    with (
        server_errors(stage, host),
        closing(line.ask("GET", _IDENTITY_URL, {_FLAVOR: "Google"})) as answer,
    ):
        if answer.headers.get(_FLAVOR) != "Google":
            raise denied(stage, f"{host} is not Google's", _NO_IDENTITY)
        text = body_of(answer, _MOST_BYTES)
    return token_in(text, answer.status, host, stage, _NO_IDENTITY)
