"""Every way a conversion can fail: one word, one exit code, and whether trying again can help.

Exit codes 10-59 are permanent: the Job's podFailurePolicy fails it at once. Codes 60-79 are worth another
try. 0 is success, 2 a wrong command line. Reasons without an exit code are found by the operator, not by a
container.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

REASON_PATTERN: Final = "[A-Z][A-Za-z0-9]{2,63}"
"""How a reason is written: a word in CamelCase."""


class Stage(StrEnum):
    """Where in the pipeline something happened."""

    SCHEDULE = "Schedule"
    FETCH = "Fetch"
    LOAD = "Load"
    CONVERT = "Convert"
    TRAIN = "Train"
    CALIBRATE = "Calibrate"
    QUANTIZE = "Quantize"
    EVALUATE = "Evaluate"
    COMPILE = "Compile"
    PUBLISH = "Publish"
    MEASURE = "Measure"


class FailureReason(StrEnum):
    """Why a conversion failed.

    A word that this version does not know is a member too, though none of those that are listed: a converter
    that is newer than the operator, after a rollback for instance, has its reason shown as it is.
    """

    INVALID_REQUEST = "InvalidRequest"
    SOURCE_NOT_FOUND = "SourceNotFound"
    BUCKET_NOT_FOUND = "BucketNotFound"
    STORAGE_ACCESS_DENIED = "StorageAccessDenied"
    DIGEST_MISMATCH = "DigestMismatch"
    SOURCE_NOT_VERIFIED = "SourceNotVerified"
    SOURCE_TOO_LARGE = "SourceTooLarge"
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    UNREADABLE_MODEL = "UnreadableModel"
    WEIGHTS_ONLY = "WeightsOnly"
    UNSAFE_MODEL = "UnsafeModel"
    CUSTOM_OBJECT = "CustomObject"
    UNSUPPORTED_OPERATION = "UnsupportedOperation"
    UNSUPPORTED_SHAPE = "UnsupportedShape"
    CONVERSION_FAILED = "ConversionFailed"
    CONVERTER_CRASHED = "ConverterCrashed"
    CONVERTER_TIMED_OUT = "ConverterTimedOut"
    ENGINE_NOT_FOUND = "EngineNotFound"
    ENGINE_TOO_OLD = "EngineTooOld"
    ENGINE_FAILED = "EngineFailed"
    QUANTIZATION_FAILED = "QuantizationFailed"
    NOTHING_QUANTIZED = "NothingQuantized"
    NOT_SMALLER = "NotSmaller"
    CALIBRATION_MISSING = "CalibrationMissing"
    DATA_UNREADABLE = "DataUnreadable"
    DATA_SHAPE_MISMATCH = "DataShapeMismatch"
    DATA_NOT_FINITE = "DataNotFinite"
    DATA_TOO_FEW = "DataTooFew"
    LABELS_MISMATCH = "LabelsMismatch"
    DECODER_MISMATCH = "DecoderMismatch"
    EVALUATION_FAILED = "EvaluationFailed"
    OUTPUT_NOT_FINITE = "OutputNotFinite"
    GATES_NOT_MET = "GatesNotMet"
    METRIC_FAILED = "MetricFailed"
    ACCELERATOR_NOT_FOUND = "AcceleratorNotFound"
    TRAINING_FAILED = "TrainingFailed"
    TRAINING_DIVERGED = "TrainingDiverged"
    COMPILATION_FAILED = "CompilationFailed"
    COMPILER_NOT_FOUND = "CompilerNotFound"
    COMPILER_TIMED_OUT = "CompilerTimedOut"
    NOTHING_MAPPED = "NothingMapped"
    ARTIFACT_INVALID = "ArtifactInvalid"
    SIGNING_FAILED = "SigningFailed"
    OUTPUT_NOT_WRITABLE = "OutputNotWritable"
    OUTPUT_TAKEN = "OutputTaken"
    REGISTRATION_REFUSED = "RegistrationRefused"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    UPLOAD_CORRUPTED = "UploadCorrupted"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    OUT_OF_MEMORY = "OutOfMemory"
    NO_SPACE = "NoSpace"
    INTERRUPTED = "Interrupted"
    INTERNAL_ERROR = "InternalError"
    INVALID_SPEC = "InvalidSpec"
    JOB_REJECTED = "JobRejected"
    JOB_DELETED = "JobDeleted"
    POLICY_VIOLATION = "PolicyViolation"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    PROFILE_CONFLICT = "ProfileConflict"
    OUTPUT_SHARED = "OutputShared"
    SECRET_NOT_RELEASED = "SecretNotReleased"  # noqa: S105 - a reason, not a secret
    CLAIM_NOT_RELEASED = "ClaimNotReleased"
    QUOTA_EXCEEDED = "QuotaExceeded"
    ADMISSION_DENIED = "AdmissionDenied"
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"
    POD_REJECTED = "PodRejected"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - the name of a failure, not a secret
    CONTAINER_START_FAILED = "ContainerStartFailed"
    PREEMPTED = "Preempted"
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"
    PENDING_DEADLINE_EXCEEDED = "PendingDeadlineExceeded"
    ACTIVE_DEADLINE_EXCEEDED = "ActiveDeadlineExceeded"
    REPORT_LOST = "ReportLost"

    @classmethod
    def _missing_(cls, value: object) -> FailureReason | None:
        if not isinstance(value, str) or not re.fullmatch(REASON_PATTERN, value):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_ = value, value
        return unknown

    @property
    def bounded(self) -> str:
        """The reason as a metric's label, of which there must not be any number."""
        return self._value_ if self.is_known else "Unknown"

    @property
    def is_known(self) -> bool:
        """Whether this version has it."""
        return self in FAILURES


