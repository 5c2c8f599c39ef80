"""Judges what an artifact gives on another runtime, by the gates that it is judged by on LiteRT."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from edge_inference.tensors import filled
from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.conversion import ArtifactReport
from tflite_converter.arrays import Array
from tflite_converter.errors import NotVerifiedError, first_line
from tflite_converter.measuring.evaluation import Reference, quality_of
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.outputs import incomparable
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.verifying.runtimes import NOT_THE_FILES_FAULT, RUN_HERE, RUNTIMES, Ran, lacks_flex

_ALIKE = "as on LiteRT here: "
"""In the message where a gate is missed on both."""


def verify(
    name: Verifier,
    content: bytes,
    reference: Reference,
    gates: Gates,
    after_each: Callable[[int], None],
) -> Verification:
    """Run ``content`` on every sample of ``reference`` there, and judge what it gives."""
    if why := lacks_flex(name, inventory(read_file(content, "the file")).flex_operators):
        return not_verified(name, why)
    asked = reference.first(samples_on(name, reference))
    try:
        ran = RUN_HERE[name](content, asked.samples, after_each)
    except NotVerifiedError as error:
        return not_verified(name, str(error))
    except (RuntimeError, ValueError) as error:
        return failed(name, first_line(error))
    return judge(name, content, ran, reference, gates)


def judge(name: Verifier, content: bytes, ran: Ran, reference: Reference, gates: Gates) -> Verification:
    """Judge what ``content`` gave there on the first samples of ``reference``."""
    given = len(next(iter(ran.outputs.values()))) if ran.outputs else 0
    compared = reference.first(min(given, samples_on(name, reference)))
    record: dict[str, object] = {
        "runtime": ran.runtime,
        "memory_bytes": ran.memory_bytes,
        "fallback_operators": ran.fallback_operators,
        "fallbacks": ran.fallbacks,
        "samples": compared.count,
    }
    there, here = ran.outputs, None
    if RUNTIMES[name].most_samples is not None and compared.count:
        here = TFLiteModel(content).run_each(compared.samples)
        open_ones = {n for n, v in compared.outputs.items() if here.get(n, v).shape != v.shape}
        there, here = (_filled_up(outputs, compared, open_ones) for outputs in (there, here))
    if (fault := incomparable(compared.outputs, there)) is not None:
        return _record(name, VerificationOutcome.FAILED, message=f"it {fault[1]}", **record)
    judged = quality_of({n: there[n] for n in compared.outputs}, compared, gates)
    missed, alike = judged.missed, False
    if here is not None:
        record |= _difference(there, here)
        local = quality_of(here, compared, gates)
        # Few samples may miss a gate by chance, and a file that is no worse there is not the runtime's fault.
        alike = bool(missed and local.missed) and judged.agreement >= local.agreement
    return _record(
        name,
        VerificationOutcome.FAILED if missed and not alike else VerificationOutcome.PASSED,
        agreement=round(judged.agreement, 6),
        accuracy=None if judged.accuracy is None else round(judged.accuracy, 6),
        snr_db=None if judged.snr_db is None else round(judged.snr_db, 2),
        message=(_ALIKE if alike else "") + "; ".join(missed) or None,
        **record,
    )


def worst(found: Sequence[Verification]) -> Verification:
    """Return the record of several runtimes that are one check: of the one that does worst.

    It names all of them, and says of which one a message is.
    """
    ranks = [VerificationOutcome.FAILED, VerificationOutcome.NOT_VERIFIED, VerificationOutcome.PASSED]

    def badness(check: Verification) -> tuple[int, float, float]:
        agreement = -1.0 if check.agreement is None else check.agreement
        return ranks.index(check.outcome), agreement, -(check.largest_difference or 0.0)

    check = min(found, key=badness)
    if len(found) == 1:
        return check
    names = [each.runtime for each in found if each.runtime is not None]
    message = check.message
    if message is not None and check.runtime is not None:
        message = f"{check.runtime}: {message}"
    return check.changed(runtime="; ".join(dict.fromkeys(names)) or None, message=message)


def samples_on(name: Verifier, reference: Reference) -> int:
    """Return how many samples are run there at most."""
    return min(reference.count, RUNTIMES[name].most_samples or reference.count)


def _filled_up(
    outputs: Mapping[str, Array], reference: Reference, open_ones: Collection[str]
) -> dict[str, Array]:
    """Fill outputs of sizes that the data decide with zeros, up to what the original's have.

    Those were filled up to the largest of all samples, of which these are the first. ``open_ones`` are the
    outputs that on LiteRT, with these samples, have another size than the original's with all.
    """

    def filled_up(name: str, values: Array) -> Array:
        shape = reference.outputs[name].shape
        is_part = values.ndim == len(shape) and all(np.less_equal(values.shape, shape))
        return filled(values, shape) if name in open_ones and is_part else values

    return {name: filled_up(name, outputs[name]) for name in reference.outputs if name in outputs}


def _difference(there: Mapping[str, Array], here: Mapping[str, Array]) -> dict[str, object]:
    """Compare what two runtimes gave, ``{output: (n, ...)}`` of equal shapes, value by value."""
    pairs = [(there[name].astype(np.float64), here[name].astype(np.float64)) for name in here]
    # Where both are the same infinity, or both are no number, there is no difference.
    gaps = [np.abs(a - b)[~((a == b) | (np.isnan(a) & np.isnan(b)))] for a, b in pairs]
    largest = max((float(gap.max()) for gap in gaps if gap.size), default=0.0)
    identical = not any(gap.size for gap in gaps)
    return {"identical": identical, "largest_difference": largest if np.isfinite(largest) else None}


def not_verified(name: Verifier, why: str, runtime: str | None = None) -> Verification:
    """Return the record of a check that was not made."""
    return _record(name, VerificationOutcome.NOT_VERIFIED, message=why, runtime=runtime)


def failed(name: Verifier, why: str, runtime: str | None = None) -> Verification:
    """Return the record of a check in which nothing came of the file."""
    return _record(name, VerificationOutcome.FAILED, message=why, runtime=runtime)


def ended(name: Verifier, reason: FailureReason, cause: str, runtime: str | None = None) -> Verification:
    """Return the record of a check whose process ended so: want of memory or time says nothing."""
    return (not_verified if reason in NOT_THE_FILES_FAULT else failed)(name, cause, runtime)


def with_verifications(
    artifact: ArtifactReport, found: Iterable[Verification], decisive: Iterable[Verifier]
) -> ArtifactReport:
    """Return the artifact with its checks; it fails where one of the ``decisive`` has failed.

    On a file that has not passed, a check does not pass for being no worse.
    """
    checks = tuple(
        check.changed(outcome=VerificationOutcome.FAILED)
        if not artifact.passed and _ALIKE in (check.message or "")  # behind the name of one of several
        else check
        for check in found
    )
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
