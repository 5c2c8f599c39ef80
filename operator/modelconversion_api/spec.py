"""What a user asks for: the spec of a ModelConversion, with the rules checked at ``kubectl apply``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from .base import ApiModel, Fraction, S3Uri, Sha256, cel
from .methods import Method, Target, methods_for_target
from .scheduling import JobSpec, Name

NAME_MAX_LENGTH = 52
"""Longest name of a ModelConversion: 63 less the suffix of the Job's name."""
DEFAULT_CALIBRATION_SAMPLES: Final = 200
"""How many samples calibrate a model unless the user says otherwise, in a cluster and on the command line."""


class SourceFormat(StrEnum):
    """How the source model is stored."""

    AUTO = "Auto"
    KERAS_H5 = "KerasH5"
    KERAS = "Keras"
    SAVED_MODEL = "SavedModel"


class Source(ApiModel):
    """The trained model."""

    uri: S3Uri
    """Object key of a .h5 or .keras file, or the prefix under which a SavedModel folder lies."""
    sha256: Sha256 | None = None
    """Expected SHA-256 digest, as status.source.sha256 reports it. A mismatch fails the conversion."""
    format: SourceFormat = SourceFormat.AUTO
    """Format of the source; Auto reads it from the bytes."""


class Output(ApiModel):
    """Where the artifacts go."""

    uri: S3Uri
    """Prefix for the artifacts and report.json, e.g. s3://models/converted/gesture/."""


class SecretRef(ApiModel):
    """A Secret in the ModelConversion's namespace, and the names of its keys."""

    name: Name
    access_key_id_key: Annotated[str, Field(max_length=253)] = "AWS_ACCESS_KEY_ID"
    """Key in the Secret that holds the access key ID."""
    secret_access_key_key: Annotated[str, Field(max_length=253)] = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a key in a Secret, not a secret
    """Key in the Secret that holds the secret access key."""
    session_token_key: Annotated[str, Field(max_length=253)] = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a key in a Secret, not a secret
    """Key in the Secret that holds a session token; it may be absent."""


class ChecksumPolicy(StrEnum):
    """When S3 requests carry the newer checksum headers."""

    WHEN_REQUIRED = "WhenRequired"
    WHEN_SUPPORTED = "WhenSupported"


class AddressingStyle(StrEnum):
    """Where an S3 request names its bucket."""

    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


class StorageAccess(ApiModel):
    """How to reach the S3 store: everything that is not secret."""

    endpoint: (
        Annotated[
            str,
            Field(
                max_length=512,
                json_schema_extra={
                    "x-kubernetes-validations": [
                        cel(
                            "self.matches('^https?://[^/ ?#@]+/?$')",
                            "must be a URL without path or user, e.g. https://minio.storage.svc:9000",
                        )
                    ]
                },
            ),
        ]
        | None
    ) = None
    """URL of an S3-compatible store (MinIO, SeaweedFS, Ceph); AWS S3 when not given."""
    region: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]+$")] | None = None
    """Region of the buckets."""
    ca_bundle: Annotated[str, Field(max_length=65536)] | None = None
    """PEM certificates that the endpoint's certificate is checked against."""
    checksums: ChecksumPolicy = ChecksumPolicy.WHEN_REQUIRED
    """Newer checksum headers; WhenRequired works with every S3-compatible store."""
    addressing_style: AddressingStyle = AddressingStyle.AUTO
    """Bucket in the path or in the host name; Auto takes the path for an endpoint of your own."""


class Storage(StorageAccess):
    """How to reach the S3 store, and where the credentials are."""

    secret_ref: SecretRef | None = None
    """Secret with static credentials; without one, the Job's service account provides them (IRSA)."""


class Calibration(ApiModel):
    """The representative dataset that sets the ranges of the activations for full integer."""

    uri: S3Uri
    """A .npy file (samples first), or an .npz file with one array for each model input."""
    labels_uri: S3Uri | None = None
    """A .npy file of integer class labels; samples are then drawn evenly over the classes."""
    samples: Annotated[int, Field(ge=1, le=100000)] = DEFAULT_CALIBRATION_SAMPLES
    """How many samples to draw; all of them where there are fewer."""
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """Seed of the draw."""


class Validation(ApiModel):
    """The data and the gates that decide whether an artifact is good enough."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.maxAccuracyDrop) || has(self.labelsUri)",
                    "maxAccuracyDrop needs labels: set validation.labelsUri, or use minAgreement instead",
                )
            ]
        }
    )

    uri: S3Uri
    """A .npy or .npz file of samples, other than the calibration samples."""
    labels_uri: S3Uri | None = None
    """A .npy file of integer class labels for the samples."""
    max_accuracy_drop: Fraction | None = None
    """Largest loss of accuracy against the original model that passes, e.g. "0.02" for two points."""
    min_agreement: Fraction | None = None
    """Smallest agreement with the original model's outputs that passes, e.g. "0.98"."""


_METHODS_XOR_TARGET = cel(
    "has(self.methods) != has(self.target)",
    "set either methods (e.g. [DynamicRange]) or target (e.g. RaspberryPi), and not both",
)
_CALIBRATION_FOR_METHODS = cel(
    "!has(self.methods) || !('FullInteger' in self.methods) || has(self.calibration)",
    "FullInteger needs calibration data: set calibration.uri to a .npy file of representative samples",
)
_CALIBRATION_FOR_TARGET = cel(
    "!has(self.target) || !(self.target in ['EdgeTPU', 'Microcontroller']) || has(self.calibration)",
    "this target runs full-integer models only, which need calibration data: set calibration.uri",
)


class ModelConversionSpec(ApiModel):
    """What to convert, how, and where to put it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                _METHODS_XOR_TARGET,
                _CALIBRATION_FOR_METHODS,
                _CALIBRATION_FOR_TARGET,
            ]
        }
    )

    source: Source
    """The trained model."""
    output: Output
    """Where the artifacts go."""
    storage: Storage = Storage()
    """How to reach the S3 store."""
    methods: (
        Annotated[
            list[Method],
            Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Quantization methods, one artifact each."""
    target: Target | None = None
    """Where the model will run; chooses the methods."""
    calibration: Calibration | None = None
    """Representative dataset; FullInteger needs it."""
    validation: Validation | None = None
    """Data and gates for the artifacts. Without it, artifacts are compared with the original on the
    calibration data, or on random inputs, and every artifact passes."""
    job: JobSpec = JobSpec()
    """How the Job runs."""
    suspend: bool = False
    """Stops the Job and keeps the ModelConversion; false starts it again."""

    def resolved_methods(self) -> tuple[Method, ...]:
        """The methods to run: those asked for, or those of the target, best first."""
        if self.target is not None:
            return methods_for_target(self.target, has_calibration=self.calibration is not None)
        return tuple(self.methods or ())