class Failure(NamedTuple):
    """What is known of a reason."""

    exit_code: int | None
    hint: str
    passes: bool = False
    """Whether it may pass by itself; of a reason with an exit code, the code says so."""


_RUN_AGAIN: Final = "to run it again, annotate the conversion with edgeml.dev/run-again=WORD"

FAILURES: Final[dict[FailureReason, Failure]] = {
    FailureReason.INVALID_REQUEST: Failure(10, "the request is not one this converter version understands"),
    FailureReason.SOURCE_NOT_FOUND: Failure(
        11, "train the model first, or correct the path or object key (keys are case-sensitive)"
    ),
    FailureReason.BUCKET_NOT_FOUND: Failure(12, "create the bucket, or correct its name or the endpoint"),
    FailureReason.STORAGE_ACCESS_DENIED: Failure(
        13, "check the keys in the Secret and that they may read the source and write the output"
    ),
    FailureReason.DIGEST_MISMATCH: Failure(14, "the object changed: update spec.source.sha256 or restore it"),
    FailureReason.SOURCE_NOT_VERIFIED: Failure(
        16,
        "have whoever makes the models sign this one, or correct the key that is asked for; what is not"
        " signed is not loaded",
    ),
    FailureReason.SOURCE_TOO_LARGE: Failure(15, "TFLite files end at 2 GiB: use a smaller model"),
    FailureReason.UNSUPPORTED_FORMAT: Failure(
        20,
        "give a Keras .h5 or .keras file, a SavedModel (or its .zip or .tar.gz), an .onnx or .pt2 file, what"
        " jax.export wrote, or a float .tflite file",
    ),
    FailureReason.UNREADABLE_MODEL: Failure(21, "the file is truncated or corrupt: save and upload it again"),
    FailureReason.WEIGHTS_ONLY: Failure(22, "save the whole model with model.save(), not save_weights()"),
    FailureReason.UNSAFE_MODEL: Failure(23, "replace Lambda layers by built-in ones, or export a SavedModel"),
    FailureReason.CUSTOM_OBJECT: Failure(24, "export the model as a SavedModel, which needs no Python class"),
    FailureReason.UNSUPPORTED_OPERATION: Failure(25, "replace the operation by one that TFLite has"),
    FailureReason.UNSUPPORTED_SHAPE: Failure(26, "give every input dimension but the batch a fixed size"),
    FailureReason.CONVERSION_FAILED: Failure(
        27, "try a SavedModel export of the model, which takes another way through TensorFlow"
    ),
    FailureReason.CONVERTER_CRASHED: Failure(
        28, "native code died on this model: try another method, or a SavedModel export of it"
    ),
    FailureReason.CONVERTER_TIMED_OUT: Failure(
        36, "a step made no progress in time: raise --step-timeout, or try a simpler model"
    ),
    FailureReason.ENGINE_NOT_FOUND: Failure(
        48,
        "add the engine for this format: docs/ENGINES.md says how, on a machine and in a cluster",
    ),
    FailureReason.ENGINE_TOO_OLD: Failure(
        49, "install the engine again: it must be of the same version as the converter"
    ),
    FailureReason.ENGINE_FAILED: Failure(
        53, "the engine broke on this model: simplify it, or give it in another format; the log has the rest"
    ),
    FailureReason.QUANTIZATION_FAILED: Failure(
        29, "try another method, or for a recurrent model the Keras file with a fixed number of time steps"
    ),
    FailureReason.NOTHING_QUANTIZED: Failure(
        37, "this method has nothing to work on in this model: leave it out, or choose another"
    ),
    FailureReason.NOT_SMALLER: Failure(
        38, "the method saves nothing on this model: take Float32, or choose another method"
    ),
    FailureReason.CALIBRATION_MISSING: Failure(
        30, "methods of integers need calibration data: give --data or spec.calibration"
    ),
    FailureReason.DATA_UNREADABLE: Failure(
        31,
        "give numbers as a .npy, .npz (not pickled), .csv, Parquet or TFRecord file, or images or sounds",
    ),
    FailureReason.DATA_SHAPE_MISMATCH: Failure(32, "one row a sample, shaped like the model's input"),
    FailureReason.DATA_NOT_FINITE: Failure(33, "remove NaN and infinite values from the data"),
    FailureReason.DATA_TOO_FEW: Failure(34, "give at least one sample; 100 or more is usual"),
    FailureReason.LABELS_MISMATCH: Failure(
        35,
        "give each sample a class (integer, name or one-hot row), or what its task is labelled with",
    ),
    FailureReason.DECODER_MISMATCH: Failure(
        55, "choose the task, and for a detector the decoder and unit, by what the model's outputs hold"
    ),
    FailureReason.EVALUATION_FAILED: Failure(
        40, "the file does not run, or does not give what the original gives: try another method"
    ),
    FailureReason.OUTPUT_NOT_FINITE: Failure(
        39, "the method cannot hold this model's numbers: choose another, or check the scaling of the data"
    ),
    FailureReason.GATES_NOT_MET: Failure(41, "loosen the gates in spec.validation or choose another method"),
    FailureReason.METRIC_FAILED: Failure(
        57,
        "correct the metric's container by what the message says: docs/OWN_METRICS.md has what it gets and"
        " must leave",
    ),
    FailureReason.COMPILATION_FAILED: Failure(
        42, "change the model as the message says, or leave the compiler out; the full-integer file is there"
    ),
    FailureReason.COMPILER_NOT_FOUND: Failure(
        43,
        "use the variant of the converter image that has it (edgetpu or npu, x86-64 only), with the vendor's"
        " SDK in it, or leave the compiler out; edgeTPU.compile: false needs none",
    ),
    FailureReason.COMPILER_TIMED_OUT: Failure(
        46, "raise timeoutSeconds of the compiler, or try a smaller model"
    ),
    FailureReason.NOTHING_MAPPED: Failure(
        47, "the report names each operator and why; inspect --target says what to change in the model"
    ),
    FailureReason.ACCELERATOR_NOT_FOUND: Failure(
        54,
        "give the board's pod the device (resources of the board) and its image the driver, as docs/BOARDS.md"
        " says, or set accelerator to CPU",
    ),
    FailureReason.TRAINING_FAILED: Failure(
        44, "the model cannot be trained as asked: leave out the step that the message names, or change it"
    ),
    FailureReason.TRAINING_DIVERGED: Failure(
        45, "lower the learning rate (--learning-rate, spec.optimize.training.learningRate)"
    ),
    FailureReason.ARTIFACT_INVALID: Failure(
        50, "nothing was published: the conversion's output failed its check"
    ),
    FailureReason.SIGNING_FAILED: Failure(
        52, "give the Secret an elliptic-curve private key in PEM format, without a password"
    ),
    FailureReason.OUTPUT_NOT_WRITABLE: Failure(51, "choose an output folder that can be written"),
    FailureReason.OUTPUT_TAKEN: Failure(
        59,
        "give each run an output.uri of its own, or set output.retain to Latest to write over what is there",
    ),
    FailureReason.REGISTRATION_REFUSED: Failure(
        56,
        "correct address, names and login in register.mlflow, by what the server says; the files are"
        " published all the same",
    ),
    FailureReason.STORAGE_UNAVAILABLE: Failure(
        60, "check that the endpoint is right and reachable from the Job"
    ),
    FailureReason.UPLOAD_CORRUPTED: Failure(61, "the store returned other bytes than were sent"),
    FailureReason.REGISTRY_UNAVAILABLE: Failure(
        65, "check that the model registry runs and can be reached from the Job; the files are published"
    ),
    FailureReason.OUT_OF_MEMORY: Failure(62, "raise spec.job.resources.limits.memory"),
    FailureReason.NO_SPACE: Failure(
        63,
        "raise spec.job.resources.limits.ephemeral-storage, which bounds the conversion's files; where the"
        " node's own disk is full, choose another node",
    ),
    FailureReason.INTERRUPTED: Failure(64, "the stage was told to stop before it had finished"),
    FailureReason.INTERNAL_ERROR: Failure(70, "this is a bug: please report it with the log"),
    FailureReason.INVALID_SPEC: Failure(None, "correct the spec: this operator version cannot read it"),
    FailureReason.JOB_REJECTED: Failure(None, "the API server refused the Job: the message says why"),
    FailureReason.JOB_DELETED: Failure(None, f"somebody deleted the Job: {_RUN_AGAIN}"),
    FailureReason.OUTPUT_SHARED: Failure(
        None, "give each conversion an output.uri of its own: they overwrite one another's files"
    ),
    FailureReason.SECRET_NOT_RELEASED: Failure(
        None,
        "have somebody who may read the Secret run the commands in the message, which release it",
        True,
    ),
    FailureReason.CLAIM_NOT_RELEASED: Failure(
        None,
        "have somebody with rights on the claim run the commands in the message, which release it",
        True,
    ),
    FailureReason.POLICY_VIOLATION: Failure(
        None, "change the spec, or ask who runs the operator to allow it"
    ),
    FailureReason.PROFILE_NOT_FOUND: Failure(
        None, "create the profile, or correct kind and name in spec.profileRef", True
    ),
    FailureReason.PROFILE_CONFLICT: Failure(
        None,
        "a conversion may ask for more than its profile, never for less: correct the spec, or the profile",
    ),
    FailureReason.QUOTA_EXCEEDED: Failure(
        None, "wait until the namespace's quota has room, have it raised, or lower spec.job.resources", True
    ),
    FailureReason.ADMISSION_DENIED: Failure(
        None,
        "a policy of the cluster forbids the pod: change spec.job as it says, or ask who wrote the policy",
    ),
    FailureReason.SERVICE_ACCOUNT_NOT_FOUND: Failure(
        None, "create the service account, or correct spec.job.serviceAccountName"
    ),
    FailureReason.POD_REJECTED: Failure(
        None, "the pod was refused: correct in spec.job what the message names"
    ),
    FailureReason.UNSCHEDULABLE: Failure(
        None,
        "ask for less in spec.job.resources, correct nodeSelector, tolerations or affinity, or add a node",
        True,
    ),
    FailureReason.IMAGE_PULL_FAILED: Failure(
        None,
        "check the operator's converter image, a metric's image, and spec.job.imagePullSecrets for a private"
        " registry",
        True,
    ),
    FailureReason.SECRET_NOT_FOUND: Failure(
        None,
        "create the Secret in the conversion's namespace, with the keys that its secretRef names",
    ),
    FailureReason.CONTAINER_START_FAILED: Failure(
        None,
        "the node could not start the container: check the operator's converter image and the node",
        True,
    ),
    FailureReason.PREEMPTED: Failure(
        None,
        "pods of higher priority took its place: give spec.job.priorityClassName, or wait for room",
        True,
    ),
    FailureReason.EVICTED: Failure(
        None,
        "the pod was evicted from its node: raise spec.job.resources.requests if the node ran short",
        True,
    ),
    FailureReason.NODE_LOST: Failure(None, f"the pod's node went away: {_RUN_AGAIN}", True),
    FailureReason.PENDING_DEADLINE_EXCEEDED: Failure(None, "the pod did not start in time: see its events"),
    FailureReason.ACTIVE_DEADLINE_EXCEEDED: Failure(None, "raise spec.job.activeDeadlineSeconds"),
    FailureReason.REPORT_LOST: Failure(None, "the pod ended without a report that can be read: see its log"),
}

