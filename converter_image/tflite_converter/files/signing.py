"""The signature of a conversion's files, in the OpenSSF model-signing format (a Sigstore bundle)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import SIGNATURE_FILE_NAME
from tflite_converter.errors import ConverterError


def sign(files: Mapping[str, Path | bytes], private_key_pem: str, work: Path) -> bytes:
    """Return the signature over ``files``, each known by the name that it is published under.

    Args:
        files: Paths of plain files, or contents.
        private_key_pem: An elliptic-curve key on P-256, P-384 or P-521, PEM without a password.
        work: An empty folder; its name is the model's name in the signature, which nothing is checked by.

    Raises:
        ConverterError: SigningFailed. No message holds anything of the key.

    """
    # Half a second, and only those who sign need it.
    from model_signing import hashing, signing

    for name, content in files.items():
        if isinstance(content, Path):
            # Artifacts may lie on another mount, where a hard link cannot reach, and be too large to copy.
            (work / name).symlink_to(content.absolute())
        else:
            (work / name).write_bytes(content)
    signature = work.with_name(f"{work.name}.{SIGNATURE_FILE_NAME}")
    rules = hashing.Config()  # type: ignore[no-untyped-call]  # the library left its constructors untyped
    rules.set_allow_symlinks(True)
    # So that a folder with the signature beside the files, as it is published, can be verified as it is.
    rules.set_ignored_paths(paths=[SIGNATURE_FILE_NAME])
    config = signing.Config()  # type: ignore[no-untyped-call]  # as above
    with in_memory(private_key_pem, "signing-key") as key:
        try:
            signer = config.use_elliptic_key_signer(private_key=key)
        # What a loader of keys raises tells of the key: it goes no further, not even as a cause.
        except TypeError:
            raise _failed("the signing key has a password") from None
        except Exception:
            words = (
                "the signing key is not an elliptic-curve private key (P-256, P-384 or P-521) in PEM format"
            )
            raise _failed(words) from None
    signer.set_hashing_config(rules).sign(work, signature)
    return signature.read_bytes()


@contextmanager
def in_memory(pem: str, name: str) -> Iterator[str]:
    """Yield a path to a key in memory, never on disk, for a library that takes paths only."""
    fd = os.memfd_create(name)
    try:
        os.write(fd, pem.encode())
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _failed(cause: str) -> ConverterError:
    return ConverterError(FailureReason.SIGNING_FAILED, Stage.PUBLISH, cause)
