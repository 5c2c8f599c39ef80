"""What is kept of a model for its next conversion: a part of the spec's output, and what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from ..base import ApiModel, cel
from ..uris import StoreUri

DAY_SECONDS: Final = 86400


class Cache(ApiModel):
    """Where a model's float file and its own outputs are kept, so that the next run need not load it."""

    uri: StoreUri
    """Prefix for the entries, in the bucket (or container, or claim) of output.uri: another conversion of the
    same namespace finds them there, and no other."""
    max_age_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Entries that are older are made anew. The bucket's own rules may remove them at any time."""


class CacheOutcome(StrEnum):
    """What became of a look into the cache."""

    HIT = "Hit"
    """The entry was there, whole, and was used."""
    MISSING = "Missing"
    """There was none."""
    EXPIRED = "Expired"
    """It was too old."""
    DAMAGED = "Damaged"
    """It was half written, changed, or not one of this version's."""
    UNREADABLE = "Unreadable"
    """The store did not give it."""
    UNUSABLE = "Unusable"
    """It was whole, and what is in it does not fit."""


CACHE_BESIDE_OUTPUT: Final = cel(
    "!has(self.cache) || (self.cache.uri.split('/')[0] == self.uri.split('/')[0]"
    " && self.cache.uri.split('/')[2] == self.uri.split('/')[2])",
    "output.cache.uri must lie in the bucket (or container, or claim) of output.uri, whose credentials"
    " write it",
)
