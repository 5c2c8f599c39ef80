"""The search for the best file over several methods: which one is kept, and what is told of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modelconversion_api.methods import Method, Objective
from modelconversion_api.reports.conversion import ArtifactReport, SearchReport
from modelconversion_api.reports.measurements import Trial
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.report import Outcome
from tflite_converter.measuring.recommendation import best_by


def settled(options: Options, outcome: Outcome) -> Outcome:
    """Return the outcome with the methods asked for and the best one, and with what became of the others."""
    objective = options.objective or Objective.SMALLEST_THAT_PASSES
    best = best_by(objective, [artifact for artifact in outcome.artifacts if artifact.passed])
    is_method = best is not None and best.recipe_name is None
    kept = {*options.methods} | ({best.method} if best is not None and is_method else set())
    tries = [
        trial
        for method in options.made
        if method not in options.methods
        for trial in _trials(method, outcome, chosen=method in kept)
    ]
    results = {method: result for method, result in outcome.results.items() if method in kept}
    return replace(outcome, results=results, search=SearchReport(objective=objective, tries=tuple(tries)))


def _trials(method: Method, outcome: Outcome, *, chosen: bool) -> Iterator[Trial]:
    """Yield what was tried of one method; of one that is kept, its own report has the rest."""
    result = outcome.results.get(method)
    if result is None or (result.artifact is None and result.failure is None):
        message = "not tried: the budget was used up"
        yield Trial(method=method, recipe=method.value, passed=False, seconds=0.0, message=message)
        return
    if result.artifact is None:
        assert result.failure is not None  # noqa: S101 - looked at above
        cause = result.failure.cause
        yield Trial(method=method, recipe=method.value, passed=False, seconds=result.seconds, message=cause)
        return
    artifact = result.artifact
    yield _trial(artifact, result.seconds, chosen=chosen)
    if not chosen:
        for attempt in artifact.attempts:
            if not attempt.chosen:
                yield Trial.model_validate({**dict(attempt), "method": method})


def _trial(artifact: ArtifactReport, seconds: float, *, chosen: bool) -> Trial:
    latency = artifact.latency
    return Trial(
        method=artifact.method,
        recipe=artifact.recipe or artifact.method.value,
        size_bytes=artifact.size_bytes,
        agreement=artifact.agreement,
        accuracy=artifact.accuracy,
        snr_db=artifact.snr_db,
        latency_millis=None if latency is None else latency.median_millis,
        passed=artifact.passed,
        chosen=chosen,
        seconds=seconds,
        message=artifact.message,
    )
