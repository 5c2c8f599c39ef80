"""``job-compare``: reads the reports of a set's members, and publishes the page that compares them.

It has the credentials of the store, and runs no model's code. A report counts only where it is of the run
that the operator names: what lies in a folder may be anybody's.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.comparison import (
    COMPARISON_ENV,
    COMPARISON_FILE_NAME,
    ComparedMember,
    ComparisonRequest,
)
from modelconversion_api.reports.conversion import REPORT_FILE_NAME, StageResult
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.publish import HTML_CONTENT_TYPE
from tflite_converter.job.stored_reports import downloaded_report
from tflite_converter.job.stores.base import Store
from tflite_converter.job.stores.places import Places
from tflite_converter.job.uploads import upload_bytes
from tflite_converter.report.comparison import Member, figures_of, render_comparison

_logger = logging.getLogger(__name__)

_AT_A_TIME: Final = 8
_ANOTHER_RUN: Final = "its report is of another run"


def compare(job: JobEnvironment) -> StageResult:
    """Publish ``compare.html`` under the output URI.

    A member whose report is gone, or cannot be read, has a row that says so.

    Raises:
        ConverterError: InvalidRequest, the store's failures, UploadCorrupted.

    """
    try:
        request = ComparisonRequest.decode(os.environ.get(COMPARISON_ENV, ""))
    except ValueError as error:
        cause = f"{COMPARISON_ENV} cannot be read: the operator sets it"
        raise ConverterError(FailureReason.INVALID_REQUEST, Stage.PUBLISH, cause) from error
    store, output = Places(job.request.storage, Stage.PUBLISH), job.request.output.uri.rstrip("/")
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        members = list(pool.map(lambda member: _member(store, output, member), request.members))
    page = render_comparison(request.name, members).encode()
    upload_bytes(store, f"{output}/{COMPARISON_FILE_NAME}", page, HTML_CONTENT_TYPE)
    return StageResult()


def _member(store: Store, output: str, member: ComparedMember) -> Member:
    if member.run is None:
        return Member(member.model, member.profile, None, member.reason or "")
    uri = f"{output}/{member.model}/{member.profile}/{REPORT_FILE_NAME}"
    try:
        report = downloaded_report(uri, store)
    except (ValueError, AttributeError) as error:
        _logger.warning("%s does not follow the contract: %s", uri, type(error).__name__)
        return Member(member.model, member.profile, None, "its report cannot be read")
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND:
            raise
        return Member(member.model, member.profile, None, "its report is gone")
    if report.request is None or report.request.run != member.run:
        return Member(member.model, member.profile, None, _ANOTHER_RUN)
    return Member(member.model, member.profile, figures_of(report))
