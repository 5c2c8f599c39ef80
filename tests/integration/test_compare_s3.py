"""The stage that compares a set's members on a real S3 server: reports gone, another's, or broken."""

from __future__ import annotations

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.comparison import COMPARISON_ENV, ComparedMember, ComparisonRequest
from modelconversion_api.reports.conversion import ConversionReport
from support.cluster.stages import Job, new_job
from support.converter import html_reports as sample
from support.converter.pages import Page
from tflite_converter.job.compare import compare


@pytest.fixture
def job(object_store, bucket, tmp_path, monkeypatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


def report_of(job: Job, run: str) -> ConversionReport:
    request = job.request.model_copy(update={"run": run})
    return sample.report().model_copy(update={"request": request})


def put(job: Job, key: str, content: bytes) -> None:
    job.server.client().put_object(Bucket=job.bucket, Key=key, Body=content)


def asked(job: Job, *members: ComparedMember) -> str:
    """The page's text after a comparison of these members."""
    job.patch.setenv(COMPARISON_ENV, ComparisonRequest(name="edge", members=list(members)).encode())
    code, result = job.end(Stage.PUBLISH, compare)
    assert (code, result.failure) == (0, None)
    stored = job.server.client().get_object(Bucket=job.bucket, Key="out/compare.html")
    assert stored["ContentType"].startswith("text/html")
    return Page(stored["Body"].read().decode()).text


def test_members_are_taken_from_their_own_runs_only(job: Job) -> None:
    put(job, "out/a/p/report.json", report_of(job, "uid-1/1").to_json().encode())
    put(job, "out/b/p/report.json", report_of(job, "somebody-else/1").to_json().encode())
    put(job, "out/c/p/report.json", b"{")
    put(job, "out/e/p/report.json", report_of(job, "uid-5/1").to_json().encode())
    members = [ComparedMember(model=name, profile="p", run=f"uid-{n}/1") for n, name in enumerate("abcd", 1)]
    failed = ComparedMember(model="e", profile="p", reason="GatesNotMet")
    text = asked(job, *members, failed)
    assert "1 of 5 members with a file" in text
    assert "its report is of another run: b for p" in text
    assert "its report cannot be read: c for p" in text
    assert "its report is gone: d for p" in text
    assert "GatesNotMet: e for p" in text, "what lies there is of another time"


@pytest.mark.parametrize("text", ["", "nothing", "eJwrzy/KTlFIzi9KBQAVIgPm"])
def test_what_is_no_comparison_is_an_invalid_request(job: Job, text: str) -> None:
    job.patch.setenv(COMPARISON_ENV, text)
    code, result = job.end(Stage.PUBLISH, compare)
    assert result.failure is not None
    assert (code, result.failure.reason) == (10, FailureReason.INVALID_REQUEST)
