"""What the Job that compares the members of a set is told."""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Final, Self

from pydantic import Field

from ..base import ApiModel
from ..limits import OBJECT_NAME_LENGTH

COMPARISON_ENV: Final = "CONVERSION_COMPARISON"
"""Environment variable with :meth:`ComparisonRequest.encode`."""
COMPARISON_FILE_NAME: Final = "compare.html"
"""The page, below the set's output."""
_MOST_BYTES: Final = 4 << 20


class ComparedMember(ApiModel):
    """One conversion that is compared with others."""

    model: Annotated[str, Field(max_length=40)]
    """The model's name; its folder below the output."""
    profile: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]
    """The profile's name; the folder below that."""
    run: Annotated[str, Field(max_length=128)] | None = None
    """The run whose report counts; None for a member that has published none."""
    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why it has failed, in one word."""


class ComparisonRequest(ApiModel):
    """The members of a set, in the order in which they are shown."""

    name: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]
    """The set's name."""
    members: list[ComparedMember]

    def encode(self) -> str:
        """Return it as a text that an environment variable holds: a thousand members take under 128 KiB."""
        return base64.b64encode(zlib.compress(self.to_json().encode(), 9)).decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what :meth:`encode` gives.

        Raises:
            ValueError: It is something else.

        """
        try:
            unpacked = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        except zlib.error as error:
            raise ValueError(f"no comparison: {error}") from error
        return cls.model_validate_json(unpacked)
