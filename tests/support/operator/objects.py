"""Objects for the operator's unit tests, as the API server would give them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import (
    ArtifactSummary,
    ConversionSummary,
    MethodFailure,
    RecommendedMethod,
    StageFailure,
    StageResult,
)
from modelconversion_api.request import StageProgress
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import ModelConversionStatus, SourceInfo
from modelconversion_operator.deciding import decide as deciding
from modelconversion_operator.deciding.decisions import Decision, Rejection
from modelconversion_operator.deciding.manifest import JobSettings, job_identity, job_manifest, job_name
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, Key, PodView

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = Key("ml", "gesture", "6f1c")
DEFAULTS = JobSettings(image="converter:test")
CONTAINERS = ("fetch", "convert", "publish")


def decide(
    conversion: ConversionView,
    job: JobView | None,
    pods: Sequence[PodView],
    now: datetime,
    rejection: Rejection | None = None,
    *,
    events: Sequence[EventView] = (),
    reported: StageProgress | None = None,
    policy: Policy | None = None,
) -> Decision:
    """The decision about what is seen, where places are without limit."""
    seen = Seen(conversion, job, tuple(pods), tuple(events), reported, rejection)
    return deciding.decide(seen, now, policy=policy)


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"uri": "s3://models/gesture.h5"},
        "output": {"uri": "s3://models/out/"},
        "storage": {"endpoint": "http://s3:8333", "secretRef": {"name": "s3-credentials"}},
        "methods": ["Float32", "FullInteger"],
        "calibration": {"uri": "s3://models/val.npy"},
        **changes,
    }


def conversion(
    status: ModelConversionStatus | None = None,
    *,
    generation: int = 1,
    deleting: bool = False,
    run_again: str | None = None,
    **spec_changes: Any,
) -> ConversionView:
    meta: dict[str, Any] = {
        "namespace": KEY.namespace,
        "name": KEY.name,
        "uid": KEY.uid,
        "generation": generation,
        "resourceVersion": "10",
    }
    if deleting:
        meta["deletionTimestamp"] = wire(NOW)
    if run_again is not None:
        meta["annotations"] = {"edgeml.dev/run-again": run_again}
    return ConversionView.from_body(
        {
            "metadata": meta,
            "spec": spec(**spec_changes),
            "status": status.to_wire() if status else {},
        }
    )


def job(
    run_generation: int = 1,
    *,
    complete: bool = False,
    failed: str | None = None,
    failed_message: str = "",
    overdue: bool = False,
    suspend: bool = False,
    turned: datetime | None = None,
    deleting: bool = False,
    created: datetime = NOW - timedelta(days=1),
    ttl: int | None = 86400,
    owner: str = KEY.uid,
    meta: dict[str, Any] | None = None,
    **spec_changes: Any,
) -> JobView:
    """A Job as the API server gives it; ``meta`` and ``spec_changes`` are what somebody changed of it.

    ``turned`` is when the Job controller last began or ended a suspension.
    """
    conditions = []
    if turned:
        state = "True" if suspend else "False"
        conditions.append({"type": "Suspended", "status": state, "lastTransitionTime": wire(turned)})
    if complete:
        conditions.append({"type": "Complete", "status": "True"})
    if failed:
        conditions.append({"type": "Failed", "status": "True", "reason": failed, "message": failed_message})
    if overdue:
        conditions.append({"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"})
    whole: dict[str, Any] = {
        "namespace": KEY.namespace,
        "name": job_name(KEY, str(run_generation)),
        "uid": f"job-{run_generation}",
        "resourceVersion": "20",
        "creationTimestamp": wire(created),
        **job_identity(Key(KEY.namespace, KEY.name, owner), str(run_generation)),
        **(meta or {}),
    }
    if deleting:
        whole["deletionTimestamp"] = wire(NOW)
    spec = {
        "suspend": suspend,
        "ttlSecondsAfterFinished": ttl,
        "parallelism": 1,
        "backoffLimit": 2,
        "activeDeadlineSeconds": 3600,
        **spec_changes,
    }
    return JobView.from_body({"metadata": whole, "spec": spec, "status": {"conditions": conditions}})


def running(message: str = "") -> dict[str, Any]:
    return {"running": {"startedAt": wire(NOW)}}


def ended(code: int = 0, message: str = "", reason: str | None = None) -> dict[str, Any]:
    reason = reason or ("Completed" if code == 0 else "Error")
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def pod(
    *states: dict[str, Any],
    phase: str = "Running",
    name: str = "gesture-abc",
    age: float = 0,
    conditions: list[dict[str, Any]] | None = None,
    run_generation: int = 1,
    deleting: bool = False,
    **status: Any,
) -> PodView:
    """A pod whose containers, in order, are in ``states``; ``status`` has more of its status."""
    statuses = [{"name": c, "state": s} for c, s in zip(CONTAINERS, states, strict=False)]
    return PodView.from_body(
        {
            "metadata": {
                **({"deletionTimestamp": wire(NOW)} if deleting else {}),
                "namespace": KEY.namespace,
                "name": name,
                "uid": f"uid-{name}",
                "labels": {"edgeml.dev/conversion-uid": KEY.uid},
                "ownerReferences": [controller("batch/v1", "Job", f"job-{run_generation}")],
                "resourceVersion": "30",
                "creationTimestamp": wire(NOW - timedelta(seconds=age)),
            },
            "spec": {
                "initContainers": [{"name": c} for c in CONTAINERS[:2]],
                "containers": [{"name": CONTAINERS[2]}],
            },
            "status": {
                "phase": phase,
                "conditions": conditions or [],
                "initContainerStatuses": statuses[:2],
                "containerStatuses": statuses[2:],
                **status,
            },
        }
    )


def controller(api_version: str, kind: str, uid: str) -> dict[str, Any]:
    """The reference to an object that controls another."""
    return {"apiVersion": api_version, "kind": kind, "name": "any", "uid": uid, "controller": True}


def summary(*, passed: bool = True, without: tuple[Method, ...] = ()) -> ConversionSummary:
    artifact = ArtifactSummary(
        method=Method.FULL_INTEGER,
        file_name="gesture_int8.tflite",
        size_bytes=24576,
        size_fraction=0.12,
        sha256="b" * 64,
        agreement=0.991,
        accuracy=0.93,
        passed=passed,
        message=None if passed else "agreement 0.9910 is below 0.9950",
    )
    recommended = RecommendedMethod(method=Method.FULL_INTEGER, reason="smallest that agrees")
    return ConversionSummary(
        source=SourceInfo(sha256="a" * 64, size_bytes=204800, format=SourceFormat.KERAS_H5),
        artifacts=(artifact,),
        recommended=recommended if passed else None,
        failed_methods=tuple(
            MethodFailure(method=m, reason=FailureReason.QUANTIZATION_FAILED, message="tensor 7 has no range")
            for m in without
        ),
        stage_seconds={Stage.FETCH: 0.2, Stage.CONVERT: 3.1},
        cache=CacheOutcome.HIT,
    )


def published(*, passed: bool = True, without: tuple[Method, ...] = ()) -> str:
    return StageResult(summary=summary(passed=passed, without=without)).encode()


def failure_message(reason: FailureReason, stage: Stage = Stage.LOAD) -> str:
    return StageResult(failure=StageFailure(stage=stage, reason=reason, message="it broke")).encode()


def manifest(**spec_changes: Any) -> dict[str, Any]:
    from modelconversion_api.spec import ModelConversionSpec

    return job_manifest(KEY, "1", ModelConversionSpec.model_validate(spec(**spec_changes)), DEFAULTS)


def wire(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
