"""Whose Job and whose pod it is: by namespace and owner reference, never by a label alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.views import JobView, PodView
from support.operator.objects import (
    KEY,
    NOW,
    controller,
    conversion,
    decide,
    ended,
    job,
    pod,
    published,
)

OURS = controller("edgeml.dev/v1alpha1", "ModelConversion", KEY.uid)
LABEL = {"edgeml.dev/conversion-uid": KEY.uid, "app.kubernetes.io/managed-by": "model-conversion-operator"}


@pytest.mark.parametrize(
    ("meta", "is_ours"),
    [
        ({}, True),
        ({"ownerReferences": []}, True),  # somebody took it away: it is written again
        ({"labels": {}}, True),
        ({"labels": LABEL, "ownerReferences": [OURS]}, True),
        ({"labels": LABEL | {"edgeml.dev/conversion-uid": "other"}, "ownerReferences": [OURS]}, True),
        ({"namespace": "elsewhere"}, False),
        ({"namespace": "elsewhere", "ownerReferences": []}, False),
        ({"labels": {}, "ownerReferences": []}, False),
        ({"ownerReferences": [OURS | {"uid": "other"}]}, False),
        ({"ownerReferences": [OURS | {"kind": "CronJob", "apiVersion": "batch/v1"}]}, False),
        ({"ownerReferences": [OURS | {"apiVersion": "edgeml.dev.evil/v1"}]}, False),
        ({"labels": {}, "ownerReferences": [OURS | {"controller": False}]}, False),
    ],
)
def test_a_job_is_its_controllers_in_the_conversions_namespace(meta: dict[str, Any], is_ours: bool) -> None:
    view = job(meta=meta)
    assert view.belongs_to(KEY) is is_ours
    store = Store()
    store.put_conversion(conversion())
    store.put_job(view)
    assert (store.job(KEY, view.name) is not None) is is_ours
    assert store.active() == ({KEY.namespace: {KEY.uid}} if is_ours else {})


@pytest.mark.parametrize(
    "references",
    [
        [],
        [controller("batch/v1", "Job", "another")],
        [controller("batch/v1", "Job", "job-1") | {"controller": False}],
        [controller("apps/v1", "ReplicaSet", "job-1")],
        [controller("batch.evil/v1", "Job", "job-1")],
    ],
)
def test_a_pod_is_a_jobs_when_that_controls_it(references: list[dict[str, Any]]) -> None:
    meta = {
        "namespace": KEY.namespace,
        "name": "bare",
        "uid": "bare",
        "resourceVersion": "99",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "ownerReferences": references,
        "labels": LABEL | {"batch.kubernetes.io/controller-uid": "job-1"},
    }
    store = Store()
    store.put_conversion(conversion())
    store.put_pod(PodView.from_body({"metadata": meta}))
    store.put_pod(pod())
    assert [p.name for p in store.pods(KEY, job().uid)] == ["gesture-abc"]


def test_a_foreign_job_takes_no_place_and_is_not_kept() -> None:
    store = Store()
    early = replace(job(), namespace="elsewhere", uid="early")
    store.put_job(early)  # Jobs may be listed before conversions are
    assert store.active() == {}
    store.put_conversion(conversion())
    assert store.active() == {}
    assert not store.put_job(replace(early, uid="late", name="late"))
    assert not store.put_pod(replace(pod(), namespace="elsewhere"))
    store.put_job(job())
    assert store.active() == {KEY.namespace: {KEY.uid}}


def test_a_job_that_was_listed_before_its_conversion_takes_a_place() -> None:
    store = Store()
    store.put_job(job())
    store.put_conversion(conversion())
    assert store.active() == {KEY.namespace: {KEY.uid}}


def test_a_job_of_that_name_that_is_foreign_ends_the_conversion() -> None:
    status = decide(conversion(), None, [], NOW).status
    foreign: JobView = job(meta={"ownerReferences": [controller("batch/v1", "CronJob", "cron")]})
    pods = [pod(ended(), ended(), ended(message=published()), phase="Succeeded")]
    decision = decide(conversion(status), replace(foreign, complete=True), pods, NOW)
    assert decision.status.failure is not None
    assert decision.status.failure.reason == "JobRejected"


def test_a_listing_makes_forgotten_what_is_gone_and_keeps_what_is_newer() -> None:
    store = Store()
    store.put_conversion(conversion())
    for name, version in (("gone", "30"), ("newer", "50"), ("there", "30")):
        store.put_pod(replace(pod(name=name), resource_version=version))
    store.put_pod(replace(pod(name="foreign"), job_uid="another"))
    listed = [replace(pod(name="there"), resource_version="39"), replace(pod(name="late"), job_uid="job-1")]
    store.renew_pods(KEY, job(), listed, "40")
    assert {p.name: p.resource_version for p in store.pods(KEY, job().uid)} == {
        "newer": "50",
        "there": "39",
        "late": "30",
    }
