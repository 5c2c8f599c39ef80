"""Where models and data lie: in an object store or registry, on a web server, or on the Hugging Face Hub."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import quote

from pydantic import AfterValidator, Field, WithJsonSchema

from .base import cel
from .limits import URI_LENGTH

HUB: Final = "https://huggingface.co"
"""The Hub, unless the platform names a mirror."""
S3_SCHEME: Final = "s3://"
GOOGLE_SCHEME: Final = "gs://"
AZURE_SCHEME: Final = "az://"
CLAIM_SCHEME: Final = "pvc://"
REGISTRY_SCHEME: Final = "oci://"
STORE_SCHEMES: Final = (S3_SCHEME, GOOGLE_SCHEME, AZURE_SCHEME, CLAIM_SCHEME)
"""Of the stores that have folders, and that artifacts are written to."""
_S3: Final = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+"
# Names with dots in them, which are domains, may be as long as those.
_GOOGLE: Final = r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/.+"
_AZURE: Final = r"az://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/.+"
# No control characters: no file has a zero byte in its name, and no terminal should get the others.
_CLAIM: Final = r"pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[^\x00-\x1f\x7f]+"
_STORE: Final = f"{_S3}|{_GOOGLE}|{_AZURE}|{_CLAIM}"
_DIGEST: Final = "#sha256=[0-9a-f]{64}"
# No user before the host: a password would stand where everybody reads it. No query for the same reason.
_WEB: Final = r"https://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?/[^?#\s]*[^?#/\s]"
_HUB: Final = (
    r"hf://(datasets/)?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*@[0-9a-f]{40}/[^?#\s]*[^?#/\s]"
)
_MANIFEST: Final = "@sha256:[0-9a-f]{64}"
# A first part without a dot or a port would be a folder of somebody's default registry.
_REPOSITORY: Final = (
    r"oci://([a-z0-9-]+([.][a-z0-9-]+)+(:[0-9]{1,5})?|[a-z0-9-]+:[0-9]{1,5})(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
)
_FILE: Final = r"(/[^?#\s]*[^?#/\s])?"
_REGISTRY: Final = f"{_REPOSITORY}{_MANIFEST}{_FILE}"
# Of the schema, and not a rule in CEL: a set has 200 sources, and what the rules of a resource may cost is
# limited. What names no manifest passes here, for a rule says in words what is to be done.
_REGISTRY_PATTERN: Final = f"^({_REPOSITORY}({_MANIFEST}{_FILE}|:.*|@[^/]*)?|[^o].*)$"
_READABLE: Final = f"{_STORE}|{_WEB}{_DIGEST}|{_HUB}({_DIGEST})?"
_EXAMPLE: Final = "s3://bucket/path/model.h5"
_STORE_FORM: Final = (
    f"must name a bucket and a key of S3 ({_EXAMPLE}), Google Cloud Storage (gs://bucket/path/model.h5), or"
    " Azure Blob Storage (az://container/path/model.h5), or a claim and a file (pvc://claim/path/model.h5)"
)
_FORM: Final = (
    f"must be {_EXAMPLE}, gs://bucket/path/model.h5, az://container/path/model.h5,"
    " pvc://claim/path/model.h5, https://host/model.h5#sha256=DIGEST (no user, no query), or"
    " hf://organisation/repository@COMMIT/model.h5"
)
_SOURCE_FORM: Final = f"{_FORM}, or oci://host/repository@sha256:DIGEST (no tag)"
_NO_DIGEST: Final = (
    "an https uri must end in #sha256= and the digest of its file, 64 digits that sha256sum prints: what a"
    " web server has there tomorrow may be another file"
)
_NO_COMMIT: Final = (
    "an hf uri must name a commit of 40 digits after the @: a branch or tag may be another model tomorrow"
)
_NO_MANIFEST: Final = (
    "an oci uri must end its repository in @sha256: and the digest of a manifest, which oras resolve or crane"
    " digest prints, and have no tag: what that names may be another model tomorrow"
)
_CLIMBS: Final = "must not contain '.' or '..' as a path part"
_PARTS: Final = "!self.split('/').exists(part, part == '..' || part == '.')"


def check_store(uri: str) -> str:
    """Return a URI of a store as it is; raises ValueError for another."""
    if not re.fullmatch(_STORE, uri):
        raise ValueError(_STORE_FORM)
    return _check_parts(uri)


def _check_data(uri: str) -> str:
    if uri.startswith("https://") and not re.search(f"{_DIGEST}$", uri):
        raise ValueError(_NO_DIGEST)
    if uri.startswith("hf://") and not re.search("@[0-9a-f]{40}/", uri):
        raise ValueError(_NO_COMMIT)
    if not re.fullmatch(_READABLE, uri):
        raise ValueError(_FORM)
    return _check_parts(uri)


def _check_source(uri: str) -> str:
    if not uri.startswith(REGISTRY_SCHEME):
        return _check_data(uri)
    if not re.search(f"/[^/:@]+{_MANIFEST}(/|$)", uri):
        raise ValueError(_NO_MANIFEST)
    if not re.fullmatch(_REGISTRY, uri):
        raise ValueError(_SOURCE_FORM)
    return _check_parts(uri)


def _check_parts(uri: str) -> str:
    if {".", ".."} & set(uri.split("/")):
        raise ValueError(_CLIMBS)
    return uri


def _schema(*rules: tuple[str, str]) -> dict[str, Any]:
    """Return the schema of a URI. In the CRD the form is a CEL rule: its message says more than a pattern."""
    climbs = (_PARTS, f"{_CLIMBS}; write the full key, e.g. {_EXAMPLE}")
    rows = [cel(rule, message) for rule, message in (*rules, climbs)]
    return {"type": "string", "maxLength": URI_LENGTH, "x-kubernetes-validations": rows}


def _matches(pattern: str) -> str:
    """Return the CEL of a match of the whole text."""
    return f"self.matches('^({pattern})$')".replace("\\", "\\\\")


_DIGEST_MISSING: Final = f"self.startsWith('https://') && !self.matches('{_DIGEST}$')"
_COMMIT_MISSING: Final = "self.startsWith('hf://') && !self.matches('@[0-9a-f]{40}/')"
_MANIFEST_NAMED: Final = f"!self.startsWith('oci://') || self.matches('/[^/:@]+{_MANIFEST}(/|$)')"
_PINS: Final = ((f"!({_DIGEST_MISSING})", _NO_DIGEST), (f"!({_COMMIT_MISSING})", _NO_COMMIT))
_UNPINNED: Final = f"({_DIGEST_MISSING}) || ({_COMMIT_MISSING})"
"""Of which another rule explains better what is wrong."""

StoreUri = Annotated[
    str,
    Field(max_length=URI_LENGTH),
    AfterValidator(check_store),
    WithJsonSchema(_schema((_matches(_STORE), _STORE_FORM))),
]
"""``s3://bucket/key``, ``gs://bucket/key``, ``az://container/key`` or ``pvc://claim/path``.

