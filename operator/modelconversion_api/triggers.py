"""Triggers: a model that changes is found, and converted once for each version of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from .base import GROUP, ApiModel, Sha256, cel
from .fields.oci import VERSION_DIGITS
from .fields.scheduling import Name
from .limits import OBJECT_NAME_LENGTH
from .sets import ModelConversionSetSpec
from .spec import ModelConversionSpec, Source
from .status import Conditions

TRIGGER_KIND: Final = "ModelConversionTrigger"
TRIGGER_PLURAL: Final = "modelconversiontriggers"
TRIGGER_NAME_MAX_LENGTH: Final = 41
"""Longest name: 52, as a set's, less a dash and ten digits of the version."""
LOOK_NOW_ANNOTATION: Final = f"{GROUP}/look-now"
"""Any new value has the source looked at now."""
VERSION_PLACE: Final = "{version}"
"""Stands in an output's URI for the first twelve digits of the source's digest."""
STAMP_ENV: Final = "CONVERSION_KNOWN_STAMP"
"""The stamp of the source as it was last looked at."""


class ConcurrencyPolicy(StrEnum):
    """What happens where a new version is found while an earlier one is being converted."""

    ALLOW = "Allow"
    """Both are converted."""
    FORBID = "Forbid"
    """The new one waits for the end of the earlier one; of several that wait, the newest is converted."""
    REPLACE = "Replace"
    """The earlier one is deleted, with its Job."""


class Poll(ApiModel):
    """Looks at regular intervals."""

    interval_seconds: Annotated[int, Field(ge=60, le=604800)] = 900
    """Seconds between two looks."""


class Schedule(ApiModel):
    """Looks at times of the calendar."""

    cron: Annotated[str, Field(max_length=128, pattern=r"^[^ ]+( [^ ]+){4}$")]
    """Five fields as in crontab: minute, hour, day, month, weekday; e.g. "0 3 * * 1-5"."""
    time_zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = "Etc/UTC"
    """Name in the time zone database, e.g. Europe/Berlin. A time that a change of the clock leaves out is
    looked at right after it, and one that comes twice is looked at once."""


class WebhookSecretRef(ApiModel):
    """A Secret in the trigger's namespace, which its owner lets the receiver of webhooks read."""

    name: Name
    """Name of the Secret."""
    key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = "secret"
    """Its key: what signs the calls, or the token that they carry."""


class Webhook(ApiModel):
    """Looks when somebody calls, at POST /NAMESPACE/TRIGGER of the platform's receiver."""

    secret_ref: WebhookSecretRef
    """What a caller must know: it signs as Standard Webhooks and MLflow do, or sends a bearer token."""


class Template(ApiModel):
    """What is made for each version: one of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "has(self.conversion) != has(self.set)",
                    "set either template.conversion or template.set, and not both",
                ),
                cel(
                    "!has(self.set) || size(self.set.models) == 1",
                    "a trigger looks at one model: give template.set one model, for as many profiles as you"
                    " like",
                ),
                cel(
                    "has(self.conversion) ? !has(self.conversion.source.sha256)"
                    " : !has(self.set.models[0].source.sha256)",
                    "leave source.sha256 out of the template: each version has its own, which is put there",
                ),
                cel(
                    "(has(self.conversion) ? self.conversion.output.uri : self.set.output.uri)"
                    ".contains('{version}')",
                    "put {version} into output.uri, e.g. s3://models/edge/{version}/: else each version would"
                    " be written over the one before",
                ),
            ]
        }
    )

    conversion: ModelConversionSpec | None = None
    """The spec of a ModelConversion (kubectl explain modelconversion.spec). {version} in output.uri becomes
    the first twelve digits of the source's digest, which is put into source.sha256."""
    conversion_set: Annotated[ModelConversionSetSpec | None, Field(alias="set")] = None
    """The spec of a ModelConversionSet of one model, for several profiles (kubectl explain
    modelconversionset.spec); {version} as above."""

    @property
    def source(self) -> Source:
        """What is looked at."""
        if self.conversion is not None:
            return self.conversion.source
        if self.conversion_set is None:
            raise ValueError("template names neither a conversion nor a set")
        return self.conversion_set.models[0].source


