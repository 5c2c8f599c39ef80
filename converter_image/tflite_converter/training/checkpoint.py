"""The state of training in one ``.npz`` file: written by the child after each epoch, kept by its parent."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelconversion_api.fields.optimization import TrainedStep
from modelconversion_api.reasons import Stage
from tflite_converter.arrays import Array
from tflite_converter.data.npz import write_npz
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.files.untrusted import open_regular
from tflite_converter.progress import Event, Listener

CHECKPOINT_FILE = "checkpoint.npz"
"""Its name in the child's folder."""
_MOST_BYTES = 16 << 30
_HEAD = "head"


@dataclass
class Checkpoint:
    """Where training was after an epoch."""

    fingerprint: str
    """What it belongs to (:meth:`~tflite_converter.training.plan.TrainingPlan.fingerprint`)."""
    place: int
    """The step under way, from 0."""
    epoch: int
    """Its epochs that are done."""
    best_epoch: int
    best_score: tuple[float, float]
    before: tuple[float, float | None]
    """Loss and accuracy that the step began with."""
    finished: list[TrainedStep] = field(default_factory=list)
    """What the steps before gave."""
    arrays: dict[str, list[Array]] = field(default_factory=dict)
    """Weights, best weights, the optimizer's moments, the activations' ranges."""

    def write(self, path: Path) -> None:
        """Write the file in one step: a reader finds the earlier checkpoint or this one."""
        head = {
            "fingerprint": self.fingerprint,
            "place": self.place,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "before": self.before,
            "finished": [step.to_wire() for step in self.finished],
            "counts": {name: len(values) for name, values in self.arrays.items()},
        }
        content: dict[str, Array] = {_HEAD: np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)}
        for name, values in self.arrays.items():
            content |= {f"{name}-{i}": np.asarray(array) for i, array in enumerate(values)}
        part = path.with_suffix(".part")
        write_npz(part, content)
        part.replace(path)

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> Checkpoint | None:
        """Read the checkpoint at ``path``; None where there is none, or one of other work."""
        try:
            with np.load(path, allow_pickle=False) as content:
                head = json.loads(bytes(content[_HEAD]))
                if head.pop("fingerprint") != fingerprint:
                    return None
                counts = head.pop("counts")
                arrays = {
                    name: [content[f"{name}-{i}"] for i in range(count)] for name, count in counts.items()
                }
            head["finished"] = [TrainedStep.model_validate(step) for step in head["finished"]]
            for name in ("best_score", "before"):
                head[name] = tuple(head[name])
            return cls(fingerprint=fingerprint, arrays=arrays, **head)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None


class CheckpointKeeper:
    """Takes each new checkpoint out of the child's folder to where the user wants it."""

    def __init__(self, folder: Path, target: Path | None, listener: Listener) -> None:
        self._found = folder / CHECKPOINT_FILE
        self._wanted = target
        self._listener = listener
        self._seen = 0

    def __call__(self, event: Event) -> None:
        """Take new checkpoints, and pass the event on."""
        if event.stage is Stage.TRAIN:
            self.take()
        self._listener(event)

    def take(self) -> None:
        """Copy the checkpoint if it is a new one.

        Raises:
            ConverterError: OutputNotWritable or NoSpace.

        """
        if self._wanted is None:
            return
        try:
            changed = self._found.lstat().st_mtime_ns
        except OSError:
            return  # none yet
        if changed == self._seen:
            return
        self._seen = changed
        part = self._wanted.with_name(f".{self._wanted.name}.part")
        try:
            with open_regular(self._found, _MOST_BYTES, Stage.TRAIN) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
            part.replace(self._wanted)
        except OSError as error:
            raise from_os_error(error, Stage.TRAIN, f"writing {self._wanted.name}") from error
        except ConverterError:
            return  # it is not a regular file: whatever the child does, nothing of it is copied