The key may not climb with ``..``.
"""

DataUri = Annotated[
    str,
    Field(max_length=URI_LENGTH),
    AfterValidator(_check_data),
    WithJsonSchema(_schema(*_PINS, (f"{_UNPINNED} || {_matches(_READABLE)}", _FORM))),
]
"""What :data:`StoreUri` is, ``https://host/path#sha256=DIGEST`` or ``hf://org/repo@COMMIT/path``."""

SourceUri = Annotated[
    str,
    Field(max_length=URI_LENGTH),
    AfterValidator(_check_source),
    WithJsonSchema(
        _schema(
            *_PINS,
            (_MANIFEST_NAMED, _NO_MANIFEST),
            (f"{_UNPINNED} || self.startsWith('oci://') || {_matches(_READABLE)}", _SOURCE_FORM),
        )
        | {"pattern": _REGISTRY_PATTERN}
    ),
]
"""What :data:`DataUri` is, or ``oci://host/repository@sha256:DIGEST`` of a manifest in a container registry.

``/path`` behind it names one of its files.
"""


def in_store(uri: str) -> bool:
    """Whether a URI names an object of a store, and not a file on a web server."""
    return uri.startswith(STORE_SCHEMES)


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket, or container, and the key of a store's URI that the contract has checked."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def claim_of(uri: str) -> str | None:
    """Return the PersistentVolumeClaim that a URI names; None for one that names none."""
    return split_uri(uri)[0] if uri.startswith(CLAIM_SCHEME) else None


def ends_in(field: str, suffixes: str) -> str:
    """Return the CEL of whether the file that ``field`` names has one of ``suffixes``, e.g. ``tar|zip``."""
    return f"{field}.lowerAscii().matches('[.]({suffixes})({_DIGEST})?$')"


def bare(uri: str) -> str:
    """Return a URI without its digest: what names are made of.

    A key of a store may end like one, and keeps it.
    """
    if uri.startswith(REGISTRY_SCHEME):
        return re.sub(_MANIFEST, "", uri, count=1)
    return uri if in_store(uri) else re.sub(f"{_DIGEST}$", "", uri)


def digest(uri: str) -> str | None:
    """Return the digest of the file that a web server's URI ends in; None where there is none."""
    found = None if in_store(uri) else re.search(f"{_DIGEST}$", uri)
    return None if found is None else found[0].removeprefix("#sha256=")


def web_url(uri: str, hub: str) -> str:
    """Return the URL of an https or hf URI; ``hub`` is the Hub's, or a mirror's."""
    path = bare(uri)
    if not path.startswith("hf://"):
        return path
    repository, _, rest = path.removeprefix("hf://").partition("@")
    commit, _, file = rest.partition("/")
    return f"{hub.rstrip('/')}/{repository}/resolve/{commit}/{quote(file)}"


class InRegistry(NamedTuple):
    """What an oci URI names."""

    host: str
    repository: str
    """In the registry."""
    digest: str
    """Of a manifest, as registries write it."""
    path: str
    """Of a file or folder in it; empty where the whole is meant."""


def in_registry(uri: str) -> InRegistry:
    """Return the parts of an oci URI that the contract has checked."""
    place, _, rest = uri.removeprefix(REGISTRY_SCHEME).partition("@")
    host, _, repository = place.partition("/")
    digest, _, path = rest.partition("/")
    return InRegistry(host, repository, digest, path)


def origin(uri: str) -> str | None:
    """Return the server that a URI names, e.g. ``https://host:8443``; None for one of a store."""
    if in_store(uri):
        return None
    if uri.startswith("hf://"):
        return HUB
    return f"https://{uri.split('/')[2].lower()}".removesuffix(":443")
