"""What a call is about, as far as it says so: a store tells of every object in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote_plus

from pydantic_core import from_json

_FILER: Final = "/buckets/"
"""Where SeaweedFS keeps them, in the names that its own webhook gives."""


def concerns(body: bytes, uri: str) -> bool:
    """Whether a call may be about a source: that is so unless it names objects, and none of them is its.

    Args:
        body: JSON, or anything else.
        uri: The source, of which a folder's objects are a part.

    """
    own = uri.partition("://")[2].rstrip("/")
    try:
        named = list(_objects(from_json(body)))
    except ValueError:
        return True
    return not named or any(name == own or name.startswith(f"{own}/") for name in named)


def _objects(payload: Any) -> Iterator[str]:
    """Yield the objects that a call names, each as bucket and key.

    As S3 tells it (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html),
    also within a CloudEvent, Google's and Azure's subjects, and SeaweedFS's own.
    """
    if not isinstance(payload, dict):
        return
    data = payload.get("data")
    for part in (payload, data):
        if not isinstance(part, dict):
            continue
        records = part.get("Records")
        for record in (*(records if isinstance(records, list) else ()), {"s3": part}):
            yield from _of_s3(record)
        if isinstance(part.get("bucket"), str) and isinstance(part.get("name"), str):
            yield f"{part['bucket']}/{part['name']}"
    key, subject = payload.get("key"), payload.get("subject")
    if isinstance(key, str) and key.startswith(_FILER):
        yield key.removeprefix(_FILER)
    if isinstance(subject, str) and "/containers/" in subject and "/blobs/" in subject:
        container, _, blob = subject.partition("/containers/")[2].partition("/blobs/")
        yield f"{container}/{blob}"


def _of_s3(record: Any) -> Iterator[str]:
    entity = record.get("s3") if isinstance(record, dict) else None
    if not isinstance(entity, dict):
        return
    bucket, item = entity.get("bucket"), entity.get("object")
    if not isinstance(bucket, dict) or not isinstance(item, dict):
        return
    name, key = bucket.get("name"), item.get("key")
    if isinstance(name, str) and isinstance(key, str):
        yield f"{name}/{unquote_plus(key)}"