class History(ApiModel):
    """How many of the conversions that have ended stay; their files stay in any case."""

    succeeded: Annotated[int, Field(ge=0, le=100)] = 10
    """Of those that succeeded."""
    failed: Annotated[int, Field(ge=0, le=100)] = 3
    """Of those that failed."""


class ModelConversionTriggerSpec(ApiModel):
    """When to look at a model, and what to make of each version of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "[has(self.template.conversion) ? self.template.conversion.source.uri"
                    " : self.template.set.models[0].source.uri]"
                    ".all(uri, uri.startsWith('s3://') || uri.startsWith('gs://') || uri.startsWith('az://')"
                    " || uri.startsWith('pvc://'))",
                    "a trigger looks at a store (s3, gs, az, pvc): an https, hf or oci uri names one version"
                    " for good, so convert it with a ModelConversion",
                )
            ]
        }
    )

    template: Template
    """What is made for each version."""
    poll: Poll | None = None
    """Looks at regular intervals."""
    schedule: Schedule | None = None
    """Looks at times of the calendar, also beside poll. Without both, it looks when its annotation
    edgeml.dev/look-now gets a new value."""
    webhook: Webhook | None = None
    """Looks when somebody calls who knows its secret."""
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.ALLOW
    """What happens where an earlier version is still being converted: Allow, Forbid or Replace."""
    history: History = History()
    """How many of the conversions that have ended stay."""
    suspend: bool = False
    """Looks no more, and makes nothing; what was begun goes on."""
    class_name: Name | None = None
    """The operator that is to work on it, where a cluster has several."""


class SourceVersion(ApiModel):
    """A version of the source, as a look has found it."""

    sha256: Sha256
    """Its digest, as a conversion's status has it."""
    size_bytes: int
    """Its size."""
    stamp: Annotated[str, Field(max_length=64)] | None = None
    """Digest of what the store says of it (ETag, generation or time), by which a later look sees that nothing
    has changed without reading it."""
    time: datetime | None = None
    """When it was found."""

    @property
    def short(self) -> str:
        """What stands for it in names and URIs."""
        return self.sha256[:VERSION_DIGITS]


class ModelConversionTriggerStatus(ApiModel):
    """What was found and made; written by the operator only."""

    observed_generation: int | None = None
    """The spec generation that this status speaks of."""
    conditions: Conditions = Field(default_factory=list)
    """Ready is True once a look has found the source, False where the last one could not, or the spec cannot
    be carried out; with Reconciling and Stalled as kstatus has them."""
    last_look_time: datetime | None = None
    """When the last look was due that was begun."""
    next_look_time: datetime | None = None
    """When the next one is."""
    look_job: Annotated[str, Field(max_length=63)] | None = None
    """The Job of the look under way."""
    look_asked: Annotated[str, Field(max_length=64)] | None = None
    """The value of the annotation edgeml.dev/look-now that was last followed."""
    look_requested: Annotated[str, Field(max_length=64)] | None = None
    """The last call of the webhook; written by its receiver."""
    look_taken: Annotated[str, Field(max_length=64)] | None = None
    """The last call that was followed."""
    failed_looks: Annotated[int, Field(ge=0)] | None = None
    """Looks that failed since the last one that did not."""
    retry_look_time: datetime | None = None
    """When it looks again after one that failed for a reason that may pass."""
    missed: Annotated[int, Field(ge=0)] | None = None
    """Looks that were due while no operator worked, or the one before had not ended; one stands for them."""
    version: SourceVersion | None = None
    """The newest version that was found."""
    converted: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] | None = None
    """The conversion, or set, that was made for it last."""
    active: (
        Annotated[
            list[Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)]],
            Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Conversions, or sets, that are under way."""
    succeeded: int = 0
    """Those that are there and have succeeded."""
    failed: int = 0
    """Those that are there and have failed."""


def made_name(trigger: str, uid: str, version: SourceVersion, template: Template) -> str:
    """Name what is made for a version: always the same, so that making it twice cannot double it.

    Another template makes another thing of the same version.
    """
    what = f"{uid}/{version.sha256}/{template.to_json()}"
    return f"{trigger}-{hashlib.sha256(what.encode()).hexdigest()[:10]}"