_UNKNOWN: Final = Failure(
    None, "this version does not know the reason: upgrade the operator, or see the pod's log"
)


def known_of(reason: FailureReason) -> Failure:
    """Return what is known of a reason, also of one that this version does not have."""
    return FAILURES.get(reason, _UNKNOWN)


USAGE_EXIT_CODE: Final = 2
INTERNAL_EXIT_CODE: Final = 70
FIRST_RETRYABLE_EXIT_CODE: Final = 60

PERMANENT_EXIT_CODES: Final[tuple[int, ...]] = tuple(
    sorted(
        f.exit_code
        for f in FAILURES.values()
        if f.exit_code is not None and f.exit_code < FIRST_RETRYABLE_EXIT_CODE
    )
)
"""Exit codes after which another try would end the same way."""

_BY_EXIT_CODE: Final = {f.exit_code: r for r, f in FAILURES.items() if f.exit_code is not None}


def exit_code(reason: FailureReason) -> int:
    """Return the exit code of a reason that a container can end with; 70 for the operator's own."""
    code = known_of(reason).exit_code
    return INTERNAL_EXIT_CODE if code is None else code


def retry_can_help(reason: FailureReason) -> bool:
    """Whether the same request may succeed when tried again, which Kubernetes then does."""
    failure = known_of(reason)
    return failure.passes if failure.exit_code is None else failure.exit_code >= FIRST_RETRYABLE_EXIT_CODE


def reason_of_exit_code(code: int) -> FailureReason | None:
    """Return the reason that a container's exit code stands for, when it is one of the contract's."""
    return _BY_EXIT_CODE.get(code)
