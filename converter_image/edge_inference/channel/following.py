"""Polls a channel's pointer, swaps the file that runs, and goes back where a new one does badly."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from ..baseline import Baseline, read_baseline
from ..delegates import Delegate
from ..errors import BaselineError, ChannelError, ChannelUntrustedError, DelegateError
from ..inference import Observer, TFLiteInference
from .guard import DriftGuard, DriftLimits
from .pointer import Key, Pointer, read_pointer
from .state import Kept, State, read_state, write_state
from .transport import Transport

_logger = logging.getLogger(__name__)

_USUAL_LIMITS: Final = DriftLimits()


class Outcome(StrEnum):
    """What came of a poll."""

    UPDATED = "Updated"
    """Another file runs now."""
    UNCHANGED = "Unchanged"
    REFUSED = "Refused"
    """The file that the pointer names does not run here, or did badly; the one before runs on."""


@dataclass(frozen=True, slots=True)
class Update:
    """What came of a poll."""

    outcome: Outcome
    sequence: int
    """Number of the pointer."""
    sha256: str
    """Digest of the file that the pointer names."""
    message: str = ""


class ModelChannel:
    """The file that a channel names, ready to predict; may be shared by threads.

    A file that was taken runs again after a restart, also without the network. Whatever goes wrong, the file
    that runs keeps running.

    Args:
        url: Of the pointer: ``https://host/path/channel.json``.
        name: NAMESPACE/NAME of the channel; a pointer of another one is not followed.
        public_key: In PEM; whose word counts.
        folder: Where files are kept, made where it is absent; one for each channel, and for one process.
        threads: As for :class:`TFLiteInference`.
        delegates: As for :class:`TFLiteInference`.
        observer: Given a file and its baseline, returns who is told of every call, e.g. one of
            :class:`edge_inference.metrics.InferenceMetrics`.
        accept: Is given each new file before it runs; raises ``ValueError`` to refuse it.
        drift: From which limits on a new file is left for the one before; None never does.
        ca_file: Certificates that are trusted besides the system's.
        headers: Sent with every request, e.g. ``Authorization``.

    Raises:
        ValueError: ``url`` or ``public_key`` is none.
        OSError: The folder cannot be written.

    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        public_key: bytes,
        folder: str | Path,
        threads: int = 1,
        delegates: Sequence[Delegate] = (),
        observer: Callable[[TFLiteInference, Baseline | None], Observer] | None = None,
        accept: Callable[[TFLiteInference], None] | None = None,
        drift: DriftLimits | None = _USUAL_LIMITS,
        ca_file: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._key, self._name = Key(public_key), name
        self._transport = Transport(url, ca_file=ca_file, headers=headers)
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._threads, self._delegates = threads, delegates
        self._observer, self._accept, self._drift = observer, accept, drift
        self._lock = threading.RLock()
        self._state = read_state(self._folder, name)
        self._model: TFLiteInference | None = None
        self._resume()

    @property
    def model(self) -> TFLiteInference:
        """The file that runs now; ask for it before each call, for a poll may change it.

        Raises:
            ChannelError: No file has been taken yet.

        """
        model = self._model
        if model is None:
            raise ChannelError("no file has been taken from the channel yet: poll() it")
        return model

    @property
    def has_model(self) -> bool:
        """Whether a file runs."""
        return self._model is not None

    def poll(self) -> Update:
        """Look at the pointer, and run what it names; what runs keeps running until the new file is ready.

        Raises:
            ChannelUnavailableError: The server is not there, or breaks off. Poll again later.
            ChannelUntrustedError: The pointer is not the channel's own, is older than one that was followed,
                or names what is not there. The file that runs keeps running.
            OSError: The folder cannot be written.

        """
        pointer = read_pointer(self._transport.pointer(), self._key, self._name)
        with self._lock:
            return self._follow(pointer)

    def fall_back(self, why: str) -> Update:
        """Leave the file that runs for the one before, until the channel moves.

        Args:
            why: For the log, and for the answers of later polls.

        Raises:
            ChannelError: There is none before, or it does not run any more.

        """
        with self._lock:
            left, before = self._state.current, self._state.previous
            if left is None or before is None:
                raise ChannelError("there is no earlier file to fall back to")
            try:
                model = self._loaded(before)
            except (OSError, ValueError, RuntimeError, DelegateError) as error:
                raise ChannelError(f"the file before does not run any more: {error}") from error
            self._keep(replace(self._state, current=before, previous=None, rejected=left.sequence, why=why))
            self._model = model
            _logger.warning("fell back to %s: %s", before.sha256[:12], why)
            return Update(Outcome.REFUSED, self._state.sequence, left.sha256, why)

    def _follow(self, pointer: Pointer) -> Update:
        state, sha256 = self._state, pointer.model.sha256
        if pointer.sequence < state.sequence:
            words = (
                f"the pointer has the number {pointer.sequence}, and {state.sequence} was followed already"
            )
            raise ChannelUntrustedError(f"{words}: somebody shows an old one")
        if pointer.sequence == state.sequence and sha256 != state.named:
            raise ChannelUntrustedError(f"two pointers with the number {pointer.sequence} name two files")
        if pointer.sequence == state.rejected and self._model is not None:
            return Update(Outcome.REFUSED, pointer.sequence, sha256, state.why)
        if self._model is not None and state.current is not None and state.current.sha256 == sha256:
            if pointer.sequence != state.sequence:
                current = replace(state.current, sequence=pointer.sequence)
                self._keep(replace(state, sequence=pointer.sequence, named=sha256, current=current))
            return Update(Outcome.UNCHANGED, pointer.sequence, sha256)
        new = self._fetched(pointer)
        seen = replace(state, sequence=pointer.sequence, named=sha256)
        try:
            model = self._tried(new)
        except (OSError, ValueError, RuntimeError, DelegateError) as error:
            why = f"the file does not run here: {error}"
            self._keep(replace(seen, rejected=pointer.sequence, why=why))
            _logger.warning("%s: %s", sha256[:12], why)
            return Update(Outcome.REFUSED, pointer.sequence, sha256, why)
        before = state.current if state.current is None or state.current.sha256 != sha256 else None
        self._keep(replace(seen, current=new, previous=before or state.previous, rejected=0, why=""))
        self._model = model
        _logger.info("%s runs (number %d)", sha256[:12], pointer.sequence)
        return Update(Outcome.UPDATED, pointer.sequence, sha256)

    def _fetched(self, pointer: Pointer) -> Kept:
        """Have the file of a pointer on the device, with its baseline."""
        baseline, sha256 = pointer.baseline, pointer.model.sha256
        target = self._path(sha256)
        if not _is_whole(target, sha256):
            self._transport.download(pointer.model, target)
        record = self._record(sha256)
        if baseline is None:
            record.unlink(missing_ok=True)
        elif not _is_whole(record, baseline.sha256):
            self._transport.download(baseline, record)
        return Kept(sha256, pointer.sequence, baseline is not None)

    def _tried(self, kept: Kept) -> TFLiteInference:
        """Load a file, and have it predict once."""
        model = self._loaded(kept)
        watcher, model.observer = model.observer, None  # a sample of zeros is none of the device's
        model.predict_many(
            {
                name: np.zeros((1, *(max(1, size) for size in tensor.shape[1:])), tensor.dtype)
                for name, tensor in model.inputs.items()
            }
        )
        if self._accept is not None:
            self._accept(model)
        model.observer = watcher
        return model

    def _loaded(self, kept: Kept) -> TFLiteInference:
        path = self._path(kept.sha256)
        if not _is_whole(path, kept.sha256):
            raise ValueError(f"{path} is not what was taken")
        baseline = self._baseline(kept)
        logits = baseline.confidence.logits if baseline is not None and baseline.confidence else None
        model = TFLiteInference(path, threads=self._threads, delegates=self._delegates, logits=logits)
        observer = None if self._observer is None else self._observer(model, baseline)
        if baseline is not None and self._drift is not None:
            observer = DriftGuard(baseline, self._drift, self._drifted(kept), observer)
        model.observer = observer
        return model

    def _drifted(self, kept: Kept) -> Callable[[str], None]:
        def tell(why: str) -> None:
            with self._lock:
                current = self._state.current
                if current is None or current.sha256 != kept.sha256:
                    return  # a call that had begun before the file was left
                if self._state.previous is None:
                    _logger.warning("%s, and there is no earlier file to fall back to", why)
                    return
                try:
                    self.fall_back(why)
                except ChannelError as error:
                    _logger.warning("%s; %s", why, error)

        return tell

    def _baseline(self, kept: Kept) -> Baseline | None:
        if not kept.has_baseline:
            return None
        try:
            return read_baseline(self._record(kept.sha256), self._path(kept.sha256))
        except (BaselineError, OSError) as error:
            _logger.warning("no drift is watched: %s", error)
            return None

    def _resume(self) -> None:
        """Run what ran before a restart; where its file is gone, the next poll brings it again."""
        current = self._state.current
        if current is None:
            return
        try:
            self._model = self._loaded(current)
        except (OSError, ValueError, RuntimeError, DelegateError) as error:
            _logger.warning("the file that ran before cannot run again: %s", error)
            self._state = replace(self._state, current=None)

    def _keep(self, state: State) -> None:
        """Remember a state, and remove the files that it has no more use for."""
        write_state(self._folder, state)
        self._state = state
        kept = {each.sha256 for each in (state.current, state.previous) if each is not None}
        for pattern in ("*.tflite", "*.baseline.json"):
            for path in self._folder.glob(pattern):
                if path.name.partition(".")[0] not in kept:
                    path.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.tflite"

    def _record(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.baseline.json"


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False
