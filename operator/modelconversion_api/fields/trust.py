"""Whose models are converted: a part of the spec's source."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from ..base import ApiModel, cel
from ..limits import URI_LENGTH
from ..uris import check_store

# Patterns and not rules in CEL: a set has 200 sources, and what the rules of a resource may cost is limited.
_KEY: Final = "^-----BEGIN PUBLIC KEY-----"
_STORE: Final = "^(s3|gs|az|pvc)://[^/]+/.+"


class SourceVerification(ApiModel):
    """The signature without which a source is not loaded, in the OpenSSF model-signing format."""

    public_key: Annotated[str, Field(max_length=2048, pattern=_KEY)]
    """Elliptic-curve public key (P-256, P-384 or P-521), in PEM format, of who signs the models."""
    signature_uri: (
        Annotated[
            str,
            Field(max_length=URI_LENGTH),
            AfterValidator(check_store),
            WithJsonSchema({"type": "string", "maxLength": URI_LENGTH, "pattern": _STORE}),
        ]
        | None
    ) = None
    """Where the signature lies; unless given, beside the source: URI.sig of a file, model.sig in a folder, in
    a registry the provenance in a DSSE envelope that refers to the manifest."""


SIGNATURE_IN_A_STORE: Final = cel(
    "!has(self.verify) || has(self.verify.signatureUri) || !self.uri.matches('^(https|hf)://')",
    "a web server has no signature beside the file: set verify.signatureUri to one in a store",
)
