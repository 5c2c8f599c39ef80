"""Whose models are converted: a part of the spec's source."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from ..base import ApiModel, cel
from ..uris import StoreUri

_BEGIN: Final = "-----BEGIN PUBLIC KEY-----"
_LONGEST: Final = 2048
_FORM: Final = f"must be a public key in PEM format, which begins with {_BEGIN}"


def _check(text: str) -> str:
    if not text.strip().startswith(_BEGIN):
        raise ValueError(_FORM)
    return text


_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "maxLength": _LONGEST,
    "x-kubernetes-validations": [cel(f"self.trim().startsWith('{_BEGIN}')", _FORM)],
}


class SourceVerification(ApiModel):
    """The signature without which a source is not loaded, in the OpenSSF model-signing format."""

    public_key: Annotated[str, Field(max_length=_LONGEST), AfterValidator(_check), WithJsonSchema(_SCHEMA)]
    """Elliptic-curve public key (P-256, P-384 or P-521), in PEM format, of who signs the models."""
    signature_uri: StoreUri | None = None
    """Where the signature lies; unless given, beside the source: URI.sig of a file, model.sig in a folder."""


SIGNATURE_IN_A_STORE: Final = cel(
    "!has(self.verify) || has(self.verify.signatureUri) || !(self.uri.startsWith('https://')"
    " || self.uri.startsWith('hf://'))",
    "a web server has no signature beside the file: set verify.signatureUri to one in a store",
)
