"""Uploads of the Job's stages, each of which is told in the log."""

from __future__ import annotations

import hashlib
import logging
from io import BufferedReader, BytesIO

from tflite_converter.job.stores.base import Store, Stored

_logger = logging.getLogger(__name__)


def upload(
    store: Store, uri: str, content: BufferedReader | BytesIO, stored: Stored, content_type: str
) -> None:
    """Upload a file, and say so. Raises as :meth:`Store.upload`."""
    store.upload(uri, content, stored, content_type)
    _logger.info("published %s: %d bytes, sha256 %s", uri, stored.size_bytes, stored.sha256)


def upload_bytes(store: Store, uri: str, content: bytes, content_type: str) -> Stored:
    """Upload what this process has made itself, and say so; gives its digest and size.

    Raises as :meth:`Store.upload`.
    """
    stored = Stored(hashlib.sha256(content).hexdigest(), len(content))
    upload(store, uri, BytesIO(content), stored, content_type)
    return stored
