"""Judges what an artifact gives on another runtime, by the gates that it is judged by on LiteRT."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from modelconversion_api.report import ArtifactReport
from modelconversion_api.verification import Verification, VerificationOutcome, Verifier
from tflite_converter.errors import first_line
from tflite_converter.measuring.evaluation import Reference, quality_of
from tflite_converter.measuring.gates import Gates
from tflite_converter.verifying.runtimes import RUNTIMES, Ran


def verify(
    name: Verifier,
    content: bytes,
    reference: Reference,
    gates: Gates,
    after_each: Callable[[int], None],
) -> Verification:
    """Run ``content`` on every sample of ``reference`` there, and judge what it gives."""
    runtime = RUNTIMES[name]
    count = len(next(iter(reference.samples.values())))
    try:
        ran = runtime.run(content, reference.samples, after_each)
    except ImportError as error:
        return not_verified(name, str(error))
    except (RuntimeError, ValueError) as error:
        return _record(name, VerificationOutcome.FAILED, message=first_line(error))
    record = {"runtime": ran.runtime, "memory_bytes": ran.memory_bytes, "samples": count}
    if fault := _fault(ran, reference):
        return _record(name, VerificationOutcome.FAILED, message=fault, **record)
    judged = quality_of({n: ran.outputs[n] for n in reference.outputs}, reference, gates)
    return _record(
        name,
        VerificationOutcome.FAILED if judged.missed else VerificationOutcome.PASSED,
        agreement=round(judged.agreement, 6),
        accuracy=None if judged.accuracy is None else round(judged.accuracy, 6),
        snr_db=None if judged.snr_db is None else round(judged.snr_db, 2),
        message="; ".join(judged.missed) or None,
        **record,
    )


def not_verified(name: Verifier, why: str) -> Verification:
    """Return the record of a check that was not made."""
    return _record(name, VerificationOutcome.NOT_VERIFIED, message=why)


def failed(name: Verifier, why: str) -> Verification:
    """Return the record of a check that ended the process that made it."""
    return _record(name, VerificationOutcome.FAILED, message=why)


def with_verifications(
    artifact: ArtifactReport, found: Iterable[Verification], decisive: Iterable[Verifier]
) -> ArtifactReport:
    """Return the artifact with its checks; it fails where one of the ``decisive`` has failed."""
    checks = tuple(found)
    decides = frozenset(decisive)
    missed = [
        f"on {check.name.value}: {check.message}"
        for check in checks
        if check.name in decides and check.outcome is VerificationOutcome.FAILED
    ]
    if not missed:
        return artifact.changed(verifications=checks)
    words = [artifact.message, *missed] if artifact.message else missed
    return artifact.changed(verifications=checks, passed=False, message="; ".join(words))


def _fault(ran: Ran, reference: Reference) -> str | None:
    """Say in what the outputs are not the original's, which no metric could compare."""
    for name, expected in reference.outputs.items():
        got = ran.outputs.get(name)
        if got is None or got.shape != expected.shape:
            shape = None if got is None else got.shape
            return f"it gives {name!r} with shape {shape}, the original {expected.shape}"
        if not np.isfinite(got.astype(np.float64)).all() and np.isfinite(expected.astype(np.float64)).all():
            return f"it gives NaN or infinite values in {name!r} where the original does not"
    return None


def _record(name: Verifier, outcome: VerificationOutcome, **fields: object) -> Verification:
    runtime = RUNTIMES[name]
    return Verification.model_validate(
        {
            "name": name,
            "outcome": outcome,
            "proves": runtime.proves,
            "does_not_prove": runtime.does_not_prove,
            **fields,
        }
    )
