"""What the operator hands to the Job: one JSON document in an environment variable, without any secret."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field

from .base import ApiModel
from .fields.compilers import NPU, EdgeTPU, EthosU, Microcontroller
from .fields.data import Calibration, Validation
from .fields.optimization import Optimize
from .fields.recipes import MAX_RECIPES, Recipe
from .fields.storage import StorageAccess
from .fields.verification import Verifier
from .methods import Method, Target, artifact_base_name
from .reasons import Stage
from .spec import Benchmark, ModelConversionSpec, Output, Source, Tuning
from .uris import bare

REQUEST_ENV: Final = "CONVERSION_REQUEST"
"""Environment variable that carries the request to each of the Job's containers."""
INPUT_DIR_ENV: Final = "CONVERSION_INPUT_DIR"
"""Where ``fetch`` puts the downloads; read-only for the other containers."""
OUTPUT_DIR_ENV: Final = "CONVERSION_OUTPUT_DIR"
"""Where ``convert`` puts the artifacts; read-only for ``publish``."""
SIGNING_KEY_ENV: Final = "CONVERSION_SIGNING_KEY"
"""The private key that ``publish`` signs with, in PEM format; no other container has it."""
REGISTRY_LOGINS_ENV: Final = "CONVERSION_REGISTRY_LOGINS"
"""Logins of the registry that ``publish`` pushes to, or of those that ``fetch`` reads from, as Docker's
configuration file has them."""
HUB_TOKEN_ENV: Final = "CONVERSION_HUB_TOKEN"  # noqa: S105 - the name of a variable, not a secret
"""The token that ``fetch`` shows to the Hugging Face Hub; no other container has it."""
CREDENTIALS_ENDPOINT_ENV: Final = "CONVERSION_CREDENTIALS_ENDPOINT"
"""The only endpoint that the credentials of S3 may be sent to, where their Secret names one."""
GOOGLE_CREDENTIALS_ENV: Final = "CONVERSION_GOOGLE_CREDENTIALS"
"""The key of a service account, as the JSON file that Google writes."""
GOOGLE_ENDPOINT_ENV: Final = "CONVERSION_GOOGLE_ENDPOINT"
"""The only endpoint that it may be used for, where the Secret names one; else it is Google's own."""
AZURE_SECRET_ENV: Final = "CONVERSION_AZURE_SECRET"  # noqa: S105 - the name of a variable, not a secret
"""The Secret that the next two are from; without it, an identity of the cloud is meant."""
AZURE_KEY_ENV: Final = "CONVERSION_AZURE_KEY"
"""A key of the storage account."""
AZURE_SAS_ENV: Final = "CONVERSION_AZURE_SAS"
"""A SAS token."""
AZURE_ENDPOINT_ENV: Final = "CONVERSION_AZURE_ENDPOINT"
"""The only endpoint that they may be used for, where the Secret names one; else it is Azure's own."""
CLAIM_ENV: Final = "CONVERSION_CLAIM_"
"""Environment variables that begin so name the folders of the claims that are mounted."""
CLAIMS_FOLDER: Final = "/claims"
"""Where these folders lie, each called like its claim."""
TERMINATION_MESSAGE_ENV: Final = "CONVERSION_TERMINATION_MESSAGE_PATH"
"""File for the stage's result, which Kubernetes copies to the pod's status."""
PROGRESS_ADDRESS_ENV: Final = "CONVERSION_PROGRESS_ADDRESS"
"""Address in the pod on which ``convert`` says how far it is; nobody asks where it is not set."""
LOG_FORMAT_ENV: Final = "CONVERSION_LOG_FORMAT"
"""``json`` where the stages write their log lines as JSON objects, as the operator does its own."""
PROGRESS_PORT: Final = 8484
"""The port on that address."""
PROGRESS_PATH: Final = "/progress"
"""What is served there: a :class:`StageProgress` as JSON."""


class StageProgress(ApiModel):
    """How far ``convert`` is, in its own words; shown, and never believed in any decision."""

    stage: Stage
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of this container's work."""


class ConversionRequest(ApiModel):
    """One conversion, as the converter's stages see it."""

    version: Literal["v1alpha1"] = "v1alpha1"
    run: Annotated[str, Field(max_length=128)] | None = None
    """The run that this is for: the conversion's UID and the generation that it began with. It stands in the
    report, so that one of an earlier run is not taken for this one's."""
    cache_scope: Annotated[str, Field(max_length=64)] | None = None
    """What entries of the cache are kept apart by: a digest of the namespace and of the converter's image."""
    base_name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9._-]+$")]
    """Stem of the artifacts' file names."""
    source: Source
    output: Output
    storage: StorageAccess = StorageAccess()
    methods: Annotated[tuple[Method, ...], Field(min_length=1)]
    """What to make; best first where they come from a target."""
    target: Target | None = None
    """Where the model will run; chooses the methods."""
    recipes: Annotated[tuple[Recipe, ...], Field(max_length=MAX_RECIPES)] = ()
    """Made beside the methods."""
    calibration: Calibration | None = None
    validation: Validation | None = None
    benchmark: Benchmark = Benchmark()
    tuning: Tuning = Tuning()
    optimize: Optimize | None = None
    edge_tpu: Annotated[EdgeTPU | None, Field(alias="edgeTPU")] = None
    ethos_u: Annotated[EthosU | None, Field(alias="ethosU")] = None
    microcontroller: Microcontroller | None = None
    npu: NPU | None = None
    verify_on: Annotated[list[Verifier], Field(max_length=len(Verifier))] = Field(default_factory=list)
    """Run each file on another runtime too, and compare what it gives there; may be given several times.
    Microcontroller is TFLite Micro, GPU is LiteRT's GPU accelerator on a software driver: with the target of
    that name it is done unasked, and a file that fails there fails. cortex-a53, cortex-a72, cortex-a76 and
    armv7 are emulated processors, OldestRuntime is tflite-runtime 2.14 and LiteRT 1.0."""


_CERTIFICATE: Final = re.compile(
    r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[\sA-Za-z0-9+/=]+-----END \1-----", re.ASCII
)


def certificates(text: str) -> str:
    """Return the certificates of a PEM text without what stands between them.

    Bundles carry names in every script as comments, and an environment variable holds 128 KiB of bytes.
    """
    return "".join(f"{block[0]}\n" for block in _CERTIFICATE.finditer(text))


def request_from_spec(
    spec: ModelConversionSpec, run: str | None = None, cache_scope: str | None = None
) -> ConversionRequest:
    """Return the request for a validated spec, for the run of that name."""
    storage = spec.storage.access
    if storage.ca_bundle is not None:
        storage = storage.model_copy(update={"ca_bundle": certificates(storage.ca_bundle)})
    return ConversionRequest(
        run=run,
        cache_scope=None if spec.output.cache is None else cache_scope,
        base_name=artifact_base_name(bare(spec.source.uri)),
        source=spec.source,
        output=spec.output,
        storage=storage,
        methods=spec.resolved_methods(),
        target=spec.target,
        recipes=tuple(spec.recipes),
        calibration=spec.calibration,
        validation=spec.validation,
        benchmark=spec.benchmark,
        tuning=spec.tuning,
        optimize=spec.optimize,
        edge_tpu=spec.edge_tpu,
        ethos_u=spec.ethos_u,
        microcontroller=spec.microcontroller,
        npu=spec.npu,
        verify_on=spec.verify_on,
    )
