"""Channels: a signed pointer to the one file that devices are to run, moved by approval."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from .base import ApiModel, Sha256, cel
from .fields.scheduling import JobSpec, Name
from .fields.storage import Storage
from .limits import ARTIFACT_URI_LENGTH, OBJECT_NAME_LENGTH, URI_LENGTH
from .spec import Signing
from .status import Conditions
from .uris import check_store

CHANNEL_KIND: Final = "ModelChannel"
CHANNEL_PLURAL: Final = "modelchannels"
CHANNEL_NAME_MAX_LENGTH: Final = 44
"""Longest name: 63, a Job's, less ``-move-`` and ten digits, and three to spare."""
POINTER_FILE_NAME: Final = "channel.json"
"""The pointer, below the channel's output; its format is that of :mod:`modelconversion_api.pointer`."""
MOVE_ENV: Final = "CONVERSION_MOVE"
"""Environment variable with a :class:`MoveRequest`."""
MOST_CANDIDATES: Final = 10
MOST_RELEASES: Final = 20


class SourceKind(StrEnum):
    """What a channel takes its candidates from."""

    CONVERSION = "ModelConversion"
    """One conversion, each run of it."""
    SET = "ModelConversionSet"
    """One member of a set."""
    TRIGGER = "ModelConversionTrigger"
    """What a trigger has made of the newest version."""


class ChannelSource(ApiModel):
    """Whose recommended file is a candidate."""

    kind: SourceKind = SourceKind.CONVERSION
    """ModelConversion, ModelConversionSet or ModelConversionTrigger, of the channel's namespace."""
    name: Name
    """Its name."""
    profile: Name | None = None
    """The member's profile, where it is a set, or a trigger that makes sets."""
    model: Annotated[str, Field(max_length=40)] | None = None
    """The member's model, where a set has several."""


class Promotion(StrEnum):
    """When a candidate is released."""

    MANUAL = "Manual"
    """When spec.release names it."""
    AUTOMATIC = "Automatic"
    """At once, unless spec.release names another one."""


class ReleaseChoice(ApiModel):
    """The file that devices are to run."""

    sha256: Sha256
    """Its digest, as status.candidates or status.releases has it: an earlier one is a way back."""
    approved_by: Annotated[str, Field(min_length=1, max_length=OBJECT_NAME_LENGTH)] | None = None
    """Who says so. Where the platform guards releases, it has to be the name of whoever writes it here."""


class ChannelOutput(ApiModel):
    """Where the pointer and the files lie."""

    uri: Annotated[
        str,
        Field(max_length=URI_LENGTH),
        AfterValidator(check_store),
        WithJsonSchema({"type": "string", "maxLength": URI_LENGTH, "pattern": "^(s3|gs|az)://[^/]+/.+"}),
    ]
    """Folder of the pointer, channel.json, and of the released files beside it, in a store that devices
    read (through a web server or CDN): s3://bucket/key, gs://bucket/key or az://container/key."""


class ModelChannelSpec(ApiModel):
    """Which file devices are to run, and where they find it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.from.kind != 'ModelConversionSet' || has(self.from.profile)",
                    "a set has several members: set from.profile, and from.model where it has several models",
                ),
                cel(
                    "self.from.kind != 'ModelConversion'"
                    " || !(has(self.from.profile) || has(self.from.model))",
                    "a ModelConversion has no members: remove from.profile and from.model",
                ),
            ]
        }
    )

    source: Annotated[ChannelSource, Field(alias="from")]
    """Whose recommended file is a candidate."""
    promotion: Promotion = Promotion.MANUAL
    """Manual releases what spec.release names. Automatic releases each candidate, unless spec.release names
    one."""
    release: ReleaseChoice | None = None
    """The file that is released, whatever candidates there are."""
    output: ChannelOutput
    """Where the pointer and the files lie."""
    signing: Signing
    """Signs the pointer (DSSE), so that a device knows whose word it is."""
    storage: Storage = Storage()
    """How to reach the stores: of the conversion's output, and of the channel's."""
    job: JobSpec = JobSpec()
    """The pod that moves the pointer."""
    suspend: bool = False
    """Moves nothing, and takes no candidates."""
    class_name: Name | None = None
    """The operator that is to work on it, where a cluster has several."""


class Candidate(ApiModel):
    """A file that may be released."""

    sha256: Sha256
    """Its digest."""
    size_bytes: int
    """Its size."""
    name: Annotated[str, Field(max_length=32)]
    """The recipe that gave it, or else the method."""
    conversion: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]
    """The conversion that gave it."""
    run: Annotated[str, Field(max_length=128)]
    """The run, as its report names it."""
    source_sha256: Sha256 | None = None
    """Digest of the model that it was made from."""
    uri: Annotated[str, Field(max_length=ARTIFACT_URI_LENGTH)]
    """Where the conversion has written it."""
    report_uri: Annotated[str, Field(max_length=ARTIFACT_URI_LENGTH)] | None = None
    """Where everything lies that was measured on it."""
    time: datetime
    """When it was found."""


class Release(Candidate):
    """A file that was released."""

    sequence: int
    """Number of the pointer that named it first; each move has a greater one."""
    released: datetime
    """When the pointer was moved."""
    approved_by: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] | None = None
    """What spec.release said then."""
    baseline_sha256: Sha256 | None = None
    """Digest of what the file gave on its validation data, which lies beside it; not given where there is
    nothing to compare with."""


class ModelChannelStatus(ApiModel):
    """What the pointer names, and what it could name; written by the operator only."""

    observed_generation: int | None = None
    """The spec generation that this status speaks of."""
    conditions: Conditions = Field(default_factory=list)
    """Ready is True where the pointer names what it is to name; with Reconciling and Stalled as kstatus has
    them."""
    candidates: Annotated[list[Candidate], Field(max_length=MOST_CANDIDATES)] = Field(default_factory=list)
    """What may be released, the newest first."""
    releases: Annotated[list[Release], Field(max_length=MOST_RELEASES)] = Field(default_factory=list)
    """What was released; the first is what the pointer names."""
    sequence: int = 0
    """Number of the pointer that is there; it never falls."""
    pointer_uri: Annotated[str, Field(max_length=ARTIFACT_URI_LENGTH)] | None = None
    """Where the pointer lies."""
    signed_with: Annotated[str, Field(max_length=2 * OBJECT_NAME_LENGTH + 1)] | None = None
    """Secret and key that it was signed with."""
    move_job: Annotated[str, Field(max_length=63)] | None = None
    """The Job that moves it now."""
    failed_moves: Annotated[int, Field(ge=0)] | None = None
    """Moves that failed since the last one that did not."""
    retry_time: datetime | None = None
    """When it is tried again after one that failed; a changed spec is tried at once."""


class MoveRequest(ApiModel):
    """What the Job that moves the pointer is told."""

    channel: Annotated[str, Field(max_length=2 * OBJECT_NAME_LENGTH + 1)]
    """NAMESPACE/NAME, which the pointer is for."""
    sequence: int
    """The pointer's number is greater."""
    candidate: Candidate
    baseline_sha256: Sha256 | None = None
    """Of an earlier release's baseline, which lies beside the file."""


class Moved(ApiModel):
    """What the Job that moved the pointer says."""

    sequence: int
    """The pointer's number."""
    sha256: Sha256
    """What it names."""
    baseline_sha256: Sha256 | None = None
    """Digest of the baseline that it names."""
