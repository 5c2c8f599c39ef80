"""Whether a source is signed by a given key, in the OpenSSF model-signing format: nothing of it is loaded."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import printable, shortened
from tflite_converter.errors import ConverterError
from tflite_converter.files.signing import in_memory


def verify(source: Path, signature: Path, public_key_pem: str, name: str) -> None:
    """Check that every file of a source, and no other, is signed.

    Args:
        source: A file, or a folder without links.
        signature: The bundle, which may lie in that folder.
        public_key_pem: An elliptic-curve key.
        name: What to call the source in messages.

    Raises:
        ConverterError: SourceNotVerified.

    """
    if unsigned := sorted(path.name for path in source.glob(".git*")):
        raise not_verified(f"{name} has {unsigned[0]}, which this format leaves out of what is signed")
    # Half a second, and only those who verify need it.
    from model_signing import verifying

    config = verifying.Config()  # type: ignore[no-untyped-call]  # the library left its constructors untyped
    with in_memory(public_key_pem, "public-key") as key:
        try:
            verifier = config.use_elliptic_key_verifier(public_key=key)
        except Exception as error:
            raise wrong_key() from error
    try:
        verifier.verify(source, signature)
    # The library raises what its parsers and the cryptography below raise; all of it means no.
    except Exception as error:
        why = shortened(printable(str(error) or type(error).__name__), 300)
        raise not_verified(f"{name} is not signed as it is by that key: {why}") from error


def wrong_key() -> ConverterError:
    """Return the failure for a key that verifies nothing."""
    words = "spec.source.verify.publicKey is no elliptic-curve public key (P-256, P-384 or P-521)"
    return not_verified(f"{words} in PEM format")


def not_verified(cause: str) -> ConverterError:
    """Return the failure for a source that is not what a key has signed."""
    return ConverterError(FailureReason.SOURCE_NOT_VERIFIED, Stage.FETCH, cause)
