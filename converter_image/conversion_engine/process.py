"""What a process that touches models knows of itself: its limits, and how it speaks to who started it."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NoReturn

from conversion_engine import sandbox, wire
from conversion_engine.files import error_file, result_file
from conversion_engine.messages import Progress

PROGRESS_FD_ENV: Final = "CONVERTER_PROGRESS_FD"
"""Which file descriptor takes the lines of progress; nobody listens where it is not set."""
SPEECHLESS_EXIT_CODE: Final = 77
"""A process ends with it when it has no memory left even to say so."""

_PR_SET_PDEATHSIG = 1
_NEARLY = 0.8
"""Part of the memory limit from which on a failure is taken for want of memory."""
_LAST_WORDS_BYTES = 64 << 20
"""What a process that has used up its memory gets in addition to say so."""
_confined = False
_MOST_TEXT = 300
"""Characters of a line of progress. JSON takes twelve bytes for a character at most, and one write of less
than PIPE_BUF (4,096) bytes arrives whole, also from several processes."""


class Process:
    """A process that works in a folder of its own."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self.stage = stage
        """What is under way, for messages about its end."""
        self.doing = ""
        self.isolation: tuple[str, ...] = ()
        self.memory_limit_bytes: int | None = None
        self._pipe = int(os.environ[PROGRESS_FD_ENV]) if PROGRESS_FD_ENV in os.environ else None

    def say(self, stage: str, text: str, fraction: float | None = None, *, warning: bool = False) -> None:
        """Tells what is being done now; that it is told at all shows that nothing hangs."""
        self.stage, self.doing = stage, text
        if self._pipe is not None:
            line = wire.dumped(Progress(str(stage), text[:_MOST_TEXT], fraction, warning))
            os.write(self._pipe, line.encode() + b"\n")

    def counter(self, stage: str, text: str, count: int) -> Callable[[int], None]:
        """Return a function that reports every twentieth part of ``count``."""
        every = max(1, count // 20)

        def step(done: int) -> None:
            if done % every == 0 or done == count:
                self.say(stage, text, done / count)

        return step

    def at_memory_limit(self) -> bool:
        """Whether this process has taken nearly all the data that it may.

        An allocation that fails inside a library can come up as anything: a SystemError, a file that
        "cannot be read", an import that finds nothing.
        """
        if self.memory_limit_bytes is None:
            return False
        # Asked by taking the rest: of /proc a fork may not even read what is its own.
        rest = int((1.0 - _NEARLY) * self.memory_limit_bytes)
        try:
            mmap.mmap(-1, rest, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except OSError:
            return True
        return False

    def may_finish(self) -> None:
        """Raise the memory limit a little, so that the failure can still be written."""
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def confine(
        self,
        readable: Iterable[Path],
        memory_limit_bytes: int | None,
        programs: Iterable[Path] = (),
        devices: Iterable[Path] = (),
    ) -> None:
        """Drop every right that the work does not need, before a model is touched.

        ``devices`` can be written and controlled beside the work folder.
        """
        ends_with_its_parent()
        if memory_limit_bytes is not None:
            # Data, not address space: TensorFlow reserves far more addresses than it uses memory.
            most = memory_limit_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (most, most + _LAST_WORDS_BYTES))
            self.memory_limit_bytes = most
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.isolation = sandbox.enter(readable, [self.folder, *devices], programs)
        global _confined
        _confined = True

    def finish(
        self,
        program: str,
        work: Callable[[], str],
        failure: Callable[[BaseException, bool], str],
        caught: tuple[type[BaseException], ...] = (Exception, KeyboardInterrupt),
    ) -> NoReturn:
        """Do the work, leave its answer or the reason why there is none, and end the process.

        Leaves ``PROGRAM.result.json``, or ``PROGRAM.error.json`` and exit code 1.

        Args:
            program: Name of the program or task.
            work: Gives the answer's text.
            failure: From an exception, and whether memory was nearly used up, to the text that says why.
            caught: Exceptions that are a reason; after others nothing is left.

        """
        code = 1
        try:
            try:
                (self.folder / result_file(program)).write_text(work())
                code = 0
            except caught as error:
                at_limit = self.at_memory_limit()
                self.may_finish()
                traceback.print_exc()
                (self.folder / error_file(program)).write_text(failure(error, at_limit))
            # Native threads and destructors have nothing left to do that is worth waiting for.
            sys.stdout.flush()
            sys.stderr.flush()
        except MemoryError:
            code = SPEECHLESS_EXIT_CODE
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


def is_confined() -> bool:
    """Whether this process, or the one it was forked from, has dropped its rights: it can start no other."""
    return _confined


def ends_with_its_parent() -> None:
    """Has the kernel kill this process when its parent ends, however. A fork must ask for it again."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
