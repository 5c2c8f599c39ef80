"""Whether a manifest of a registry is what a given key has signed: by the provenance that refers to it."""

from __future__ import annotations

import json
from typing import Any

from modelconversion_api.uris import in_registry
from tflite_converter.files.envelope import opened, public_key
from tflite_converter.files.source_signature import not_verified, wrong_key
from tflite_converter.job.oci.pulling import RegistryReader
from tflite_converter.job.oci.statements import PROVENANCE, SIGNED_TYPES, STATEMENT_TYPE


def verify_pulled(registries: RegistryReader, uri: str, public_key_pem: str) -> None:
    """Check that a signed statement of provenance names the manifest of an oci URI, and so all its layers.

    Raises:
        ConverterError: SourceNotVerified, and the registry's failures.

    """
    try:
        key = public_key(public_key_pem)
    except ValueError as error:
        raise wrong_key() from error
    digest = in_registry(uri).digest
    seen = 0
    for envelope in registries.attached(uri, SIGNED_TYPES[PROVENANCE]):
        seen += 1
        payload = opened(envelope, STATEMENT_TYPE, key)
        # The key may have signed statements of other kinds, of this manifest too: a test that it failed, e.g.
        if payload is not None and _names(payload, digest.removeprefix("sha256:")):
            return
    said = f"none of the {seen} that refer to it is by that key, and about it" if seen else "nothing is"
    raise not_verified(f"{uri} has no signed provenance: {said}")


def _names(payload: bytes, sha256: str) -> bool:
    """Whether a statement is one of provenance, and about a manifest."""
    try:
        statement: Any = json.loads(payload)
        digests = [subject["digest"].get("sha256") for subject in statement["subject"]]
        return bool(statement["predicateType"] == PROVENANCE and sha256 in digests)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
