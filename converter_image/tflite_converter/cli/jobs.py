"""The Job's commands: what the operator runs in the containers. Each returns its exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from modelconversion_api.reasons import Stage
from tflite_converter.job.environment import run_stage


def job_fetch() -> int:
    """Download the source and its data into CONVERSION_INPUT_DIR, and check the digests."""
    from tflite_converter.job.fetch import fetch  # boto3 is imported by the stages that use it only

    return run_stage(Stage.FETCH, fetch)


def job_look() -> int:
    """Say which version of the source is there, and read it only where the store says that it has changed."""
    from tflite_converter.job.look import look

    return run_stage(Stage.FETCH, look)


def job_convert() -> int:
    """Convert what job-fetch downloaded, and write artifacts and report.json into CONVERSION_OUTPUT_DIR."""
    from tflite_converter.job.convert import convert_job

    return run_stage(Stage.LOAD, convert_job)


def job_publish() -> int:
    """Check what job-convert made, and upload it; report.json last."""
    from tflite_converter.job.publish import publish

    return run_stage(Stage.PUBLISH, publish)


def job_report() -> int:
    """Tell the result of a run that has published everything, from its report.json in the store."""
    from tflite_converter.job.published_report import read_report

    return run_stage(Stage.PUBLISH, read_report)


def job_compare() -> int:
    """Compare the members of a set by their reports in the store, in compare.html."""
    from tflite_converter.job.compare import compare

    return run_stage(Stage.PUBLISH, compare)


def job_move() -> int:
    """Move the pointer of a channel: bring the file beside it, and sign what names it."""
    from tflite_converter.job.move import move

    return run_stage(Stage.PUBLISH, move)


def job_register() -> int:
    """Register what a run has published in a model registry, by its report."""
    from tflite_converter.job.register import register

    return run_stage(Stage.PUBLISH, register)


def job_board_fetch() -> int:
    """Download the files that this run has published into CONVERSION_INPUT_DIR, for a board."""
    from tflite_converter.job.board import fetch_published

    return run_stage(Stage.FETCH, fetch_published)


def job_board_measure() -> int:
    """Run those files on this node, and write their figures into CONVERSION_OUTPUT_DIR."""
    from tflite_converter.job.board_measuring import measure_on_board

    return run_stage(Stage.MEASURE, measure_on_board)


def job_board_publish() -> int:
    """Check the figures, and upload them."""
    from tflite_converter.job.board import publish_board

    return run_stage(Stage.PUBLISH, publish_board)


JOBS: Final[Mapping[str, Callable[[], int]]] = {
    "job-fetch": job_fetch,
    "job-look": job_look,
    "job-move": job_move,
    "job-register": job_register,
    "job-convert": job_convert,
    "job-publish": job_publish,
    "job-report": job_report,
    "job-board-fetch": job_board_fetch,
    "job-board-measure": job_board_measure,
    "job-board-publish": job_board_publish,
    "job-compare": job_compare,
}
"""By the words on the command line."""
