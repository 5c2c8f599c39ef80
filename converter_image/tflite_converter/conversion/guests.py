"""Has the files run in guests, and the records of it judged: the checks that LiteRT's child cannot make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from modelconversion_api.fields.verification import Verifier
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import ArtifactReport
from tflite_converter.files.untrusted import open_regular
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.measuring.board_samples import MOST_FILE_BYTES
from tflite_converter.measuring.gates import Gates
from tflite_converter.progress import Event
from tflite_converter.verifying.guests import GUESTS, GuestRun, Workplace, run
from tflite_converter.verifying.runtimes import lacks_flex
from tflite_converter.verifying.verify import with_verifications
from tflite_converter.workers.jobs import (
    GUEST_SAMPLES_FILE,
    GuestCheck,
    GuestFile,
    GuestsJob,
    GuestsResult,
    LiteRTJob,
)
from tflite_converter.workers.programs import JUDGING

_JUDGING_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that guests are to run."""

    artifact: ArtifactReport
    folder: Path
    """Where the file is, the samples, and what it was measured by."""
    gates: Gates


def in_guests(
    files: Sequence[Wanted], names: Sequence[Verifier], basis: LiteRTJob, where: Workplace
) -> list[ArtifactReport]:
    """Return the artifacts with the checks of ``names`` behind those that they have.

    ``basis`` is the job that they were measured by. A check that fails fails no artifact: none of these
    runtimes has the last word on a target.

    Raises:
        ConverterError: A file or the samples cannot be read, or nothing can be judged.

    """
    judged: dict[str, ArtifactReport] = {}
    for folder in dict.fromkeys(file.folder for file in files):
        here = [file for file in files if file.folder == folder]
        ran = tuple(_ran(file, names, where) for file in here)
        job = GuestsJob(limits=basis.limits, basis=basis, files=ran)
        watch = Watch(_JUDGING_SECONDS, where.memory_limit_bytes)
        found = run_worker(JUDGING, job, GuestsResult, folder, watch, where.listener).verifications
        for file in here:
            name = file.artifact.file_name
            checks = (*file.artifact.verifications, *found.get(name, ()))
            judged[name] = with_verifications(file.artifact, checks, ())
    return [judged[file.artifact.file_name] for file in files]


def _ran(file: Wanted, names: Sequence[Verifier], where: Workplace) -> GuestFile:
    """Run one file in the guests of each check."""
    artifact, folder = file.artifact, file.folder
    with open_regular(folder / artifact.file_name, MAX_TFLITE_BYTES, Stage.EVALUATE) as stream:
        content = stream.read(MAX_TFLITE_BYTES)
    with open_regular(folder / GUEST_SAMPLES_FILE, MOST_FILE_BYTES, Stage.EVALUATE) as stream:
        samples = stream.read(MOST_FILE_BYTES)

    flex = () if artifact.inventory is None else artifact.inventory.flex_operators

    def runs(name: Verifier) -> tuple[GuestRun, ...]:
        if why := lacks_flex(name, flex):
            return tuple(GuestRun(runtime=guest.words, missing=why) for guest in GUESTS[name])
        words = f"verifying {artifact.cli_name} on {name.value}"
        where.listener(Event(Stage.EVALUATE, words))
        # How far it is, in our words.
        place = replace(where, listener=lambda e: where.listener(Event(Stage.EVALUATE, words, e.fraction)))
        return tuple(
            run(guest, content, samples, folder / f"{artifact.file_name}.{name.value}.{number}.npz", place)
            for number, guest in enumerate(GUESTS[name])
        )

    checks = tuple(GuestCheck(name=name, runs=runs(name)) for name in names)
    return GuestFile(name=artifact.file_name, gates=file.gates, checks=checks)
