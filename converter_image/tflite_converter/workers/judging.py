"""The child process that judges what guests have given: against the original, and against LiteRT here.

``python -m tflite_converter.workers.judging FOLDER``: see :mod:`tflite_converter.isolation.child`. A guest
runs a stranger's file in an old runtime, so that its outputs are read here, each in a fork, and not
in the parent.
"""

from __future__ import annotations

from modelconversion_api.fields.verification import Verification, Verifier
from modelconversion_api.reasons import Stage
from tflite_converter.data.npz import read_arrays
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import forked
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.evaluation import Reference
from tflite_converter.measuring.gates import Gates
from tflite_converter.verifying.guests import MOST_OUTPUT_BYTES, GuestRun
from tflite_converter.verifying.runtimes import Ran
from tflite_converter.verifying.verify import ended, failed, judge, not_verified, worst
from tflite_converter.workers.jobs import GuestsJob, GuestsResult
from tflite_converter.workers.programs import JUDGING
from tflite_converter.workers.reference import given, reference_of


def work(job: GuestsJob, process: Child) -> GuestsResult:
    """Judge every run; each file gets a record for each check, in the order of the job."""
    reference, _ = reference_of(job.basis, given(job.basis, process.folder))
    found = {}
    for file in job.files:
        content = (process.folder / file.name).read_bytes()
        words = f"judging what guests gave for {file.name}"
        process.say(Stage.EVALUATE, words)
        found[file.name] = tuple(
            worst([_judged(check.name, run, content, reference, file.gates, process) for run in check.runs])
            for check in file.checks
        )
    return GuestsResult(verifications=found, isolation=process.isolation)


def _judged(
    name: Verifier, run: GuestRun, content: bytes, reference: Reference, gates: Gates, process: Child
) -> Verification:
    if run.missing is not None:
        return not_verified(name, run.missing)
    if run.failure is not None or run.outputs is None:
        return failed(name, run.failure or "it gave nothing", run.runtime)
    path = process.folder / run.outputs

    def compared() -> Verification:
        outputs = read_arrays(path, Stage.EVALUATE, name="its outputs", most_bytes=MOST_OUTPUT_BYTES)
        if not all(map(len, outputs.values())):
            return failed(name, "it gave outputs of no sample", run.runtime)
        return judge(name, content, Ran(outputs, run.runtime), reference, gates)

    answer = forked(process, JUDGING.words, f"judging {name.value}", Verification, compared)
    if isinstance(answer, WorkerFailure):
        return ended(name, answer.reason, answer.cause, run.runtime)
    return answer


if __name__ == "__main__":
    child.run(JUDGING.name, GuestsJob, lambda job: job.limits, work, child.classified_as(JUDGING.words))
