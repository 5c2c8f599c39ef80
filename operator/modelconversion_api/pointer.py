"""What a channel's pointer says to devices: the payload of its envelope.

The envelope is DSSE (https://github.com/secure-systems-lab/dsse), signed by ECDSA
(P-256 over SHA-256, P-384 over SHA-384, P-521 over SHA-512). Devices read
it with :mod:`edge_inference.channel`, which shares no code with this: a test holds one against the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from .base import ApiModel, Sha256
from .limits import ARTIFACT_URI_LENGTH, OBJECT_NAME_LENGTH

POINTER_TYPE: Final = "application/vnd.edgeml.channel.v1+json"


class PointedFile(ApiModel):
    """A file beside the pointer."""

    path: Annotated[str, Field(max_length=ARTIFACT_URI_LENGTH)]
    """Relative to the pointer's own folder."""
    sha256: Sha256
    size_bytes: int


class PointedModel(PointedFile):
    """The TFLite file to run."""

    name: Annotated[str, Field(max_length=32)]
    """The recipe that gave it, or else the method."""


class PointerOrigin(ApiModel):
    """What the file was made from."""

    conversion: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]
    run: Annotated[str, Field(max_length=128)]
    source_sha256: Sha256 | None = None


class Pointer(ApiModel):
    """The file that the devices of a channel are to run."""

    version: Literal["v1"] = "v1"
    channel: Annotated[str, Field(max_length=2 * OBJECT_NAME_LENGTH + 1)]
    """NAMESPACE/NAME of the channel: a pointer of another one, signed with the same key, does not count."""
    sequence: Annotated[int, Field(ge=1)]
    """Grows with each move, also with one back to an earlier file: a device follows no smaller one."""
    time: datetime
    model: PointedModel
    baseline: PointedFile | None = None
    """What the file gave on its validation data, as part of a report; None where it was not validated."""
    origin: PointerOrigin
