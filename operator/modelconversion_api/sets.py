"""Sets: several models for several kinds of devices, converted and compared as one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from .base import ApiModel, Fraction, cel
from .fields.data import Calibration, Validation
from .fields.registration import Registration
from .fields.scheduling import JobSpec, Name
from .fields.storage import Storage
from .limits import ARTIFACT_URI_LENGTH, OBJECT_NAME_LENGTH
from .spec import HuggingFace, Output, ProfileRef, Source
from .status import Conditions, Phase

SET_KIND: Final = "ModelConversionSet"
SET_PLURAL: Final = "modelconversionsets"
MOST_MEMBERS: Final = 1000
SET_NAME_MAX_LENGTH: Final = 52
"""Longest name of a set: 63 less the suffix of the Job's name that compares its members."""
ROW_MESSAGE_LENGTH: Final = 160
_MOST_MODELS: Final = 200
_MOST_PROFILES: Final = 32


class SetModel(ApiModel):
    """One model of a set, with its data."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """What status, report and the output's folders call it."""
    source: Source
    """The trained model."""
    calibration: Calibration | None = None
    """Representative dataset; profiles with FullInteger or Int16Activations need it."""
    validation: Validation | None = None
    """Data to measure on, and gates that are tighter than those of the profiles."""


class SetPolicy(StrEnum):
    """When a set has succeeded."""

    ALL_MUST_PASS = "AllMustPass"  # noqa: S105 - no password
    """When each member has. After a first failure no further member begins."""
    ANY_MAY_FAIL = "AnyMayFail"
    """When at least one member has; all are tried."""


class ModelConversionSetSpec(ApiModel):
    """Which models to convert, and for which profiles each of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    f"size(self.models) * size(self.profiles) <= {MOST_MEMBERS}",
                    f"models times profiles are more than {MOST_MEMBERS} conversions: make several sets",
                )
            ]
        }
    )

    models: Annotated[
        list[SetModel],
        Field(
            min_length=1,
            max_length=_MOST_MODELS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    """The models."""
    profiles: Annotated[
        list[ProfileRef],
        Field(
            min_length=1,
            max_length=_MOST_PROFILES,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    """The profiles: each model is converted for each of them."""
    output: Output
    """Where the artifacts go: those of a member below MODEL/PROFILE/, the comparison into compare.html."""
    storage: Storage = Storage()
    """How to reach the S3 store."""
    hugging_face: HuggingFace | None = None
    """How hf uris are read that not everybody may read."""
    registration: Annotated[Registration | None, Field(alias="register")] = None
    """A model registry that gets a version for each member's files; {model} and {profile} in its names stand
    for the member's."""
    job: JobSpec = JobSpec()
    """How the members' Jobs run, where a profile does not say it."""
    max_parallel: Annotated[int, Field(ge=1, le=MOST_MEMBERS)] = 10
    """How many members are under way at a time; the operator's own limits count beside it."""
    policy: SetPolicy = SetPolicy.ALL_MUST_PASS
    """AllMustPass: it succeeds if each member does, and no further one begins after a failure. AnyMayFail:
    all are tried, and it succeeds if one does."""
    class_name: Name | None = None
    """The operator that is to work on it, where a cluster has several."""
    suspend: bool = False
    """Stops the members that are under way, and begins none; false goes on."""


class MemberRow(ApiModel):
    """One member of a set."""

    model: Annotated[str, Field(max_length=40)]
    """The model's name."""
    profile: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]
    """The profile's name."""
    conversion: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]
    """The ModelConversion, of the same namespace."""
    phase: Phase
    """Its phase; Pending where it has not begun."""
    recommended: Annotated[str, Field(max_length=32)] | None = None
    """What made the recommended file."""
    size: Annotated[str, Field(max_length=32)] | None = None
    """Its size for people."""
    agreement: Fraction | None = None
    """Its agreement with the original."""
    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why it failed, or what it waits for, in one word."""
    message: Annotated[str, Field(max_length=ROW_MESSAGE_LENGTH)] | None = None
    """Why it failed, for people; the ModelConversion has the whole text."""


class ModelConversionSetStatus(ApiModel):
    """What became of the set; written by the operator only."""

    observed_generation: int | None = None
    """The spec generation that this status speaks of."""
    phase: Phase | None = None
    """One word for the printer column; use the conditions in programs."""
    conditions: Conditions = Field(default_factory=list)
    """Succeeded is Unknown while members are under way, then True or False; with Ready, Reconciling and
    Stalled as kstatus has them."""
    total: int = 0
    """Members: models times profiles."""
    succeeded: int = 0
    """Members that have succeeded."""
    failed: int = 0
    """Members that have failed."""
    under_way: int = 0
    """Members that are under way, or wait for their turn in the operator's line."""
    progress: Annotated[str, Field(max_length=32)] | None = None
    """Ended members of all, for the printer column."""
    members: Annotated[
        list[MemberRow],
        Field(
            max_length=MOST_MEMBERS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["model", "profile"],
            },
        ),
    ] = Field(default_factory=list)
    """Each member, in the order of models and profiles."""
    start_time: datetime | None = None
    """When it was first seen."""
    completion_time: datetime | None = None
    """When its last member ended."""
    retried: Annotated[str, Field(max_length=64)] | None = None
    """The value of the annotation edgeml.dev/retry-failed that was last followed."""
    comparison_job: Annotated[str, Field(max_length=63)] | None = None
    """The Job that compares the members' reports."""
    comparison_uri: Annotated[str, Field(max_length=ARTIFACT_URI_LENGTH)] | None = None
    """The page that compares the members."""
